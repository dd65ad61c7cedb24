//! Runtimes: what turns rows of numbers into predictions. One so far, for gradient-boosted trees; ONNX and Python
//! workers are to stand beside it.

use crate::card::TensorCard;
use crate::frame::Frame;
use crate::predictions::Predictions;
use crate::signature::Signature;
use trueline_tensors::{DataType, Values};
use trueline_trees::{Model, Rows};

/// Answers requests. Shared by all of them at once.
pub(crate) trait Runtime: Send + Sync + std::fmt::Debug {
    /// Answers a request, whose input must fit the signature.
    fn predict(&self, signature: &Signature, frame: &Frame) -> Result<Predictions, RunError>;
    /// The format that it reads and what answers.
    fn platform(&self) -> &'static str;
    /// What it gives.
    fn outputs(&self) -> Vec<TensorCard>;
    /// How many numbers a row has.
    fn width(&self) -> usize;
    /// The names of its inputs, when the model has them.
    fn names(&self) -> Option<&[String]>;
    /// What it takes of memory, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// How MLflow's loader calls the model, which decides what a prediction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `Booster.predict`: probabilities or values.
    Booster,
    /// `XGBClassifier.predict`: the class.
    Classifier,
}

/// Gradient-boosted trees, scored bit for bit as XGBoost does.
#[derive(Debug)]
pub(crate) struct Trees {
    model: Model,
    call: Call,
}

impl Trees {
    pub(crate) fn load(bytes: &[u8], class: Option<&str>) -> Result<Self, String> {
        let model = Model::from_bytes(bytes).map_err(|e| e.to_string())?;
        let call = match class.and_then(|c| c.rsplit('.').next()) {
            Some("XGBClassifier" | "XGBRFClassifier") => Call::Classifier,
            _ => Call::Booster,
        };
        Ok(Self { model, call })
    }
}

/// Why a runtime gave no answer.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The request does not fit the model.
    Input(crate::InputError),
    /// The model failed.
    Failed(String),
}

impl From<crate::InputError> for RunError {
    fn from(error: crate::InputError) -> Self {
        Self::Input(error)
    }
}

impl From<trueline_trees::ScoreError> for RunError {
    fn from(error: trueline_trees::ScoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Runtime for Trees {
    fn predict(&self, signature: &Signature, frame: &Frame) -> Result<Predictions, RunError> {
        let rows = signature.rows(frame)?;
        let rows = Rows::new(&rows, self.model.num_feature())?;
        let width = self.model.value_width();
        let mut values = vec![0.0; rows.len() * width];
        match self.call {
            Call::Booster => self.model.predict(rows, &mut values)?,
            Call::Classifier => {
                self.model.best_scorer()?.predict(rows, &mut values)?;
                return Ok(Predictions::column(Values::Int64(classes(&values, width))));
            }
        }
        Ok(match width {
            1 => Predictions::column(Values::Fp32(values)),
            _ => Predictions::array(vec![rows.len(), width], Values::Fp32(values)),
        })
    }

    fn platform(&self) -> &'static str {
        "xgboost_trueline"
    }

    fn outputs(&self) -> Vec<TensorCard> {
        let card = |kind, width| vec![TensorCard::new(Predictions::UNNAMED, kind, width)];
        match self.call {
            Call::Booster => card(DataType::Fp32, self.model.value_width()),
            Call::Classifier => card(DataType::Int64, 1),
        }
    }

    fn width(&self) -> usize {
        self.model.num_feature()
    }

    fn names(&self) -> Option<&[String]> {
        self.model.feature_names()
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }
}

/// The class of each row: the likeliest, or, of two, the second when its probability is above one half.
fn classes(values: &[f32], width: usize) -> Vec<i64> {
    let likeliest = |row: &[f32]| {
        let best = row
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (i, v)| if *v > best.1 { (i, *v) } else { best });
        i64::try_from(best.0).unwrap_or(i64::MAX)
    };
    match width {
        1 => values.iter().map(|p| i64::from(*p > 0.5)).collect(),
        many => values.chunks(many).map(likeliest).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::classes;

    #[test]
    fn a_classifier_answers_classes() {
        assert_eq!(classes(&[0.2, 0.5, 0.7], 1), [0, 0, 1]);
        assert_eq!(classes(&[0.1, 0.7, 0.2, 0.5, 0.3, 0.2], 3), [1, 0]);
    }

    #[test]
    fn a_truncated_model_is_refused_with_a_reason() {
        let error = super::Trees::load(b"{L\x00", None).unwrap_err();
        assert!(!error.is_empty());
    }
}
