//! Monitors with their windows over time, and incidents with their story.

use crate::parts::Badge;
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A monitor in one line.
#[derive(Clone, Debug)]
pub struct MonitorRow {
    /// Its name.
    pub name: String,
    /// The endpoint that it watches.
    pub endpoint: String,
    /// How it is, in a word.
    pub state: Badge,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// All monitors.
#[derive(Clone, Debug, Template)]
#[template(path = "monitors.html")]
pub struct MonitorsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The monitors.
    pub monitors: Vec<MonitorRow>,
}

/// One number over a monitor's windows, oldest first, with the level at which it alarms.
#[derive(Clone, Debug)]
pub struct Trend {
    /// What was measured: `psi:hour`.
    pub title: String,
    /// The number of each window; none where it is unknown.
    pub values: Vec<Option<f64>>,
    /// The level in the newest window.
    pub level: Option<f64>,
}

/// Size of a drawn trend, in units of its own.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 48.0;

impl Trend {
    fn largest(&self) -> f64 {
        let largest = self.values.iter().flatten().copied().chain(self.level).fold(0.0, f64::max);
        if largest > 0.0 { largest * 1.1 } else { 1.0 }
    }

    fn height(&self, value: f64) -> f64 {
        HEIGHT - value.max(0.0) / self.largest() * HEIGHT
    }

    /// The lines between numbers that follow each other, as an SVG path; windows without a number leave a gap.
    #[must_use]
    pub fn path(&self) -> String {
        #[allow(clippy::cast_precision_loss)]
        let step = WIDTH / self.values.len().saturating_sub(1).max(1) as f64;
        let mut out = String::new();
        let mut gap = true;
        for (i, value) in self.values.iter().enumerate() {
            let Some(value) = value else {
                gap = true;
                continue;
            };
            #[allow(clippy::cast_precision_loss)]
            let x = i as f64 * step;
            // A lone number is a dot: a line of no length with round ends.
            let y = self.height(*value);
            out.push_str(&if gap { format!("M{x:.1} {y:.1}h0") } else { format!("L{x:.1} {y:.1}") });
            gap = false;
        }
        out
    }

    /// The level's line, as an SVG path; empty without a level.
    #[must_use]
    pub fn level_path(&self) -> String {
        self.level.map(|l| format!("M0 {:.1}H{WIDTH}", self.height(l))).unwrap_or_default()
    }

    /// The newest number, or that it is unknown.
    #[must_use]
    pub fn newest(&self) -> String {
        self.values.last().copied().flatten().map_or_else(|| "unknown".to_owned(), crate::format::number)
    }
}

/// A window in one line.
#[derive(Clone, Debug)]
pub struct WindowRow {
    /// Where it begins.
    pub start: Timestamp,
    /// Open or closed.
    pub state: Badge,
    /// Predictions.
    pub predictions: u64,
    /// Predictions with a label.
    pub labelled: u64,
    /// AUC, log loss, Brier score; "unknown" until labels are there.
    pub quality: [String; 3],
    /// What is beyond its level.
    pub beyond: Vec<String>,
}

/// One monitor.
#[derive(Clone, Debug, Template)]
#[template(path = "monitor.html")]
pub struct MonitorPage {
    /// What all pages share.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// The endpoint.
    pub endpoint: String,
    /// What windows are compared with.
    pub reference: String,
    /// Its newest windows, newest first.
    pub windows: Vec<WindowRow>,
    /// Its numbers over these windows.
    pub trends: Vec<Trend>,
}

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
    pub firing: i64,
    /// When it opened.
    pub opened_at: Timestamp,
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

/// One line of an incident's story.
#[derive(Clone, Debug)]
pub struct StoryLine {
    /// When.
    pub at: Timestamp,
    /// Alert, action, note, resolved.
    pub kind: Badge,
    /// Who.
    pub actor: String,
    /// What, in words.
    pub words: String,
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
}

#[cfg(test)]
mod tests {
    use super::Trend;

    #[test]
    fn a_trend_leaves_gaps_where_nothing_is_known_and_draws_its_level() {
        let values = vec![Some(0.0), Some(1.0), None, Some(0.5)];
        let trend = Trend { title: "auc".into(), values, level: Some(1.0) };
        assert_eq!(trend.path(), "M0.0 48.0h0L80.0 4.4M240.0 26.2h0");
        assert_eq!(trend.level_path(), "M0 4.4H240");
        let unknown = Trend { title: "auc".into(), values: vec![None], level: None };
        assert_eq!((unknown.path().as_str(), unknown.newest().as_str()), ("", "unknown"));
    }
}
