//! `/whoami`, `/projects`, `/users`, `/tokens`.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_identity::{NewUser, Project, ProjectName, RoleGrant, TokenRow, UserRow};

fn project(p: &Project) -> Value {
    json!({ "id": p.id, "name": p.name, "created_at": rfc3339(p.created_at_ms) })
}

fn user(u: &UserRow) -> Value {
    json!({ "name": u.name, "roles": u.roles, "created_at": rfc3339(u.created_at_ms) })
}

fn token(t: &TokenRow) -> Value {
    json!({
        "id": t.id, "user": t.user, "label": t.label, "created_at": rfc3339(t.created_at_ms),
        "revoked_at": t.revoked_at_ms.map(rfc3339),
    })
}

pub(crate) async fn whoami(Caller(session): Caller) -> Json<Value> {
    let here = session.project();
    Json(json!({
        "principal": session.caller().principal(),
        "project": here.name,
        "roles": session.caller().roles_in(&here.id),
    }))
}

pub(crate) async fn projects(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let visible = app.access.visible_projects(&session).await?;
    Ok(Json(json!({ "projects": visible.iter().map(project).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
pub(crate) struct NewProject {
    name: String,
}

pub(crate) async fn create_project(
    State(app): App,
    Caller(session): Caller,
    Body(new): Body<NewProject>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = ProjectName::parse(&new.name)?;
    let made = app.access.identity().create_project(&session.server_leave()?, &name).await?;
    Ok((StatusCode::CREATED, Json(project(&made))))
}

pub(crate) async fn users(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let all = app.access.identity().users(&session.server_leave()?).await?;
    Ok(Json(json!({ "users": all.iter().map(user).collect::<Vec<_>>() })))
}

pub(crate) async fn create_user(
    State(app): App,
    Caller(session): Caller,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (identity, leave) = (app.access.identity(), session.server_leave()?);
    let (made, secret) = identity.create_user(&leave, new).await?;
    let mut answer = user(&made);
    if let Some(secret) = secret {
        answer["token"] = json!(secret);
    }
    app.access.identity_changed();
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn grant(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(role): Body<RoleGrant>,
) -> Result<StatusCode, Problem> {
    app.access.identity().grant(&session.server_leave()?, &name, role).await?;
    app.access.identity_changed();
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn revoke(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(role): Body<RoleGrant>,
) -> Result<StatusCode, Problem> {
    app.access.identity().revoke_grant(&session.server_leave()?, &name, role).await?;
    app.access.identity_changed();
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, Default)]
pub(crate) struct NewToken {
    #[serde(default)]
    label: String,
}

pub(crate) async fn create_token(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let identity = app.access.identity();
    let (row, secret) = identity.create_token(&session.server_leave()?, &name, &new.label).await?;
    let mut answer = token(&row);
    answer["token"] = json!(secret);
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn tokens(State(app): App, Caller(session): Caller) -> Result<Json<Value>, Problem> {
    let all = app.access.identity().tokens(&session.server_leave()?).await?;
    Ok(Json(json!({ "tokens": all.iter().map(token).collect::<Vec<_>>() })))
}

pub(crate) async fn revoke_token(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.access.identity().revoke_token(&session.server_leave()?, &id).await?;
    app.access.identity_changed();
    Ok(StatusCode::NO_CONTENT)
}
