//! Judges every request of a user before its handler, by the permission that governs what it names.

use super::makers::Made;
use super::needs::{Asked, Deed, Named, Need};
use super::{forbidden, unauthenticated};
use crate::error::WireError;
use crate::fields::Fields;
use crate::workspaces::{HEADER, header_refused};
use crate::{App, Mlflow, reply};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use trueline_flows::{Entry, PermissionRules, Readable, Session};
use trueline_identity::{
    Authorized, Caller, DeleteResource, IdentityError, ManageResource, Permission, ReadProject, ReadResource,
    ResourceKind, Rung, UpdateResource,
};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value};
use trueline_tracking::RunId;

/// Lets a request through, or answers it with MLflow's refusal.
pub(crate) async fn guard(State(app): App, mut request: Request, next: Next) -> Response {
    let chooses = request.headers().get(HEADER).is_some_and(|v| !v.is_empty());
    if chooses && !app.workspaces && !request.uri().path().ends_with("/mlflow/server-info") {
        return header_refused().into_response();
    }
    let Some(rules) = app.access.permissions() else { return next.run(request).await };
    let session = match request.extensions().get::<Entry>() {
        Some(Entry(Ok(session))) => session.clone(),
        Some(Entry(Err(error))) if matches!(**error, IdentityError::Unauthenticated(_)) => {
            return unauthenticated();
        }
        _ => return next.run(request).await,
    };
    let fields = match read_fields(&mut request, app.limits.bulk).await {
        Ok(fields) => fields,
        Err(refusal) => return refusal,
    };
    let experiment = request.headers().get("x-mlflow-experiment-id").and_then(|v| v.to_str().ok());
    let path = api_path(request.uri().path());
    let asked = Asked { method: request.method(), path, fields: &fields, experiment };
    let judged = match judge(&app, rules, &session, &asked).await {
        Ok(judged) => judged,
        Err(error) => return error.into_response(),
    };
    match judged {
        Judged::Denied => return forbidden(),
        Judged::NothingFound => return reply::empty(),
        Judged::Allowed(session) => drop(request.extensions_mut().insert(Entry(Ok(*session)))),
        Judged::Within(field, ids) => {
            let session = session.about(Permission::Read);
            request.extensions_mut().insert(Entry(Ok(session)));
            request = with_list(request, &fields, field, &ids);
        }
    }
    let made = Made::of(request.method(), api_path(request.uri().path()), &fields);
    let response = next.run(request).await;
    match made {
        Some(made) if response.status().is_success() => made.follow(&app, &session, response).await,
        _ => response,
    }
}

/// A request that comes as a part of another one, judged as it would be by itself: with which session and fields it may go
/// on, if it may.
pub(crate) async fn part(
    app: &Mlflow,
    session: &Session,
    path: &str,
    fields: Fields,
) -> Result<Option<(Session, Fields)>, WireError> {
    let Some(rules) = app.access.permissions() else { return Ok(Some((session.clone(), fields))) };
    let asked = Asked { method: &Method::GET, path, fields: &fields, experiment: None };
    Ok(match judge(app, rules, session, &asked).await? {
        Judged::Denied | Judged::NothingFound => None,
        Judged::Allowed(session) => Some((*session, fields)),
        Judged::Within(field, ids) => {
            let narrowed = Fields::from_body(fields.with(field, json!(ids)).to_string().as_bytes())?;
            Some((session.about(Permission::Read), narrowed))
        }
    })
}

/// How a request was judged.
enum Judged {
    Denied,
    NothingFound,
    Allowed(Box<Session>),
    /// A search within these experiments, under the field that lists them.
    Within(&'static str, Vec<String>),
}

/// The path below `/api` or `/ajax-api`.
fn api_path(path: &str) -> &str {
    path.strip_prefix("/api")
        .or_else(|| path.strip_prefix("/ajax-api"))
        .filter(|p| p.starts_with('/'))
        .unwrap_or(path)
}

/// The fields of a request whose body is JSON, which is put back for the handler; those of the query otherwise.
async fn read_fields(request: &mut Request, limit: usize) -> Result<Fields, Response> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().unwrap_or_default().trim() == "application/json";
    // An artifact can be JSON too, and as large as it likes.
    let is_artifact = request.uri().path().contains("/mlflow-artifacts/");
    let query = Fields::from_query(request.uri().query().unwrap_or_default());
    if !is_json || is_artifact || request.method() == Method::GET {
        return Ok(query);
    }
    let body = std::mem::take(request.body_mut());
    let bytes = to_bytes(body, limit).await.map_err(|_| {
        (StatusCode::PAYLOAD_TOO_LARGE, "The request body is larger than this server takes.").into_response()
    })?;
    // What is no JSON is for the handler to tell.
    let fields = Fields::from_body(&bytes).unwrap_or_default();
    *request.body_mut() = Body::from(bytes);
    Ok(fields)
}

