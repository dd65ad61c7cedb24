//! LightGBM's objectives: their names in model files, and the transform of raw scores into predictions.
//! Arithmetic follows `src/objective/*.hpp` of LightGBM 4 operation by operation, in f64, with the C library's
//! `exp` and `log1p`.

use crate::document::shorten;
use crate::error::LoadError;
use crate::objective::Meaning;

use super::load::PYTHON_RUNTIME;
use super::text::words;

/// What the model was trained for, by LightGBM's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Objective {
    /// `regression`
    Regression,
    /// `regression_l1`
    RegressionL1,
    /// `huber`
    Huber,
    /// `fair`
    Fair,
    /// `poisson`
    Poisson,
    /// `quantile`
    Quantile,
    /// `mape`
    Mape,
    /// `gamma`
    Gamma,
    /// `tweedie`
    Tweedie,
    /// `binary`
    Binary,
    /// `multiclass`
    Multiclass,
    /// `multiclassova`
    MulticlassOva,
    /// `cross_entropy`
    CrossEntropy,
    /// `cross_entropy_lambda`
    CrossEntropyLambda,
    /// `lambdarank`
    Lambdarank,
    /// `rank_xendcg`
    RankXendcg,
    /// `custom`, or no objective at all: a function of the training program, which the file does not hold.
    /// Predictions are raw scores.
    Custom,
}

/// How raw scores become predictions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Link {
    Identity,
    /// The square with the score's sign, for models trained on roots (`reg_sqrt`).
    SignedSquare,
    Exp,
    /// With the factor `sigmoid`.
    Sigmoid(f64),
    Softmax,
    /// `ln(1 + e^x)`
    Softplus,
}

/// `ParseObjectiveAlias` in `config.h`: the first name is the one that files hold.
const NAMES: [(Objective, &[&str]); 17] = [
    (
        Objective::Regression,
        &[
            "regression",
            "regression_l2",
            "mean_squared_error",
            "mse",
            "l2",
            "l2_root",
            "root_mean_squared_error",
            "rmse",
        ],
    ),
    (Objective::RegressionL1, &["regression_l1", "mean_absolute_error", "l1", "mae"]),
    (Objective::Huber, &["huber"]),
    (Objective::Fair, &["fair"]),
    (Objective::Poisson, &["poisson"]),
    (Objective::Quantile, &["quantile"]),
    (Objective::Mape, &["mape", "mean_absolute_percentage_error"]),
    (Objective::Gamma, &["gamma"]),
    (Objective::Tweedie, &["tweedie"]),
    (Objective::Binary, &["binary"]),
    (Objective::Multiclass, &["multiclass", "softmax"]),
    (Objective::MulticlassOva, &["multiclassova", "multiclass_ova", "ova", "ovr"]),
    (Objective::CrossEntropy, &["cross_entropy", "xentropy"]),
    (Objective::CrossEntropyLambda, &["cross_entropy_lambda", "xentlambda"]),
    (Objective::Lambdarank, &["lambdarank"]),
    (Objective::RankXendcg, &["rank_xendcg", "xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart"]),
    (Objective::Custom, &["custom", "none", "null", "na"]),
];

impl Objective {
    /// The objective of that name, `None` when the scorer does not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, names)| names.contains(&name)).map(|(objective, _)| *objective)
    }

    /// LightGBM's name, as `binary`.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(known, _)| *known == self)
            .and_then(|(_, names)| names.first())
            .copied()
            .unwrap_or("")
    }

    /// What the model's predictions mean.
    pub fn meaning(self) -> Meaning {
        match self {
            Objective::Poisson | Objective::Gamma | Objective::Tweedie => Meaning::Expectation,
            Objective::CrossEntropyLambda => Meaning::Expectation,
            Objective::Binary | Objective::CrossEntropy => Meaning::Probability,
            Objective::Multiclass => Meaning::ClassProbabilities,
            Objective::MulticlassOva => Meaning::ClassScores,
            _ => Meaning::Score,
        }
    }

    fn has_classes(self) -> bool {
        matches!(self, Objective::Multiclass | Objective::MulticlassOva)
    }
}

