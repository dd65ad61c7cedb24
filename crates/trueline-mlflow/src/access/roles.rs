//! `/roles/*` of version 3.0: roles of a workspace, their permissions, their members.

use super::{Answer, Refusal, grantable, manage_workspace, number};
use crate::error::WireError;
use crate::fields::{Fields, missing};
use crate::{App, Caller, Mlflow, reply};
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::Session;
use trueline_identity::{
    AccessRole, Authorized, Grant, IdentityError, ManageResource, Membership, ResourceKind, RolePermission,
};

pub(super) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create))
        .route("/get", get(by_id))
        .route("/list", get(list))
        .route("/update", patch(update))
        .route("/delete", delete(remove))
        .route("/assign", post(assign))
        .route("/unassign", delete(unassign))
        .route("/users/list", get(members))
        .route("/permissions/add", post(permit))
        .route("/permissions/remove", delete(withdraw))
        .route("/permissions/list", get(permissions))
        .route("/permissions/update", patch(change))
}

pub(super) fn rendered(role: &AccessRole) -> Json {
    json!({
        "id": role.id, "name": role.name, "workspace": role.workspace, "description": role.description,
        "permissions": role.permissions.iter().map(permission).collect::<Vec<_>>(),
    })
}

fn permission(p: &RolePermission) -> Json {
    json!({
        "id": p.id, "role_id": p.role, "resource_type": p.grant.kind.as_str(), "resource_pattern": p.grant.pattern,
        "permission": p.grant.permission.as_str(),
    })
}

fn membership(m: &Membership) -> Json {
    json!({ "id": m.id, "user_id": m.user, "role_id": m.role })
}

/// A text that must be there; one that is empty has its own words.
fn text(fields: &Fields, name: &str, empty: &str) -> Result<String, WireError> {
    match fields.any(name) {
        None => Err(missing(name)),
        Some(_) => Ok(fields.text_or_empty(name)?)
            .and_then(|t: String| if t.trim().is_empty() { Err(WireError::invalid(empty)) } else { Ok(t) }),
    }
}

/// A role that somebody may be about to change: one that is not there looks like one of another workspace.
async fn managed(
    app: &Mlflow,
    session: &Session,
    found: Result<AccessRole, IdentityError>,
) -> Result<(AccessRole, Authorized<ManageResource>), Refusal> {
    match found {
        Ok(role) => {
            let leave = manage_workspace(app, session, &role.workspace).await?;
            Ok((role, leave))
        }
        Err(error) if session.caller().is_server_admin() => Err(error.into()),
        Err(IdentityError::Missing(_)) => Err(Refusal::Forbidden),
        Err(error) => Err(error.into()),
    }
}

async fn managed_role(
    app: &Mlflow,
    session: &Session,
    fields: &Fields,
) -> Result<(AccessRole, Authorized<ManageResource>), Refusal> {
    let id = number(fields, "role_id")?;
    managed(app, session, app.access.identity().role(id).await).await
}

async fn managed_permission(
    app: &Mlflow,
    session: &Session,
    fields: &Fields,
) -> Result<(i64, Authorized<ManageResource>), Refusal> {
    let id = number(fields, "role_permission_id")?;
    let (_, leave) = managed(app, session, app.access.identity().role_of_permission(id).await).await?;
    Ok((id, leave))
}

/// A role that the caller may see: as an admin, or having a role in its workspace.
async fn seen(app: &Mlflow, session: &Session, fields: &Fields) -> Result<AccessRole, Refusal> {
    let found = app.access.identity().role(number(fields, "role_id")?).await;
    if session.caller().is_server_admin() {
        return Ok(found?);
    }
    let (present, _) = workspaces(app, session).await?;
    found.ok().filter(|role| present.contains(&role.workspace)).ok_or(Refusal::Forbidden)
}

type Names = std::collections::BTreeSet<String>;

