//! The ledger's pages.

use super::{Answer, App, Failure, Visitor, Web, page, project_names, reference, timestamp};
use crate::links::{Links, ViewUrl};
use crate::pages::{
    EventLine, EventPage, LedgerHead, LedgerPage, Pager, Payload, Verification, VerificationPart,
};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use serde_json::Value;
use trueline_identity::VerifyLedger;
use trueline_ledger::{Entry, EventFilter, EventRow, LedgerFiles};
use trueline_tasks::State as TaskState;

const PAGE: u32 = 50;
/// Characters of a reason that a line shows.
const LONGEST_REASON: usize = 110;

/// Actions to propose in the filter.
const ACTIONS: [&str; 16] = [
    "alias.",
    "artifact.",
    "endpoint.",
    "event.erased",
    "experiment.",
    "ledger.",
    "logged_model.",
    "model.",
    "predictions.",
    "project.",
    "role.",
    "run.",
    "task.",
    "token.",
    "user.",
    "version.",
];

/// What completes the sentence after the resource.
fn detail(action: &str, payload: &Value) -> String {
    let text = |field: &str| payload[field].as_str().unwrap_or_default();
    match action {
        "alias.set" => format!("at version {}", payload["after"]),
        "run.created" | "logged_model.created" => text("name").to_owned(),
        "task.created" | "task.done" | "task.failed" => text("kind").to_owned(),
        "endpoint.deployed"
        | "endpoint.rolled_back"
        | "endpoint.shifted"
        | "endpoint.promoted"
        | "endpoint.followed"
        | "endpoint.allotted" => {
            let after = payload["after"].as_array().map(Vec::as_slice).unwrap_or_default();
            let after: Vec<&str> = after.iter().filter_map(|v| v["version"].as_str()).collect();
            because(&format!("to {}", after.join(" and ")), text("reason"))
        }
        "version.judged" if payload["passed"] == true => "and all have passed".to_owned(),
        "version.judged" => "and not all have passed".to_owned(),
        "version.approved" | "version.rejected" => because("", text("comment")),
        "pipeline.run.started" | "pipeline.run.succeeded" | "pipeline.run.failed" => {
            format!("of {}", text("pipeline"))
        }
        "incident.opened" => format!("on {}", text("endpoint")),
        "alert.firing" | "alert.resolved" => {
            format!("on {}: {}", text("endpoint"), crate::words::subject(text("subject")))
        }
        "endpoint.not_followed" => {
            because(&format!("to {}", payload["cause"]["alias"].as_str().unwrap_or_default()), text("reason"))
        }
        "bandit.proposed" | "bandit.finished" | "bandit.stopped" | "bandit.expired" | "bandit.overruled" => {
            because(&format!("on {}", text("endpoint")), text("reason"))
        }
        "rollout.held" => because(&format!("on {}", text("endpoint")), text("reason")),
        _ => String::new(),
    }
}

/// With the reason behind it, if there is one; a long one is cut, since its event has it in full.
fn because(what: &str, reason: &str) -> String {
    let cut: String = match reason.chars().count() {
        0 => return what.to_owned(),
        1..=LONGEST_REASON => reason.to_owned(),
        _ => reason.chars().take(LONGEST_REASON - 1).chain(['…']).collect(),
    };
    match what {
        "" => format!("“{cut}”"),
        _ => format!("{what}: {cut}"),
    }
}

pub(super) fn line(event: &EventRow, project: &str, here: &Links) -> EventLine {
    let links = if project.is_empty() { here.clone() } else { Links::new(Some(project)) };
    let payload = event.payload.as_ref();
    let detail = payload.map(|p| detail(&event.action, p)).unwrap_or_default();
    EventLine {
        index: event.index.map(i64::unsigned_abs),
        id: event.id.clone(),
        at: timestamp(event.at_ms),
        actor: event.actor.clone(),
        action: event.action.clone(),
        resource: reference(&links, &event.resource.kind, &event.resource.id),
        detail,
        project: if project.is_empty() { event.project.clone() } else { project.to_owned() },
        erased: payload.is_none(),
    }
}

