//! The list of experiments.

use super::Pager;
use crate::links::ViewUrl;
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
