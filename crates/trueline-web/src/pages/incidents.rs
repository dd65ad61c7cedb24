//! Incidents, and one with its story.

use crate::parts::Badge;
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// An incident in one line.
#[derive(Clone, Debug)]
pub struct IncidentRow {
    /// Its id.
    pub id: String,
    /// The endpoint.
    pub endpoint: String,
    /// Open or resolved.
    pub state: Badge,
    /// Its alerts that fire now.
    pub firing: u64,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it was resolved, and by whom.
    pub resolved: Option<(Timestamp, String)>,
}

impl IncidentRow {
    /// How a note is added from a terminal.
    #[must_use]
    pub fn note_command(&self) -> String {
        format!("trueline incident note {} \"what you found\"", self.id)
    }
}

/// All incidents.
#[derive(Clone, Debug, Template)]
#[template(path = "incidents.html")]
pub struct IncidentsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The incidents, newest first.
    pub incidents: Vec<IncidentRow>,
}

/// A station of an incident's story: an action, a note, or the alerts that one window changed.
#[derive(Clone, Debug)]
pub struct StoryLine {
    /// When.
    pub at: Timestamp,
    /// Its icon and what it is.
    pub kind: Badge,
    /// Who.
    pub actor: String,
    /// What, in words.
    pub words: String,
    /// The end of the window, in event time, where alerts changed.
    pub window: Option<Timestamp>,
    /// What changed, with its number, where alerts changed together.
    pub alerts: Vec<(String, String)>,
}

impl StoryLine {
    /// The first of the alerts, by name.
    pub(crate) fn first(&self) -> String {
        let named: Vec<&str> = self.alerts.iter().take(3).map(|(what, _)| what.as_str()).collect();
        match self.alerts.len().saturating_sub(named.len()) {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }
}

/// One incident.
#[derive(Clone, Debug, Template)]
#[template(path = "incident.html")]
pub struct IncidentPage {
    /// What all pages share.
    pub shell: Shell,
    /// Itself.
    pub incident: IncidentRow,
    /// Its story, oldest first.
    pub story: Vec<StoryLine>,
    /// What fires now: what it is, its number and the level that it is beyond.
    pub firing: Vec<(String, String, String)>,
}
