//! Objectives: their names, the link between intercept and margin, and the transform of margins into values.
//! Arithmetic follows XGBoost 3.2.0 operation by operation, in f32, with the C library's `expf` and `logf`.

/// What the model was trained for, by XGBoost's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Objective {
    /// `reg:squarederror`, and its old name `reg:linear`.
    SquaredError,
    /// `reg:squaredlogerror`
    SquaredLogError,
    /// `reg:pseudohubererror`
    PseudoHuber,
    /// `reg:absoluteerror`
    AbsoluteError,
    /// `reg:quantileerror`; one output per quantile.
    Quantile,
    /// `reg:logistic`
    Logistic,
    /// `reg:gamma`
    Gamma,
    /// `reg:tweedie`
    Tweedie,
    /// `count:poisson`
    Poisson,
    /// `binary:logistic`
    BinaryLogistic,
    /// `binary:logitraw`
    BinaryLogitRaw,
    /// `binary:hinge`
    BinaryHinge,
    /// `multi:softprob`
    Softprob,
    /// `multi:softmax`
    Softmax,
    /// `rank:ndcg`
    RankNdcg,
    /// `rank:map`
    RankMap,
    /// `rank:pairwise`
    RankPairwise,
}

/// What the numbers of [`crate::Model::predict`] and [`crate::lightgbm::Model::predict`] mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// A score without bounds: a regression value, a log-odds, a rank score.
    Score,
    /// A positive expectation: a count, an amount (log link).
    Expectation,
    /// The probability of class 1, between 0 and 1.
    Probability,
    /// One probability per class, adding up to 1.
    ClassProbabilities,
    /// One probability per class, each against all the others: they need not add up to 1.
    ClassScores,
    /// The index of a class, as a float.
    Class,
}

impl Meaning {
    /// Whether the numbers are probabilities, of class 1 or of each class.
    pub fn is_probability(self) -> bool {
        matches!(self, Meaning::Probability | Meaning::ClassProbabilities | Meaning::ClassScores)
    }
}

/// How margins become values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Identity,
    Logistic,
    Exp,
    Step,
    Softmax,
    ArgMax,
}

const NAMES: [(&str, Objective); 18] = [
    ("reg:squarederror", Objective::SquaredError),
    ("reg:linear", Objective::SquaredError),
    ("reg:squaredlogerror", Objective::SquaredLogError),
    ("reg:pseudohubererror", Objective::PseudoHuber),
    ("reg:absoluteerror", Objective::AbsoluteError),
    ("reg:quantileerror", Objective::Quantile),
    ("reg:logistic", Objective::Logistic),
    ("reg:gamma", Objective::Gamma),
    ("reg:tweedie", Objective::Tweedie),
    ("count:poisson", Objective::Poisson),
    ("binary:logistic", Objective::BinaryLogistic),
    ("binary:logitraw", Objective::BinaryLogitRaw),
    ("binary:hinge", Objective::BinaryHinge),
    ("multi:softprob", Objective::Softprob),
    ("multi:softmax", Objective::Softmax),
    ("rank:ndcg", Objective::RankNdcg),
    ("rank:map", Objective::RankMap),
    ("rank:pairwise", Objective::RankPairwise),
];

