//! What an endpoint was asked and answered, newest first.

use super::Pager;
use crate::links::ViewUrl;
use crate::parts::{Badge, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A logged prediction in one line.
#[derive(Clone, Debug)]
pub struct PredictionRow {
    /// Its id.
    pub id: String,
    /// Whether it was answered.
    pub state: Badge,
    /// The answer, or why there is none.
    pub answer: String,
    /// The version that was to answer.
    pub version: Reference,
    /// The caller's key.
    pub key: Option<String>,
    /// When the request came.
    pub at: Timestamp,
    /// How long it took as a whole, in microseconds.
    pub took_us: Option<i64>,
}

impl PredictionRow {
    /// What tells ids apart: they begin with the time, so those of one page begin alike.
    pub(crate) fn short_id(&self) -> String {
        format!("…{}", self.id.get(self.id.len().saturating_sub(8)..).unwrap_or(&self.id))
    }
}

/// How far a look came that ended before the log did.
#[derive(Clone, Debug)]
pub struct GaveUp {
    /// Predictions that were looked at.
    pub looked_at: u64,
    /// When the last of them came.
    pub back_to: Option<Timestamp>,
}

/// The logged predictions of an endpoint. The view reads `id`, `key`, `from`, `to`, `outcome`, `version` and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "logged_predictions.html")]
pub struct LoggedPredictionsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// The endpoint's name.
    pub endpoint: String,
    /// The predictions.
    pub rows: Vec<PredictionRow>,
    /// Where the page ends.
    pub pager: Pager,
    /// How far it looked, when it did not look at everything.
    pub gave_up: Option<GaveUp>,
    /// Why the filter can't be read.
    pub filter_problem: Option<String>,
    /// Both bounds of the time as a field for times takes them.
    pub times: [String; 2],
    /// Versions that answer now, as the filter names them.
    pub versions: Vec<String>,
    /// The command that leads to a first prediction.
    pub first: String,
}

impl LoggedPredictionsPage {
    /// What narrows the view.
    pub(crate) const FILTERS: [&str; 6] = ["id", "key", "from", "to", "outcome", "version"];

    pub(crate) fn is_filtered(&self) -> bool {
        self.view.is_filtered(&Self::FILTERS)
    }
}