/// A page of events in lines, and where the next one starts.
pub(super) async fn lines(
    app: &Web,
    filter: EventFilter,
    limit: u32,
    here: &Links,
) -> Result<(Vec<EventLine>, Option<String>), Failure> {
    let names = project_names(app).await?;
    let found = app.ledger.db().read(move |tx| filter.page(tx, limit)).await?;
    let name = |e: &EventRow| names.get(&e.project).cloned().unwrap_or_default();
    let lines = found.events.iter().map(|e| line(e, &name(e), here)).collect();
    Ok((lines, found.next_cursor.map(|c| c.to_string())))
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut projects = visitor.session.readable_ledgers()?;
    let mut shell = visitor.shell(&app, "Ledger", Section::Ledger).await?;
    shell.as_cli = Some("trueline ledger events".to_owned());
    shell.as_api = visitor.api("/api/v1/ledger/events");
    let view = ViewUrl::new("/ledger", visitor.query.clone());
    let asked = |key: &str| Some(view.get(key).to_owned()).filter(|v| !v.is_empty());
    if let Some(name) = asked("project") {
        let id = app.access.identity().project(&name).await.map(|p| p.id.to_string());
        let allowed = |id: &String| projects.as_ref().is_none_or(|list| list.contains(id));
        projects = Some(id.into_iter().filter(allowed).collect());
    }
    let resource = asked("resource");
    let (kind, id) = match resource.as_deref().map(|r| r.split_once(':').unwrap_or((r, ""))) {
        Some((kind, id)) => (Some(kind.to_owned()), Some(id.to_owned()).filter(|i| !i.is_empty())),
        None => (None, None),
    };
    let filter = EventFilter {
        projects,
        actor: asked("actor"),
        action: asked("action"),
        actions: None,
        resource_kind: kind,
        resource_id: id,
        before: view.get("cursor").parse().ok(),
    };
    let (events, next_cursor) = lines(&app, filter, PAGE, &shell.to).await?;
    let pager = Pager { rows: events.len(), noun: "event", next_cursor };
    page(&LedgerPage {
        shell,
        view,
        events,
        actions: ACTIONS.map(ToOwned::to_owned).to_vec(),
        head: head(&app)?,
        verification: verification(&app, &visitor).await?,
        can_verify: visitor.session.server_leave::<VerifyLedger>().is_ok(),
        pager,
    })
}

fn head(app: &Web) -> Result<Option<LedgerHead>, Failure> {
    let Some(head) = LedgerFiles::read_head(&app.ledger_folder)? else { return Ok(None) };
    let key_id = app.ledger_key.split('+').nth(1).unwrap_or_default().to_owned();
    Ok(Some(LedgerHead {
        tree_size: head.size,
        root_hash: head.note.lines().nth(2).unwrap_or_default().to_owned(),
        signed_at: timestamp(head.written_at_ms),
        key_id,
        origin: head.origin,
        verify_command: format!(
            "trueline ledger verify --state --data-dir <copy> --key '{}'",
            app.ledger_key
        ),
    }))
}

/// The state of the last check, or of the one at work.
async fn verification(app: &Web, visitor: &Visitor) -> Result<Verification, Failure> {
    let last = trueline_flows::last_verification(&app.tasks, &visitor.session.leave()?).await?;
    let Some(task) = last else { return Ok(Verification::Never) };
    let at = timestamp(task.finished_at_ms.unwrap_or(task.created_at_ms));
    let result = task.result.unwrap_or_default();
    let told = |field: &str| result[field].as_str().map(ToOwned::to_owned);
    Ok(match task.state {
        TaskState::Queued | TaskState::Running => {
            Verification::Running { since: timestamp(task.created_at_ms) }
        }
        TaskState::Done if result["ok"] == true => {
            let count = |field: &str| result[field].as_u64().unwrap_or(0);
            Verification::Sound { at, entries: count("entries"), elsewhere: count("segments_elsewhere") }
        }
        TaskState::Done | TaskState::Failed => {
            let finding = told("finding").or_else(|| told("error")).unwrap_or_default();
            let index = finding.strip_prefix("entry ").and_then(|f| f.split(':').next()?.parse().ok());
            Verification::Failing { at, index: index.unwrap_or(0), finding, findings: 1 }
        }
    })
}

