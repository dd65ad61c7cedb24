//! What is counted of a window: whole numbers that add, so that records in any order, in any pages, come to the same.

use crate::MonitoringError;
use crate::quality::{Quality, QualityState};
use crate::reference::{FeatureValue, Reference};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_ledger::Millis;

/// A prediction as monitors see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When what was predicted happens.
    pub event_time_ms: Millis,
    /// When the server took it in.
    pub received_at_ms: Millis,
    /// Which version answered, `model/3`.
    pub variant: String,
    /// Whether the request was refused.
    pub failed: bool,
    /// What the model was asked about.
    pub values: Vec<(String, FeatureValue)>,
    /// Of so many millionths of such predictions a record is logged; a million where all are.
    pub share: u32,
}

/// A label as monitors see it, joined with its prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// When what was predicted happens.
    pub event_time_ms: Millis,
    /// Which version answered.
    pub variant: String,
    /// What it answered.
    pub score: f64,
    /// What an earlier label said, which this one corrects.
    pub before: Option<bool>,
    /// What is true.
    pub label: Option<bool>,
}

/// A feature's counts over the reference's bins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Values by bin.
    pub bins: Vec<u64>,
    /// How often there was none.
    pub missing: u64,
}

/// What was counted of one version's predictions in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    /// Predictions that were answered.
    pub predictions: u64,
    /// Requests that were refused.
    pub errors: u64,
    /// Features by name.
    pub columns: BTreeMap<String, Counts>,
    /// Labelled scores.
    pub quality: QualityState,
    /// Predictions that were drawn to be logged, by the share that was: in millionths. Those of which all are logged are not
    /// among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drawn: BTreeMap<u32, u64>,
}

/// The share of what is logged as a whole.
const EVERY: u32 = 1_000_000;

impl WindowState {
    /// Adds a prediction; its features, when there is something to compare them with.
    pub fn observe(&mut self, reference: Option<&Reference>, observation: &Observation) {
        if observation.failed {
            self.errors += 1;
            return;
        }
        self.predictions += 1;
        if observation.share != EVERY {
            *self.drawn.entry(observation.share).or_default() += 1;
        }
        let Some(reference) = reference else { return };
        let given: BTreeMap<&str, &FeatureValue> =
            observation.values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        for (name, column) in &reference.columns {
            let value = given.get(name.as_str());
            if value.is_some_and(|value| **value == FeatureValue::Redacted) {
                continue;
            }
            let counts = self.columns.entry(name.clone()).or_default();
            counts.bins.resize(column.len(), 0);
            match value.and_then(|value| column.index(value)) {
                Some(bin) => counts.bins[bin] += 1,
                None => counts.missing += 1,
            }
        }
    }

    /// Adds a label.
    pub fn label(&mut self, labelled: &Labelled) {
        if let Some(before) = labelled.before {
            self.quality.take_back(labelled.score, before);
        }
        if let Some(label) = labelled.label {
            self.quality.add(labelled.score, label);
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.predictions += other.predictions;
        self.errors += other.errors;
        for (name, theirs) in &other.columns {
            let mine = self.columns.entry(name.clone()).or_default();
            mine.missing += theirs.missing;
            mine.bins.resize(mine.bins.len().max(theirs.bins.len()), 0);
            mine.bins.iter_mut().zip(&theirs.bins).for_each(|(m, t)| *m += t);
        }
        self.quality.merge(&other.quality);
        for (share, theirs) in &other.drawn {
            *self.drawn.entry(*share).or_default() += theirs;
        }
    }

    /// How many predictions were answered, as those that are logged let expect: each stands for as many as it was drawn of.
    /// None where all are logged.
    pub fn answered(&self) -> Option<u64> {
        if self.drawn.is_empty() {
            return None;
        }
        let rows: u64 = self.drawn.values().sum();
        let stand_for = |(share, rows): (&u32, &u64)| {
            let all = u128::from(*rows) * u128::from(EVERY) / u128::from((*share).max(1));
            u64::try_from(all).unwrap_or(u64::MAX)
        };
        let drawn = self.drawn.iter().map(stand_for).fold(0, u64::saturating_add);
        Some(self.predictions.saturating_sub(rows).saturating_add(drawn))
    }

    /// What is known of its quality.
    ///
    /// # Errors
    /// When its bins can't be read.
    pub fn quality(&self) -> Result<Quality, MonitoringError> {
        self.quality.known(self.predictions)
    }
}
