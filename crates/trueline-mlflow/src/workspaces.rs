//! `/workspaces`: projects, for clients that choose one by the header `X-MLFLOW-WORKSPACE`.

use crate::error::{Code, WireError};
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::extract::{MatchedPath, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use trueline_flows::{DEFAULT_WORKSPACE, Session};
use trueline_identity::Workspace;

type Answer = Result<Response, WireError>;

/// The header by which a request chooses a workspace.
pub(crate) const HEADER: &str = "x-mlflow-workspace";
const RESERVED: [&str; 4] = ["workspaces", "api", "ajax-api", "static-files"];
const OFF: &str = "Workspace APIs are not available: workspaces are not enabled on this server";

pub(crate) fn routes(on: bool) -> Router<Arc<Mlflow>> {
    if !on {
        return Router::new()
            .route("/3.0/mlflow/workspaces", any(off))
            .route("/3.0/mlflow/workspaces/{*rest}", any(off))
            .route("/3.0/mlflow/workspace-permissions", any(off));
    }
    Router::new()
        .route("/3.0/mlflow/workspaces", get(list).post(create))
        .route("/3.0/mlflow/workspaces/{name}", get(by_name).patch(update).delete(remove))
}

async fn off(path: MatchedPath) -> Response {
    let why = format!(
        "Endpoint: {} disabled because the server is running without workspaces support. To enable workspace, run the \
         server with `--enable-workspaces`",
        path.as_str()
    );
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// The answer to a request that chooses a workspace on a server without them.
pub(crate) fn header_refused() -> WireError {
    WireError::new(Code::FeatureDisabled, OFF)
}

fn rendered(workspace: &Workspace) -> Json {
    render::compact(json!({ "name": workspace.name, "description": workspace.description }))
}

fn check_name(name: &str) -> Result<(), WireError> {
    if !(2..=63).contains(&name.len()) {
        return Err(WireError::invalid(format!(
            "Workspace name '{name}' must be between 2 and 63 characters."
        )));
    }
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = name.starts_with(letter) && name.ends_with(letter);
    if !ends || !name.chars().all(|c| letter(c) || c == '-') {
        return Err(WireError::invalid(format!(
            "Workspace name '{name}' must match the pattern ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ (lowercase alphanumeric with \
             optional internal hyphens)."
        )));
    }
    if RESERVED.contains(&name) {
        return Err(WireError::invalid(format!("Workspace name '{name}' is reserved and cannot be used.")));
    }
    Ok(())
}

/// What only projects as a whole could have, and this server's have not.
fn refuse_unsupported(fields: &Fields) -> Result<(), WireError> {
    for field in ["default_artifact_root", "trace_archival_config"] {
        if fields.any(field).is_some() {
            return Err(WireError::new(
                Code::NotImplemented,
                format!(
                    "'{field}' can't be set: artifacts of all workspaces are kept where the server keeps them"
                ),
            ));
        }
    }
    Ok(())
}

/// The names of the workspaces that the session's caller may see.
async fn visible(app: &Mlflow, session: &Session) -> Result<BTreeSet<String>, WireError> {
    let mut names: BTreeSet<String> =
        app.access.visible_projects(session).await?.into_iter().map(|p| p.name).collect();
    if let (Some(rules), Some(user)) = (app.access.permissions(), session.caller().user()) {
        let identity = app.access.identity();
        let (held, _) = identity.workspaces_of(user).await?;
        let open = rules.default_workspace_open.then(|| DEFAULT_WORKSPACE.to_owned());
        // A role can be of a workspace that is not there.
        let there = identity.projects().await?;
        names.extend(held.into_iter().chain(open).filter(|name| there.iter().any(|p| p.name == *name)));
    }
    Ok(names)
}

async fn list(State(app): App, Caller(session): Caller) -> Answer {
    let mut workspaces = Vec::new();
    for name in visible(&app, &session).await? {
        workspaces.push(rendered(&app.access.identity().workspace(&name).await?));
    }
    Ok(reply::json(&json!({ "workspaces": workspaces })))
}

async fn by_name(State(app): App, Caller(session): Caller, Path(name): Path<String>) -> Answer {
    let found = app.access.identity().workspace(&name).await?;
    if !visible(&app, &session).await?.contains(&name) {
        return Err(WireError::new(Code::PermissionDenied, "Permission denied"));
    }
    Ok(reply::json(&json!({ "workspace": rendered(&found) })))
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let leave = session.server_leave()?;
    let name = fields.required("name")?;
    if name == DEFAULT_WORKSPACE {
        return Err(WireError::invalid("The 'default' workspace is reserved and cannot be created"));
    }
    check_name(&name)?;
    refuse_unsupported(&fields)?;
    let workspace = Workspace { name, description: fields.text("description")? };
    let with_roles = app.access.permissions().is_some();
    let made = app.access.identity().create_workspace(&leave, workspace, with_roles).await?;
    let answer = reply::json(&json!({ "workspace": rendered(&made) }));
    Ok((StatusCode::CREATED, answer).into_response())
}

async fn update(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    fields: Fields,
) -> Answer {
    let leave = session.server_leave()?;
    refuse_unsupported(&fields)?;
    let Some(description) = fields.text("description")? else {
        return Err(WireError::invalid("Workspace update must have at least one key"));
    };
    let changed = app.access.identity().describe_workspace(&leave, &name, &description).await?;
    Ok(reply::json(&json!({ "workspace": rendered(&changed) })))
}

/// A project's id is in the ledger and in every key, so it is never deleted.
async fn remove(State(app): App, Caller(session): Caller, Path(name): Path<String>) -> Answer {
    session.server_leave::<trueline_identity::ManageProjects>()?;
    if name == DEFAULT_WORKSPACE {
        return Err(WireError::invalid("The 'default' workspace is reserved and cannot be deleted"));
    }
    app.access.identity().workspace(&name).await?;
    Err(WireError::new(Code::FeatureDisabled, "Workspace deletion is not supported by this provider"))
}
