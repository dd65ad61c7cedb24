//! `POST /endpoints/{endpoint}/labels`: the truth for predictions, singly or in bulk, whenever it is known.

use crate::ask::Arrived;
use crate::error::Refusal;
use crate::{App, admit, time_ms, unhurried};
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use trueline_flows::scalar;
use trueline_predictions::{Label, PredictionId};

/// Ids without a prediction that an answer names.
const NAMED: usize = 100;
/// The longest name of a source in bytes.
const LONGEST_SOURCE: usize = 200;

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Many { labels: Vec<One> },
    One(One),
}

#[derive(Deserialize)]
struct One {
    prediction_id: String,
    value: Value,
    /// When it was known: RFC 3339, or milliseconds since 1970.
    event_time: Option<Value>,
    #[serde(default)]
    source: String,
}

pub(crate) async fn tell(
    State(app): State<App>,
    Path(endpoint): Path<String>,
    Arrived { knock, body, .. }: Arrived,
) -> Result<Json<Value>, Refusal> {
    let replay = admit(&app, &knock, &endpoint)?;
    let bytes = body.bytes()?;
    let Some(project) = app.plane.project(&knock.project, &endpoint) else {
        return Err(Refusal::not_found(format!("there is no endpoint `{endpoint}` to label predictions of")));
    };
    let labels = unhurried(bytes.len(), || read(&bytes, app.sources.now(), replay))?;
    let count = labels.len();
    let log = app.log.as_ref().ok_or_else(|| {
        Refusal::not_there(
            "nothing is logged here, so there are no predictions to label: serve with `trueline server`",
        )
    })?;
    let done = log.label(project.as_str(), labels).await?;
    let left_out =
        |id: &PredictionId| app.plane.is_not_logged(&knock.project, &endpoint, id.number(), made_at_ms(*id));
    let (left_out, unknown) = done.unknown.iter().partition::<Vec<&PredictionId>, _>(|id| left_out(id));
    let deleted_until = log.deleted_until_ms(project.as_str(), Some(&endpoint));
    let is_deleted = |id: &&PredictionId| deleted_until.is_some_and(|until| made_at_ms(**id) <= until);
    let (deleted, unknown) = unknown.into_iter().partition::<Vec<&PredictionId>, _>(is_deleted);
    let named: Vec<String> = unknown.iter().take(NAMED).map(ToString::to_string).collect();
    Ok(Json(json!({
        "labels": count, "new": done.new, "corrections": done.corrections, "duplicates": done.duplicates,
        "unknown": unknown.len(), "unknown_ids": named, "left_out": left_out.len(),
        "deleted": deleted.len(),
    })))
}

fn made_at_ms(id: PredictionId) -> i64 {
    i64::try_from(id.time_ms()).unwrap_or(i64::MAX)
}

fn read(bytes: &[u8], now: i64, replay: bool) -> Result<Vec<Label>, Refusal> {
    let told: Told = serde_json::from_slice(bytes).map_err(|_| {
        Refusal::bad(
            "send {\"labels\": [{\"prediction_id\": …, \"value\": …}, …]}, or one label alone; `event_time` and `source` may \
             be said too",
        )
    })?;
    let labels = match told {
        Told::Many { labels } => labels,
        Told::One(one) => vec![one],
    };
    labels.into_iter().enumerate().map(|(i, one)| label(i, one, now, replay)).collect()
}

fn label(i: usize, one: One, now: i64, replay: bool) -> Result<Label, Refusal> {
    let prediction_id = PredictionId::parse(&one.prediction_id).ok_or_else(|| {
        Refusal::bad(format!(
            "label {i}: `{}` is no prediction id: those have 32 hexadecimal digits",
            one.prediction_id
        ))
    })?;
    if one.value.is_object() || one.value.is_array() {
        return Err(Refusal::bad(format!("label {i}: a value is a number, a text, a boolean or null")));
    }
    if one.source.len() > LONGEST_SOURCE {
        return Err(Refusal::bad(format!("label {i}: a source has at most {LONGEST_SOURCE} bytes")));
    }
    let event_time_ms = match one.event_time {
        None | Some(Value::Null) => now,
        Some(_) if !replay => return Err(Refusal::no_replay()),
        Some(Value::String(text)) => time_ms(&text)?,
        Some(other) => time_ms(&other.to_string())?,
    };
    let value = scalar(&one.value);
    Ok(Label { prediction_id, value, event_time_ms, received_at_ms: now, source: one.source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trueline_predictions::Scalar;

    const ID: &str = "0000000003e80000000000000000000a";

    #[test]
    fn one_label_or_many_are_read() {
        let one = json!({ "prediction_id": ID, "value": 1, "source": "arrivals" });
        let many = json!({ "labels": [one, { "prediction_id": ID, "value": true, "event_time": "1970-01-01T00:00:02Z" }] });
        let read = |body: &Value| read(body.to_string().as_bytes(), 7, true).map_err(|_| ());
        let first = read(&one).unwrap().remove(0);
        assert_eq!((first.prediction_id.to_string().as_str(), first.event_time_ms), (ID, 7));
        let many = read(&many).unwrap();
        assert_eq!((&many[0].value, &many[1].value), (&Scalar::Int(1), &Scalar::Bool(true)));
        assert_eq!(many[1].event_time_ms, 2000);
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for bad in [
            json!({ "prediction_id": "x", "value": 1 }),
            json!({ "prediction_id": ID, "value": [1] }),
            json!({ "prediction_id": ID, "value": 1, "event_time": "yesterday" }),
            json!([]),
        ] {
            assert!(read(bad.to_string().as_bytes(), 7, true).is_err(), "{bad}");
        }
        let timed = json!({ "prediction_id": ID, "value": 1, "event_time": 5 });
        assert!(read(timed.to_string().as_bytes(), 7, false).is_err(), "it takes leave to say when");
    }
}
