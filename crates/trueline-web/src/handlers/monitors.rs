//! Monitors with their windows, incidents with their story.

use super::{Answer, App, Failure, Visitor, page, timestamp};
use crate::pages::{
    IncidentPage, IncidentRow, IncidentsPage, MonitorPage, MonitorRow, MonitorsPage, StoryLine, Trend,
    WindowRow,
};
use crate::parts::{Badge, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use trueline_monitoring::{
    AlertState, Incident, IncidentEntry, Level, Monitor, MonitorWindow, MonitoringError, Quality,
    ReferenceState,
};

/// Windows that a page shows.
const WINDOWS: u32 = 60;
/// Incidents that a page shows.
const INCIDENTS: u32 = 200;
/// Alerts that are looked at for the state of monitors.
const ALERTS: u32 = 500;

impl From<MonitoringError> for Failure {
    fn from(error: MonitoringError) -> Self {
        match error {
            MonitoringError::NotFound(what) => Self::not_found(what),
            MonitoringError::Invalid(what) => Self::new(StatusCode::BAD_REQUEST, "invalid", what),
            MonitoringError::State(what) => Self::new(StatusCode::CONFLICT, "state", what),
            MonitoringError::Ledger(inner) => inner.into(),
            other => Self::internal(other.to_string()),
        }
    }
}

fn standing(monitor: &Monitor, firing: usize) -> Badge {
    match (firing, monitor.reference_state()) {
        (0, ReferenceState::Learning) => Badge::new(Tone::Wait, "Learns its reference"),
        (0, ReferenceState::Unknown(_)) => Badge::new(Tone::Warn, "Training data unknown"),
        (0, ReferenceState::Known(_)) => Badge::new(Tone::Good, "No alert fires"),
        (n, _) => Badge::new(Tone::Bad, format!("{} firing", crate::format::counted(n as u64, "alert"))),
    }
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Monitors", Section::Monitors).await?;
    shell.as_api = visitor.api("/api/v1/monitors");
    let leave = visitor.session.leave()?;
    let firing = app.monitoring.alerts(&leave, None, Some(AlertState::Firing), None, ALERTS).await?;
    let row = |m: &Monitor| MonitorRow {
        name: m.name.clone(),
        endpoint: m.endpoint.clone(),
        state: standing(m, firing.iter().filter(|a| a.monitor == m.id).count()),
        created_by: crate::words::person(&m.created_by).to_owned(),
        created_at: timestamp(m.created_at_ms),
    };
    let monitors = app.monitoring.list(&leave).await?.iter().map(row).collect();
    page(&MonitorsPage { shell, monitors })
}

fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), crate::format::number)
}

fn window_row(window: &MonitorWindow) -> WindowRow {
    let all = window.verdicts.first();
    let quality = all.map_or_else(Quality::default, |v| v.quality);
    let findings = window.verdicts.iter().flat_map(|v| &v.findings);
    let state = match window.closed {
        true => Badge::new(Tone::Quiet, "Closed"),
        false => Badge::new(Tone::Busy, "Open"),
    };
    WindowRow {
        start: timestamp(window.start_ms),
        state,
        predictions: all.map_or(0, |v| v.predictions),
        labelled: quality.labelled,
        quality: [quality.auc, quality.log_loss, quality.brier].map(known),
        beyond: findings.filter(|f| f.level == Level::Breach).map(|f| f.subject.clone()).collect(),
    }
}

