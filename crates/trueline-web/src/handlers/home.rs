//! Home.

use super::{
    Answer, App, Failure, Visitor, Web, endpoints, incidents, ledger, page, release, rollouts, timestamp,
};
use crate::pages::{GetStarted, HomePage, TaskRow};
use crate::parts::Badge;
use crate::shell::Section;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use trueline_identity::ReadLedger;
use trueline_ledger::EventFilter;
use trueline_search::Expr;
use trueline_tasks::State as TaskState;
use trueline_tracking::{ExperimentId, RunSearch, ViewType};

/// Events that home shows.
const NEWEST: u32 = 12;
const TASKS: u32 = 10;

/// The start page leads to the home of the caller's project.
pub(super) async fn start(State(app): App, visitor: Visitor) -> Answer {
    let visible = app.access.visible_projects(&visitor.session).await?;
    let own = visible.iter().find(|p| p.name == visitor.project()).or(visible.first());
    let links = crate::Links::new(own.map(|p| p.name.as_str()));
    Ok(Redirect::to(&links.home()).into_response())
}

pub(super) async fn home(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Home", Section::Home).await?;
    shell.as_cli = Some("trueline ledger events".to_owned());
    shell.as_api = visitor.api("/api/v1/ledger/events");
    let may_read_ledger = visitor.session.leave::<ReadLedger>().is_ok();
    let changed = match may_read_ledger {
        true => {
            let projects = Some(vec![visitor.session.project().id.to_string()]);
            let actions = Some(crate::words::NOTABLE.map(ToOwned::to_owned).to_vec());
            let filter = EventFilter { projects, actions, ..EventFilter::default() };
            ledger::lines(&app, filter, NEWEST, &shell.to).await?.0
        }
        false => Vec::new(),
    };
    let start = match has_runs(&app, &visitor).await? {
        true => None,
        false => Some(GetStarted { tracking_uri: visitor.tracking_uri() }),
    };
    let running = tasks(&app, &visitor).await?;
    let endpoints = endpoints::rows(&app, &visitor, &shell.to).await?;
    let mut waiting = release::waiting(&app, &visitor, &shell.to).await?;
    waiting.extend(rollouts::waiting(&app, &visitor, &shell.to).await?);
    waiting.extend(incidents::waiting(&app, &visitor, &shell.to).await?);
    waiting.sort_by_key(|w| w.since);
    page(&HomePage { shell, start, endpoints, waiting, changed, may_read_ledger, running })
}

async fn has_runs(app: &Web, visitor: &Visitor) -> Result<bool, Failure> {
    let search = trueline_tracking::ExperimentSearch {
        filter: Expr::always(),
        order_by: Vec::new(),
        view: ViewType::All,
        offset: 0,
        limit: 100,
    };
    let found = app.tracking.search_experiments(&visitor.session.leave()?, search).await?;
    let experiments: Vec<ExperimentId> = found.items.iter().map(|e| e.id).collect();
    let search = RunSearch {
        experiments,
        filter: Expr::always(),
        order_by: Vec::new(),
        view: ViewType::All,
        offset: 0,
        limit: 1,
    };
    Ok(!app.tracking.search_runs(&visitor.session.leave()?, search).await?.items.is_empty())
}

async fn tasks(app: &Web, visitor: &Visitor) -> Result<Vec<TaskRow>, Failure> {
    let newest = app.tasks.newest(&visitor.session.leave()?, TASKS).await?;
    let at_work = newest.into_iter().filter(|t| matches!(t.state, TaskState::Queued | TaskState::Running));
    Ok(at_work
        .map(|t| TaskRow {
            state: Badge::state(if t.state == TaskState::Queued { "queued" } else { "running" }),
            what: t.kind.replace('.', " "),
            href: None,
            progress: None,
            since: timestamp(t.created_at_ms),
            id: t.id,
        })
        .collect())
}