/// Reads the header's `objective`, as `binary sigmoid:1`. Absent means [`Objective::Custom`].
pub(super) fn read_objective(text: Option<&str>, num_class: usize) -> Result<(Objective, Link), LoadError> {
    let Some(text) = text else { return Ok((Objective::Custom, Link::Identity)) };
    let mut options = words(text);
    let name = options.next().unwrap_or("");
    let objective = Objective::from_name(name).ok_or_else(|| LoadError::Unsupported {
        what: format!("the objective `{}`", shorten(name)),
        remedy: PYTHON_RUNTIME,
    })?;
    let (mut sigmoid, mut classes, mut root) = (None, None, false);
    for option in options {
        match option.split_once(':') {
            Some(("sigmoid", number)) => sigmoid = Some(number),
            Some(("num_class", number)) => classes = Some(number),
            None if option == "sqrt" => root = true,
            _ => {
                return Err(LoadError::Unsupported {
                    what: format!("the option `{}` of the objective {name}", shorten(option)),
                    remedy: PYTHON_RUNTIME,
                });
            }
        }
    }
    check_classes(objective, classes, num_class)?;
    let link = match objective {
        Objective::Poisson | Objective::Gamma | Objective::Tweedie => Link::Exp,
        Objective::Binary | Objective::MulticlassOva => Link::Sigmoid(read_sigmoid(sigmoid)?),
        Objective::CrossEntropy => Link::Sigmoid(1.0),
        Objective::CrossEntropyLambda => Link::Softplus,
        Objective::Multiclass => Link::Softmax,
        // `huber` takes the root off again as it is read, with a warning.
        Objective::Regression
        | Objective::RegressionL1
        | Objective::Fair
        | Objective::Quantile
        | Objective::Mape
            if root =>
        {
            Link::SignedSquare
        }
        _ => Link::Identity,
    };
    Ok((objective, link))
}

fn check_classes(objective: Objective, classes: Option<&str>, num_class: usize) -> Result<(), LoadError> {
    let wrong = |problem: String| Err(LoadError::Inconsistent { path: "objective".into(), problem });
    let name = objective.name();
    match classes {
        None if objective.has_classes() => wrong(format!("{name} needs `num_class:`")),
        Some(classes) if classes.parse() != Ok(num_class) => {
            wrong(format!("it has {} classes where `num_class` is {num_class}", shorten(classes)))
        }
        _ if num_class > 1 && !objective.has_classes() && objective != Objective::Custom => {
            wrong(format!("{name} has one output where `num_class` is {num_class}"))
        }
        _ => Ok(()),
    }
}

fn read_sigmoid(text: Option<&str>) -> Result<f64, LoadError> {
    let text = text.ok_or_else(|| LoadError::Missing { path: "objective.sigmoid".into() })?;
    match decimal(text) {
        Some(sigmoid) if sigmoid > 0.0 && sigmoid.is_finite() => Ok(sigmoid),
        _ => Err(LoadError::BadNumber { path: "objective.sigmoid".into(), text: shorten(text) }),
    }
}

/// A decimal number as `Common::Atof` of LightGBM reads it, which does not always round to the nearest double:
/// digits before and after the point are gathered apart, and scaled by powers of ten that are rounded themselves.
/// Arrays of a model are read exactly, but `sigmoid:` is read thus.
fn decimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| {
        text.bytes()
            .try_fold(0.0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10.0 + f64::from(byte - b'0')))
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: f64 = digits(whole)?;
    if !fraction.is_empty() {
        value += digits(fraction)? / power(10.0, fraction.len());
    }
    let exponent: i32 = exponent.parse().ok()?;
    let mut left = exponent.unsigned_abs().min(308);
    let mut scale = 1.0;
    for (step, factor) in [(50, 1e50), (8, 1e8), (1, 10.0)] {
        while left >= step {
            scale *= factor;
            left -= step;
        }
    }
    Some(if exponent < 0 { value / scale } else { value * scale })
}

