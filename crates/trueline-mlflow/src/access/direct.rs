//! `/users/*` of version 3.0: what is granted to users directly, and what governs for them in effect.

use super::roles::workspaces;
use super::users::account;
use super::{Answer, Refusal, grantable, rules};
use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, reply};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::Session;
use trueline_identity::{AccessRole, Authorized, ManageResource, Permission, Resource, ResourceKind, Rung};

pub(super) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/current/permissions", get(current))
        .route("/permissions/list", get(list))
        .route("/permissions/grant", post(grant))
        .route("/permissions/revoke", post(revoke))
        .route("/permissions/get", get(effective))
        .route("/roles/list", get(roles))
}

fn rows(roles: &[AccessRole]) -> Vec<Json> {
    let of_role = |role: &AccessRole| {
        let row = |p: &trueline_identity::RolePermission| {
            json!({
                "role_id": role.id, "role_name": role.name, "workspace": role.workspace,
                "resource_type": p.grant.kind.as_str(), "resource_pattern": p.grant.pattern,
                "permission": p.grant.permission.as_str(),
            })
        };
        role.permissions.iter().map(row).collect::<Vec<_>>()
    };
    roles.iter().flat_map(of_role).collect()
}

async fn current(State(app): App, Caller(session): Caller) -> Answer {
    let name = session.caller().user().ok_or(Refusal::Forbidden)?;
    let roles = app.access.identity().roles_of(name).await?;
    let is_admin = session.caller().is_server_admin();
    Ok(reply::json(&json!({ "is_admin": is_admin, "permissions": rows(&roles) })))
}

/// The roles of a user, as far as the caller may see them: all of one's own and for admins, those of their workspaces for
/// admins of workspaces.
async fn seen(app: &Mlflow, session: &Session, name: &str) -> Result<Vec<AccessRole>, Refusal> {
    let caller = session.caller();
    if caller.is_server_admin() || caller.user() == Some(name) {
        account(app, name).await?;
        return Ok(app.access.identity().roles_of(name).await?);
    }
    let (_, administered) = workspaces(app, session).await?;
    let mut roles = app.access.identity().roles_of(name).await?;
    roles.retain(|role| administered.contains(&role.workspace));
    if roles.is_empty() { Err(Refusal::Forbidden) } else { Ok(roles) }
}

async fn list(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let name = fields.required("username")?;
    let roles = seen(&app, &session, &name).await?;
    let is_admin = account(&app, &name).await?.is_admin;
    Ok(reply::json(&json!({ "is_admin": is_admin, "permissions": rows(&roles) })))
}

async fn roles(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let roles = seen(&app, &session, &fields.required("username")?).await?;
    let roles: Vec<Json> = roles.iter().map(super::roles::rendered).collect();
    Ok(reply::json(&json!({ "roles": roles })))
}

/// The resource that a request names by type and id.
fn resource(session: &Session, fields: &Fields) -> Result<Resource, Refusal> {
    let kind = ResourceKind::parse(&fields.required("resource_type")?)?;
    if kind == ResourceKind::Workspace {
        return Err(WireError::invalid(
            "resource_type 'workspace' is not supported by the per-user permission convenience APIs. Use \
             set_workspace_permission / delete_workspace_permission for workspace-wide grants.",
        )
        .into());
    }
    Ok(Resource::new(&session.project().name, kind, fields.required("resource_id")?))
}

/// Leave for those who may manage the resource.
async fn manage(
    app: &Mlflow,
    session: &Session,
    resource: &Resource,
) -> Result<Authorized<ManageResource>, Refusal> {
    let held = app.access.holdings_of(session, rules(app)?).await?;
    Ok(session.about(held.governing(&[rung(resource)])).leave()?)
}

fn rung(resource: &Resource) -> Rung {
    match resource.id.as_str() {
        "*" => Rung::all(resource.kind),
        id => Rung::one(resource.kind, id),
    }
}

async fn grant(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let resource = resource(&session, &fields)?;
    let leave = manage(&app, &session, &resource).await?;
    let permission = grantable(&fields.required("permission")?, resource.kind)?;
    let name = fields.required("username")?;
    app.access.identity().grant_directly(&leave, &name, &resource, permission).await?;
    Ok(reply::empty())
}

async fn revoke(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let resource = resource(&session, &fields)?;
    let leave = manage(&app, &session, &resource).await?;
    app.access.identity().revoke_directly(&leave, &fields.required("username")?, &resource).await?;
    Ok(reply::empty())
}

/// What governs for a user in effect. Only the user, and admins of the server or the workspace, may ask.
async fn effective(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let resource = resource(&session, &fields)?;
    let name = fields.required("username")?;
    if session.caller().user() != Some(&name) {
        super::manage_workspace(&app, &session, &resource.workspace).await?;
    }
    let asked = account(&app, &name).await?;
    let permission = match asked.is_admin {
        true => Permission::Manage,
        false => {
            let held = app.access.holdings(&name, &resource.workspace, rules(&app)?).await?;
            held.governing(&[rung(&resource)])
        }
    };
    Ok(reply::json(&json!({ "allowed": permission.can_use(), "permission": permission.as_str() })))
}