/// The workspaces in which the caller has a role, and those of which the caller is admin.
pub(super) async fn workspaces(app: &Mlflow, session: &Session) -> Result<(Names, Names), Refusal> {
    let user = session.caller().user().ok_or(Refusal::Forbidden)?;
    Ok(app.access.identity().workspaces_of(user).await?)
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let workspace = text(&fields, "workspace", "Parameter 'workspace' must be a non-empty string.")?;
    let leave = manage_workspace(&app, &session, &workspace).await?;
    let name = text(&fields, "name", "Role name cannot be empty.")?;
    let description = fields.text("description")?;
    let made = app.access.identity().create_role(&leave, &workspace, &name, description).await?;
    Ok(reply::json(&json!({ "role": rendered(&made) })))
}

async fn by_id(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(reply::json(&json!({ "role": rendered(&seen(&app, &session, &fields).await?) })))
}

async fn list(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let wanted = fields.texts("workspace")?;
    if wanted.iter().any(|w| w.trim().is_empty()) {
        let why = "Parameter 'workspace' must be a non-empty string when provided.";
        return Err(WireError::invalid(why).into());
    }
    if !session.caller().is_server_admin() {
        let (present, _) = workspaces(&app, &session).await?;
        if wanted.is_empty() || !wanted.iter().all(|w| present.contains(w)) {
            return Err(Refusal::Forbidden);
        }
    }
    let found = app.access.identity().roles(Some(wanted).filter(|w| !w.is_empty())).await?;
    Ok(reply::json(&json!({ "roles": found.iter().map(rendered).collect::<Vec<_>>() })))
}

async fn update(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (role, leave) = managed_role(&app, &session, &fields).await?;
    let (name, description) = (fields.text("name")?, fields.text("description")?);
    if name.is_none() && description.is_none() {
        let why = "At least one of 'name' or 'description' must be provided to update a role.";
        return Err(WireError::invalid(why).into());
    }
    let changed = app.access.identity().update_role(&leave, role.id, name, description).await?;
    Ok(reply::json(&json!({ "role": rendered(&changed) })))
}

async fn remove(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (role, leave) = managed_role(&app, &session, &fields).await?;
    app.access.identity().delete_role(&leave, role.id).await?;
    Ok(reply::empty())
}

async fn permit(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (role, leave) = managed_role(&app, &session, &fields).await?;
    let kind = ResourceKind::parse(&fields.required("resource_type")?)?;
    let pattern = fields.required("resource_pattern")?;
    let permission = grantable(&fields.required("permission")?, kind)?;
    let grant = Grant { kind, pattern, permission };
    let made = app.access.identity().add_role_permission(&leave, role.id, grant).await?;
    Ok(reply::json(&json!({ "role_permission": self::permission(&made) })))
}

async fn withdraw(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (id, leave) = managed_permission(&app, &session, &fields).await?;
    app.access.identity().remove_role_permission(&leave, id).await?;
    Ok(reply::empty())
}

async fn permissions(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let role = seen(&app, &session, &fields).await?;
    let permissions: Vec<Json> = role.permissions.iter().map(permission).collect();
    Ok(reply::json(&json!({ "role_permissions": permissions })))
}

async fn change(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (id, leave) = managed_permission(&app, &session, &fields).await?;
    let role = app.access.identity().role_of_permission(id).await?;
    let kind =
        role.permissions.iter().find(|p| p.id == id).map_or(ResourceKind::Experiment, |p| p.grant.kind);
    let permission = grantable(&fields.required("permission")?, kind)?;
    let changed = app.access.identity().update_role_permission(&leave, id, permission).await?;
    Ok(reply::json(&json!({ "role_permission": self::permission(&changed) })))
}

async fn assign(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (role, leave) = managed_role(&app, &session, &fields).await?;
    let user = fields.required("username")?;
    let made = app.access.identity().assign_role(&leave, &user, role.id).await?;
    Ok(reply::json(&json!({ "assignment": membership(&made) })))
}

async fn unassign(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (role, leave) = managed_role(&app, &session, &fields).await?;
    app.access.identity().unassign_role(&leave, &fields.required("username")?, role.id).await?;
    Ok(reply::empty())
}

async fn members(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (role, _) = managed_role(&app, &session, &fields).await?;
    let members = app.access.identity().members(role.id).await?;
    Ok(reply::json(&json!({ "assignments": members.iter().map(membership).collect::<Vec<_>>() })))
}