impl Objective {
    /// The objective of that name, `None` when the scorer does not know it.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, objective)| *objective)
    }

    /// XGBoost's name, as `binary:logistic`.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// What the model's values mean.
    pub fn meaning(self) -> Meaning {
        match (self, self.link()) {
            (_, Link::Identity) => Meaning::Score,
            (_, Link::Exp) => Meaning::Expectation,
            (_, Link::Logistic) => Meaning::Probability,
            (_, Link::Softmax) => Meaning::ClassProbabilities,
            (_, Link::Step | Link::ArgMax) => Meaning::Class,
        }
    }

    pub(crate) fn link(self) -> Link {
        match self {
            Objective::Logistic | Objective::BinaryLogistic => Link::Logistic,
            Objective::Gamma | Objective::Tweedie | Objective::Poisson => Link::Exp,
            Objective::BinaryHinge => Link::Step,
            Objective::Softprob => Link::Softmax,
            Objective::Softmax => Link::ArgMax,
            _ => Link::Identity,
        }
    }

    /// The margin of an intercept as saved in the file (`base_score`); `Err` says which values are allowed.
    ///
    /// `ProbToMargin` in XGBoost's `regression_loss.h`: logit, bounded to `[1e-6, 1 - 1e-6]`, for the logistic
    /// link; log for the exponential one; nothing for the others, `binary:logitraw` included.
    pub(crate) fn intercept_margin(self, base_score: f32) -> Result<f32, &'static str> {
        const EPS: f32 = 1e-6;
        match self.link() {
            Link::Logistic if !(0.0..=1.0).contains(&base_score) => Err("must lie between 0 and 1"),
            Link::Logistic => {
                let bounded = base_score.clamp(EPS, 1.0 - EPS);
                Ok(-(1.0 / bounded - 1.0).ln())
            }
            Link::Exp if base_score <= 0.0 => Err("must be above 0"),
            Link::Exp => Ok(base_score.ln()),
            _ => Ok(base_score),
        }
    }
}

impl Link {
    /// Transforms the margins of whole rows, `width` per row, in place. Not for [`Link::ArgMax`], which changes
    /// the width; see [`argmax`].
    pub(crate) fn apply(self, margins: &mut [f32], width: usize) {
        match self {
            Link::Identity | Link::ArgMax => {}
            Link::Logistic => margins.iter_mut().for_each(|x| *x = sigmoid(*x)),
            Link::Exp => margins.iter_mut().for_each(|x| *x = x.exp()),
            Link::Step => margins.iter_mut().for_each(|x| *x = if *x > 0.0 { 1.0 } else { 0.0 }),
            Link::Softmax => margins.chunks_exact_mut(width).for_each(softmax),
        }
    }
}

/// `common::Sigmoid(float)`: `1 / (expf(min(-x, 88.7)) + 1 + 1e-16)`.
fn sigmoid(x: f32) -> f32 {
    const EPS: f32 = 1e-16;
    // `std::min(a, b)` gives `a` when either is NaN; `f32::min` would not.
    let negated = -x;
    let bounded = if 88.7 < negated { 88.7 } else { negated };
    1.0 / (bounded.exp() + 1.0 + EPS)
}

/// `common::Softmax`: maximum subtracted, the sum kept in f64 and rounded to f32 before the division.
fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NAN, f32::max);
    let mut sum = 0.0_f64;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += f64::from(*x);
    }
    for x in row.iter_mut() {
        *x /= sum as f32;
    }
}

/// `common::FindMaxIndex`: the first of the greatest.
pub(crate) fn argmax(row: &[f32]) -> f32 {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (name, objective) in NAMES {
            assert_eq!(Objective::from_name(name), Some(objective));
            assert!(name == "reg:linear" || objective.name() == name);
        }
        assert_eq!(Objective::from_name("survival:cox"), None);
    }

    #[test]
    fn sigmoid_stays_finite_at_the_ends() {
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert!(sigmoid(f32::NEG_INFINITY) > 0.0);
        assert_eq!(sigmoid(0.0), 0.5);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn intercepts_outside_the_link_are_refused() {
        assert!(Objective::BinaryLogistic.intercept_margin(1.5).is_err());
        assert!(Objective::Poisson.intercept_margin(0.0).is_err());
        assert_eq!(Objective::BinaryLogitRaw.intercept_margin(1.5), Ok(1.5));
        assert_eq!(Objective::BinaryLogistic.intercept_margin(0.5), Ok(-0.0));
    }

    #[test]
    fn the_first_of_equal_classes_wins() {
        assert_eq!(argmax(&[1.0, 2.0, 2.0]), 1.0);
    }
}
