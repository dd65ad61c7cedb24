//! Settings: projects, users, roles, tokens, and what is deleted for good.

use super::{Answer, App, Failure, Form, Visitor, page, timestamp};
use crate::format::counted;
use crate::pages::{
    CollectedRow, CollectionView, FreshToken, Grant, ProjectRow, SettingsBody, SettingsPage, TokenRow,
    UserRow,
};
use crate::parts::{Badge, Tone};
use crate::shell::Section;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_flows::{Collection, ProjectCollection, Retention, last_collection, request_collection};
use trueline_identity::{CollectStorage, ManageProjects, ManageUsers, NewUser, ProjectName, Role, RoleGrant};
use trueline_tasks::{State as TaskState, TaskRow};

/// Each role with what it may do.
const ROLES: [(Role, &str); 5] = [
    (Role::Viewer, "Sees what a project holds."),
    (Role::Contributor, "Logs runs, registers versions, moves aliases."),
    (Role::Reviewer, "Sees the project and approves versions."),
    (Role::Admin, "Everything but approving."),
    (Role::Auditor, "Sees everything, the ledger included, and changes nothing."),
];

pub(super) fn field(form: &[(String, String)], name: &str) -> String {
    form.iter().find(|(k, _)| k == name).map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
}

async fn show(
    app: &super::Web,
    visitor: &Visitor,
    body: SettingsBody,
    can_change: bool,
    problem: Option<String>,
) -> Answer {
    let shell = visitor.shell(app, "Settings", Section::Settings).await?;
    page(&SettingsPage { shell, can_change, problem, body })
}

pub(super) async fn projects(State(app): App, visitor: Visitor) -> Answer {
    show_projects(&app, &visitor, None).await
}

async fn show_projects(app: &super::Web, visitor: &Visitor, problem: Option<String>) -> Answer {
    let visible = app.access.visible_projects(&visitor.session).await?;
    let rows = visible.into_iter().map(|p| ProjectRow {
        roles: visitor.session.caller().roles_in(&p.id).iter().map(|r| r.as_str().to_owned()).collect(),
        name: p.name,
        created_at: timestamp(p.created_at_ms),
    });
    let can_change = visitor.session.server_leave::<ManageProjects>().is_ok();
    show(app, visitor, SettingsBody::Projects(rows.collect()), can_change, problem).await
}

pub(super) async fn create_project(State(app): App, visitor: Visitor, Form(form): Form) -> Answer {
    let leave = visitor.session.server_leave::<ManageProjects>()?;
    let made = match ProjectName::parse(&field(&form, "name")) {
        Ok(name) => app.access.identity().create_project(&leave, &name).await.map(drop),
        Err(error) => Err(error),
    };
    show_projects(&app, &visitor, made.err().map(|e| e.to_string())).await
}

fn role_words(grant: &RoleGrant) -> String {
    let role = grant.role.as_str();
    grant.project.as_ref().map_or_else(|| role.to_owned(), |p| format!("{role} of {p}"))
}

pub(super) async fn users(State(app): App, visitor: Visitor) -> Answer {
    show_users(&app, &visitor, None).await
}

async fn show_users(app: &super::Web, visitor: &Visitor, problem: Option<String>) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let all = app.access.identity().users(&leave).await?;
    let rows = all.into_iter().map(|u| UserRow {
        roles: u.roles.iter().map(role_words).collect(),
        name: u.name,
        created_at: timestamp(u.created_at_ms),
    });
    // The first user ends the caller `local` and needs a token at once; that is the command line's matter.
    let can_change = visitor.session.caller().has_token();
    show(app, visitor, SettingsBody::Users(rows.collect()), can_change, problem).await
}

pub(super) async fn create_user(State(app): App, visitor: Visitor, Form(form): Form) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let user = NewUser { name: field(&form, "name"), roles: Vec::new() };
    let made = app.access.identity().create_user(&leave, user).await;
    app.access.identity_changed();
    show_users(&app, &visitor, made.err().map(|e| e.to_string())).await
}

pub(super) async fn roles(State(app): App, visitor: Visitor) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let all = app.access.identity().users(&leave).await?;
    let mut grants = Vec::new();
    for user in &all {
        grants.extend(user.roles.iter().map(|g| Grant {
            user: user.name.clone(),
            role: g.role.as_str().to_owned(),
            project: g.project.clone(),
        }));
    }
    let users = all.into_iter().map(|u| u.name).collect();
    let roles = ROLES.iter().map(|(r, what)| (r.as_str().to_owned(), (*what).to_owned())).collect();
    let can_change = visitor.session.caller().has_token();
    show(&app, &visitor, SettingsBody::Roles { grants, users, roles }, can_change, None).await
}

fn grant_of(form: &[(String, String)]) -> Result<(String, RoleGrant), Failure> {
    let word = field(form, "role");
    let role = Role::parse(&word).ok_or_else(|| Failure::not_found(format!("there is no role `{word}`")))?;
    let project = Some(field(form, "project")).filter(|p| !p.is_empty());
    Ok((field(form, "user"), RoleGrant { role, project }))
}

pub(super) async fn grant(State(app): App, visitor: Visitor, Form(form): Form) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let (user, grant) = grant_of(&form)?;
    app.access.identity().grant(&leave, &user, grant).await?;
    app.access.identity_changed();
    Ok(Redirect::to("/settings/roles").into_response())
}

