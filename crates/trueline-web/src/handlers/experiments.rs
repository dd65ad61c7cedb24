//! The list of experiments.

use super::{Answer, App, Visitor, offset, page, timestamp};
use crate::links::ViewUrl;
use crate::pages::{ExperimentRow, ExperimentsPage, Pager};
use crate::shell::Section;
use axum::extract::State;
use trueline_search::mlflow::OrderBy;
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value};
use trueline_tracking::{ExperimentSearch, Lifecycle, RunSearch, ViewType};

const PAGE: u64 = 50;
pub(super) const NOTE_TAG: &str = "mlflow.note.content";

pub(super) fn view_of(view: &ViewUrl) -> ViewType {
    if view.get("deleted").is_empty() { ViewType::ActiveOnly } else { ViewType::DeletedOnly }
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

/// How long a run took, or takes so far.
pub(super) fn duration_ms(run: &trueline_tracking::Run, now: i64) -> Option<i64> {
    let began = run.start_time?;
    let ended = run.end_time.or((!run.status.is_terminal()).then_some(now))?;
    Some((ended - began).max(0))
}
