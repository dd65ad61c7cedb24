//! What one client did in one round: every write that was acknowledged, and the one that was under way at the crash,
//! which may be there or not, but whole.

use crate::Rng;
use std::collections::BTreeMap;

/// One client's writes of one round.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) experiments: Vec<Experiment>,
    pub(crate) models: Vec<Model>,
    /// Files by their path.
    pub(crate) files: BTreeMap<String, Contents>,
    /// The request that got no answer.
    pub(crate) pending: Option<Pending>,
    pub(crate) acknowledged: usize,
}

#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) runs: Vec<Run>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) artifact_uri: String,
    pub(crate) logged: Logged,
    pub(crate) batches: usize,
    pub(crate) finished: bool,
}

/// The data of a run, or of one batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Logged {
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The points of each metric, by step.
    pub(crate) metrics: BTreeMap<String, BTreeMap<i64, f64>>,
}

impl Logged {
    pub(crate) fn add(&mut self, batch: &Logged) {
        self.params.extend(batch.params.clone());
        self.tags.extend(batch.tags.clone());
        for (key, points) in &batch.metrics {
            self.metrics.entry(key.clone()).or_default().extend(points);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    /// Other clients register versions of it too.
    pub(crate) shared: bool,
    /// The source of each version that this client registered, by its number.
    pub(crate) versions: BTreeMap<u64, String>,
    pub(crate) alias: String,
    pub(crate) alias_at: Option<u64>,
}

/// A file's bytes, as what they are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) seed: u64,
    pub(crate) size: usize,
}

impl Contents {
    pub(crate) fn bytes(self) -> Vec<u8> {
        Rng::new(self.seed).bytes(self.size)
    }
}

/// A write without an answer. Numbers are positions in the story.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Experiment { name: String },
    Run { experiment: usize, name: String },
    Batch { experiment: usize, run: usize, batch: Logged },
    Finish { experiment: usize, run: usize },
    File { path: String, contents: Contents },
    Model { name: String },
    Version { model: usize, source: String },
    Alias { model: usize, version: u64 },
}
