//! What an export came to.

use crate::NotTaken;
use serde::Serialize;
use std::collections::BTreeMap;

/// What an export came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Where it went.
    pub target: String,
    /// Experiments.
    pub experiments: u64,
    /// Runs.
    pub runs: u64,
    /// Metric points.
    pub points: u64,
    /// Params.
    pub params: u64,
    /// Tags.
    pub tags: u64,
    /// Datasets that runs read.
    pub datasets: u64,
    /// Logged models.
    pub logged_models: u64,
    /// Registered models, prompts among them.
    pub registered_models: u64,
    /// Their versions.
    pub versions: u64,
    /// Traces.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// Their assessments.
    pub assessments: u64,
    /// Evaluation datasets.
    pub evaluation_datasets: u64,
    /// Their records.
    pub records: u64,
    /// Versions of scorers.
    pub scorers: u64,
    /// Issues.
    pub issues: u64,
    /// Files that were copied.
    pub artifacts: u64,
    /// Bytes of them.
    pub artifact_bytes: u64,
    /// What was not told, or not as it is here.
    pub not_told: Vec<NotTaken>,
    #[serde(skip)]
    counted: BTreeMap<(String, String), u64>,
    /// Runs that there are, to show how far it is.
    #[serde(skip)]
    pub all_runs: u64,
}

impl Exported {
    pub(super) fn to(target: &str) -> Self {
        Self { target: target.to_owned(), ..Self::default() }
    }

    /// Notes that something was not told.
    pub(super) fn miss(&mut self, what: &str, count: u64, why: impl Into<String>) {
        if count > 0 {
            *self.counted.entry((what.to_owned(), why.into())).or_default() += count;
        }
    }

    /// The report as it is shown.
    pub(super) fn finished(mut self) -> Self {
        let misses = std::mem::take(&mut self.counted).into_iter();
        self.not_told.extend(misses.map(|((what, why), count)| NotTaken { what, count, why }));
        self
    }
}
