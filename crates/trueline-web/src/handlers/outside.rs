//! Signing in and out, search, the pages of error codes, and what is not there.

use super::{Answer, App, Failure, FaultKind, Form, TOKEN_COOKIE, Visitor, Web, page, timestamp};
use crate::links::ViewUrl;
use crate::pages::{ErrorPage, Hit, Pager, Problem, SearchPage, SignInPage};
use crate::parts::Reference;
use crate::shell::{Section, Shell};
use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use trueline_identity::Credentials;
use trueline_predictions::PredictionId;
use trueline_registry::ModelSearch;
use trueline_tracking::{ExperimentSearch, RunId, ViewType};

/// For how long a browser keeps its token, in seconds.
const COOKIE_AGE: u32 = 30 * 24 * 3600;
const HITS: u64 = 20;

/// The pages of `docs/errors/`, each by its code.
const ERROR_PAGES: &[(&str, &str)] = &[
    ("busy", include_str!("../../../../docs/errors/busy.md")),
    ("denied", include_str!("../../../../docs/errors/denied.md")),
    ("disk-full", include_str!("../../../../docs/errors/disk-full.md")),
    ("exists", include_str!("../../../../docs/errors/exists.md")),
    ("internal", include_str!("../../../../docs/errors/internal.md")),
    ("invalid", include_str!("../../../../docs/errors/invalid.md")),
    ("not-found", include_str!("../../../../docs/errors/not-found.md")),
    ("not-released", include_str!("../../../../docs/errors/not-released.md")),
    ("state", include_str!("../../../../docs/errors/state.md")),
    ("too-large", include_str!("../../../../docs/errors/too-large.md")),
    ("unauthenticated", include_str!("../../../../docs/errors/unauthenticated.md")),
    ("unservable", include_str!("../../../../docs/errors/unservable.md")),
    ("unavailable", include_str!("../../../../docs/errors/unavailable.md")),
];

fn bare_shell(app: &Web, title: &str) -> Shell {
    let mut shell = Shell::new(title, None, timestamp(app.ledger.sources().now()));
    shell.sections = Vec::new();
    shell
}

/// A page that says what went wrong.
pub(super) async fn failed(app: &Web, shell: Option<Shell>, failure: Failure) -> Response {
    let status = failure.status();
    let shell = shell.unwrap_or_else(|| bare_shell(app, &failure.0.title));
    let html = ErrorPage { shell, problem: *failure.0 }.render().unwrap_or_default();
    (status, Html(html)).into_response()
}

pub(super) async fn not_found(State(app): App, visitor: Visitor) -> Answer {
    let shell = visitor.shell(&app, "There is nothing here", Section::Home).await?;
    Ok(failed(&app, Some(shell), Failure::not_found("No page has this address.")).await)
}

pub(super) async fn error_code(State(app): App, Path(code): Path<String>) -> Answer {
    let found = ERROR_PAGES.iter().find(|(known, _)| *known == code);
    let (_, text) = found.ok_or_else(|| Failure::not_found(format!("there is no error code `{code}`")))?;
    let mut parts = text.split("\n\n").map(|p| p.trim().trim_start_matches("# ").replace('`', ""));
    let title = parts.next().unwrap_or_default();
    let detail = parts.next().unwrap_or_default();
    let what_to_do = parts.next().unwrap_or_default().replace("**What to do.** ", "");
    let problem = Problem { status: 200, title: title.clone(), detail, what_to_do, command: None, code };
    page(&ErrorPage { shell: bare_shell(&app, &title), problem })
}

/// A path of this server to go on to, or its start.
fn local(next: &str) -> String {
    // Browsers drop tabs and line breaks and read a backslash as a slash, so that `/<tab>/host` leads elsewhere.
    let plain = !next.contains(|c: char| c == '\\' || c.is_control());
    let fine = plain && next.starts_with('/') && !next.starts_with("//");
    if fine { next.to_owned() } else { "/".to_owned() }
}

fn field(pairs: &[(String, String)], name: &str) -> String {
    pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()).unwrap_or_default()
}

pub(super) async fn sign_in_page(State(app): App, RawQuery(query): RawQuery) -> Answer {
    let next = local(&field(&super::pairs(query.as_deref()), "next"));
    page(&SignInPage { shell: bare_shell(&app, "Sign in"), next, problem: None })
}

