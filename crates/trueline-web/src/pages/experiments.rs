//! Experiments, and one experiment as the table of its runs.

use super::Pager;
use crate::links::ViewUrl;
use crate::parts::{Badge, Cell, Pair, TagRow};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// An experiment in one line.
#[derive(Clone, Debug)]
pub struct ExperimentRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// When its newest run began.
    pub last_run_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// All experiments. The view reads `q` (in the name), `deleted`, `sort` (`name`, `last_run_at`, `created_at`) and
/// `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "experiments.html")]
pub struct ExperimentsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filters.
    pub view: ViewUrl,
    /// The experiments.
    pub experiments: Vec<ExperimentRow>,
    /// The server's URL as the caller reached it, for the empty state.
    pub tracking_uri: String,
    /// Where the table's page ends.
    pub pager: Pager,
}

/// A column of the table of runs: a param, a metric or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the filter names it, and what `?col=` and `?sort=` hold: `metrics.val_auc`.
    pub key: String,
    /// Its heading: `val_auc`.
    pub label: String,
    /// Its group: `Metrics`, `Params`, `Tags`.
    pub group: &'static str,
    /// Whether it holds numbers.
    pub numeric: bool,
}

impl Column {
    /// A metric.
    #[must_use]
    pub fn metric(name: &str) -> Self {
        Self { key: format!("metrics.{name}"), label: name.to_owned(), group: "Metrics", numeric: true }
    }

    /// A param; `numeric` when all values on the page are numbers.
    #[must_use]
    pub fn param(name: &str, numeric: bool) -> Self {
        Self { key: format!("params.{name}"), label: name.to_owned(), group: "Params", numeric }
    }

    /// A tag.
    #[must_use]
    pub fn tag(name: &str) -> Self {
        Self { key: format!("tags.{name}"), label: name.to_owned(), group: "Tags", numeric: false }
    }
}

/// A run in one line.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: Badge,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// How long it took, or takes so far.
    pub duration_ms: Option<i64>,
    /// One cell for each column shown, in their order.
    pub cells: Vec<Cell>,
}

/// One experiment. The view reads `filter` (MLflow's grammar), `sort` (`started_at`, `duration`, `name` or a
/// column's key; with `-` descending), `col` (as often as given), `deleted` and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "experiment.html")]
pub struct ExperimentPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filters.
    pub view: ViewUrl,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where artifacts go.
    pub artifact_location: String,
    /// Its tags.
    pub tags: Vec<Pair>,
    /// Its note and its tags with their history.
    pub history: Vec<TagRow>,
    /// What is wrong with the filter, as a sentence; the runs are then those without it.
    pub filter_problem: Option<String>,
    /// The columns shown, groups together.
    pub columns: Vec<Column>,
    /// All columns that can be shown.
    pub choices: Vec<Column>,
    /// The runs.
    pub runs: Vec<RunRow>,
    /// The command that makes the first run, for the empty state.
    pub tracking_uri: String,
    /// Where the table's page ends.
    pub pager: Pager,
}

impl ExperimentPage {
    /// The groups of the columns shown, with how many columns each spans.
    pub(crate) fn groups(&self) -> Vec<(&'static str, usize)> {
        let mut groups: Vec<(&'static str, usize)> = Vec::new();
        for column in &self.columns {
            match groups.last_mut() {
                Some((group, span)) if *group == column.group => *span += 1,
                _ => groups.push((column.group, 1)),
            }
        }
        groups
    }

    pub(crate) fn choice_groups(&self) -> Vec<(&'static str, Vec<&Column>)> {
        ["Metrics", "Params", "Tags"]
            .into_iter()
            .map(|g| (g, self.choices.iter().filter(|c| c.group == g).collect::<Vec<_>>()))
            .filter(|(_, columns)| !columns.is_empty())
            .collect()
    }

    pub(crate) fn is_shown(&self, column: &Column) -> bool {
        self.columns.iter().any(|c| c.key == column.key)
    }
}
