//! Monitors, and one with drift and quality over its windows.

use super::{Axis, Chart};
use crate::parts::{Badge, Cell, Spark};
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
    /// AUC by window.
    pub quality: Spark,
    /// The newest AUC; none while it is unknown.
    pub auc: Option<f64>,
    /// Length of its windows in milliseconds.
    pub window_ms: i64,
    /// Where the newest window begins.
    pub newest: Option<Timestamp>,
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

/// A watched feature in one line.
#[derive(Clone, Debug)]
pub struct FeatureDrift {
    /// The feature.
    pub name: String,
    /// Whether it is beyond its level in the newest window.
    pub state: Badge,
    /// PSI over the windows, with its level.
    pub psi: Spark,
    /// PSI in the newest window that was judged.
    pub newest: Option<f64>,
    /// The level at which drift alarms.
    pub level: Option<f64>,
    /// The share of rows without it, in percent.
    pub missing_percent: Option<f64>,
    /// The page with its chart.
    pub href: String,
    /// Whether its chart is shown.
    pub shown: bool,
}

impl FeatureDrift {
    pub(crate) fn cells(&self) -> [Cell; 3] {
        [Cell::metric(self.newest), Cell::metric(self.level), Cell::metric(self.missing_percent)]
    }
}

/// A window in one line.
#[derive(Clone, Debug)]
pub struct WindowRow {
    /// Where it begins, in event time.
    pub start: Timestamp,
    /// Where it ends.
    pub end: Timestamp,
    /// Open or closed.
    pub state: Badge,
    /// Predictions.
    pub predictions: u64,
    /// The share of them with a label, in percent.
    pub labelled_percent: Option<f64>,
    /// AUC, log loss, Brier score; "unknown" until labels are there.
    pub quality: [String; 3],
    /// What is beyond its level, in words.
    pub beyond: Vec<String>,
}

impl WindowRow {
    /// What is beyond its level that a line has room for.
    const NAMED: usize = 2;

    pub(crate) fn beyond(&self) -> String {
        let named = self.beyond.iter().take(Self::NAMED).cloned().collect::<Vec<_>>().join(", ");
        match self.beyond.len().saturating_sub(Self::NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }

    pub(crate) fn labelled(&self) -> Cell {
        Cell::metric(self.labelled_percent)
    }
}

/// One monitor. The view reads `feature`, whose drift is drawn.
#[derive(Clone, Debug, Template)]
#[template(path = "monitor.html")]
pub struct MonitorPage {
    /// What all pages share.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// Whether alerts fire.
    pub state: Badge,
    /// The endpoint.
    pub endpoint: String,
    /// Length of its windows in milliseconds.
    pub window_ms: i64,
    /// What windows are compared with.
    pub reference: String,
    /// The open incident of its endpoint.
    pub incident: Option<String>,
    /// The charts, over event time.
    pub charts: Vec<Chart>,
    /// What they are drawn over.
    pub axis: Axis,
    /// Its features, the most drifted first.
    pub features: Vec<FeatureDrift>,
    /// Its newest windows, newest first.
    pub windows: Vec<WindowRow>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::Tone;

    #[test]
    fn a_line_names_what_is_beyond_its_level_as_far_as_there_is_room() {
        let window = |names: &[&str]| WindowRow {
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            state: Badge::new(Tone::Quiet, "Closed"),
            predictions: 1,
            labelled_percent: None,
            quality: ["unknown", "unknown", "unknown"].map(str::to_owned),
            beyond: names.iter().map(|n| (*n).to_owned()).collect(),
        };
        assert_eq!(window(&["a", "b"]).beyond(), "a, b");
        assert_eq!(window(&["a", "b", "c", "d", "e"]).beyond(), "a, b and 3 more");
    }
}