pub(super) async fn revoke_role(State(app): App, visitor: Visitor, Form(form): Form) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let (user, grant) = grant_of(&form)?;
    app.access.identity().revoke_grant(&leave, &user, grant).await?;
    app.access.identity_changed();
    Ok(Redirect::to("/settings/roles").into_response())
}

pub(super) async fn tokens(State(app): App, visitor: Visitor) -> Answer {
    show_tokens(&app, &visitor, None).await
}

async fn show_tokens(app: &super::Web, visitor: &Visitor, fresh: Option<FreshToken>) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let all = app.access.identity().tokens(&leave).await?;
    let tokens = all.into_iter().map(|t| TokenRow {
        state: match t.revoked_at_ms {
            Some(_) => Badge::new(Tone::Quiet, "Revoked"),
            None => Badge::new(Tone::Good, "Active"),
        },
        can_revoke: t.revoked_at_ms.is_none(),
        id: t.id,
        label: if t.label.is_empty() { "no label".to_owned() } else { t.label },
        user: t.user,
        created_at: timestamp(t.created_at_ms),
    });
    let tracking_uri = visitor.tracking_uri();
    let can_change = visitor.session.caller().has_token();
    let body = SettingsBody::Tokens { tokens: tokens.collect(), fresh, tracking_uri };
    show(app, visitor, body, can_change, None).await
}

/// Makes a token for whoever asks.
pub(super) async fn create_token(State(app): App, visitor: Visitor, Form(form): Form) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    let label = field(&form, "label");
    let principal = visitor.session.caller().principal();
    let user = crate::words::person(&principal);
    let (_, secret) = app.access.identity().create_token(&leave, user, &label).await?;
    show_tokens(&app, &visitor, Some(FreshToken { label, secret })).await
}

pub(super) async fn revoke_token(State(app): App, visitor: Visitor, Path(id): Path<String>) -> Answer {
    let leave = visitor.session.server_leave::<ManageUsers>()?;
    app.access.identity().revoke_token(&leave, &id).await?;
    app.access.identity_changed();
    Ok(Redirect::to("/settings/tokens").into_response())
}

/// A span of time in the largest unit that it is a whole number of.
fn span(ms: i64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let (unit, noun) = units.into_iter().find(|(unit, _)| ms >= *unit && ms % unit == 0).unwrap_or(units[3]);
    counted((ms / unit).unsigned_abs(), noun)
}

fn rules(retention: Retention) -> Vec<String> {
    let kept = match retention.keep_ms {
        Some(ms) => {
            format!("What was deleted can be restored for {}; then it is deleted for good.", span(ms))
        }
        None => "What was deleted can be restored for ever.".to_owned(),
    };
    let every = match retention.every_ms {
        Some(ms) => format!("The server sees to it every {}.", span(ms)),
        None => "The server sees to it only when it is asked.".to_owned(),
    };
    let grace = format!(
        "Bytes that nothing refers to are freed {} after they were uploaded.",
        span(retention.grace_ms)
    );
    vec![kept, every, grace]
}

fn collected(p: ProjectCollection) -> CollectedRow {
    let parts = [
        (p.purged.experiments, "experiment"),
        (p.purged.runs, "run"),
        (p.purged.logged_models, "logged model"),
        (p.manifests, "version"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| counted(*n, noun)).collect();
    CollectedRow {
        project: p.project,
        purged: if parts.is_empty() { "Nothing".to_owned() } else { parts.join(", ") },
        kept_back: p.purged.kept_back,
        freed: p.removed.bytes,
        left: p.kept.bytes,
    }
}

fn last(task: &TaskRow) -> CollectionView {
    let told = task.result.clone().and_then(|result| serde_json::from_value::<Collection>(result).ok());
    let error = task.result.as_ref().and_then(|result| result["error"].as_str());
    let state = match task.state {
        TaskState::Queued => Badge::new(Tone::Quiet, "Waiting"),
        TaskState::Running => Badge::new(Tone::Quiet, "At work"),
        TaskState::Done => Badge::new(Tone::Good, "Done"),
        TaskState::Failed => Badge::new(Tone::Bad, "Failed"),
    };
    CollectionView {
        state,
        at: timestamp(task.created_at_ms),
        dry_run: task.payload["dry_run"] == true,
        error: error.map(ToOwned::to_owned),
        projects: told.unwrap_or_default().projects.into_iter().map(collected).collect(),
    }
}

pub(super) async fn storage(State(app): App, visitor: Visitor) -> Answer {
    let newest = last_collection(&app.tasks, &visitor.session.server_leave()?).await?;
    let body = SettingsBody::Storage { rules: rules(app.retention), last: newest.as_ref().map(last) };
    let can_change = visitor.session.server_leave::<CollectStorage>().is_ok();
    show(&app, &visitor, body, can_change, None).await
}

pub(super) async fn collect(State(app): App, visitor: Visitor, Form(form): Form) -> Answer {
    let leave = visitor.session.server_leave::<CollectStorage>()?;
    let order = app.retention.order(field(&form, "dry_run") == "yes");
    request_collection(&app.ledger, &leave, order).await?;
    app.tasks.ring();
    Ok(Redirect::to("/settings/storage").into_response())
}
