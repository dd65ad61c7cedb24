//! How far an answer is from the truth that came later: a loss, larger being worse, by a measure that the plan declares.
//! How losses of two arms are compared is `quality`.

use serde::{Deserialize, Serialize};

/// Probabilities are taken as at least this, so that one answer that was sure and wrong is not infinitely bad.
const LEAST_PROBABILITY: f64 = 1e-6;
/// From this probability on a "yes" is what was answered.
const YES: f64 = 0.5;

/// How an answer is measured against its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The loss is 1 where the answer is not what the label says, else 0: the mean loss is 1 − accuracy. A probability of "yes"
    /// answers yes from one half on, several probabilities the class of the largest.
    Accuracy,
    /// The distance between the answered number and the label.
    AbsoluteError,
    /// Its square; of probabilities of "yes", the Brier score.
    SquaredError,
    /// −ln of the probability that was answered for what the label says, in nats.
    LogLoss,
}

/// A value as an answer or a label says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Yes or no.
    Truth(bool),
    /// A number: a prediction, a probability of "yes", the number of a class.
    Number(f64),
    /// The name of a class.
    Text(String),
    /// A number for each class, from 0 on.
    Several(Vec<f64>),
}

impl Measure {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::AbsoluteError => "absolute_error",
            Self::SquaredError => "squared_error",
            Self::LogLoss => "log_loss",
        }
    }

    /// The range in which losses lie where the plan declares none; there is none for distances, which have the unit of what is
    /// predicted, and none for log loss, which is only bounded by how sure a model is.
    pub(super) fn usual_range(self) -> Option<[f64; 2]> {
        match self {
            Self::Accuracy | Self::SquaredError => Some([0.0, 1.0]),
            Self::LogLoss => Some([0.0, 5.0]),
            Self::AbsoluteError => None,
        }
    }

    /// Whether a label is one that answers can be compared with. It asks the label alone, so it says the same whichever arm
    /// answered.
    pub(super) fn takes(self, truth: &Said) -> bool {
        match (self, truth) {
            (Self::Accuracy, Said::Truth(_) | Said::Text(_)) => true,
            (Self::Accuracy, Said::Several(_)) => false,
            (Self::Accuracy | Self::AbsoluteError | Self::SquaredError, truth) => {
                number(truth).is_some_and(f64::is_finite)
            }
            (Self::LogLoss, truth) => class(truth).is_some(),
        }
    }

    /// The loss; none where this measure can't compare the two. Where it takes the label, that is for the answer to answer for:
    /// it is of another kind, or has no place for the class that is true.
    #[must_use]
    pub fn loss(self, answered: &Said, truth: &Said) -> Option<f64> {
        let loss = match self {
            Self::Accuracy => f64::from(u8::from(!agree(answered, truth)?)),
            Self::AbsoluteError => (number(answered)? - number(truth)?).abs(),
            Self::SquaredError => (number(answered)? - number(truth)?).powi(2),
            Self::LogLoss => -probability(answered, truth)?.max(LEAST_PROBABILITY).ln(),
        };
        loss.is_finite().then_some(loss)
    }
}

/// As a number; of two probabilities, the one of "yes".
fn number(said: &Said) -> Option<f64> {
    match said {
        Said::Truth(yes) => Some(f64::from(u8::from(*yes))),
        Said::Number(number) => Some(*number),
        Said::Several(both) if both.len() == 2 => both.get(1).copied(),
        Said::Several(_) | Said::Text(_) => None,
    }
}

/// The number of a class, where it is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn class(said: &Said) -> Option<usize> {
    let number = number(said).filter(|n| *n >= 0.0 && *n < 1e9 && n.fract() == 0.0)?;
    Some(number as usize)
}

