//! The traces of an experiment or of a run, and one trace.

use super::experiments::pager;
use super::{Answer, App, Failure, Visitor, Web, offset, page, spans, timestamp};
use crate::links::ViewUrl;
use crate::pages::{AssessmentRow, TracePage, TraceRow, TracesPage};
use crate::parts::{Badge, Pair, Reference, Tone};
use crate::shell::{Crumb, Section, Shell};
use axum::extract::{Path, State};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use trueline_ledger::{Node, neighbours};
use trueline_search::mlflow::{Kind, OrderBy, parse_filter, parse_order_by};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value};
use trueline_traces::{Assessment, Judgement, SpanContent, TraceInfo, TraceSearch, TraceState};
use trueline_tracking::{Experiment, ExperimentId, RunId};

const PAGE: u64 = 50;
/// Assessments of a trace that its line shows.
const CHIPS: usize = 4;
const NAME: &str = "mlflow.traceName";
const SESSION: &str = "mlflow.trace.session";
const USER: &str = "mlflow.trace.user";
const TOKENS: &str = "mlflow.trace.tokenUsage";
const COST: &str = "mlflow.trace.cost";
const SOURCE_RUN: &str = "mlflow.sourceRun";
const ORDERS: [(&str, &str); 4] = [
    ("started_at", "timestamp_ms"),
    ("latency", "execution_time_ms"),
    ("status", "status"),
    ("name", "name"),
];

fn state(state: TraceState) -> Badge {
    match state {
        TraceState::Ok => Badge::new(Tone::Good, "Ok"),
        TraceState::Error => Badge::new(Tone::Bad, "Error"),
        TraceState::InProgress => Badge::new(Tone::Busy, "Goes on"),
        TraceState::Unspecified => Badge::new(Tone::Quiet, "Not said"),
    }
}

/// How a value that somebody gave is to be taken: yes and no speak for themselves, numbers and words don't.
fn tone(value: &Json) -> Tone {
    match value {
        Json::Bool(true) => Tone::Good,
        Json::Bool(false) => Tone::Bad,
        Json::String(word) if word.eq_ignore_ascii_case("yes") => Tone::Good,
        Json::String(word) if word.eq_ignore_ascii_case("no") => Tone::Bad,
        _ => Tone::Quiet,
    }
}

fn assessment(one: &Assessment) -> AssessmentRow {
    let words = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.as_f64().map_or_else(|| number.to_string(), crate::format::number),
        other => other.to_string(),
    };
    let (value, tone) = match &one.judgement {
        Judgement::Feedback { value: _, error: Some(error) } => {
            let told = error.get("error_message").or(error.get("error_code")).map_or_else(String::new, words);
            (format!("could not be judged: {told}"), Tone::Warn)
        }
        Judgement::Feedback { value, error: None } => (words(value), tone(value)),
        Judgement::Expectation { value } => (words(value), Tone::Quiet),
        Judgement::Issue { issue_name } => (issue_name.clone(), Tone::Warn),
    };
    let kind = one.source.kind.to_lowercase().replace('_', " ");
    AssessmentRow {
        name: one.name.clone(),
        value,
        tone,
        kind: one.judgement.kind(),
        source: one.source.id.as_ref().map_or_else(|| kind.clone(), |id| format!("{kind} {id}")),
        rationale: one.rationale.clone().unwrap_or_default(),
        span: one.span.clone(),
        valid: one.valid,
        at: timestamp(one.updated_at_ms),
    }
}

/// A number out of JSON that the metadata holds as text.
fn told(info: &TraceInfo, key: &str, field: &str) -> Option<Json> {
    let json: Json = serde_json::from_str(info.metadata.get(key)?).ok()?;
    json.get(field).cloned()
}

