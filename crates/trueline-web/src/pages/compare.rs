//! Runs side by side: what was set differently, and what came of it.

use super::{Axis, Chart};
use crate::links::ViewUrl;
use crate::parts::{Badge, Cell};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A run, at the head of its column.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: Badge,
    /// When it began.
    pub started_at: Option<Timestamp>,
}

/// A param or a metric of all runs.
#[derive(Clone, Debug)]
pub struct ComparedRow {
    /// Its name.
    pub key: String,
    /// One cell for each run.
    pub cells: Vec<Cell>,
}

impl ComparedRow {
    pub(crate) fn differs(&self) -> bool {
        self.cells.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// Params, or metrics.
#[derive(Clone, Debug)]
pub struct ComparedSection {
    /// `Params`, `Metrics`.
    pub title: &'static str,
    /// The rows, by key.
    pub rows: Vec<ComparedRow>,
}

/// Runs side by side. The view reads `run` (as often as given), `diff=1` (rows that differ only) and `axis`.
#[derive(Clone, Debug, Template)]
#[template(path = "compare.html")]
pub struct ComparePage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// The runs, one column each.
    pub runs: Vec<ComparedRun>,
    /// The tables.
    pub sections: Vec<ComparedSection>,
    /// One chart for each metric, a line for each run.
    pub charts: Vec<Chart>,
    /// What charts are drawn over.
    pub axis: Axis,
}

impl ComparePage {
    pub(crate) fn only_differences(&self) -> bool {
        self.view.get("diff") == "1"
    }

    pub(crate) fn rows<'a>(&self, section: &'a ComparedSection) -> Vec<&'a ComparedRow> {
        section.rows.iter().filter(|r| !self.only_differences() || r.differs()).collect()
    }
}
