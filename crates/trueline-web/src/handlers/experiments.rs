//! Experiments, and one experiment as the table of its runs.

use super::{Answer, App, Visitor, history, offset, page, timestamp};
use crate::links::ViewUrl;
use crate::pages::{Column, ExperimentPage, ExperimentRow, ExperimentsPage, Pager, RunRow};
use crate::parts::{Badge, Cell, Pair};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use std::collections::BTreeSet;
use trueline_search::mlflow::{Kind, OrderBy, parse_filter, parse_order_by};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value};
use trueline_tracking::{ExperimentId, ExperimentSearch, Lifecycle, RunData, RunSearch, ViewType};

const PAGE: u64 = 50;
/// Columns that a table starts with.
const FIRST_METRICS: usize = 4;
const FIRST_PARAMS: usize = 4;
const NOTE_TAG: &str = "mlflow.note.content";

fn view_of(view: &ViewUrl) -> ViewType {
    if view.get("deleted").is_empty() { ViewType::ActiveOnly } else { ViewType::All }
}

/// `name ILIKE '%text%'`, or everything.
pub(super) fn name_holds(text: &str) -> Expr {
    if text.is_empty() {
        return Expr::always();
    }
    let field = Field { entity: Entity::Attribute, key: "name".to_owned() };
    Expr::from(Comparison { field, op: Op::ILike, value: Some(Value::Text(format!("%{text}%"))) })
}

/// An order that the URL asks for, if it is one of those that a page offers.
pub(super) fn order(sort: &str, offered: &[(&str, &str)]) -> Vec<OrderBy> {
    let (key, ascending) = sort.strip_prefix('-').map_or((sort, true), |key| (key, false));
    let found = offered.iter().find(|(name, _)| *name == key);
    let field = |key: &str| Field { entity: Entity::Attribute, key: key.to_owned() };
    found.map(|(_, key)| OrderBy { field: field(key), ascending }).into_iter().collect()
}