fn row(info: &TraceInfo) -> TraceRow {
    let text = |pairs: &trueline_traces::Pairs, key: &str| pairs.get(key).cloned().unwrap_or_default();
    TraceRow {
        id: info.id.clone(),
        name: text(&info.tags, NAME),
        request: info.request_preview.clone().unwrap_or_default(),
        response: info.response_preview.clone().unwrap_or_default(),
        state: state(info.state),
        started_at: timestamp(info.started_ms),
        took_ms: info.took_ms,
        tokens: told(info, TOKENS, "total_tokens").and_then(|n| n.as_i64()),
        session: text(&info.metadata, SESSION),
        assessments: info.assessments.iter().map(assessment).collect(),
    }
}

/// `run_id = '…'`, which is what the trace's metadata says or a link of it to the run.
fn of_run(run: &str) -> Expr {
    let field = Field { entity: Entity::RequestMetadata, key: SOURCE_RUN.to_owned() };
    Expr::from(Comparison { field, op: Op::Eq, value: Some(Value::Text(run.to_owned())) })
}

/// Whether traces were made under a run.
pub(super) async fn run_has_traces(
    app: &Web,
    visitor: &Visitor,
    experiment: i64,
    run: &str,
) -> Result<bool, Failure> {
    let search = TraceSearch {
        experiments: vec![experiment],
        filter: of_run(run),
        order_by: Vec::new(),
        offset: 0,
        limit: 1,
    };
    Ok(!app.traces.search(&visitor.session.leave()?, search).await?.items.is_empty())
}

fn crumbs(shell: &Shell, experiment: &Experiment, last: &str) -> Vec<Crumb> {
    let own = experiment.id.to_string();
    let mut way = vec![
        Crumb::to("Experiments", shell.to.experiments()),
        Crumb::to(&experiment.name, shell.to.experiment(&own)),
    ];
    if last != "Traces" {
        way.push(Crumb::to("Traces", shell.to.traces(&own)));
    }
    way.push(Crumb::here(last));
    way
}

fn reference(shell: &Shell, experiment: &Experiment) -> Reference {
    Reference::to("experiment", &experiment.name, shell.to.experiment(&experiment.id.to_string()))
}

/// The order that the URL asks for, if it is one that the page offers.
fn order(sort: &str) -> Vec<OrderBy> {
    let (key, direction) = sort.strip_prefix('-').map_or((sort, "ASC"), |key| (key, "DESC"));
    let offered = ORDERS.iter().find(|(name, _)| *name == key);
    offered
        .and_then(|(_, field)| parse_order_by(Kind::Traces, &format!("{field} {direction}")).ok())
        .into_iter()
        .collect()
}

