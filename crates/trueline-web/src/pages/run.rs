//! One run: its facts, what it logged, what it read and what came of it.

use crate::links::ViewUrl;
use crate::parts::{Badge, Lineage, Pair, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;
use serde_json::json;

/// A part of the run's page, as `?tab=` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunTab {
    /// Params, metrics, tags, inputs.
    #[default]
    Overview,
    /// Charts of the metrics.
    Charts,
    /// Files.
    Artifacts,
}

impl RunTab {
    /// All parts, in their order.
    pub const ALL: [Self; 3] = [Self::Overview, Self::Charts, Self::Artifacts];

    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Charts => "charts",
            Self::Artifacts => "artifacts",
        }
    }

    /// Reads the word in the URL; anything else is the overview.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|t| t.as_str() == text).unwrap_or_default()
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Charts => "Charts",
            Self::Artifacts => "Artifacts",
        }
    }
}

/// What the points of a chart are drawn over, as `?axis=` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// The step that was logged.
    #[default]
    Step,
    /// The time that was logged.
    Time,
}

impl Axis {
    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Time => "time",
        }
    }

    /// Reads the word in the URL; anything else is the step.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text == "time" { Self::Time } else { Self::Step }
    }
}

/// A metric by its latest point.
#[derive(Clone, Debug)]
pub struct MetricRow {
    /// Its name.
    pub key: String,
    /// The latest value.
    pub value: f64,
    /// The step of it.
    pub step: i64,
    /// When it was logged.
    pub at: Timestamp,
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct ChartSeries {
    /// What it is called in the legend.
    pub name: String,
    /// Where its points are: JSON of
    /// `{"points": [{"step": 0, "at": "2026-05-28T20:26:40Z", "value": 0.5}], "markers": [{"step": 4, "at": …,
    /// "label": "checkpoint"}]}`, in the order of the steps, thinned by the server with extremes kept. A value that
    /// is no number is `null`; `markers` may be absent.
    pub url: String,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The metric.
    pub title: String,
    /// Its unit, when known.
    pub unit: Option<String>,
    /// Its lines.
    pub series: Vec<ChartSeries>,
    /// The points as CSV, when offered.
    pub csv_url: Option<String>,
    /// The latest value, for those who see no chart.
    pub last: Option<f64>,
    /// Whether it is hardly more than a number, and drawn low.
    pub small: bool,
}

impl Chart {
    pub(crate) fn data(&self) -> String {
        let lines: Vec<_> = self.series.iter().map(|s| json!({"name": s.name, "url": s.url})).collect();
        serde_json::Value::from(lines).to_string()
    }
}

/// A dataset that the run read.
#[derive(Clone, Debug)]
pub struct DatasetInput {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// What it was used for: `training`, `validation`; may be empty.
    pub context: String,
    /// Where it lies, as logged.
    pub source: String,
    /// Its page, when there is one.
    pub href: Option<String>,
}

/// A file or a directory.
#[derive(Clone, Debug)]
pub struct ArtifactEntry {
    /// Its name within the directory.
    pub name: String,
    /// Its path from the run's root.
    pub path: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its digest, hexadecimal.
    pub sha256: Option<String>,
}

/// A directory of the run's artifacts.
#[derive(Clone, Debug, Default)]
pub struct ArtifactListing {
    /// The directories from the root to here, each with its path; empty at the root.
    pub parents: Vec<(String, String)>,
    /// What is in it, directories first.
    pub entries: Vec<ArtifactEntry>,
    /// Whether there is more than the page shows.
    pub truncated: bool,
}

/// One run. The view reads `tab`, `axis` and, for artifacts, `path`.
#[derive(Clone, Debug, Template)]
#[template(path = "run.html")]
pub struct RunPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: Badge,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Its experiment.
    pub experiment: Reference,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// The user that the client claimed; shown when it differs.
    pub claimed_user: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// How long it took, or takes so far.
    pub duration_ms: Option<i64>,
    /// What ran, with the commit when known: `train.py @ 4f2a9c1`; may be empty.
    pub source: String,
    /// What the run is about, from `mlflow.note.content`; may be empty.
    pub note: String,
    /// Which part is shown.
    pub tab: RunTab,
    /// What charts are drawn over.
    pub axis: Axis,
    /// Its params, by key.
    pub params: Vec<Pair>,
    /// The latest point of each metric, by key.
    pub metrics: Vec<MetricRow>,
    /// Its tags, by key.
    pub tags: Vec<Pair>,
    /// Its charts; needed for the tab of charts only.
    pub charts: Vec<Chart>,
    /// The datasets that it read.
    pub inputs: Vec<DatasetInput>,
    /// Its files; needed for the tab of artifacts only.
    pub artifacts: ArtifactListing,
    /// What it came from and what came from it.
    pub lineage: Lineage,
}

impl RunPage {
    pub(crate) fn tabs(&self) -> [(&'static str, String, bool); 3] {
        RunTab::ALL.map(|t| {
            let word = if t == RunTab::Overview { "" } else { t.as_str() };
            (t.label(), ViewUrl::new(self.view.path(), [("tab", word)]).first_page(), t == self.tab)
        })
    }

    pub(crate) fn claims_another(&self) -> bool {
        !self.claimed_user.is_empty() && self.claimed_user != crate::words::person(&self.created_by)
    }
}
