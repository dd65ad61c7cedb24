//! Predictions and their labels, looked up by id.

use super::{Asked, Checker, missing_is_none};
use crate::api::list;
use crate::endpoint::{ENDPOINT, Prediction, variant};
use crate::story::{Pending, Story};
use serde_json::{Value as Json, json};

impl Checker {
    pub(super) fn predictions(&mut self, story: &mut Story, pending: Option<&Pending>) -> Asked {
        for (i, prediction) in story.predictions.iter_mut().enumerate() {
            let path = format!("/api/v1/predictions/{}", prediction.id);
            let Some(found) = missing_is_none(self.api.get(&path, &[]))? else {
                self.find(format!("lost: the prediction {}", prediction.id));
                continue;
            };
            self.record(prediction, &found["prediction"]);
            let label = match pending {
                Some(Pending::Label { prediction: at, value }) if *at == i => Some(*value),
                _ => None,
            };
            self.labels(prediction, &found["labels"], label);
        }
        Ok(())
    }

    fn record(&mut self, known: &Prediction, found: &Json) {
        let (inputs, version) = (json!({ "x": known.input }), variant(known.version));
        let as_known = found["id"] == known.id.as_str()
            && found["endpoint"] == ENDPOINT
            && found["inputs"] == inputs
            && found["output"] == known.output
            && found["version"] == version.as_str()
            && found["error"].is_null();
        if !as_known {
            self.find(format!("the prediction {known:?} is {found} now"));
        }
    }

    fn labels(&mut self, known: &mut Prediction, found: &Json, pending: Option<u64>) {
        let values: Vec<Option<u64>> = list(found).iter().map(|l| l["value"].as_u64()).collect();
        let is = |labels: &[u64]| values.iter().copied().eq(labels.iter().copied().map(Some));
        let mut with = known.clone();
        pending.into_iter().for_each(|value| with.told(value));
        let (as_known, as_changed) = (is(&known.labels), is(&with.labels));
        if pending.is_some() && (as_known || as_changed) {
            self.settle(as_changed);
        }
        if as_changed {
            known.labels = with.labels;
        } else if !as_known {
            self.find(format!(
                "lost or there more than once: the prediction {} was told {:?} and has {found}",
                known.id, known.labels
            ));
        }
    }
}
