//! Monitors with drift and quality over their windows, and what they say of an endpoint.

use super::{Answer, App, Failure, Visitor, Web, page, timestamp};
use crate::links::{Links, ViewUrl};
use crate::pages::{
    Axis, Chart, ChartSeries, FeatureDrift, MonitorPage, MonitorRow, MonitorsPage, Watched, WindowRow,
};
use crate::parts::{Badge, Spark, Tone};
use crate::shell::{Crumb, Section};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use trueline_monitoring::{
    Alert, AlertState, Finding, Level, Monitor, MonitorWindow, Quality, ReferenceState, Verdict,
};

/// Windows that a page shows.
const WINDOWS: u32 = 60;
/// Windows in a line of a table.
const FEW_WINDOWS: u32 = 20;
/// Alerts that are looked at.
const ALERTS: u32 = 500;
const AUC: &str = "quality:auc";
const LOG_LOSS: &str = "quality:log_loss";
const PREDICTIONS: &str = "predictions";

fn standing(monitor: &Monitor, firing: &[Alert]) -> Badge {
    let firing = firing.iter().filter(|a| a.monitor == monitor.id).count();
    match (firing, monitor.reference_state()) {
        (0, ReferenceState::Learning) => Badge::new(Tone::Wait, "Learns its reference"),
        (0, ReferenceState::Unknown(_)) => Badge::new(Tone::Warn, "Training data unknown"),
        (0, ReferenceState::Known(_)) => Badge::new(Tone::Good, "No alert fires"),
        (1, _) => Badge::new(Tone::Bad, "1 alert fires"),
        (n, _) => Badge::new(Tone::Bad, format!("{n} alerts fire")),
    }
}

async fn firing(app: &Web, visitor: &Visitor) -> Result<Vec<Alert>, Failure> {
    let state = Some(AlertState::Firing);
    Ok(app.monitoring.alerts(&visitor.session.leave()?, None, state, None, ALERTS).await?)
}

/// All versions of a window together.
fn whole(window: &MonitorWindow) -> Option<&Verdict> {
    window.verdicts.first()
}

/// A number of each window, oldest first; the windows come newest first.
fn over(windows: &[MonitorWindow], get: impl Fn(&Verdict) -> Option<f64>) -> Vec<Option<f64>> {
    windows.iter().rev().map(|w| get(whole(w)?)).collect()
}

fn newest(values: &[Option<f64>]) -> Option<f64> {
    values.iter().rev().copied().flatten().next()
}

fn auc(monitor: &Monitor, windows: &[MonitorWindow]) -> (Spark, Option<f64>) {
    let values = over(windows, |v| v.quality.auc);
    (Spark::new("AUC by window", &values, level(monitor, windows, AUC)), newest(&values))
}

/// What the monitors of the project say, by endpoint; where there are several, the first that has alerts.
pub(super) async fn watched(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
) -> Result<BTreeMap<String, Watched>, Failure> {
    let leave = visitor.session.leave()?;
    let firing = firing(app, visitor).await?;
    let mut out = BTreeMap::<String, Watched>::new();
    for monitor in app.monitoring.list(&leave).await? {
        let state = standing(&monitor, &firing);
        if out.get(&monitor.endpoint).is_some_and(|w| w.state.tone == Tone::Bad || state.tone != Tone::Bad) {
            continue;
        }
        let windows = app.monitoring.windows(&leave, &monitor.id, None, FEW_WINDOWS).await?;
        let (quality, auc) = auc(&monitor, &windows);
        out.insert(monitor.endpoint, Watched { state, href: to.monitor(&monitor.name), quality, auc });
    }
    Ok(out)
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Monitors", Section::Monitors).await?;
    shell.as_cli = Some("trueline monitor list".to_owned());
    shell.as_api = visitor.api("/api/v1/monitors");
    let leave = visitor.session.leave()?;
    let firing = firing(&app, &visitor).await?;
    let mut monitors = Vec::new();
    for monitor in app.monitoring.list(&leave).await? {
        let windows = app.monitoring.windows(&leave, &monitor.id, None, FEW_WINDOWS).await?;
        let (quality, auc) = auc(&monitor, &windows);
        monitors.push(MonitorRow {
            state: standing(&monitor, &firing),
            quality,
            auc,
            window_ms: monitor.spec.window_ms,
            newest: windows.first().map(|w| timestamp(w.start_ms)),
            created_by: crate::words::person(&monitor.created_by).to_owned(),
            created_at: timestamp(monitor.created_at_ms),
            name: monitor.name,
            endpoint: monitor.endpoint,
        });
    }
    page(&MonitorsPage { shell, monitors })
}

fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), crate::format::number)
}

