//! `/model-versions/*`.

use crate::access::{forbidden, narrowed, part};
use crate::error::WireError;
use crate::fields::Fields;
use crate::paging::{self, Paging};
use crate::{App, Caller, Mlflow, render, reply};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{delete, get, patch, post};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_flows::{Registration, Session, register_version};
use trueline_registry::{KeyValue, Version, VersionKey, VersionSearch};
use trueline_search::mlflow::Kind;
use trueline_tracking::ArtifactPath;

type Answer = Result<Response, WireError>;

/// Below it the proxy gives the frozen files of versions.
const FROZEN: &str = "model-versions/";

pub(crate) fn routes(bulk: DefaultBodyLimit) -> Router<Arc<Mlflow>> {
    Router::new()
        .route("/create", post(create).layer(bulk))
        .route("/get", get(by_key))
        .route("/search", get(search))
        .route("/update", patch(update))
        .route("/delete", delete(remove))
        .route("/transition-stage", post(transition))
        .route("/set-tag", post(set_tag))
        .route("/delete-tag", delete(delete_tag))
        .route("/get-download-uri", get(download_uri))
}

fn one(version: &Version) -> Response {
    reply::json(&json!({ "model_version": render::version(version) }))
}

fn key(fields: &Fields) -> Result<VersionKey, WireError> {
    Ok(VersionKey::parse(&fields.required("name")?, &fields.required("version")?)?)
}

async fn create(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let ask = Registration {
        model: fields.required("name")?,
        source: fields.required("source")?,
        run_id: fields.text("run_id")?,
        run_link: fields.text("run_link")?,
        model_id: fields.text("model_id")?,
        description: fields.text_or_empty("description")?,
        tags: fields.registry_pairs("tags")?,
    };
    if app.source_pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&ask.source)) {
        return Err(WireError::invalid(format!("Invalid model version source: '{}'.", ask.source)));
    }
    if !may_read_source(&app, &session, &ask.source).await? {
        return Ok(forbidden());
    }
    let (read, write, log) = (session.leave()?, session.leave()?, session.leave()?);
    Ok(one(&register_version(&app.tracking, &app.registry, &read, &write, &log, ask).await?))
}

/// Whether a caller may read the artifacts that a source names by their path: whoever may write to a model must not get at the
/// files of an experiment in this way that is closed to them.
async fn may_read_source(app: &Mlflow, session: &Session, source: &str) -> Result<bool, WireError> {
    let Some(path) = ArtifactPath::from_uri(source) else { return Ok(true) };
    // The frozen files of a version are found by a digest that only those know who may read it.
    if path.as_str().starts_with(FROZEN) {
        return Ok(true);
    }
    let fields = Fields::from_body(json!({ "path": path.as_str() }).to_string().as_bytes())?;
    Ok(part(app, session, "/2.0/mlflow-artifacts/artifacts", fields).await?.is_some())
}

async fn by_key(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(one(&app.registry.version(&session.leave()?, &key(&fields)?).await?))
}

async fn search(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(reply::json(&found(&app, &session, &fields).await?))
}

pub(crate) async fn found(app: &Mlflow, session: &Session, fields: &Fields) -> Result<Json, WireError> {
    let page = Paging::read(fields, 200_000, 200_000)?;
    let search = VersionSearch {
        filter: narrowed(session, paging::filter(Kind::ModelVersions, fields)?, "name"),
        prompts_too: false,
        order_by: paging::order_by(Kind::ModelVersions, fields)?,
        offset: page.offset,
        limit: page.limit,
    };
    let found = app.registry.search_versions(&session.leave()?, search).await?;
    let versions: Vec<Json> = found.items.iter().map(render::version).collect();
    let answer = json!({ "model_versions": versions, "next_page_token": page.next_token(found.more) });
    Ok(render::compact(answer))
}

async fn update(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let description = fields.text_or_empty("description")?;
    Ok(one(&app.registry.describe_version(&session.leave()?, &key(&fields)?, description).await?))
}

async fn remove(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.registry.delete_version(&session.leave()?, &key(&fields)?).await?;
    Ok(reply::empty())
}

async fn transition(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let (stage, archive) = (fields.required("stage")?, fields.switch("archive_existing_versions")?);
    Ok(one(&app.registry.transition_stage(&session.leave()?, &key(&fields)?, &stage, archive).await?))
}

async fn set_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let tag = KeyValue { key: fields.required("key")?, value: fields.text_or_empty("value")? };
    app.registry.set_version_tag(&session.leave()?, &key(&fields)?, tag).await?;
    Ok(reply::empty())
}

async fn delete_tag(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    app.registry.delete_version_tag(&session.leave()?, &key(&fields)?, fields.required("key")?).await?;
    Ok(reply::empty())
}

/// Where the client loads a version from: its frozen files.
async fn download_uri(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let leave = session.leave()?;
    let version = app.registry.version(&leave, &key(&fields)?).await?;
    let uri = trueline_flows::download_uri(&app.tracking, &app.registry, &leave, &version).await?;
    Ok(reply::json(&json!({ "artifact_uri": uri })))
}
