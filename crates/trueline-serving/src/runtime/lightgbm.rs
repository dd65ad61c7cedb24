//! LightGBM's text models, scored here bit for bit as the library does.

use super::{RunError, Runtime, Unloadable, of_numbers, walks_long};
use crate::card::TensorCard;
use crate::frame::Frame;
use crate::predictions::Predictions;
use crate::signature::Signature;
use async_trait::async_trait;
use std::time::Instant;
use trueline_tensors::{DataType, Values};
use trueline_trees::Rows;
use trueline_trees::lightgbm::Model;

/// Whether MLflow kept the model as text; it pickles the scikit-learn wrapper.
pub(crate) fn is_text(class: Option<&str>) -> bool {
    class.is_none_or(|class| class == "lightgbm.basic.Booster")
}

/// A booster, as `Booster.predict` answers.
#[derive(Debug)]
pub(crate) struct Lightgbm {
    model: Model,
    /// The steps that a row takes through it.
    steps: usize,
}

impl Lightgbm {
    pub(crate) fn load(bytes: &[u8]) -> Result<Self, Unloadable> {
        let model = Model::from_bytes(bytes)?;
        if !model.pandas_categories().is_empty() {
            return Err(Unloadable::Foreign(
                "it was trained on a data frame with categories, whose codes are not told by its signature"
                    .to_owned(),
            ));
        }
        Ok(Self { steps: model.steps(), model })
    }

    /// The names of its features; none when LightGBM made them up.
    fn names(&self) -> Option<&[String]> {
        let names = self.model.feature_names();
        let made_up = names.iter().enumerate().all(|(i, name)| *name == format!("Column_{i}"));
        (!made_up).then_some(names)
    }
}

#[async_trait]
impl Runtime for Lightgbm {
    async fn predict(
        &self,
        signature: &Signature,
        frame: &Frame,
        _: Option<Instant>,
    ) -> Result<Predictions, RunError> {
        let rows: Vec<f64> = signature.rows(frame)?;
        let rows = Rows::new(&rows, self.model.num_feature())?;
        let width = self.model.value_width();
        let mut values = vec![0.0; rows.len() * width];
        self.model.predict(rows, &mut values)?;
        Ok(match width {
            1 => Predictions::column(Values::Fp64(values)),
            _ => Predictions::array(vec![rows.len(), width], Values::Fp64(values)),
        })
    }

    fn fit(&self, recorded: Option<Signature>) -> Result<Signature, String> {
        of_numbers(recorded, self.model.num_feature(), self.names())
    }

    fn platform(&self) -> &'static str {
        "lightgbm_trueline"
    }

    fn outputs(&self) -> Vec<TensorCard> {
        vec![TensorCard::new(Predictions::UNNAMED, DataType::Fp64, self.model.value_width())]
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }

    fn computes_long(&self, rows: usize) -> bool {
        walks_long(self.steps, rows)
    }
}
