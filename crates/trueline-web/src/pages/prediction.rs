//! The line of a prediction: from what was asked and answered back to route, version, gates, run, code and data.

use super::EventLine;
use crate::parts::{Badge, Copy, Icon, Pair, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// What a fact of a station says.
#[derive(Clone, Debug)]
pub enum Told {
    /// A text.
    Text(String),
    /// A text to be read letter by letter: a command, a path.
    Code(String),
    /// An id or a digest to be copied.
    Id(Copy),
    /// Something with a page.
    Link(Reference),
    /// A moment.
    At(Timestamp),
}

/// A fact of a station.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it is.
    pub term: &'static str,
    /// What it says.
    pub told: Told,
}

impl Fact {
    /// A fact.
    #[must_use]
    pub fn new(term: &'static str, told: Told) -> Self {
        Self { term, told }
    }
}

/// A station of the line.
#[derive(Clone, Debug)]
pub struct Station {
    /// Its drawing.
    pub icon: Icon,
    /// What it is: `Route`, `Version`.
    pub kind: &'static str,
    /// What it is called; may be empty.
    pub label: String,
    /// Its page, when it has one.
    pub href: Option<String>,
    /// How it stands.
    pub state: Option<Badge>,
    /// Its facts.
    pub facts: Vec<Fact>,
    /// What was judged and decided, a line each.
    pub checks: Vec<(Badge, String)>,
    /// Values by name, under a title.
    pub values: Vec<(&'static str, Vec<Pair>)>,
    /// What the line can't tell here, as a sentence; empty when it can.
    pub gap: &'static str,
}

impl Station {
    /// One with a name and nothing told yet.
    #[must_use]
    pub fn new(icon: &'static str, kind: &'static str, label: impl Into<String>) -> Self {
        Self {
            icon: Icon(icon),
            kind,
            label: label.into(),
            href: None,
            state: None,
            facts: Vec::new(),
            checks: Vec::new(),
            values: Vec::new(),
            gap: "",
        }
    }

    /// One that was not recorded or is gone.
    #[must_use]
    pub fn missing(icon: &'static str, kind: &'static str, gap: &'static str) -> Self {
        Self { gap, ..Self::new(icon, kind, "") }
    }
}

/// One prediction.
#[derive(Clone, Debug, Template)]
#[template(path = "prediction.html")]
pub struct PredictionPage {
    /// What all pages share.
    pub shell: Shell,
    /// Its id.
    pub id: String,
    /// Whether it was answered.
    pub state: Badge,
    /// The endpoint that was asked.
    pub endpoint: Reference,
    /// The version that answered.
    pub version: Reference,
    /// When.
    pub at: Timestamp,
    /// The answer, or why there is none.
    pub answer: String,
    /// The truth as it was told last.
    pub label: Option<String>,
    /// The stations, from the prediction back.
    pub stations: Vec<Station>,
    /// What the ledger has of them, newest first.
    pub events: Vec<EventLine>,
}

/// Where a prediction is looked for, by its id.
#[derive(Clone, Debug, Template)]
#[template(path = "predictions.html")]
pub struct FindPredictionPage {
    /// What all pages share.
    pub shell: Shell,
    /// What was asked for.
    pub asked: String,
    /// Why it was not found.
    pub problem: Option<String>,
}