fn window_row(window: &MonitorWindow) -> WindowRow {
    let all = whole(window);
    let quality = all.map_or_else(Quality::default, |v| v.quality);
    let findings = all.map(|v| v.findings.as_slice()).unwrap_or_default();
    let mut beyond: Vec<&Finding> = findings.iter().filter(|f| f.level == Level::Breach).collect();
    beyond.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    WindowRow {
        start: timestamp(window.start_ms),
        end: timestamp(window.end_ms),
        state: match window.closed {
            true => Badge::new(Tone::Quiet, "Closed"),
            false => Badge::new(Tone::Busy, "Open"),
        },
        predictions: all.map_or(0, |v| v.predictions),
        labelled_percent: quality.coverage.map(|c| (c * 1_000.0).round() / 10.0),
        quality: [quality.auc, quality.log_loss, quality.brier].map(known),
        beyond: beyond.into_iter().map(|f| crate::words::subject(&f.subject)).collect(),
    }
}

fn finding<'a>(verdict: &'a Verdict, subject: &str) -> Option<&'a Finding> {
    verdict.findings.iter().find(|f| f.subject == subject)
}

/// How much a finding matters: what labels tell before what inputs look like, then by how far it is beyond its level.
fn weight(finding: &Finding) -> f64 {
    match finding.subject.starts_with("quality:") {
        true => f64::MAX,
        false => finding.value.map_or(-1.0, |v| v / finding.enter),
    }
}

/// The newest window that was judged.
fn judged(windows: &[MonitorWindow]) -> Option<&Verdict> {
    windows.iter().filter_map(whole).find(|v| !v.findings.is_empty())
}

/// The level at which a number alarms.
fn level(monitor: &Monitor, windows: &[MonitorWindow], subject: &str) -> Option<f64> {
    let rule =
        monitor.spec.quality.iter().find(|r| subject.strip_prefix("quality:") == Some(r.metric.as_str()));
    let found = || windows.iter().filter_map(whole).find_map(|v| finding(v, subject));
    rule.map(|r| r.enter).or_else(|| found().map(|f| f.enter))
}

/// The features in the newest window that was judged, the most drifted first.
fn features(windows: &[MonitorWindow], view: &ViewUrl) -> Vec<FeatureDrift> {
    let findings = judged(windows).map(|v| v.findings.as_slice()).unwrap_or_default();
    let drifts = findings.iter().filter_map(|f| Some((f.subject.strip_prefix("psi:")?, f)));
    let mut drifts: Vec<_> = drifts.collect();
    drifts.sort_by(|a, b| weight(b.1).total_cmp(&weight(a.1)).then(a.0.cmp(b.0)));
    let asked = Some(view.get("feature")).filter(|asked| drifts.iter().any(|(name, _)| name == asked));
    let shown = asked.or(drifts.first().map(|(name, _)| *name)).unwrap_or_default().to_owned();
    let row = |(name, psi): (&str, &Finding)| {
        let missing = findings.iter().find(|f| f.subject.strip_prefix("missing:") == Some(name));
        let values = over(windows, |v| finding(v, &psi.subject)?.value);
        let breach = |f: Option<&Finding>| f.is_some_and(|f| f.level == Level::Breach);
        FeatureDrift {
            name: name.to_owned(),
            state: match (breach(Some(psi)), breach(missing), psi.level) {
                (true, _, _) => Badge::new(Tone::Bad, "Drifted"),
                (_, true, _) => Badge::new(Tone::Bad, "Missing"),
                (_, _, Level::Unknown) => Badge::new(Tone::Quiet, "Unknown"),
                (_, _, Level::Between) => Badge::new(Tone::Warn, "Near its level"),
                _ => Badge::new(Tone::Good, "As learnt"),
            },
            psi: Spark::new(format!("Drift of {name}"), &values, Some(psi.enter)),
            newest: psi.value,
            level: Some(psi.enter),
            missing_percent: missing.and_then(|f| f.value).map(|v| (v * 1_000.0).round() / 10.0),
            href: view.with("feature", name),
            shown: name == shown,
        }
    };
    drifts.into_iter().map(row).collect()
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let leave = visitor.session.leave()?;
    let monitor = app.monitoring.get(&leave, &name).await?;
    let windows = app.monitoring.windows(&leave, &monitor.id, None, WINDOWS).await?;
    let firing = firing(&app, &visitor).await?;
    let mut shell = visitor.shell(&app, &name, Section::Monitors).await?;
    shell.crumbs = vec![Crumb::to("Monitors", shell.to.monitors()), Crumb::here(&name)];
    shell.as_cli = Some(format!("trueline monitor show {name}"));
    shell.as_api = visitor.api(&format!("/api/v1/monitors/{name}/windows"));
    let view = ViewUrl::new(shell.to.monitor(&name), visitor.query.clone());
    let reference = match monitor.reference_state() {
        ReferenceState::Learning => {
            "learnt from the first complete window of predictions, which is not over yet".to_owned()
        }
        ReferenceState::Known(source) => source,
        ReferenceState::Unknown(reason) => format!("unknown: {reason}"),
    };
    let features = features(&windows, &view);
    let drift = features.iter().find(|f| f.shown).map(|f| format!("psi:{}", f.name));
    let subjects = [(AUC, None), (LOG_LOSS, Some("nats")), (PREDICTIONS, Some("a window"))];
    let mut charts: Vec<Chart> = subjects
        .into_iter()
        .filter(|(subject, _)| {
            *subject == PREDICTIONS || over(&windows, value_of(subject)).iter().any(Option::is_some)
        })
        .map(|(subject, unit)| chart(&shell.to, &name, &windows, subject, unit))
        .collect();
    charts.extend(drift.map(|subject| chart(&shell.to, &name, &windows, &subject, Some("PSI"))));
    page(&MonitorPage {
        state: standing(&monitor, &firing),
        incident: firing.iter().find(|a| a.monitor == monitor.id).and_then(|a| a.incident.clone()),
        window_ms: monitor.spec.window_ms,
        endpoint: monitor.endpoint,
        reference,
        windows: windows.iter().map(window_row).collect(),
        charts,
        axis: Axis::Time,
        features,
        name,
        shell,
    })
}

