//! Users, roles and permissions with MLflow's names (`--app-name basic-auth`). Every request of a user is judged before its
//! handler: [`needs`] says which resource it names and what it wants there, [`guard`] finds what governs that resource and
//! hands the handler a session about it, from which leave is taken as ever.

mod direct;
mod guard;
mod legacy;
mod makers;
mod needs;
mod roles;
mod signup;
mod users;
mod workspace_permissions;

pub(crate) use guard::{guard, narrowed, part};

use crate::Mlflow;
use crate::error::WireError;
use crate::fields::Fields;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use trueline_flows::{PermissionRules, Session};
use trueline_identity::{Authorized, IdentityError, ManageResource, Permission, ResourceKind};

const UNAUTHENTICATED: &str = "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html\
                               #authenticating-to-mlflow on how to authenticate.";

/// The routes below `/api`, for a server where users have permissions.
pub(crate) fn routes(workspaces: bool) -> Router<Arc<Mlflow>> {
    let on_workspaces = if workspaces { workspace_permissions::routes() } else { Router::new() };
    Router::new()
        .nest("/2.0/mlflow/users", users::routes())
        .nest("/3.0/mlflow/users", direct::routes())
        .nest("/3.0/mlflow/roles", roles::routes())
        .merge(legacy::routes())
        .merge(on_workspaces)
}

/// The routes for people, beside the API.
pub(crate) fn pages() -> Router<Arc<Mlflow>> {
    signup::routes()
}

fn unauthenticated() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"mlflow\""))];
    (StatusCode::UNAUTHORIZED, challenge, UNAUTHENTICATED).into_response()
}

pub(crate) fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "Permission denied").into_response()
}

/// The rules, which are there wherever these routes are.
fn rules(app: &Mlflow) -> Result<PermissionRules, WireError> {
    app.access.permissions().ok_or_else(|| WireError::internal("this server has no permissions on resources"))
}

/// A whole number that must be there.
fn number(fields: &Fields, name: &str) -> Result<i64, WireError> {
    let value = fields.any(name).ok_or_else(|| crate::fields::missing(name))?;
    let parsed = value.as_i64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    parsed.ok_or_else(|| WireError::invalid(format!("Parameter '{name}' must be an integer. Got: {value}")))
}

/// A permission that the calls of 3.13 and later can grant.
fn grantable(word: &str, kind: ResourceKind) -> Result<Permission, WireError> {
    let permission = Permission::parse(word)?;
    if kind == ResourceKind::Workspace && !matches!(permission, Permission::Use | Permission::Manage) {
        return Err(WireError::invalid(format!(
            "Invalid permission '{word}' for resource_type='workspace'. Workspace-wide grants accept only: ('MANAGE', \
             'USE')."
        )));
    }
    if kind != ResourceKind::Workspace && permission == Permission::NoPermissions {
        return Err(WireError::invalid(format!(
            "Invalid permission '{word}' for resource_type='{}'. Resource-level grants accept only: ('DENY', 'EDIT', \
             'MANAGE', 'READ', 'USE').",
            kind.as_str()
        )));
    }
    Ok(permission)
}

/// Leave to say who may do what in a workspace: for admins of the server and of that workspace.
async fn manage_workspace(
    app: &Mlflow,
    session: &Session,
    workspace: &str,
) -> Result<Authorized<ManageResource>, Refusal> {
    let held = match session.caller().user() {
        Some(user) => app.access.holdings(user, workspace, rules(app)?).await?.of_workspace(),
        None => Permission::NoPermissions,
    };
    session.about(held).leave().map_err(|_| Refusal::Forbidden)
}

/// Why a call about users and permissions is refused.
#[derive(Debug)]
enum Refusal {
    Forbidden,
    Wire(WireError),
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Denied { .. } => Self::Forbidden,
            other => Self::Wire(other.into()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Forbidden => forbidden(),
            Self::Wire(error) => error.into_response(),
        }
    }
}

type Answer = Result<Response, Refusal>;
