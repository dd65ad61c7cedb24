//! `POST /endpoints/{endpoint}/invocations`: MLflow's scoring protocol, with an id for every prediction.

use crate::error::Refusal;
use crate::{App, LARGEST_BODY, admit, body, header, time_ms, unhurried};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::fmt::Write;
use std::time::Instant;
use trueline_flows::{Knock, Predicted, PredictionRequest};
use trueline_serving::Predictions;

/// Whose prediction it is: callers with one key stay with one variant.
const KEY: &str = "x-trueline-key";
/// When what is predicted happens, for those who may say so.
const EVENT_TIME: &str = "x-trueline-event-time";

pub(crate) async fn invoke(
    State(app): App,
    Extension(knock): Extension<Knock>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Response> {
    let began = Instant::now();
    let replay = admit(&app, &knock, &endpoint).map_err(IntoResponse::into_response)?;
    if let Some(kind) = foreign_kind(&headers) {
        return Err(not_supported(kind));
    }
    let asked = async {
        let bytes = bytes.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(LARGEST_BODY),
            _ => Refusal::bad(e.body_text()),
        })?;
        let frame = unhurried(bytes.len(), || body::frame(&bytes)).map_err(Refusal::bad)?;
        let sticky = app.plane.sticky_header(&knock.project, &endpoint);
        let key = sticky.as_deref().and_then(|name| header(&headers, name)).or_else(|| header(&headers, KEY));
        let event_time_ms = header(&headers, EVENT_TIME).map(time_ms).transpose()?;
        if event_time_ms.is_some() && !replay {
            return Err(Refusal::no_replay());
        }
        let request = PredictionRequest {
            project: knock.project,
            endpoint,
            frame,
            key: key.map(ToOwned::to_owned),
            event_time_ms,
            request: knock.request,
            began,
            parse_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        Ok(app.predict(request).await?)
    };
    asked.await.map(|predicted| answer(&predicted)).map_err(IntoResponse::into_response)
}

/// The kind of a body that is none of JSON, or has another parameter than `charset=utf-8`.
fn foreign_kind(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (kind, parameter) = given.split_once(';').unwrap_or((given, ""));
    let parameter = parameter.trim().to_ascii_lowercase();
    if kind.trim().eq_ignore_ascii_case("application/json") && ["", "charset=utf-8"].contains(&&*parameter) {
        return None;
    }
    Some(given)
}

/// MLflow tells it in plain text.
fn not_supported(given: &str) -> Response {
    let told = format!(
        "This predictor only supports the following content types: ['application/json'], with the parameter \
         charset=utf-8 at most. Got '{given}'."
    );
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, told).into_response()
}

fn answer(predicted: &Predicted) -> Response {
    let mut text = String::with_capacity(64 + predicted.ids.len() * 60);
    // Writing to a text can't fail.
    let _ = write_answer(&mut text, predicted);
    let mut response = ([(CONTENT_TYPE, "application/json")], text).into_response();
    if let Ok(variant) = predicted.variant.parse() {
        response.headers_mut().insert("x-trueline-variant", variant);
    }
    response
}

/// `{"predictions": […], "prediction_ids": […]}`, numbers as MLflow writes them: a float32 with all its digits as float64.
fn write_answer(out: &mut String, predicted: &Predicted) -> std::fmt::Result {
    let Predictions { values, width, whole } = &predicted.predictions;
    out.push_str("{\"predictions\": [");
    for (i, row) in values.chunks((*width).max(1)).enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        match row {
            [one] => write_number(out, *one, *whole)?,
            many => {
                out.push('[');
                for (j, value) in many.iter().enumerate() {
                    out.push_str(if j > 0 { ", " } else { "" });
                    write_number(out, *value, *whole)?;
                }
                out.push(']');
            }
        }
    }
    out.push_str("], \"prediction_ids\": [");
    for (i, id) in predicted.ids.iter().enumerate() {
        write!(out, "{}\"{id}\"", if i > 0 { ", " } else { "" })?;
    }
    out.push_str("]}");
    Ok(())
}

fn write_number(out: &mut String, value: f32, whole: bool) -> std::fmt::Result {
    match value {
        whole_one if whole => write!(out, "{whole_one:.0}"),
        odd if !odd.is_finite() => {
            out.push_str("null");
            Ok(())
        }
        // Debug keeps the point of 1.0, by which a client knows a float.
        float => write!(out, "{:?}", f64::from(float)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(values: &[f32], width: usize, whole: bool) -> String {
        let predictions = Predictions { values: values.to_vec(), width, whole };
        let mut out = String::new();
        write_answer(&mut out, &Predicted { variant: "m/1".into(), ids: Vec::new(), predictions }).unwrap();
        out
    }

    #[test]
    fn answers_look_like_mlflows() {
        assert_eq!(written(&[1.0, 0.25], 1, false), r#"{"predictions": [1.0, 0.25], "prediction_ids": []}"#);
        assert_eq!(written(&[1.0, 0.0], 1, true), r#"{"predictions": [1, 0], "prediction_ids": []}"#);
        let two = written(&[0.5, 0.5, 1.0, 0.0], 2, false);
        assert_eq!(two, r#"{"predictions": [[0.5, 0.5], [1.0, 0.0]], "prediction_ids": []}"#);
    }

    proptest! {
        #[test]
        fn every_float_comes_back_bit_for_bit(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let text = written(&[value], 1, false);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let read = &read["predictions"][0];
            if value.is_finite() {
                #[allow(clippy::cast_possible_truncation)]
                let read = read.as_f64().unwrap() as f32;
                prop_assert_eq!(read.to_bits(), bits);
            } else {
                prop_assert!(read.is_null());
            }
        }
    }
}
