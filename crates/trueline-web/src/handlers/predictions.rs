//! The line of a prediction, and where one is looked for.

use super::endpoints::{change, shares};
use super::{Answer, App, Failure, Visitor, ledger, page, release, timestamp};
use crate::Links;
use crate::pages::{Fact, FindPredictionPage, PredictionPage, Station, Told};
use crate::parts::{Badge, Copy, Pair, Reference, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use std::fmt::Write as _;
use trueline_flows::{Trace, TraceError, TracedDataset, TracedRun};
use trueline_predictions::{Columns, EVERY, Outputs, PredictionId, Record, Scalar, Stage, Status};
use trueline_registry::{ReleaseState, Version};
use trueline_serving::Route;

fn fact(term: &'static str, text: impl Into<String>) -> Fact {
    Fact::new(term, Told::Text(text.into()))
}

fn person(term: &'static str, actor: &str) -> Fact {
    fact(term, crate::words::person(actor))
}

/// A value with all its digits: this page is evidence.
fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Null => "missing".to_owned(),
        Scalar::Bool(on) => on.to_string(),
        Scalar::Int(whole) => whole.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Text(text) => text.clone(),
    }
}

fn columns(columns: &Columns) -> Vec<Pair> {
    columns.iter().map(|(name, value)| Pair::new(name, scalar(value))).collect()
}

pub(super) fn state(record: &Record) -> Badge {
    match record.status {
        Status::Ok => Badge::new(Tone::Good, "Answered"),
        Status::Error(_) => Badge::new(Tone::Bad, "Failed"),
    }
}

pub(super) fn answer(record: &Record) -> String {
    match (&record.status, &record.outputs) {
        (Status::Error(why), _) => why.clone(),
        (Status::Ok, Outputs::None) => "nothing".to_owned(),
        (Status::Ok, Outputs::One(value)) => scalar(value),
        (Status::Ok, Outputs::Many(values)) => {
            values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Parse => "Reading",
        Stage::Route => "Routing",
        Stage::Features => "Features",
        Stage::Check => "Checking",
        Stage::Queue => "Waiting",
        Stage::Runtime => "Model",
        Stage::Total => "All",
    }
}

pub(super) async fn find(State(app): App, visitor: Visitor) -> Answer {
    let asked = visitor.query.iter().find(|(k, _)| k == "id").map(|(_, v)| v.trim().to_owned());
    let asked = asked.unwrap_or_default();
    let mut shell = visitor.shell(&app, "Find a prediction", Section::Endpoints).await?;
    let problem = match PredictionId::parse(&asked) {
        _ if asked.is_empty() => None,
        None => Some(format!("“{asked}” is no prediction id: those have 32 hexadecimal digits.")),
        Some(id) => match app.tracer.find(&visitor.session.leave()?, id).await? {
            Some(_) => return Ok(Redirect::to(&shell.to.prediction(&asked)).into_response()),
            None => Some(format!("{}.", TraceError::NotFound(id))),
        },
    };
    shell.crumbs = vec![Crumb::to("Endpoints", shell.to.endpoints()), Crumb::here("Find a prediction")];
    page(&FindPredictionPage { shell, asked, problem })
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, text)): Path<(String, String)>,
) -> Answer {
    let told = || format!("`{text}` is no prediction id: those have 32 hexadecimal digits");
    let id = PredictionId::parse(&text).ok_or_else(|| Failure::not_found(told()))?;
    let trace = app.tracer.trace(&visitor.session.leave()?, id).await?;
    let mut shell = visitor.shell(&app, "Prediction", Section::Endpoints).await?;
    let record = &trace.prediction;
    let endpoint = Reference::to("endpoint", &record.endpoint, shell.to.endpoint(&record.endpoint));
    shell.crumbs = vec![
        Crumb::to("Endpoints", shell.to.endpoints()),
        Crumb::to(&record.endpoint, shell.to.endpoint(&record.endpoint)),
        Crumb::to("Predictions", shell.to.endpoint_predictions(&record.endpoint)),
        Crumb::here(crate::format::short_digest(&text)),
    ];
    shell.as_cli = Some(format!("trueline trace {id}"));
    shell.as_api = visitor.api(&format!("/api/v1/predictions/{id}/trace"));
    let (model, number) = (&record.variant.model, &record.variant.version);
    let events = trace.events.iter().rev().map(|e| ledger::line(e, visitor.project(), &shell.to)).collect();
    page(&PredictionPage {
        id: id.to_string(),
        state: state(record),
        version: Reference::to("version", format!("{model} {number}"), shell.to.version(model, number)),
        endpoint,
        at: timestamp(record.received_at_ms),
        answer: answer(record),
        label: trace.labels.last().map(|l| scalar(&l.value)),
        stations: stations(&shell.to, &trace),
        events,
        shell,
    })
}