pub(super) async fn list(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let experiment = app.tracking.experiment(&leave, ExperimentId::parse(&id)?).await?;
    let mut shell = visitor.shell(&app, "Traces", Section::Experiments).await?;
    shell.crumbs = crumbs(&shell, &experiment, "Traces");
    shell.as_cli = Some(format!("mlflow traces search --experiment-id {id}"));
    shell.as_api = visitor.api("/api/3.0/mlflow/traces/search");
    let view = ViewUrl::new(shell.to.traces(&id), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let (filter, filter_problem) = match parse_filter(Kind::Traces, view.get("filter")) {
        Ok(filter) => (filter, None),
        Err(error) => (Expr::always(), Some(error.to_string())),
    };
    let (filter, run) = match view.get("run") {
        "" => (filter, None),
        run => {
            let found = app.tracking.run(&leave, &RunId::new(run)).await?;
            let both = Expr::And(vec![of_run(run), filter]);
            (both, Some(Reference::to("run", &found.run.name, shell.to.run(run))))
        }
    };
    let search = TraceSearch {
        experiments: vec![experiment.id.0],
        filter,
        order_by: order(view.get("sort")),
        offset: at,
        limit: PAGE,
    };
    let found = app.traces.search(&leave, search).await?;
    let mut traces: Vec<TraceRow> = found.items.iter().map(row).collect();
    for trace in &mut traces {
        trace.assessments.retain(|a| a.valid);
        trace.assessments.truncate(CHIPS);
    }
    page(&TracesPage {
        experiment: reference(&shell, &experiment),
        run,
        filter_problem,
        pager: pager(traces.len(), "trace", found.more, at + PAGE),
        traces,
        tracking_uri: visitor.tracking_uri(),
        view,
        shell,
    })
}

pub(super) async fn one(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let (info, stored) = app.traces.partial(&leave, id.clone()).await?;
    let experiment = app.tracking.experiment(&leave, ExperimentId(info.experiment)).await?;
    let row = row(&info);
    let title = if row.name.is_empty() { crate::format::short_ids(&id) } else { row.name.clone() };
    let mut shell = visitor.shell(&app, &title, Section::Experiments).await?;
    shell.crumbs = crumbs(&shell, &experiment, &title);
    shell.as_cli = Some(format!("mlflow traces get --trace-id {id}"));
    shell.as_api = visitor.api(&format!("/api/3.0/mlflow/traces/{id}"));
    let view = ViewUrl::new(shell.to.trace(&id), visitor.query.clone());
    let apart = stored.is_none();
    let mut contents: Vec<SpanContent> =
        stored.unwrap_or_default().iter().filter_map(trueline_traces::StoredSpan::read).collect();
    let count = contents.len();
    contents.truncate(spans::MOST);
    let asked = view.get("span");
    let open = contents.iter().find(|s| s.id() == asked).or(contents.first());
    let time = spans::Time::of(&contents);
    let open = open.map(|s| spans::detail(s, time, &shell.to, &row.assessments));
    let roots = spans::tree(&contents, &id, &shell.to, open.as_ref().map_or("", |s| s.id.as_str()));
    let own = |(key, value): (&String, &String)| Pair::new(key, value);
    page(&TracePage {
        experiment: reference(&shell, &experiment),
        runs: runs(&app, &visitor, &shell, &info).await?,
        user: info.metadata.get(USER).cloned().unwrap_or_default(),
        cost: told(&info, COST, "total_cost").and_then(|n| n.as_f64()),
        tags: info.tags.iter().filter(|(key, _)| !key.starts_with("mlflow.")).map(own).collect(),
        metadata: info.metadata.iter().filter(|(_, value)| !value.is_empty()).map(own).collect(),
        roots,
        spans: count,
        truncated: count > spans::MOST,
        open,
        file: apart.then(|| shell.to.trace_file(visitor.project(), &id)),
        row,
        view,
        shell,
    })
}

/// The run that a trace was made under, and those that it is linked to.
async fn runs(
    app: &Web,
    visitor: &Visitor,
    shell: &Shell,
    info: &TraceInfo,
) -> Result<Vec<Reference>, Failure> {
    let (project, node) = (visitor.session.project().id.clone(), Node::new("trace", &info.id));
    let edges = app.ledger.db().read(move |tx| neighbours(tx, &project, &node)).await;
    let edges = edges.map_err(trueline_ledger::LedgerError::from)?;
    let linked = edges.into_iter().map(|e| e.to).filter(|to| to.kind == "run").map(|to| to.id);
    let ids: BTreeSet<String> = info.metadata.get(SOURCE_RUN).cloned().into_iter().chain(linked).collect();
    let leave = visitor.session.leave()?;
    let mut out = Vec::new();
    for id in ids {
        // A run may be linked before it is there, and be gone after.
        if let Ok(run) = app.tracking.run(&leave, &RunId::new(&id)).await {
            out.push(Reference::to("run", &run.run.name, shell.to.run(&id)));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_column_that_is_offered_sorts() {
        for (name, _) in ORDERS {
            assert_eq!(
                (order(name)[0].ascending, order(&format!("-{name}"))[0].ascending),
                (true, false),
                "{name}"
            );
        }
        assert!(order("tags.x").is_empty());
    }

    #[test]
    fn yes_and_no_have_a_tone_and_numbers_have_none() {
        for (value, expected) in [
            (json!(true), Tone::Good),
            (json!("no"), Tone::Bad),
            (json!(0.2), Tone::Quiet),
            (json!("fine"), Tone::Quiet),
        ] {
            assert_eq!(tone(&value), expected, "{value}");
        }
    }
}
