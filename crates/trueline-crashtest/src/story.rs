//! What one client did in one round: every write that was acknowledged, and the one that was under way at the crash,
//! which may be there or not, but whole.

use crate::Rng;
use crate::endpoint::Prediction;
use std::collections::BTreeMap;

/// One client's writes of one round.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) experiments: Vec<Experiment>,
    pub(crate) models: Vec<Model>,
    /// Files by their path.
    pub(crate) files: BTreeMap<String, Contents>,
    pub(crate) predictions: Vec<Prediction>,
    /// The version that this client was told to be deployed, if it deploys.
    pub(crate) deployed: Option<u64>,
    /// Versions of datasets, by the dataset's name.
    pub(crate) datasets: BTreeMap<String, Table>,
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

/// A CSV file, as what it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) seed: u64,
    pub(crate) rows: usize,
}

impl Table {
    pub(crate) fn csv(self) -> String {
        let mut rng = Rng::new(self.seed);
        let mut text = "n,value\n".to_owned();
        for n in 0..self.rows {
            text.push_str(&format!("{n},{}\n", rng.number() >> 32));
        }
        text
    }
}

/// A write without an answer. Numbers are positions in the story.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Experiment {
        name: String,
    },
    Run {
        experiment: usize,
        name: String,
    },
    Batch {
        experiment: usize,
        run: usize,
        batch: Logged,
    },
    Finish {
        experiment: usize,
        run: usize,
    },
    File {
        path: String,
        contents: Contents,
    },
    Model {
        name: String,
    },
    Version {
        model: usize,
        source: String,
    },
    Alias {
        model: usize,
        version: u64,
    },
    /// Whoever got no answer has no id to look for it by.
    Ask,
    Label {
        prediction: usize,
        value: u64,
    },
    Deploy {
        version: u64,
    },
    Dataset {
        name: String,
        table: Table,
    },
}
