//! XGBoost's models, scored here bit for bit as the library does.

use super::{RunError, Runtime, Unloadable, of_numbers};
use crate::card::TensorCard;
use crate::frame::Frame;
use crate::predictions::Predictions;
use crate::signature::Signature;
use async_trait::async_trait;
use std::time::Instant;
use trueline_tensors::{DataType, Values};
use trueline_trees::{Model, Rows};

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
    pub(crate) fn load(bytes: &[u8], class: Option<&str>) -> Result<Self, Unloadable> {
        let model = Model::from_bytes(bytes)?;
        let call = match class.and_then(|c| c.rsplit('.').next()) {
            Some("XGBClassifier" | "XGBRFClassifier") => Call::Classifier,
            _ => Call::Booster,
        };
        Ok(Self { model, call })
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

    fn fit(&self, recorded: Option<Signature>) -> Result<Signature, String> {
        of_numbers(recorded, self.model.num_feature(), self.model.feature_names())
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
        assert!(matches!(error, super::Unloadable::Damaged(why) if !why.is_empty()));
    }
}
