//! `/users/*` of version 2.0: users with their passwords.

use super::legacy::with_permissions;
use super::{Answer, Refusal};
use crate::error::WireError;
use crate::fields::Fields;
use crate::{App, Caller, Mlflow, reply};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::Session;
use trueline_identity::{Account, Authorized, IdentityError, ManageUsers, hash_password, verify_password};

pub(super) fn routes() -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create))
        .route("/create-ui", post(super::signup::create))
        .route("/get", get(by_name))
        .route("/list", get(list))
        .route("/current", get(current))
        .route("/update-password", patch(update_password))
        .route("/update-admin", patch(update_admin))
        .route("/delete", delete(remove))
}

pub(super) fn rendered(account: &Account) -> Json {
    json!({ "id": account.number, "username": account.name, "is_admin": account.is_admin })
}

/// Leave to manage users, or MLflow's refusal.
pub(super) fn manage(session: &Session) -> Result<Authorized<ManageUsers>, Refusal> {
    Ok(session.server_leave()?)
}

/// The hash of a password. Hashing is slow on purpose, so it is done beside the requests.
pub(super) async fn hashed(app: &Mlflow, password: String) -> Result<String, Refusal> {
    let salt = app.access.identity().salt();
    let hashed = tokio::task::spawn_blocking(move || hash_password(&password, salt)).await;
    Ok(hashed.map_err(|e| WireError::internal(e.to_string()))??)
}

async fn create(State(app): App, Caller(session): Caller, headers: HeaderMap, body: Bytes) -> Answer {
    let leave = manage(&session)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        let why = "Invalid content type. Must be application/json";
        return Ok((StatusCode::BAD_REQUEST, why).into_response());
    }
    let fields = Fields::from_body(&body).unwrap_or_default();
    let text = |name: &str| match fields.any(name) {
        None => Err(crate::fields::missing(name)),
        Some(_) => fields.text_or_empty(name),
    };
    let (name, password) = (text("username")?, text("password")?);
    if name.is_empty() || password.is_empty() {
        return Ok((StatusCode::BAD_REQUEST, "Username and password cannot be empty.").into_response());
    }
    let password = hashed(&app, password).await?;
    let made = app.access.identity().create_account(&leave, &name, password).await?;
    Ok(reply::json(&json!({ "user": with_permissions(&made, &[]) })))
}

async fn by_name(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let name = fields.required("username")?;
    if session.caller().user() != Some(&name) {
        manage(&session)?;
    }
    let identity = app.access.identity();
    let (account, roles) = (identity.account(&name).await?, identity.roles_of(&name).await?);
    Ok(reply::json(&json!({ "user": with_permissions(&account, &roles) })))
}

async fn list(State(app): App, Caller(session): Caller) -> Answer {
    manage(&session)?;
    let identity = app.access.identity();
    let mut users = Vec::new();
    for account in identity.accounts().await? {
        let mut user = rendered(&account);
        let roles = identity.roles_of(&account.name).await?;
        user["roles"] = roles.iter().map(super::roles::rendered).collect();
        users.push(user);
    }
    Ok(reply::json(&json!({ "users": users })))
}

async fn current(State(app): App, Caller(session): Caller) -> Answer {
    let Some(name) = session.caller().user() else { return Err(Refusal::Forbidden) };
    let account = app.access.identity().account(name).await?;
    Ok(reply::json(&json!({ "user": rendered(&account), "is_basic_auth": true })))
}

async fn update_password(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let name = fields.required("username")?;
    let password = fields.required("password")?;
    let identity = app.access.identity();
    if session.caller().user() == Some(&name) {
        // Whoever holds a session must show the old password, so that it can't be changed behind the user's back.
        let old = fields.text_or_empty("current_password")?;
        if old.is_empty() {
            let why = "Current password is required when changing your own password.";
            return Err(WireError::invalid(why).into());
        }
        let stored = identity.stored_password(session.caller()).await?.unwrap_or_default();
        let shown = old.clone();
        let right = tokio::task::spawn_blocking(move || verify_password(&stored, &shown)).await;
        if !right.map_err(|e| WireError::internal(e.to_string()))? {
            return Err(WireError::invalid("Current password does not match.").into());
        }
        if old == password {
            return Err(WireError::invalid("New password must differ from the current password.").into());
        }
        identity.set_own_password(session.caller(), hashed(&app, password).await?).await?;
    } else {
        let leave = manage(&session)?;
        identity.set_password(&leave, &name, hashed(&app, password).await?).await?;
    }
    app.access.identity_changed();
    Ok(reply::empty())
}

async fn update_admin(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let leave = manage(&session)?;
    let name = fields.required("username")?;
    fields.any("is_admin").ok_or_else(|| crate::fields::missing("is_admin"))?;
    app.access.identity().set_admin(&leave, &name, fields.switch("is_admin")?).await?;
    app.access.identity_changed();
    Ok(reply::empty())
}

async fn remove(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let leave = manage(&session)?;
    let name = fields.required("username")?;
    if session.caller().user() == Some(&name) {
        let why = "Users cannot delete their own account. Ask another admin to delete this user instead.";
        return Err(Refusal::Wire(WireError::invalid(why)));
    }
    app.access.identity().delete_account(&leave, &name).await?;
    app.access.identity_changed();
    Ok(reply::empty())
}

/// The account of a user that must be there.
pub(super) async fn account(app: &Mlflow, name: &str) -> Result<Account, IdentityError> {
    app.access.identity().account(name).await
}
