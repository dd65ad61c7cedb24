//! One run: its facts, what it logged, what it read and what came of it.

use super::artifacts::{ArtifactListing, Preview};
use super::charts::{Axis, ChartChoices, ChartSection};
use crate::console::Stretch;
use crate::links::ViewUrl;
use crate::parts::{Badge, Lineage, Pair, Reference, TagRow};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A part of the run's page, as `?tab=` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunTab {
    /// Params, metrics, tags, inputs.
    #[default]
    Overview,
    /// Charts of the metrics.
    Charts,
    /// Charts of how busy the machine was.
    System,
    /// Files.
    Artifacts,
    /// What it printed.
    Console,
}

impl RunTab {
    /// All parts, in their order.
    pub const ALL: [Self; 5] = [Self::Overview, Self::Charts, Self::System, Self::Artifacts, Self::Console];

    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Charts => "charts",
            Self::System => "system",
            Self::Artifacts => "artifacts",
            Self::Console => "console",
        }
    }

    /// Reads the word in the URL; anything else is the overview.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|t| t.as_str() == text).unwrap_or_default()
    }

    /// What its charts are drawn over where the URL does not say. Steps of system metrics are mere counts.
    #[must_use]
    pub fn usual_axis(self) -> Axis {
        if self == Self::System { Axis::Relative } else { Axis::Step }
    }

    /// Whether it holds charts.
    #[must_use]
    pub fn is_charts(self) -> bool {
        matches!(self, Self::Charts | Self::System)
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Charts => "Charts",
            Self::System => "System",
            Self::Artifacts => "Artifacts",
            Self::Console => "Console",
        }
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
    /// The runs of the experiment that read the same.
    pub runs: String,
}

/// The end of what a run has printed.
#[derive(Clone, Debug, Default)]
pub struct Console {
    /// The files that hold it.
    pub files: Vec<String>,
    /// The file that is shown; empty when there is none.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// A word that is another one once the file is.
    pub version: String,
    /// Its last lines.
    pub text: Vec<Stretch>,
    /// Whether there is more before them.
    pub is_cut: bool,
}

/// A run in one line.
#[derive(Clone, Debug)]
pub struct RunLine {
    /// The run.
    pub run: Reference,
    /// Where it stands.
    pub status: Badge,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// How long it took, or takes so far.
    pub duration_ms: Option<i64>,
}

/// A model that the run logged.
#[derive(Clone, Debug)]
pub struct ModelMade {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What kind of thing it is; may be empty.
    pub kind: String,
    /// Where its upload stands.
    pub status: Badge,
    /// At which step.
    pub step: i64,
    /// The versions that it was registered as.
    pub versions: Vec<Reference>,
}

/// What a page asks the server for while its run goes on.
#[derive(Clone, Debug)]
pub struct Live {
    /// Where it asks.
    pub url: String,
    /// What the page shows now: another word once anything is new.
    pub version: String,
    /// The same by metric, as JSON.
    pub versions: String,
}

/// One run. The view reads `tab`, what [`ChartChoices`] says and, for artifacts, `path`.
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
    /// What the run is about, from `mlflow.note.content`, if anybody ever said so.
    pub note: Option<TagRow>,
    /// The run that it is part of.
    pub parent: Option<Reference>,
    /// The newest runs that are part of it.
    pub children: Vec<RunLine>,
    /// Where all of them are, when there are more.
    pub more_children: Option<String>,
    /// The models that it logged.
    pub models: Vec<ModelMade>,
    /// Where its traces are, when it has any.
    pub traces: Option<String>,
    /// Whether it has uploaded what it printed.
    pub has_console: bool,
    /// What it printed; needed for the tab of the console only.
    pub console: Console,
    /// Which part is shown.
    pub tab: RunTab,
    /// What is new while the run goes on; none once it has ended.
    pub live: Option<Live>,
    /// How charts are drawn.
    pub choices: ChartChoices,
    /// Whether the machine was measured, so that there is a part for it.
    pub has_system: bool,
    /// Its params, by key.
    pub params: Vec<Pair>,
    /// The latest point of each metric, by key.
    pub metrics: Vec<MetricRow>,
    /// Its tags, by key.
    pub tags: Vec<TagRow>,
    /// Its charts; needed for the tabs of charts only.
    pub sections: Vec<ChartSection>,
    /// The datasets that it read.
    pub inputs: Vec<DatasetInput>,
    /// Its files; needed for the tab of artifacts only.
    pub artifacts: ArtifactListing,
    /// What it came from and what came from it.
    pub lineage: Lineage,
}

impl RunPage {
    pub(crate) fn tabs(&self) -> Vec<(&'static str, String, bool)> {
        let there = |t: &RunTab| match t {
            RunTab::System => self.has_system || self.tab == *t,
            RunTab::Console => self.has_console || self.tab == *t,
            _ => true,
        };
        let link = |t: RunTab| {
            let word = if t == RunTab::Overview { "" } else { t.as_str() };
            (t.label(), ViewUrl::new(self.view.path(), [("tab", word)]).first_page(), t == self.tab)
        };
        RunTab::ALL.into_iter().filter(there).map(link).collect()
    }

    /// The axes to choose from: the word, what people call it, the link, and whether it is chosen.
    pub(crate) fn axes(&self) -> [(&'static str, &'static str, String, bool); 3] {
        let axes = [(Axis::Step, "Step"), (Axis::Time, "Time"), (Axis::Relative, "Since start")];
        axes.map(|(axis, label)| {
            let usual = axis == self.tab.usual_axis();
            let href = self.view.with("axis", if usual { "" } else { axis.as_str() });
            (axis.as_str(), label, href, axis == self.choices.axis)
        })
    }

    pub(crate) fn axis(&self) -> Axis {
        self.choices.axis
    }

    /// Whether there are so many charts that one wants to search them.
    pub(crate) fn has_many_charts(&self) -> bool {
        const MANY: usize = 6;
        self.sections.iter().map(|s| s.charts.len()).sum::<usize>() > MANY
    }

    pub(crate) fn shows_charts(&self) -> bool {
        self.sections.iter().any(|s| s.shown() > 0)
    }

    pub(crate) fn claims_another(&self) -> bool {
        !self.claimed_user.is_empty() && self.claimed_user != crate::words::person(&self.created_by)
    }
}
