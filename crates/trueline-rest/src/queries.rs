//! `/queries`: SQL over the project's prediction log.

use crate::problem::Problem;
use crate::{App, Body, Caller};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::{LogAnswer, LogQuestion};
use trueline_ledger::Millis;
use trueline_query::SqlValue;
use trueline_serving::EndpointName;

/// Rows of an answer when nobody says how many.
const ROWS: usize = 1_000;
/// Rows of an answer at most.
const MOST_ROWS: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBody {
    sql: String,
    /// Of one endpoint's predictions only.
    endpoint: Option<String>,
    /// The earliest event time, RFC 3339.
    since: Option<String>,
    /// The event time before which they lie, RFC 3339.
    until: Option<String>,
    /// Rows at most.
    limit: Option<usize>,
}

fn time(told: Option<&str>) -> Result<Option<Millis>, Problem> {
    let read = |text: &str| {
        let at: Result<jiff::Timestamp, _> = text.parse();
        at.map(jiff::Timestamp::as_millisecond)
            .map_err(|_| Problem::invalid(format!("`{text}` is no time: write one as 2026-01-31T12:00:00Z")))
    };
    told.map(read).transpose()
}

/// JSON has no word for a float that is not finite; its text says it.
fn value(value: &SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Int(whole) => json!(whole),
        SqlValue::Float(number) if number.is_finite() => json!(number),
        SqlValue::Float(number) => json!(number.to_string()),
        SqlValue::Text(text) => json!(text),
    }
}

fn answer_json(found: &LogAnswer) -> Value {
    let LogAnswer { answer, predictions, labels } = found;
    let rows: Vec<Vec<Value>> = answer.rows.iter().map(|row| row.iter().map(value).collect()).collect();
    json!({
        "columns": answer.columns, "rows": rows, "truncated": answer.truncated,
        "read": { "predictions": predictions, "labels": labels },
    })
}

pub(crate) async fn ask(
    State(app): App,
    Caller(session): Caller,
    Body(ask): Body<QueryBody>,
) -> Result<Json<Value>, Problem> {
    let rows = ask.limit.unwrap_or(ROWS);
    if !(1..=MOST_ROWS).contains(&rows) {
        return Err(Problem::invalid(format!("an answer has 1 to {MOST_ROWS} rows, not {rows}")));
    }
    let endpoint = ask.endpoint.as_deref().map(EndpointName::parse).transpose()?;
    let (leave, since, until) = (session.leave()?, time(ask.since.as_deref())?, time(ask.until.as_deref())?);
    if let Some(name) = &endpoint {
        app.deployments.endpoints.get(&leave, name).await?;
    }
    let event_time_ms = (since.is_some() || until.is_some())
        .then(|| since.unwrap_or(Millis::MIN)..until.unwrap_or(Millis::MAX));
    let question = LogQuestion { sql: ask.sql, endpoint, event_time_ms, rows };
    Ok(Json(answer_json(&app.queries.ask(&leave, question).await?)))
}
