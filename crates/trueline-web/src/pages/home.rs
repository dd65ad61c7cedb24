//! Home answers four questions: what is live and is it well, what waits for me, what changed, what runs now.

use super::{EndpointRow, EventLine};
use crate::parts::Badge;
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

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
    /// What is live.
    pub endpoints: Vec<EndpointRow>,
    /// What waits for the caller.
    pub waiting: Vec<Waiting>,
    /// The newest events of the project.
    pub changed: Vec<EventLine>,
    /// Whether the caller may read the ledger; otherwise that part is left out.
    pub may_read_ledger: bool,
    /// What runs now.
    pub running: Vec<TaskRow>,
}
