//! `/endpoints/{name}/rehearsals`: logged traffic is put to a version that nobody is given answers of.

use crate::endpoints::{leave, reason};
use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::ops::Range;
use trueline_flows::{RehearsalOrder, WantedVariant};
use trueline_ledger::Millis;
use trueline_serving::{EndpointName, Tolerance};

/// Predictions of a rehearsal when nobody says how many.
const USUAL: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RehearsalBody {
    /// As `model/3` or `model@alias`.
    version: String,
    /// Only predictions of the last so many seconds, by their event time.
    last_seconds: Option<u32>,
    /// Only predictions from then on.
    from: Option<Timestamp>,
    /// Only predictions before then.
    to: Option<Timestamp>,
    /// At most this many, the newest.
    limit: Option<usize>,
    #[serde(default)]
    tolerance: Tolerance,
    reason: Option<String>,
}

impl RehearsalBody {
    fn event_times(&self, now: Millis) -> Result<Option<Range<Millis>>, Problem> {
        match (self.last_seconds, self.from, self.to) {
            (None, None, None) => Ok(None),
            // The present is part of the last seconds.
            (Some(last), None, None) => Ok(Some(now - i64::from(last) * 1_000..now + 1)),
            (None, from, to) => {
                let from = from.map_or(Millis::MIN, Timestamp::as_millisecond);
                Ok(Some(from..to.map_or(Millis::MAX, Timestamp::as_millisecond)))
            }
            (Some(_), ..) => {
                Err(Problem::invalid("`last_seconds` goes without `from` and `to`: leave one out"))
            }
        }
    }
}

pub(crate) async fn rehearse(
    State(app): App,
    Caller(session): Caller,
    Path(name): Path<String>,
    Body(ask): Body<RehearsalBody>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = EndpointName::parse(&name)?;
    let now = app.ledger.sources().now();
    let order = RehearsalOrder {
        version: WantedVariant::parse(&ask.version).map_err(Problem::invalid)?,
        event_time_ms: ask.event_times(now)?,
        limit: ask.limit.unwrap_or(USUAL),
        tolerance: ask.tolerance,
        reason: reason(ask.reason)?,
    };
    let done = app.rehearsals.rehearse(&leave(&session)?, &name, order).await?;
    let shown = json!({
        "endpoint": name, "version": done.version, "rehearsed_at": rfc3339(now), "numbers": done.report,
    });
    Ok((StatusCode::CREATED, Json(shown)))
}