pub(super) fn pager(rows: usize, noun: &'static str, more: bool, next: u64) -> Pager {
    Pager { rows, noun, next_cursor: more.then(|| next.to_string()) }
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Experiments", Section::Experiments).await?;
    shell.as_cli = Some("mlflow experiments search".to_owned());
    let view = ViewUrl::new(shell.to.experiments(), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let offered = [("name", "name"), ("created_at", "creation_time"), ("last_run_at", "last_update_time")];
    let search = ExperimentSearch {
        filter: name_holds(view.get("q")),
        order_by: order(view.get("sort"), &offered),
        view: view_of(&view),
        offset: at,
        limit: PAGE,
    };
    let leave = visitor.session.leave()?;
    let found = app.tracking.search_experiments(&leave, search).await?;
    let mut experiments = Vec::with_capacity(found.items.len());
    for e in found.items {
        let newest = RunSearch {
            experiments: vec![e.id],
            filter: Expr::always(),
            order_by: Vec::new(),
            view: ViewType::ActiveOnly,
            offset: 0,
            limit: 1,
        };
        let newest = app.tracking.search_runs(&leave, newest).await?;
        let note = e.tags.iter().find(|t| t.key == NOTE_TAG);
        experiments.push(ExperimentRow {
            id: e.id.to_string(),
            name: e.name,
            description: note.map(|t| t.value.clone()).unwrap_or_default(),
            last_run_at: newest.items.first().and_then(|r| r.run.start_time).map(timestamp),
            created_at: timestamp(e.created_at_ms),
            deleted: e.lifecycle == Lifecycle::Deleted,
        });
    }
    let pager = pager(experiments.len(), "experiment", found.more, at + PAGE);
    let tracking_uri = visitor.tracking_uri();
    page(&ExperimentsPage { shell, view, experiments, tracking_uri, pager })
}

/// The columns that the runs of a page can show.
fn choices(runs: &[RunData]) -> Vec<Column> {
    let (mut metrics, mut params, mut tags) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut words = BTreeSet::new();
    for run in runs {
        metrics.extend(run.metrics.iter().map(|m| m.key.clone()));
        for p in &run.params {
            params.insert(p.key.clone());
            if p.value.parse::<f64>().is_err() {
                words.insert(p.key.clone());
            }
        }
        let own = run.tags.iter().filter(|t| !t.key.starts_with("mlflow."));
        tags.extend(own.map(|t| t.key.clone()));
    }
    let metrics = metrics.iter().map(|k| Column::metric(k));
    let params = params.iter().map(|k| Column::param(k, !words.contains(k)));
    metrics.chain(params).chain(tags.iter().map(|k| Column::tag(k))).collect()
}

/// The columns that the URL names, or a few to start with.
fn shown(view: &[(String, String)], choices: &[Column]) -> Vec<Column> {
    let named: Vec<&str> = view.iter().filter(|(k, _)| k == "col").map(|(_, v)| v.as_str()).collect();
    if !named.is_empty() {
        return choices.iter().filter(|c| named.contains(&c.key.as_str())).cloned().collect();
    }
    let first = |group: &'static str, n: usize| choices.iter().filter(move |c| c.group == group).take(n);
    first("Metrics", FIRST_METRICS).chain(first("Params", FIRST_PARAMS)).cloned().collect()
}

fn cell(run: &RunData, column: &Column) -> Cell {
    let (entity, key) = column.key.split_once('.').unwrap_or(("", &column.key));
    match entity {
        "metrics" => Cell::metric(run.metrics.iter().find(|m| m.key == key).map(|m| m.point.value)),
        "params" => Cell::param(run.params.iter().find(|p| p.key == key).map(|p| p.value.as_str())),
        _ => {
            let tag = run.tags.iter().find(|t| t.key == key);
            tag.map_or(Cell::Missing, |t| Cell::Text(t.value.clone()))
        }
    }
}

/// How long a run took, or takes so far.
pub(super) fn duration_ms(run: &trueline_tracking::Run, now: i64) -> Option<i64> {
    let began = run.start_time?;
    let ended = run.end_time.or((!run.status.is_terminal()).then_some(now))?;
    Some((ended - began).max(0))
}

fn row(run: &RunData, columns: &[Column], now: i64) -> RunRow {
    RunRow {
        id: run.run.id.to_string(),
        name: run.run.name.clone(),
        status: Badge::state(run.run.status.as_str()),
        created_by: crate::words::person(&run.run.created_by).to_owned(),
        started_at: run.run.start_time.map(timestamp),
        duration_ms: duration_ms(&run.run, now),
        cells: columns.iter().map(|c| cell(run, c)).collect(),
    }
}

/// The order that the URL asks for: a column of the table's own, or of the runs.
fn run_order(sort: &str) -> Vec<OrderBy> {
    let known = order(sort, &[("started_at", "start_time"), ("name", "run_name"), ("duration", "end_time")]);
    if !known.is_empty() || sort.is_empty() {
        return known;
    }
    let (key, ascending) = sort.strip_prefix('-').map_or((sort, true), |key| (key, false));
    let Some((entity, name)) = key.split_once('.') else { return Vec::new() };
    let text = format!("{entity}.`{name}` {}", if ascending { "ASC" } else { "DESC" });
    parse_order_by(Kind::Runs, &text).into_iter().collect()
}

pub(super) async fn one(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let found = app.tracking.experiment(&leave, ExperimentId::parse(&id)?).await?;
    let mut shell = visitor.shell(&app, &found.name, Section::Experiments).await?;
    shell.crumbs = vec![Crumb::to("Experiments", shell.to.experiments()), Crumb::here(&found.name)];
    shell.as_cli = Some(format!("mlflow runs list --experiment-id {id}"));
    let view = ViewUrl::new(shell.to.experiment(&id), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let (filter, filter_problem) = match parse_filter(Kind::Runs, view.get("filter")) {
        Ok(filter) => (filter, None),
        Err(error) => (Expr::always(), Some(error.to_string())),
    };
    let search = RunSearch {
        experiments: vec![found.id],
        filter,
        order_by: run_order(view.get("sort")),
        view: view_of(&view),
        offset: at,
        limit: PAGE,
    };
    let runs = app.tracking.search_runs(&leave, search).await?;
    let choices = choices(&runs.items);
    let columns = shown(&visitor.query, &choices);
    let now = app.ledger.sources().now();
    let rows: Vec<RunRow> = runs.items.iter().map(|r| row(r, &columns, now)).collect();
    let note = found.tags.iter().find(|t| t.key == NOTE_TAG);
    let own = found.tags.iter().filter(|t| !t.key.starts_with("mlflow."));
    let history = history::of(&app, &visitor, &shell.to, "experiment", &id).await?;
    let (noted, tagged) = history::rows(&found.tags, history, |key| !key.starts_with("mlflow."));
    page(&ExperimentPage {
        history: noted.into_iter().chain(tagged).collect(),
        view,
        id,
        name: found.name.clone(),
        description: note.map(|t| t.value.clone()).unwrap_or_default(),
        created_at: timestamp(found.created_at_ms),
        artifact_location: found.artifact_location.clone(),
        tags: own.map(|t| Pair::new(&t.key, &t.value)).collect(),
        filter_problem,
        columns,
        choices,
        pager: pager(rows.len(), "run", runs.more, at + PAGE),
        runs: rows,
        tracking_uri: visitor.tracking_uri(),
        shell,
    })
}