pub(super) async fn sign_in(State(app): App, headers: HeaderMap, Form(form): Form) -> Answer {
    let (token, next) = (field(&form, "token").trim().to_owned(), local(&field(&form, "next")));
    if let Err(error) =
        app.access.known(Credentials { token: Some(token.clone()), ..Credentials::default() }).await
    {
        let shell = bare_shell(&app, "Sign in");
        return page(&SignInPage { shell, next, problem: Some(error.to_string()) });
    }
    let secure = headers.get("x-forwarded-proto").is_some_and(|p| p == "https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie =
        format!("{TOKEN_COOKIE}={token}; Path=/; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax{secure}");
    with_cookie(&next, &cookie)
}

pub(super) async fn sign_out() -> Answer {
    with_cookie("/sign-in", &format!("{TOKEN_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"))
}

fn with_cookie(to: &str, cookie: &str) -> Answer {
    let mut response = Redirect::to(to).into_response();
    let value = HeaderValue::from_str(cookie)
        .map_err(|_| Failure::new(FaultKind::Invalid, "this can't be a token"))?;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}

pub(super) async fn search(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Search", Section::Home).await?;
    let view = ViewUrl::new("/search", visitor.query.clone());
    let asked = view.get("q").trim().to_owned();
    shell.query.clone_from(&asked);
    let hits = if asked.is_empty() { Vec::new() } else { hits(&app, &visitor, &shell, &asked).await? };
    let pager = Pager { rows: hits.len(), noun: "hit", next_cursor: None };
    page(&SearchPage { shell, view, hits, pager })
}

async fn hits(app: &Web, visitor: &Visitor, shell: &Shell, asked: &str) -> Result<Vec<Hit>, Failure> {
    let leave = visitor.session.leave()?;
    let project = visitor.project().to_owned();
    let hit = |what: Reference, at: Option<i64>| Hit {
        what,
        context: String::new(),
        project: project.clone(),
        at: at.map(timestamp),
    };
    let mut out = Vec::new();
    if let Ok(run) = app.tracking.run(&leave, &RunId::new(asked)).await {
        let what = Reference::to("run", &run.run.name, shell.to.run(asked));
        out.push(hit(what, run.run.start_time));
    }
    if let Some(id) = PredictionId::parse(asked)
        && let Some(record) = app.tracer.find(&leave, id).await?
    {
        let mut found =
            hit(Reference::to("prediction", asked, shell.to.prediction(asked)), Some(record.received_at_ms));
        found.context = format!("of {}", record.endpoint);
        out.push(found);
    }
    if asked.starts_with("tr-")
        && let Ok(trace) = app.traces.info(&leave, asked.to_owned()).await
    {
        out.push(hit(Reference::to("trace", asked, shell.to.trace(asked)), Some(trace.started_ms)));
    }
    if asked.starts_with("m-")
        && let Ok(model) = app.tracking.logged_model(&leave, asked).await
    {
        let what = Reference::to("logged model", &model.name, shell.to.logged_model(asked));
        out.push(hit(what, Some(model.created_at_ms)));
    }
    for e in app.deployments.endpoints.list(&leave).await? {
        if e.name.as_str().contains(&asked.to_lowercase()) {
            let what = Reference::to("endpoint", e.name.as_str(), shell.to.endpoint(e.name.as_str()));
            out.push(hit(what, e.route.map(|r| r.changed_at_ms)));
        }
    }
    let filter = super::experiments::name_holds(asked);
    let experiments = ExperimentSearch {
        filter: filter.clone(),
        order_by: Vec::new(),
        view: ViewType::ActiveOnly,
        offset: 0,
        limit: HITS,
    };
    for e in app.tracking.search_experiments(&leave, experiments).await?.items {
        let what = Reference::to("experiment", &e.name, shell.to.experiment(&e.id.to_string()));
        out.push(hit(what, Some(e.updated_at_ms)));
    }
    let models = ModelSearch { filter, order_by: Vec::new(), offset: 0, limit: HITS };
    for m in app.registry.search_models(&leave, models).await?.items {
        let what = Reference::to("model", &m.name, shell.to.model(&m.name));
        out.push(hit(what, Some(m.updated_at_ms)));
    }
    for d in app.data.datasets(&leave, asked, 0, HITS as u32).await? {
        out.push(hit(Reference::to("dataset", &d.name, shell.to.dataset(&d.name)), Some(d.created_at_ms)));
    }
    let part = asked.to_lowercase();
    let views = app.features.views(&leave).await?.into_iter();
    for v in views.filter(|v| v.spec.name.to_lowercase().contains(&part)).take(HITS as usize) {
        let what = Reference::to("feature view", &v.spec.name, shell.to.feature_view(&v.spec.name));
        out.push(hit(what, Some(v.created_at_ms)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn one_goes_on_within_this_server_only() {
        assert_eq!(local("/p/fraud?tab=x"), "/p/fraud?tab=x");
        for elsewhere in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\u{0}/x",
            "",
        ] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }
}
