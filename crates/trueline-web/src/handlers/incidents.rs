//! Incidents with their story, and those that wait for somebody.

use super::{Answer, App, Failure, Visitor, Web, page, timestamp};
use crate::format::number;
use crate::links::Links;
use crate::pages::{IncidentPage, IncidentRow, IncidentsPage, StoryLine, Waiting};
use crate::parts::{Badge, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use trueline_identity::Watch;
use trueline_monitoring::{AlertState, Incident, IncidentEntry};

/// Incidents that a page shows.
const INCIDENTS: u32 = 200;
/// Alerts that are looked at.
const ALERTS: u32 = 500;
/// What stands for a number that is not known.
const UNKNOWN: &str = "unknown";

fn row(incident: &Incident) -> IncidentRow {
    let by = || incident.resolved_by.as_deref().map(crate::words::person).unwrap_or_default().to_owned();
    IncidentRow {
        id: incident.id.clone(),
        endpoint: incident.endpoint.clone(),
        state: match incident.state.as_str() {
            "open" => Badge::new(Tone::Bad, "Open"),
            _ => Badge::new(Tone::Good, "Resolved"),
        },
        firing: u64::try_from(incident.firing).unwrap_or(0),
        opened_at: timestamp(incident.opened_at_ms),
        resolved: incident.resolved_at_ms.map(|at| (timestamp(at), by())),
    }
}

/// Open incidents, for who may do something about them.
pub(super) async fn waiting(app: &Web, visitor: &Visitor, to: &Links) -> Result<Vec<Waiting>, Failure> {
    if visitor.session.leave::<Watch>().is_err() {
        return Ok(Vec::new());
    }
    let all = app.monitoring.incidents(&visitor.session.leave()?, None, INCIDENTS).await?;
    let open = all.iter().filter(|i| i.state == "open").map(row);
    Ok(open
        .map(|i| Waiting {
            state: Badge::new(Tone::Bad, "Incident"),
            what: format!("Look at {}: {} firing", i.endpoint, crate::format::counted(i.firing, "alert")),
            href: to.incident(&i.id),
            since: i.opened_at,
        })
        .collect())
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Incidents", Section::Incidents).await?;
    shell.as_cli = Some("trueline incident list".to_owned());
    shell.as_api = visitor.api("/api/v1/incidents");
    let all = app.monitoring.incidents(&visitor.session.leave()?, None, INCIDENTS).await?;
    page(&IncidentsPage { shell, incidents: all.iter().map(row).collect() })
}

pub(super) async fn one(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let (incident, story) = app.monitoring.incident(&leave, &id).await?;
    let title = format!("Incident on {}", incident.endpoint);
    let mut shell = visitor.shell(&app, &title, Section::Incidents).await?;
    shell.crumbs = vec![Crumb::to("Incidents", shell.to.incidents()), Crumb::here(&title)];
    shell.as_cli = Some(format!("trueline incident show {id}"));
    shell.as_api = visitor.api(&format!("/api/v1/incidents/{id}"));
    let state = Some(AlertState::Firing);
    let alerts = app.monitoring.alerts(&leave, Some(incident.endpoint.clone()), state, None, ALERTS).await?;
    let mut own: Vec<_> = alerts.iter().filter(|a| a.incident.as_deref() == Some(id.as_str())).collect();
    // What labels tell weighs more than what inputs look like.
    own.sort_by_key(|a| (!a.subject.starts_with("quality:"), a.subject.clone()));
    let line = |a: &&trueline_monitoring::Alert| {
        let value = a.value.map_or_else(|| UNKNOWN.to_owned(), number);
        (crate::words::subject(&a.subject), value, number(a.enter))
    };
    page(&IncidentPage {
        shell,
        incident: row(&incident),
        story: told(&story),
        firing: own.iter().map(line).collect(),
    })
}

/// The story, oldest first; alerts that one window changed in the same way are one line.
fn told(story: &[IncidentEntry]) -> Vec<StoryLine> {
    let mut out: Vec<StoryLine> = Vec::new();
    let mut last: Option<(String, i64)> = None;
    for entry in story {
        if entry.kind != "alert" {
            last = None;
            out.push(station(entry));
            continue;
        }
        let text = |field: &str| entry.body[field].as_str().unwrap_or_default();
        let key = (text("state").to_owned(), entry.body["window_end_ms"].as_i64().unwrap_or(entry.at_ms));
        let value = entry.body["value"].as_f64().map_or_else(|| UNKNOWN.to_owned(), number);
        let alert = (crate::words::subject(text("subject")), value);
        match out.last_mut().filter(|_| last.as_ref() == Some(&key)) {
            Some(line) => line.alerts.push(alert),
            None => out.push(StoryLine { alerts: vec![alert], ..station(entry) }),
        }
        last = Some(key);
    }
    for line in &mut out {
        if !line.alerts.is_empty() {
            line.words = changed(&line.kind.word, &line.alerts);
        }
    }
    out
}

fn changed(state: &str, alerts: &[(String, String)]) -> String {
    let done = if state == "Resolved" { "ended" } else { "began" };
    match alerts {
        [(what, value)] if value == UNKNOWN => format!("Alert {done}: {what} is unknown now"),
        [(what, value)] => format!("Alert {done}: {what} at {value}"),
        many => format!("{} alerts {done}", many.len()),
    }
}

fn station(entry: &IncidentEntry) -> StoryLine {
    let text = |field: &str| entry.body[field].as_str().unwrap_or_default();
    let (kind, words) = match entry.kind.as_str() {
        "alert" if text("state") == "resolved" => (Badge::new(Tone::Good, "Resolved"), String::new()),
        "alert" => (Badge::new(Tone::Bad, "Firing"), String::new()),
        "action" => action(text("action"), &entry.body["details"]),
        "note" => (Badge::new(Tone::Quiet, "Note"), text("text").to_owned()),
        _ => (Badge::new(Tone::Good, "Resolved"), text("reason").to_owned()),
    };
    StoryLine {
        at: timestamp(entry.at_ms),
        kind,
        actor: crate::words::person(&entry.actor).to_owned(),
        words,
        window: entry.body["window_end_ms"].as_i64().map(timestamp),
        alerts: Vec::new(),
    }
}

/// What was done to the endpoint: `endpoint.rolled_back` to which versions, and why.
fn action(action: &str, details: &serde_json::Value) -> (Badge, String) {
    let (_, done) = action.rsplit_once('.').unwrap_or(("", action));
    let word = done.replace('_', " ");
    let mut letters = word.chars();
    let word = letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect());
    let tone = if done == "rolled_back" { Tone::Warn } else { Tone::Busy };
    let after = details["after"].as_array().map(Vec::as_slice).unwrap_or_default();
    let after: Vec<&str> = after.iter().filter_map(|v| v["version"].as_str()).collect();
    let reason = details["reason"].as_str().unwrap_or_default();
    let words = match (after.is_empty(), reason.is_empty()) {
        (true, _) => reason.to_owned(),
        (false, true) => format!("Now answering: {}.", after.join(" and ")),
        (false, false) => format!("Now answering: {}. Why: {reason}", after.join(" and ")),
    };
    (Badge::new(tone, word), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn alert(at_ms: i64, subject: &str, state: &str) -> IncidentEntry {
        let body = json!({ "subject": subject, "state": state, "value": 0.5, "window_end_ms": at_ms });
        entry(at_ms, "alert", body)
    }

    fn entry(at_ms: i64, kind: &str, body: serde_json::Value) -> IncidentEntry {
        IncidentEntry { id: "e".into(), at_ms, kind: kind.into(), actor: "system:monitoring".into(), body }
    }

    #[test]
    fn alerts_that_one_window_changed_are_one_line() {
        let rolled = json!({ "action": "endpoint.rolled_back",
                             "details": { "after": [{ "version": "m/1" }], "reason": "too high" } });
        let story = [
            alert(1, "psi:dewp", "firing"),
            alert(1, "quality:auc", "firing"),
            entry(2, "action", rolled),
            alert(3, "quality:auc", "firing"),
            alert(3, "psi:dewp", "resolved"),
        ];
        let lines = told(&story);
        let words: Vec<&str> = lines.iter().map(|l| l.words.as_str()).collect();
        assert_eq!(
            words,
            [
                "2 alerts began",
                "Now answering: m/1. Why: too high",
                "Alert began: AUC at 0.5",
                "Alert ended: drift of dewp at 0.5"
            ]
        );
        assert_eq!(lines[0].alerts[1], ("AUC".to_owned(), "0.5".to_owned()));
        assert_eq!(lines[1].kind.word, "Rolled back");
    }
}