async fn judge(
    app: &Mlflow,
    rules: PermissionRules,
    session: &Session,
    asked: &Asked<'_>,
) -> Result<Judged, WireError> {
    // Nothing restricts an admin, so nothing need be looked up.
    if session.caller().is_server_admin() {
        return Ok(Judged::Allowed(Box::new(session.clone())));
    }
    let need = asked.need()?;
    let held = app.access.holdings_of(session, rules).await?;
    let allowed = |session: Session| Ok(Judged::Allowed(Box::new(session)));
    match need {
        Need::Nothing | Need::Role => allowed(session.clone()),
        Need::Create => {
            // Who makes something may do everything with it.
            let may = !rules.workspaces || held.of_workspace().can_use() || held.governing(&[]).can_use();
            if may { allowed(session.about(Permission::Edit)) } else { Ok(Judged::Denied) }
        }
        Need::On(named, deed) => {
            let mut weakest = Permission::Manage;
            for named in &owners(app, session, named).await? {
                let governing = held.governing(&rungs(app, session, named).await?);
                if !may(&session.about(governing), deed) {
                    return Ok(Judged::Denied);
                }
                weakest = weakest.min(governing);
            }
            allowed(session.about(weakest))
        }
        Need::Search(kind, parts) => {
            let kind = if kind == ResourceKind::RegisteredModel && of_prompts(asked.fields) {
                ResourceKind::Prompt
            } else {
                kind
            };
            allowed(session.about(Permission::Read).finding(held.readable(parts, kind)))
        }
        Need::SearchIn(part, field) => {
            let readable = held.readable(&[part], ResourceKind::Experiment);
            let ids: Vec<String> =
                asked.fields.texts(field)?.into_iter().filter(|id| readable.allows(id)).collect();
            if ids.is_empty() { Ok(Judged::NothingFound) } else { Ok(Judged::Within(field, ids)) }
        }
    }
}

/// Whether the policy lets the session's caller do it with what the session is about.
fn may(session: &Session, deed: Deed) -> bool {
    match deed {
        Deed::Read => session.leave::<ReadResource>().is_ok(),
        Deed::Update => session.leave::<UpdateResource>().is_ok(),
        Deed::Delete => session.leave::<DeleteResource>().is_ok(),
        Deed::Manage => session.leave::<ManageResource>().is_ok(),
    }
}

/// The same, with experiments in place of what belongs to them without a grant of its own.
async fn owners(app: &Mlflow, session: &Session, named: Vec<Named>) -> Result<Vec<Named>, WireError> {
    let read = lookup(app, session)?;
    let traces = &app.keeper.traces;
    let mut out = Vec::new();
    for named in named {
        match named {
            Named::Dataset(id) => {
                let ids = traces.dataset_experiments(&read, id).await?;
                out.extend(ids.into_iter().map(Named::Experiment));
            }
            Named::Issue(id) => {
                let issue = traces.issue(&read, id).await?;
                out.push(Named::Experiment(issue.experiment.to_string()));
            }
            Named::Sampling(ids) => {
                let found = traces.sampling(&read, ids).await?;
                out.extend(found.iter().map(|s| Named::Experiment(s.experiment.to_string())));
            }
            other => out.push(other),
        }
    }
    // What belongs to no experiment is judged by what holds without a grant.
    if out.is_empty() {
        out.push(Named::Nothing);
    }
    Ok(out)
}

/// Leave of the server itself to look up what a request names.
fn lookup(app: &Mlflow, session: &Session) -> Result<Authorized<ReadProject>, IdentityError> {
    app.access.policy().authorize(&Caller::system("permissions"), &session.project().id)
}

