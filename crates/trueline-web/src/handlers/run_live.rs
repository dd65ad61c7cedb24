//! What is new of a run that goes on. A page that somebody looks at asks every two seconds and mostly hears that nothing is
//! new (304). It asks instead of being told by a stream, because that needs no connection of its own for each tab, of which
//! browsers have six, and nothing that a stopping server would have to wait for.

use super::{Answer, App, Failure, Visitor, run_console};
use crate::pages::{Live, RunTab};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use trueline_tracking::{RunData, RunId};

/// The newest point of each metric, as a word that is another once there is a newer one.
fn versions(run: &RunData) -> Value {
    let word = |m: &trueline_tracking::LoggedMetric| {
        let point = m.point;
        (m.key.clone(), Value::from(format!("{}:{}:{}", point.step, point.at_ms, point.value)))
    };
    Value::Object(run.metrics.iter().map(word).collect::<Map<_, _>>())
}

/// A word for all that a page shows of a run, and of `also`.
fn version(run: &RunData, also: &str) -> Result<String, Failure> {
    let told = serde_json::to_vec(run).map_err(|e| Failure::internal(e.to_string()))?;
    let digest = Sha256::new().chain_update(told).chain_update(also).finalize();
    Ok(digest.iter().take(12).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// What a page must ask for; none for a run that has ended.
pub(super) fn live(url: String, run: &RunData, also: &str) -> Result<Option<Live>, Failure> {
    if run.run.status.is_terminal() {
        return Ok(None);
    }
    Ok(Some(Live { url, version: version(run, also)?, versions: versions(run).to_string() }))
}

pub(super) async fn answer(
    State(app): App,
    visitor: Visitor,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let run = app.tracking.run(&visitor.session.leave()?, &RunId::new(id)).await?;
    let asked = |key: &str| visitor.query.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str());
    let also = match RunTab::parse(asked("tab")) {
        RunTab::Console => {
            let files = run_console::files(&app, &visitor, &run).await?;
            run_console::version(&app, &visitor, &run, files, asked("path")).await?
        }
        _ => String::new(),
    };
    let version = version(&run, &also)?;
    let tag = format!("\"{version}\"");
    let common = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-store".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let status = crate::parts::Badge::state(run.run.status.as_str()).word;
    let told = json!({
        "version": version, "status": status, "ended": run.run.status.is_terminal(), "metrics": versions(&run),
    });
    Ok((common, Json(told)).into_response())
}
