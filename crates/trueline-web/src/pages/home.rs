//! Home answers four questions: what is live and is it well, what waits for me, what changed, what runs now.

use super::EventLine;
use crate::parts::{Badge, Cell};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A served name in one line.
#[derive(Clone, Debug)]
pub struct EndpointRow {
    /// Its name.
    pub name: String,
    /// Its page.
    pub href: String,
    /// Whether it is well.
    pub state: Badge,
    /// The version that takes most of the traffic, for example `churn 3`.
    pub version: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Requests per second.
    pub requests_per_s: Option<f64>,
    /// The 99th percentile of the latency.
    pub p99_ms: Option<f64>,
    /// Errors in percent.
    pub errors_percent: Option<f64>,
    /// The state of its monitors; "Unknown" while labels are missing.
    pub quality: Badge,
}

/// Something that waits for the caller.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// What kind of wait: `Approval`, `On hold`, `Incident`.
    pub state: Badge,
    /// What is asked, as a sentence without full stop.
    pub what: String,
    /// Where it is decided.
    pub href: String,
    /// Since when.
    pub since: Timestamp,
}

/// A task at work.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: Badge,
    /// What it does, in words.
    pub what: String,
    /// Its page, when it has one.
    pub href: Option<String>,
    /// Steps done and steps in all, when known.
    pub progress: Option<(u64, u64)>,
    /// When it began, or was queued.
    pub since: Timestamp,
}

/// What a project without runs shows: how to send the first one.
#[derive(Clone, Debug)]
pub struct GetStarted {
    /// The server's URL as the caller reached it.
    pub tracking_uri: String,
}

/// The home page of a project.
#[derive(Clone, Debug, Template)]
#[template(path = "home.html")]
pub struct HomePage {
    /// What all pages share.
    pub shell: Shell,
    /// How to begin; none once there are runs.
    pub start: Option<GetStarted>,
    /// What is live; none while serving isn't furnished.
    pub endpoints: Option<Vec<EndpointRow>>,
    /// What waits for the caller.
    pub waiting: Vec<Waiting>,
    /// The newest events of the project.
    pub changed: Vec<EventLine>,
    /// Whether the caller may read the ledger; otherwise that part is left out.
    pub may_read_ledger: bool,
    /// What runs now.
    pub running: Vec<TaskRow>,
}

impl EndpointRow {
    pub(crate) fn cells(&self) -> [Cell; 3] {
        [self.requests_per_s, self.p99_ms, self.errors_percent].map(Cell::metric)
    }
}