fn stations(to: &Links, trace: &Trace) -> Vec<Station> {
    let mut out = vec![asked(trace)];
    out.push(match &trace.route {
        Some(found) => route(to, &trace.prediction.endpoint, found),
        None => {
            Station::missing("broadcast", "Route", "The endpoint's route at that time is not known any more.")
        }
    });
    out.push(match &trace.version {
        Some(found) => version(to, found),
        None => {
            Station::missing("cube", "Version", "The version that answered is not in the registry any more.")
        }
    });
    out.extend(trace.release.as_ref().and_then(|state| gates(to, state)));
    let Some(found) = &trace.run else {
        let gap = "The version was registered without the run that made it, so code and data are not known.";
        out.push(Station::missing("play", "Run", gap));
        return out;
    };
    out.push(run(to, found));
    out.push(code(found));
    out.push(data(found));
    out
}

fn asked(trace: &Trace) -> Station {
    let record = &trace.prediction;
    let mut station = Station::new("target", "Prediction", format!("{} answered", record.endpoint));
    station.facts = vec![
        Fact::new("Received", Told::At(timestamp(record.received_at_ms))),
        Fact::new("Event time", Told::Text(crate::format::absolute(timestamp(record.event_time_ms)))),
        Fact::new("Request", Told::Code(record.request_id.clone())),
    ];
    station.facts.extend(record.key.as_ref().map(|key| fact("Key", key)));
    if !record.redacted.is_empty() {
        station.facts.push(fact("Redacted", record.redacted.join(", ")));
    }
    if record.share != EVERY {
        let percent = f64::from(record.share) * 100.0 / f64::from(EVERY);
        station
            .facts
            .push(fact("Logged", format!("{} % of such predictions", crate::format::number(percent))));
    }
    let mut timings = String::new();
    for (i, (of, us)) in record.timings.iter().enumerate() {
        let _ = write!(timings, "{}{} {us} µs", if i == 0 { "" } else { ", " }, stage(*of).to_lowercase());
    }
    if !timings.is_empty() {
        station.facts.push(fact("Time", timings));
    }
    for label in &trace.labels {
        station.facts.push(fact("Truth", format!("{}, told by {}", scalar(&label.value), label.source)));
    }
    station.values = vec![("Inputs", columns(&record.inputs))];
    if !record.features.is_empty() {
        station.values.push(("Features", columns(&record.features)));
    }
    station
}

fn route(to: &Links, endpoint: &str, route: &Route) -> Station {
    let mut station =
        Station::new("broadcast", "Route", format!("{endpoint}, generation {}", route.generation));
    station.href = Some(to.endpoint(endpoint));
    station.state = Some(change(route));
    let shares = shares(to, &route.variants);
    let shares: Vec<String> = shares.iter().map(|s| format!("{} {}", s.version.label, s.told())).collect();
    station.facts = vec![
        fact("Shares", shares.join(", ")),
        person("Changed by", &route.changed_by),
        Fact::new("Changed", Told::At(timestamp(route.changed_at_ms))),
    ];
    if !route.reason.is_empty() {
        station.facts.push(fact("Why", &route.reason));
    }
    station
}

fn version(to: &Links, version: &Version) -> Station {
    let (model, number) = (&version.key.model, version.key.version.to_string());
    let mut station = Station::new("cube", "Version", format!("{model} {number}"));
    station.href = Some(to.version(model, &number));
    if let Some(digest) = &version.manifest_digest {
        station.facts.push(Fact::new("Manifest", Told::Id(Copy::all(digest, "digest of the manifest"))));
    }
    station.facts.push(person("Registered by", &version.created_by));
    station.facts.push(Fact::new("Registered", Told::At(timestamp(version.created_at_ms))));
    if !version.aliases.is_empty() {
        let aliases: Vec<String> = version.aliases.iter().map(|a| format!("@{a}")).collect();
        station.facts.push(fact("Aliases now", aliases.join(", ")));
    }
    station
}