/// `Common::Pow`: by squares and cubes, whose roundings are part of the result.
fn power(base: f64, exponent: usize) -> f64 {
    match exponent {
        0 => 1.0,
        e if e.is_multiple_of(2) => power(base * base, e / 2),
        e if e.is_multiple_of(3) => power(base * base * base, e / 3),
        e => base * power(base, e - 1),
    }
}

impl Link {
    /// Transforms the raw scores of whole rows, `width` per row, in place.
    pub(super) fn apply(self, scores: &mut [f64], width: usize) {
        match self {
            Link::Identity => {}
            Link::SignedSquare => scores.iter_mut().for_each(|x| *x = signed_square(*x)),
            Link::Exp => scores.iter_mut().for_each(|x| *x = x.exp()),
            Link::Sigmoid(factor) => {
                scores.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-factor * *x).exp()));
            }
            Link::Softmax => scores.chunks_exact_mut(width).for_each(softmax),
            Link::Softplus => scores.iter_mut().for_each(|x| *x = x.exp().ln_1p()),
        }
    }
}

/// `Sign(x) * x * x`, from left to right; the sign of 0 and of NaN is 0.
fn signed_square(x: f64) -> f64 {
    let sign = f64::from(i8::from(x > 0.0) - i8::from(x < 0.0));
    sign * x * x
}

/// `Common::Softmax`: maximum subtracted, sum in the order of the classes.
fn softmax(row: &mut [f64]) {
    // `std::max(x, max)` keeps `x` unless it is less, also when either is NaN.
    let max = row.iter().copied().reduce(|max, x| if x < max { max } else { x }).unwrap_or(0.0);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    for x in row.iter_mut() {
        *x /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (objective, names) in NAMES {
            assert_eq!(objective.name(), names[0]);
            for name in names {
                assert_eq!(Objective::from_name(name), Some(objective));
            }
        }
        assert_eq!(Objective::from_name("rank:ndcg"), None);
    }

    #[test]
    fn objectives_are_read_with_their_options() {
        let read = |text, classes| read_objective(Some(text), classes);
        assert_eq!(read("binary sigmoid:0.7", 1), Ok((Objective::Binary, Link::Sigmoid(0.7))));
        assert_eq!(read("regression sqrt", 1), Ok((Objective::Regression, Link::SignedSquare)));
        assert_eq!(read("huber sqrt", 1), Ok((Objective::Huber, Link::Identity)));
        assert_eq!(read("multiclass num_class:3", 3), Ok((Objective::Multiclass, Link::Softmax)));
        assert_eq!(read_objective(None, 3), Ok((Objective::Custom, Link::Identity)));
        for (text, classes) in [
            ("binary", 1),
            ("binary sigmoid:0", 1),
            ("binary sigmoid:x", 1),
            ("binary sigmoid:1", 2),
            ("multiclass", 3),
            ("multiclass num_class:4", 3),
            ("regression cube", 1),
            ("", 1),
            ("tomorrow", 1),
        ] {
            assert!(read(text, classes).is_err(), "{text}");
        }
    }

    #[test]
    fn decimals_are_read_as_lightgbm_reads_them() {
        for (text, value) in [("1", 1.0), ("0.25", 0.25), ("1e+06", 1e6), ("2.5e-05", 2.5e-5), (".5", 0.5)] {
            assert_eq!(decimal(text), Some(value), "{text}");
        }
        // 1 + 13579/100000 is not the double next to 1.13579 (nor would be 113579/100000 read at once, which is).
        let value = decimal("1.13579").unwrap();
        assert_eq!(value, 1.0 + 13579.0 / 1e5);
        for text in ["", ".", "-1", "1.2.3", "1e", "nan", "0x1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn links_stay_sane_at_the_ends() {
        let mut scores = [f64::INFINITY, f64::NEG_INFINITY, 0.0];
        Link::Sigmoid(2.0).apply(&mut scores, 1);
        assert_eq!(scores, [1.0, 0.0, 0.5]);
        let mut scores = [1e300, -1e300];
        Link::Softmax.apply(&mut scores, 2);
        assert_eq!(scores, [1.0, 0.0]);
        assert_eq!((signed_square(-3.0), signed_square(0.5)), (-9.0, 0.25));
    }
}