fn chart(to: &Links, monitor: &str, windows: &[MonitorWindow], subject: &str, unit: Option<&str>) -> Chart {
    let words = match subject {
        PREDICTIONS => "Predictions".to_owned(),
        other => {
            let words = crate::words::subject(other);
            words[..1].to_uppercase() + &words[1..]
        }
    };
    Chart {
        series: vec![ChartSeries { name: words.clone(), url: to.monitor_series(monitor, subject) }],
        title: words,
        unit: unit.map(ToOwned::to_owned),
        small: false,
        last: newest(&over(windows, value_of(subject))),
    }
}

/// How a number is read from a verdict.
fn value_of(subject: &str) -> impl Fn(&Verdict) -> Option<f64> {
    move |v| match subject {
        PREDICTIONS => Some(v.predictions as f64),
        AUC => v.quality.auc,
        LOG_LOSS => v.quality.log_loss,
        other => finding(v, other)?.value,
    }
}

/// A number over the windows, for a chart: its points in event time, its level, and what happened meanwhile.
pub(super) async fn series(
    State(app): App,
    visitor: Visitor,
    Path((_, name, subject)): Path<(String, String, String)>,
) -> Answer {
    let leave = visitor.session.leave()?;
    let monitor = app.monitoring.get(&leave, &name).await?;
    let windows = app.monitoring.windows(&leave, &monitor.id, None, WINDOWS).await?;
    let alerts = app.monitoring.alerts(&leave, Some(monitor.endpoint.clone()), None, None, ALERTS).await?;
    let value = value_of(&subject);
    let point = |(step, w): (usize, &MonitorWindow)| json!({ "step": step, "at": timestamp(w.start_ms), "value": whole(w).and_then(&value) });
    let points: Vec<Value> = windows.iter().rev().enumerate().map(point).collect();
    let own = alerts.iter().filter(|a| a.monitor == monitor.id && a.subject == subject);
    let (markers, bands) = (markers(&windows), bands(&windows, &own.collect::<Vec<_>>()));
    let level = level(&monitor, &windows, &subject);
    Ok(Json(json!({ "points": points, "markers": markers, "bands": bands, "level": level })).into_response())
}

/// From where to where alerts of a number fired, oldest first; one that fires still, up to the newest window.
fn bands(windows: &[MonitorWindow], alerts: &[&Alert]) -> Vec<Value> {
    let newest = windows.first().map_or(0, |w| w.start_ms);
    let fired = alerts.iter().rev().filter(|a| a.state != AlertState::Pending);
    let band = |a: &&Alert| {
        let to = if a.state == AlertState::Firing { newest } else { a.last_window_ms };
        json!({ "from": timestamp(a.first_window_ms), "to": timestamp(to) })
    };
    fired.map(band).collect()
}

/// Versions that began to answer beside others, by the window in which they did.
fn markers(windows: &[MonitorWindow]) -> Vec<Value> {
    let mut told = BTreeMap::<i64, Vec<String>>::new();
    let mut before = BTreeSet::<String>::new();
    for window in windows.iter().rev() {
        // A window that one version answered alone does not name it.
        let now: BTreeSet<String> = window.verdicts.iter().filter_map(|v| v.variant.clone()).collect();
        let joined = match before.is_empty() {
            true => now.iter().skip(1).cloned().collect(),
            false => now.difference(&before).cloned().collect::<Vec<_>>(),
        };
        told.entry(window.start_ms).or_default().extend(joined);
        before = now;
    }
    let marker =
        |(at, labels): (i64, Vec<String>)| json!({ "at": timestamp(at), "label": labels.join(", ") });
    told.into_iter().filter(|(_, labels)| !labels.is_empty()).map(marker).collect()
}
