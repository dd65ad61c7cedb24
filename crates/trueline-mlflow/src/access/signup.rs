//! `/signup`: a form by which an admin makes a user. A page of another site can't send it: the form repeats a secret that a
//! cookie holds, which that page can't read.

use super::Answer;
use super::users::{hashed, manage};
use crate::fields::Fields;
use crate::{App, Caller, Mlflow};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use trueline_identity::IdentityError;

const COOKIE: &str = "trueline_csrf";
const ACTION: &str = "/api/2.0/mlflow/users/create-ui";

pub(super) fn routes() -> Router<Arc<Mlflow>> {
    Router::new().route("/signup", get(form))
}

fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Sign up a user</title>\n<body \
         style=\"font: 16px sans-serif; max-width: 24rem; margin: 4rem auto\">\n{body}\n</body>\n</html>\n"
    ))
}

async fn form(State(app): App, Caller(session): Caller) -> Answer {
    manage(&session)?;
    let secret = app.access.identity().form_secret();
    let cookie = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict");
    let body = format!(
        "<h1>Sign up a user</h1>\n<form action=\"{ACTION}\" method=\"post\">\n<input type=\"hidden\" name=\"csrf_token\" \
         value=\"{secret}\"/>\n<p><label>Username<br><input name=\"username\" required></label></p>\n<p><label>Password<br>\
         <input type=\"password\" name=\"password\" required></label></p>\n<p><button>Sign up</button></p>\n</form>"
    );
    Ok(([(header::SET_COOKIE, cookie)], page(&body)).into_response())
}

fn refused(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, why.to_owned()).into_response()
}

/// Takes the form.
pub(super) async fn create(
    State(app): App,
    Caller(session): Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let leave = manage(&session)?;
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !header(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded") {
        return Ok(refused("Invalid content type. Must be application/x-www-form-urlencoded"));
    }
    let fields = Fields::from_query(std::str::from_utf8(&body).unwrap_or_default());
    let cookies = header(header::COOKIE).split(';').filter_map(|c| c.trim().split_once('='));
    let kept = cookies.into_iter().find(|(name, _)| *name == COOKIE).map(|(_, secret)| secret);
    let repeated = fields.text_or_empty("csrf_token")?;
    match kept {
        _ if repeated.is_empty() => return Ok(refused("The CSRF token is missing.")),
        Some(kept) if kept == repeated => {}
        _ => return Ok(refused("The CSRF token is invalid.")),
    }
    let (name, password) = (fields.text_or_empty("username")?, fields.text_or_empty("password")?);
    if name.is_empty() || password.is_empty() {
        return Ok(refused("Username and password cannot be empty."));
    }
    let password = hashed(&app, password).await?;
    match app.access.identity().create_account(&leave, &name, password).await {
        Ok(_) => Ok(page(&format!("<p>Successfully signed up user: {}</p>", escaped(&name))).into_response()),
        Err(IdentityError::Taken(_)) => {
            Ok(page(&format!("<p>Username has already been taken: {}</p>", escaped(&name))).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