/// Gates and approvals; nothing when the model has no policy.
fn gates(to: &Links, state: &ReleaseState) -> Option<Station> {
    state.policy.as_ref()?;
    let (model, number) = (&state.version.model, state.version.version.to_string());
    let told = format!("{} of {} approvals", state.approved, state.required);
    let mut station = Station::new("check", "Gates and approvals, as they stand now", told);
    station.href = Some(format!("{}#release", to.version(model, &number)));
    station.state = Some(match state.releasable {
        true => Badge::new(Tone::Good, "Passed"),
        false => Badge::new(Tone::Warn, "Not passed"),
    });
    let gates = state.gates.iter().map(release::gate).map(|g| {
        let text = if g.reason.is_empty() { g.name } else { format!("{}: {}", g.name, g.reason) };
        (g.state, text)
    });
    let decisions = state.approvals.iter().map(release::decision).map(|d| {
        let text = if d.comment.is_empty() { d.by } else { format!("{}: {}", d.by, d.comment) };
        (d.decision, text)
    });
    station.checks = gates.chain(decisions).collect();
    Some(station)
}

fn run(to: &Links, run: &TracedRun) -> Station {
    let own = &run.data.run;
    let mut station = Station::new("play", "Run", &own.name);
    station.href = Some(to.run(own.id.as_str()));
    station.state = Some(Badge::state(own.status.as_str()));
    station.facts = vec![person("Started by", &own.created_by)];
    station.facts.extend(own.start_time.map(|at| Fact::new("Started", Told::At(timestamp(at)))));
    if let Some(e) = &run.experiment {
        let experiment = Reference::to("experiment", &e.name, to.experiment(&e.id.to_string()));
        station.facts.push(Fact::new("Experiment", Told::Link(experiment)));
    }
    let params: Vec<Pair> = run.data.params.iter().map(|p| Pair::new(&p.key, &p.value)).collect();
    let metrics: Vec<Pair> =
        run.data.metrics.iter().map(|m| Pair::new(&m.key, crate::format::number(m.point.value))).collect();
    let lists = [("Metrics", metrics), ("Params", params)];
    station.values = lists.into_iter().filter(|(_, pairs)| !pairs.is_empty()).collect();
    station
}

fn code(run: &TracedRun) -> Station {
    let tag = |key: &str| run.data.tags.iter().find(|t| t.key == key).map(|t| t.value.clone());
    let told = (tag("mlflow.source.git.commit"), tag("mlflow.source.name"));
    let (commit, source) = match &run.capture {
        Some(capture) => (capture.commit.clone(), Some(capture.command.join(" "))),
        None => told,
    };
    if commit.is_none() && source.is_none() {
        return Station::missing("code", "Code", "No commit was recorded. `trueline run` captures it.");
    }
    let label = commit.as_deref().map_or("No commit", |c| c.get(..12).unwrap_or(c));
    let mut station = Station::new("code", "Code", label);
    if let Some(commit) = &commit {
        station.facts.push(Fact::new("Commit", Told::Id(Copy::all(commit, "commit"))));
    }
    station.facts.extend(source.map(|s| Fact::new("Command", Told::Code(s))));
    match &run.capture {
        Some(capture) => {
            station.state = Some(Badge::new(Tone::Good, "Captured"));
            let diff = if capture.diff.is_some() { "captured with the run" } else { "none" };
            station.facts.push(fact("Changes not committed", diff));
            station.facts.extend(capture.remote.as_ref().map(|r| Fact::new("From", Told::Code(r.clone()))));
        }
        None => station.state = Some(Badge::new(Tone::Quiet, "As the client told it")),
    }
    station
}

fn data(run: &TracedRun) -> Station {
    let inputs = &run.data.dataset_inputs;
    let captured = run.capture.as_ref().map(|c| &c.inputs).filter(|files| !files.is_empty());
    if inputs.is_empty() && captured.is_none() {
        return Station::missing(
            "database",
            "Data",
            "The run recorded no datasets. `mlflow.log_input` does it.",
        );
    }
    let files = captured.map_or(0, std::collections::BTreeMap::len);
    let label = match (inputs.len(), files) {
        (0, files) => crate::format::counted(files as u64, "file"),
        (sets, _) => crate::format::counted(sets as u64, "dataset"),
    };
    let mut station = Station::new("database", "Data", label);
    let dataset = |(d, version): (&trueline_tracking::DatasetInput, &Option<TracedDataset>)| match version {
        Some(v) => Pair::new(&d.dataset.name, format!("{}@{}, {}", v.name, v.number, d.dataset.digest)),
        None => Pair::new(&d.dataset.name, &d.dataset.digest),
    };
    if !inputs.is_empty() {
        station.values.push(("Datasets", inputs.iter().zip(&run.versions).map(dataset).collect()));
    }
    if let Some(files) = captured {
        station.values.push(("Files", files.iter().map(|(path, sha256)| Pair::new(path, sha256)).collect()));
    }
    station
}