/// Where grants on a resource are looked for. What must be known for that, such as a run's experiment, is looked up by the
/// server itself, because the caller's right to it is what is being found out.
async fn rungs(app: &Mlflow, session: &Session, named: &Named) -> Result<Vec<Rung>, WireError> {
    let read = || lookup(app, session);
    let in_experiment =
        |part: ResourceKind, id: String| vec![Rung::all(part), Rung::one(ResourceKind::Experiment, id)];
    Ok(match named {
        Named::Experiment(id) => vec![Rung::one(ResourceKind::Experiment, id)],
        Named::ExperimentByName(name) => {
            let found = app.tracking.experiment_by_name(&read()?, name.clone()).await?;
            vec![Rung::one(ResourceKind::Experiment, found.id.to_string())]
        }
        Named::Run(id) => {
            let run = app.tracking.run(&read()?, &RunId::new(id.clone())).await?;
            in_experiment(ResourceKind::Run, run.run.experiment.to_string())
        }
        Named::LoggedModel(id) => {
            let model = app.tracking.logged_model(&read()?, id).await?;
            in_experiment(ResourceKind::LoggedModel, model.experiment.to_string())
        }
        Named::Model(name) => vec![Rung::one(model_kind(app, &read()?, name).await?, name)],
        Named::Versions(name) => {
            let kind = model_kind(app, &read()?, name).await?;
            let part = match kind {
                ResourceKind::Prompt => ResourceKind::PromptVersion,
                _ => ResourceKind::RegisteredModelVersion,
            };
            vec![Rung::all(part), Rung::one(kind, name)]
        }
        Named::Trace(id) => {
            let trace = app.keeper.traces.info(&read()?, id.clone()).await?;
            in_experiment(ResourceKind::Trace, trace.experiment.to_string())
        }
        Named::Scorer(id) => vec![Rung::one(ResourceKind::Scorer, id)],
        Named::Other(kind, id) => vec![Rung::one(*kind, id)],
        Named::Nothing | Named::Dataset(_) | Named::Issue(_) | Named::Sampling(_) => Vec::new(),
    })
}

/// Whether a name is a prompt's or a model's; one that is not there counts as a model's.
async fn model_kind(
    app: &Mlflow,
    read: &Authorized<ReadProject>,
    name: &str,
) -> Result<ResourceKind, WireError> {
    let found = app.registry.is_prompt(read, name).await?;
    Ok(if found { ResourceKind::Prompt } else { ResourceKind::RegisteredModel })
}

/// Whether a search is one for prompts, which are found by their tag alone.
fn of_prompts(fields: &Fields) -> bool {
    let filter = fields.text_or_empty("filter").unwrap_or_default();
    filter
        .split_once("mlflow.prompt.is_prompt")
        .is_some_and(|(_, rest)| rest.trim_start_matches(['`', '"', '\'', ' ']).starts_with('='))
}

/// The same request with another list in its fields.
fn with_list(request: Request, fields: &Fields, field: &str, ids: &[String]) -> Request {
    let (mut parts, _) = request.into_parts();
    let body = fields.with(field, json!(ids)).to_string();
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    Request::from_parts(parts, Body::from(body))
}

/// A filter that finds no more than the session's searches may.
pub(crate) fn narrowed(session: &Session, filter: Expr, attribute: &'static str) -> Expr {
    let (op, ids) = match session.readable() {
        Readable::AllBut(hidden) if hidden.is_empty() => return filter,
        Readable::AllBut(hidden) => (Op::NotIn, hidden),
        Readable::Only(shown) if shown.is_empty() => return Expr::Or(Vec::new()),
        Readable::Only(shown) => (Op::In, shown),
    };
    let field = Field { entity: Entity::Attribute, key: attribute.to_owned() };
    let value = Some(Value::List(ids.iter().cloned().collect()));
    let narrower = Expr::Comparison(Comparison { field, op, value });
    // Beside the others, because the registry looks among them for what is said of prompts.
    match filter {
        Expr::And(mut all) => {
            all.push(narrower);
            Expr::And(all)
        }
        other => Expr::And(vec![other, narrower]),
    }
}
