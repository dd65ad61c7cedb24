//! Permissions on workspaces as clients up to 3.12 ask for them: `/workspaces/{name}/permissions`,
//! `/workspace-permissions`. They are direct grants on the workspace.

use super::users::account;
use super::{Answer, manage_workspace};
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, reply};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_identity::{AccessRole, Permission, Resource, ResourceKind};

pub(super) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/3.0/mlflow/workspaces/{name}/permissions", get(list).post(set).delete(remove))
        .route("/3.0/mlflow/workspace-permissions", get(of_user))
}

fn rendered(workspace: &str, user: i64, permission: Permission) -> Json {
    json!({ "workspace": workspace, "user_id": user, "permission": permission.as_str() })
}

/// The permissions on workspaces among roles that hold direct grants.
fn on_workspaces<'a>(roles: &'a [AccessRole]) -> impl Iterator<Item = Json> + 'a {
    let own = |role: &&AccessRole| role.owner_number().is_some();
    roles.iter().filter(own).flat_map(|role| {
        let granted = role.permissions.iter().map(|p| &p.grant).filter(|g| g.kind == ResourceKind::Workspace);
        granted.map(|g| rendered(&role.workspace, role.owner_number().unwrap_or_default(), g.permission))
    })
}

async fn list(State(app): App, Caller(session): Caller, Path(name): Path<String>) -> Answer {
    manage_workspace(&app, &session, &name).await?;
    let roles = app.access.identity().roles(Some(vec![name])).await?;
    Ok(reply::json(&json!({ "permissions": on_workspaces(&roles).collect::<Vec<_>>() })))
}

async fn set(State(app): App, Caller(session): Caller, Path(name): Path<String>, fields: Fields) -> Answer {
    let leave = manage_workspace(&app, &session, &name).await?;
    let (user, permission) =
        (fields.required("username")?, Permission::parse(&fields.required("permission")?)?);
    let identity = app.access.identity();
    identity.workspace(&name).await?;
    let resource = Resource::new(&name, ResourceKind::Workspace, "*");
    let account = identity.set_direct_grant(&leave, &user, &resource, permission).await?;
    Ok(reply::json(&json!({ "permission": rendered(&name, account.number, permission) })))
}

async fn remove(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    fields: Fields,
) -> Answer {
    let leave = manage_workspace(&app, &session, &name).await?;
    let resource = Resource::new(&name, ResourceKind::Workspace, "*");
    app.access.identity().revoke_directly(&leave, &fields.required("username")?, &resource).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn of_user(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    super::users::manage(&session)?;
    let name = fields.required("username")?;
    account(&app, &name).await?;
    let roles = app.access.identity().roles_of(&name).await?;
    Ok(reply::json(&json!({ "permissions": on_workspaces(&roles).collect::<Vec<_>>() })))
}