/// Whether the answer is what the label says.
fn agree(answered: &Said, truth: &Said) -> Option<bool> {
    match (answered, truth) {
        (Said::Text(answered), Said::Text(truth)) => Some(answered == truth),
        (Said::Several(all), _) => {
            let class = class(truth).filter(|class| *class < all.len())?;
            let largest = all.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
            Some(largest.0 == class)
        }
        (Said::Text(_), _) | (_, Said::Text(_) | Said::Several(_)) => None,
        (Said::Number(score), _) if score.fract() != 0.0 => {
            let yes = class(truth).filter(|class| *class <= 1 && (0.0..=1.0).contains(score))? == 1;
            Some((*score >= YES) == yes)
        }
        _ => Some((number(answered)? - number(truth)?).abs() < f64::EPSILON),
    }
}

/// The probability that was answered for what the label says.
fn probability(answered: &Said, truth: &Said) -> Option<f64> {
    let class = class(truth)?;
    let probability = match answered {
        Said::Several(all) => all.get(class).copied(),
        Said::Number(yes) => [1.0 - yes, *yes].get(class).copied(),
        Said::Truth(_) | Said::Text(_) => None,
    };
    probability.filter(|p| (0.0..=1.0).contains(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(measure: Measure, answered: Said, truth: Said) -> Option<f64> {
        measure.loss(&answered, &truth).map(|loss| (loss * 1e6).round() / 1e6)
    }

    #[test]
    fn classes_are_compared_however_they_are_said() {
        let wrong = |answered, truth| loss(Measure::Accuracy, answered, truth);
        assert_eq!(wrong(Said::Text("cat".into()), Said::Text("dog".into())), Some(1.0));
        assert_eq!(wrong(Said::Number(0.7), Said::Truth(true)), Some(0.0));
        assert_eq!(wrong(Said::Number(0.7), Said::Number(0.0)), Some(1.0));
        assert_eq!(wrong(Said::Number(3.0), Said::Number(3.0)), Some(0.0), "numbers of classes");
        assert_eq!(wrong(Said::Several(vec![0.2, 0.5, 0.3]), Said::Number(1.0)), Some(0.0));
        assert_eq!(wrong(Said::Several(vec![0.2, 0.5, 0.3]), Said::Number(7.0)), None, "no such class");
        assert_eq!(wrong(Said::Number(0.7), Said::Text("yes".into())), None);
    }

    #[test]
    fn whether_a_label_can_be_compared_with_is_asked_of_the_label_alone() {
        let yes = [Said::Truth(true), Said::Number(7.0), Said::Text("dog".into())];
        assert!(yes.iter().all(|truth| Measure::Accuracy.takes(truth)));
        assert!(!Measure::Accuracy.takes(&Said::Number(f64::NAN)));
        assert!(Measure::SquaredError.takes(&Said::Number(-2.5)) && Measure::AbsoluteError.takes(&yes[0]));
        assert!(!Measure::SquaredError.takes(&yes[2]) && !Measure::AbsoluteError.takes(&yes[2]));
        assert!(Measure::LogLoss.takes(&yes[1]) && !Measure::LogLoss.takes(&Said::Number(0.5)), "no class");
        // The class is one, and the answer has no place for it.
        assert_eq!(loss(Measure::LogLoss, Said::Several(vec![0.2, 0.5, 0.3]), Said::Number(7.0)), None);
    }

    #[test]
    fn numbers_and_probabilities_have_their_distances() {
        assert_eq!(loss(Measure::AbsoluteError, Said::Number(12.0), Said::Number(9.5)), Some(2.5));
        assert_eq!(loss(Measure::SquaredError, Said::Several(vec![0.2, 0.8]), Said::Truth(true)), Some(0.04));
        assert_eq!(loss(Measure::LogLoss, Said::Number(0.25), Said::Truth(false)), Some(0.287_682));
        let sure = loss(Measure::LogLoss, Said::Number(1.0), Said::Truth(false)).unwrap();
        assert!((sure - 13.815_511).abs() < 1e-6, "bounded: {sure}");
        assert_eq!(loss(Measure::LogLoss, Said::Number(12.0), Said::Truth(true)), None, "no probability");
        assert_eq!(loss(Measure::AbsoluteError, Said::Number(f64::NAN), Said::Number(1.0)), None);
    }
}