/// Every number of all versions together, over the windows, oldest first; the windows come newest first.
fn trends(windows: &[MonitorWindow]) -> Vec<Trend> {
    let newest = windows.first().and_then(|w| w.verdicts.first());
    let subjects = newest.map(|v| v.findings.as_slice()).unwrap_or_default();
    let of = |get: &dyn Fn(&MonitorWindow) -> Option<f64>| windows.iter().rev().map(get).collect::<Vec<_>>();
    let finding =
        |subject: &str| of(&|w| w.verdicts.first()?.findings.iter().find(|f| f.subject == subject)?.value);
    let mut out: Vec<Trend> = subjects
        .iter()
        // What can't be compared has no numbers; the facts say why.
        .filter(|f| f.reason.is_none())
        .map(|f| Trend { title: f.subject.clone(), values: finding(&f.subject), level: Some(f.enter) })
        .collect();
    let quality = |title: &str, get: fn(&Quality) -> Option<f64>| Trend {
        title: title.to_owned(),
        values: of(&|w| get(&w.verdicts.first()?.quality)),
        level: None,
    };
    out.push(quality("AUC", |q| q.auc));
    out.push(quality("Log loss", |q| q.log_loss));
    out.push(quality("Share with labels", |q| q.coverage));
    out
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let leave = visitor.session.leave()?;
    let monitor = app.monitoring.get(&leave, &name).await?;
    let windows = app.monitoring.windows(&leave, &monitor.id, None, WINDOWS).await?;
    let mut shell = visitor.shell(&app, &name, Section::Monitors).await?;
    shell.crumbs = vec![Crumb::to("Monitors", shell.to.monitors()), Crumb::here(&name)];
    shell.as_api = visitor.api(&format!("/api/v1/monitors/{name}/windows"));
    let reference = match monitor.reference_state() {
        ReferenceState::Learning => {
            "learnt from the first complete window of predictions, which is not over yet".to_owned()
        }
        ReferenceState::Known(source) => source,
        ReferenceState::Unknown(reason) => format!("unknown: {reason}"),
    };
    page(&MonitorPage {
        shell,
        endpoint: monitor.endpoint,
        reference,
        windows: windows.iter().map(window_row).collect(),
        trends: trends(&windows),
        name,
    })
}

fn incident_row(incident: &Incident) -> IncidentRow {
    let state = match incident.state.as_str() {
        "open" => Badge::new(Tone::Warn, "Open"),
        _ => Badge::new(Tone::Good, "Resolved"),
    };
    IncidentRow {
        id: incident.id.clone(),
        endpoint: incident.endpoint.clone(),
        state,
        firing: incident.firing,
        opened_at: timestamp(incident.opened_at_ms),
    }
}

pub(super) async fn incidents(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Incidents", Section::Incidents).await?;
    shell.as_api = visitor.api("/api/v1/incidents");
    let all = app.monitoring.incidents(&visitor.session.leave()?, None, INCIDENTS).await?;
    page(&IncidentsPage { shell, incidents: all.iter().map(incident_row).collect() })
}

fn story_line(entry: &IncidentEntry) -> StoryLine {
    let text = |field: &str| entry.body[field].as_str().unwrap_or_default();
    let (kind, words) = match entry.kind.as_str() {
        "alert" => {
            let value = known(entry.body["value"].as_f64());
            let tone = if text("state") == "resolved" { Tone::Good } else { Tone::Bad };
            (Badge::new(tone, "Alert"), format!("{} is {}, at {value}", text("subject"), text("state")))
        }
        "action" => {
            let reason = entry.body["details"]["reason"].as_str().unwrap_or_default();
            (Badge::new(Tone::Busy, "Action"), format!("{}: {reason}", text("action")))
        }
        "note" => (Badge::new(Tone::Quiet, "Note"), text("text").to_owned()),
        _ => (Badge::new(Tone::Good, "Resolved"), text("reason").to_owned()),
    };
    StoryLine {
        at: timestamp(entry.at_ms),
        kind,
        actor: crate::words::person(&entry.actor).to_owned(),
        words,
    }
}

pub(super) async fn incident(
    State(app): App,
    visitor: Visitor,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    let (incident, story) = app.monitoring.incident(&visitor.session.leave()?, &id).await?;
    let title = format!("Incident on {}", incident.endpoint);
    let mut shell = visitor.shell(&app, &title, Section::Incidents).await?;
    shell.crumbs = vec![Crumb::to("Incidents", shell.to.incidents()), Crumb::here(&title)];
    shell.as_api = visitor.api(&format!("/api/v1/incidents/{id}"));
    page(&IncidentPage {
        shell,
        incident: incident_row(&incident),
        story: story.iter().map(story_line).collect(),
    })
}