pub(super) async fn verify(State(app): App, visitor: Visitor) -> Answer {
    let leave = visitor.session.server_leave::<VerifyLedger>()?;
    trueline_flows::request_verification(&app.ledger, &leave).await?;
    if !visitor.htmx {
        return Ok(Redirect::to("/ledger").into_response());
    }
    let shell = visitor.shell(&app, "Ledger", Section::Ledger).await?;
    page(&VerificationPart { shell, verification: verification(&app, &visitor).await? })
}

pub(super) async fn by_id(State(app): App, visitor: Visitor, Path(id): Path<String>) -> Answer {
    let found = app.ledger.db().read(move |tx| trueline_ledger::event(tx, &id)).await?;
    show(&app, &visitor, found).await
}

pub(super) async fn by_index(State(app): App, visitor: Visitor, Path(index): Path<u32>) -> Answer {
    let before = i64::from(index) - 1;
    let found = app.ledger.db().read(move |tx| trueline_ledger::events_after(tx, before, 1)).await?;
    let found = found.into_iter().find(|e| e.index == Some(i64::from(index)));
    let found = found.ok_or_else(|| Failure::not_found(format!("there is no event {index}")))?;
    show(&app, &visitor, found).await
}

async fn show(app: &Web, visitor: &Visitor, event: EventRow) -> Answer {
    if visitor.session.readable_ledgers()?.is_some_and(|list| !list.contains(&event.project)) {
        return Err(Failure::not_found(format!("there is no event {}", event.id)));
    }
    let title = event.index.map_or_else(|| "Event".to_owned(), |i| format!("Event {i}"));
    let mut shell = visitor.shell(app, &title, Section::Ledger).await?;
    shell.crumbs = vec![Crumb::to("Ledger", "/ledger"), Crumb::here(&title)];
    shell.as_api = visitor.api(&format!("/api/v1/ledger/events/{}", event.id));
    let names = project_names(app).await?;
    let id = event.id.clone();
    let leaf = app.ledger.db().read(move |tx| trueline_ledger::leaf(tx, &id)).await?;
    let header: Option<Entry> = serde_json::from_slice(&leaf).ok();
    let size = LedgerFiles::read_head(&app.ledger_folder)?.map_or(0, |h| h.size);
    let index = event.index.map(i64::unsigned_abs);
    let proven = index.is_some_and(|i| i < size);
    let project = names.get(&event.project).cloned().unwrap_or_default();
    let payload = match &event.payload {
        Some(payload) => Payload::Json(payload.clone()),
        None => erased_by(app, &event).await?,
    };
    page(&EventPage {
        event: line(&event, &project, &shell.to),
        on_behalf_of: header.as_ref().and_then(|h| h.on_behalf_of.clone()),
        decision: header.as_ref().and_then(|h| h.decision.clone()),
        request: header.as_ref().and_then(|h| h.request.clone()),
        leaf_hash: index.map(|_| trueline_ledger::leaf_hash(&leaf)),
        payload_hash: header.map(|h| h.payload).unwrap_or_default(),
        proof_url: proven.then(|| format!("/api/v1/ledger/events/{}/proof", event.id)),
        proof_size: proven.then_some(size),
        payload,
        previous: index.and_then(|i| i.checked_sub(1)),
        next: index.map(|i| i + 1).filter(|i| *i < size),
        shell,
    })
}

async fn erased_by(app: &Web, event: &EventRow) -> Result<Payload, Failure> {
    let filter = EventFilter {
        projects: Some(vec![event.project.clone()]),
        action: Some("event.erased".to_owned()),
        resource_kind: Some("event".to_owned()),
        resource_id: Some(event.id.clone()),
        ..EventFilter::default()
    };
    let found = app.ledger.db().read(move |tx| filter.page(tx, 1)).await?;
    let eraser = found.events.into_iter().next();
    Ok(Payload::Erased {
        by: eraser.as_ref().and_then(|e| e.index).map(i64::unsigned_abs),
        actor: eraser.as_ref().map_or_else(|| "nobody on record".to_owned(), |e| e.actor.clone()),
        at: timestamp(eraser.map_or(event.at_ms, |e| e.at_ms)),
    })
}
