//! What an import came to.

use serde::Serialize;
use std::collections::BTreeMap;

/// Things that came in, and things that were here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Came in.
    pub new: u64,
    /// Were here already, from an earlier import or otherwise.
    pub known: u64,
}

/// Something that was not taken, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotTaken {
    /// What it is.
    pub what: String,
    /// How many of them.
    pub count: u64,
    /// Why, and what helps.
    pub why: String,
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was read.
    pub source: String,
    /// Experiments.
    pub experiments: Count,
    /// Experiments that got another id, because theirs was taken: theirs and the new one.
    pub renumbered: Vec<(i64, i64)>,
    /// Runs.
    pub runs: Count,
    /// Metric points of new runs.
    pub points: u64,
    /// Params of new runs.
    pub params: u64,
    /// Tags of new runs.
    pub tags: u64,
    /// Logged models.
    pub logged_models: Count,
    /// Registered models.
    pub registered_models: Count,
    /// Versions of registered models that came in.
    pub versions: u64,
    /// Traces.
    pub traces: Count,
    /// Spans of new traces.
    pub spans: u64,
    /// Assessments of new traces.
    pub assessments: u64,
    /// Evaluation datasets.
    pub evaluation_datasets: Count,
    /// Records of evaluation datasets that came in.
    pub records: u64,
    /// Versions of scorers.
    pub scorers: Count,
    /// Issues.
    pub issues: Count,
    /// Artifacts.
    pub artifacts: Count,
    /// Bytes of artifacts that came in.
    pub artifact_bytes: u64,
    /// What was not taken.
    pub not_taken: Vec<NotTaken>,
    #[serde(skip)]
    counted: BTreeMap<(String, String), u64>,
}

impl Report {
    /// Of this source, and empty.
    pub(crate) fn of(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }

    /// Notes that something was not taken.
    pub(crate) fn miss(&mut self, what: &str, count: u64, why: impl Into<String>) {
        if count > 0 {
            *self.counted.entry((what.to_owned(), why.into())).or_default() += count;
        }
    }

    /// The report as it is shown.
    #[must_use]
    pub(crate) fn finished(mut self) -> Self {
        let misses = std::mem::take(&mut self.counted).into_iter();
        self.not_taken.extend(misses.map(|((what, why), count)| NotTaken { what, count, why }));
        self
    }
}
