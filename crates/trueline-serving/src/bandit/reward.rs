//! What a label and the prediction that it belongs to are worth: a number in a declared range, more or less of it being wanted.

use serde::{Deserialize, Serialize};

/// What of label and prediction is the reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The label itself, as a number: a click, an amount.
    #[default]
    Label,
    /// 1 where the prediction is what the label says, 0 where it is not.
    Accuracy,
    /// The distance between prediction and label.
    AbsoluteError,
}

/// Whether more of it is wanted, or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// More.
    Maximise,
    /// Less.
    Minimise,
}

/// How a reward is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reward {
    /// What it is made of.
    pub measure: Measure,
    /// Where it lies; what is beyond counts as the end.
    pub range: [f64; 2],
    /// What is wanted; for an error less, else more, where it is not said.
    pub goal: Option<Goal>,
    /// From which score on a prediction says yes, where the label is 0 or 1.
    pub threshold: f64,
}

impl Default for Reward {
    fn default() -> Self {
        Self { measure: Measure::Label, range: [0.0, 1.0], goal: None, threshold: 0.5 }
    }
}

/// A prediction or a label, as far as rewards are made of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A number; yes is 1, no is 0. Of two probabilities the second, of more the place of the largest.
    Number(f64),
    /// A class by its name.
    Text(String),
}

impl Told {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }
}

impl Reward {
    /// Whether more of it is wanted.
    #[must_use]
    pub fn goal(&self) -> Goal {
        let usual = if self.measure == Measure::AbsoluteError { Goal::Minimise } else { Goal::Maximise };
        self.goal.unwrap_or(usual)
    }

    /// The reward of a prediction whose label came, from 0 for the worst to 1 for the best; none where they are not of a kind
    /// that it can be made of.
    #[must_use]
    pub fn of(&self, predicted: Option<&Told>, label: &Told) -> Option<f64> {
        let own = match self.measure {
            Measure::Label => label.number()?,
            Measure::Accuracy => f64::from(u8::from(self.agree(predicted?, label)?)),
            Measure::AbsoluteError => (predicted?.number()? - label.number()?).abs(),
        };
        let [low, high] = self.range;
        let scaled = ((own - low) / (high - low)).clamp(0.0, 1.0);
        Some(match self.goal() {
            Goal::Maximise => scaled,
            Goal::Minimise => 1.0 - scaled,
        })
    }

    /// A reward between 0 and 1 in its own unit.
    #[must_use]
    pub fn in_own_unit(&self, scaled: f64) -> f64 {
        let [low, high] = self.range;
        match self.goal() {
            Goal::Maximise => low + (high - low) * scaled,
            Goal::Minimise => high - (high - low) * scaled,
        }
    }

    /// Whether a prediction says what the label says.
    #[allow(clippy::float_cmp)]
    fn agree(&self, predicted: &Told, label: &Told) -> Option<bool> {
        match (predicted, label) {
            (Told::Text(a), Told::Text(b)) => Some(a == b),
            (Told::Number(score), Told::Number(truth)) if *truth == 0.0 || *truth == 1.0 => {
                let scored = (0.0..=1.0).contains(score);
                Some(if scored { (*score >= self.threshold) == (*truth == 1.0) } else { score == truth })
            }
            (Told::Number(a), Told::Number(b)) => Some(a == b),
            _ => None,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let [low, high] = self.range;
        if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
            return Err(format!("the reward's range is a lower and a higher number, not {low} and {high}"));
        }
        if self.measure == Measure::Accuracy && self.range != [0.0, 1.0] {
            return Err("accuracy lies between 0 and 1: leave the reward's range out".to_owned());
        }
        if !self.threshold.is_finite() {
            return Err("the reward's threshold is a finite number".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_made_of_labels_and_predictions() {
        let label = Reward { range: [0.0, 200.0], ..Reward::default() };
        assert_eq!(label.of(None, &Told::Number(50.0)), Some(0.25));
        assert_eq!(label.of(None, &Told::Number(1e9)), Some(1.0), "beyond the range it is the end");
        assert_eq!(label.of(None, &Told::Text("much".into())), None);
        let cost = Reward { goal: Some(Goal::Minimise), ..label };
        assert_eq!(cost.of(None, &Told::Number(50.0)), Some(0.75));
        assert_eq!((label.in_own_unit(0.25), cost.in_own_unit(0.75)), (50.0, 50.0));

        let right = Reward { measure: Measure::Accuracy, ..Reward::default() };
        let says = |p: f64, l: f64| right.of(Some(&Told::Number(p)), &Told::Number(l));
        assert_eq!((says(0.7, 1.0), says(0.7, 0.0), says(0.2, 0.0)), (Some(1.0), Some(0.0), Some(1.0)));
        assert_eq!((says(3.0, 3.0), says(3.0, 2.0), says(3.0, 1.0)), (Some(1.0), Some(0.0), Some(0.0)));
        let text = |of: &str| Told::Text(of.to_owned());
        assert_eq!(right.of(Some(&text("late")), &text("late")), Some(1.0));
        assert_eq!(right.of(Some(&text("late")), &Told::Number(1.0)), None);
        assert_eq!(right.of(None, &Told::Number(1.0)), None);

        let error = Reward { measure: Measure::AbsoluteError, range: [0.0, 10.0], ..Reward::default() };
        let near = error.of(Some(&Told::Number(4.0)), &Told::Number(6.0)).unwrap();
        assert!((near - 0.8).abs() < 1e-12, "less of an error is more of a reward");
    }
}
