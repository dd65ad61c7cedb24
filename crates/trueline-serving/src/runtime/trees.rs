//! XGBoost's models, scored here bit for bit as the library does.

use super::{RunError, Runtime, Unloadable, of_numbers, walks_long};
use crate::card::TensorCard;
use crate::frame::Frame;
use crate::predictions::Predictions;
use crate::signature::Signature;
use async_trait::async_trait;
use std::time::Instant;
use trueline_tensors::{DataType, Values};
use trueline_trees::{Meaning, Model, Rows};

/// What the loader of MLflow answers, by the class of the model that was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Probabilities or other values: of `Booster.predict`, and of the scikit-learn wrappers but classifiers.
    Values,
    /// `XGBClassifier.predict`: the class with the greatest probability.
    Likeliest,
    /// The same of two classes: the second when its probability is above one half.
    Second,
    /// The same where classes don't exclude each other: for each whether its probability is above one half.
    Each,
    /// The same where the objective answers the class itself.
    Itself,
}

impl Answer {
    /// As `XGBClassifier.predict` of XGBoost 3.2.0 decides it. Two classes with a probability each it takes for labels, too.
    fn of_classifier(meaning: Meaning, width: usize) -> Self {
        match (meaning, width) {
            (Meaning::Class, _) => Self::Itself,
            (_, 1) => Self::Second,
            (Meaning::ClassProbabilities, 3..) => Self::Likeliest,
            _ => Self::Each,
        }
    }
}

/// Gradient-boosted trees, scored bit for bit as XGBoost does.
#[derive(Debug)]
pub(crate) struct Trees {
    model: Model,
    /// The steps that a row takes through it.
    steps: usize,
    answer: Answer,
    /// Whether rounds after the best one are left out, as the scikit-learn wrappers do after early stopping.
    to_best: bool,
}

impl Trees {
    pub(crate) fn load(bytes: &[u8], class: Option<&str>) -> Result<Self, Unloadable> {
        let model = Model::from_bytes(bytes)?;
        let class = class.and_then(|c| c.rsplit('.').next()).unwrap_or("Booster");
        let answer = match class {
            "XGBClassifier" | "XGBRFClassifier" => {
                Answer::of_classifier(model.meaning(), model.value_width())
            }
            _ => Answer::Values,
        };
        Ok(Self { steps: model.steps(), model, answer, to_best: class != "Booster" })
    }
}

#[async_trait]
impl Runtime for Trees {
    async fn predict(
        &self,
        signature: &Signature,
        frame: &Frame,
        _: Option<Instant>,
    ) -> Result<Predictions, RunError> {
        let rows = signature.rows(frame)?;
        let rows = Rows::new(&rows, self.model.num_feature())?;
        let width = self.model.value_width();
        let mut values = vec![0.0; rows.len() * width];
        let rounds = if self.to_best { self.model.best_scorer()? } else { self.model.scorer() };
        rounds.predict(rows, &mut values)?;
        Ok(answered(self.answer, values, width))
    }

    fn platform(&self) -> &'static str {
        "xgboost_trueline"
    }

    fn outputs(&self) -> Vec<TensorCard> {
        let card = |kind, width| vec![TensorCard::new(Predictions::UNNAMED, kind, width)];
        match self.answer {
            Answer::Values => card(DataType::Fp32, self.model.value_width()),
            Answer::Each => card(DataType::Fp64, self.model.value_width()),
            Answer::Likeliest | Answer::Second | Answer::Itself => card(DataType::Int64, 1),
        }
    }

    fn fit(&self, recorded: Option<Signature>) -> Result<Signature, String> {
        of_numbers(recorded, self.model.num_feature(), self.model.feature_names())
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }

    fn computes_long(&self, rows: usize) -> bool {
        walks_long(self.steps, rows)
    }
}

/// What is answered of the values of rows.
fn answered(answer: Answer, values: Vec<f32>, width: usize) -> Predictions {
    let rows = values.len() / width;
    let array = |values| match width {
        1 => Predictions::column(values),
        _ => Predictions::array(vec![rows, width], values),
    };
    let classes = |list: Vec<i64>| Predictions::column(Values::Int64(list));
    match answer {
        Answer::Values => array(Values::Fp32(values)),
        Answer::Each => array(Values::Fp64(values.iter().map(|p| f64::from(u8::from(*p > 0.5))).collect())),
        Answer::Second => classes(values.iter().map(|p| i64::from(*p > 0.5)).collect()),
        Answer::Likeliest => classes(values.chunks(width).map(likeliest).collect()),
        // The index of a class is far below what a float holds exactly.
        #[allow(clippy::cast_possible_truncation)]
        Answer::Itself => classes(values.iter().map(|class| *class as i64).collect()),
    }
}

/// The first of the greatest.
fn likeliest(row: &[f32]) -> i64 {
    let greater = |best: (usize, f32), (i, v): (usize, &f32)| if *v > best.1 { (i, *v) } else { best };
    let best = row.iter().enumerate().fold((0, f32::NEG_INFINITY), greater);
    i64::try_from(best.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Answer, answered};
    use serde_json::json;
    use trueline_trees::Meaning;

    #[test]
    fn a_classifier_answers_classes_as_xgboosts_own_does() {
        for (meaning, width, values, expected) in [
            (Meaning::Probability, 1, vec![0.2, 0.5, 0.7], json!([0, 0, 1])),
            (Meaning::ClassProbabilities, 3, vec![0.1, 0.7, 0.2, 0.5, 0.3, 0.2], json!([1, 0])),
            (Meaning::ClassProbabilities, 2, vec![0.3, 0.7], json!([[0.0, 1.0]])),
            (Meaning::Probability, 3, vec![0.6, 0.7, 0.2], json!([[1.0, 1.0, 0.0]])),
            (Meaning::Class, 1, vec![2.0, 0.0, 1.0], json!([2, 0, 1])),
            (Meaning::Score, 1, vec![-2.0, 0.6], json!([0, 1])),
        ] {
            let answer = Answer::of_classifier(meaning, width);
            assert_eq!(answered(answer, values, width).json(), expected, "{meaning:?} {width}");
        }
    }

    #[test]
    fn a_truncated_model_is_refused_with_a_reason() {
        let error = super::Trees::load(b"{L\x00", None).unwrap_err();
        assert!(matches!(error, super::Unloadable::Damaged(why) if !why.is_empty()));
    }
}
