//! `POST /endpoints/{endpoint}/invocations`: MLflow's scoring protocol, with an id for every prediction.

use crate::ask::{Arrived, Caller, written};
use crate::error::{Refusal, Scored};
use crate::{App, csv_body, parquet_body, unhurried, write};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;
use trueline_flows::{Knock, Predicted};
use trueline_serving::Origin;
use trueline_tensors::DataType;

pub(crate) async fn invoke(
    State(app): State<App>,
    Path(endpoint): Path<String>,
    arrived: Arrived,
) -> Result<Response, Response> {
    score(&app, endpoint, arrived).await
}

/// Answers a request of MLflow's scoring protocol to an endpoint.
pub(crate) async fn score(
    app: &App,
    endpoint: String,
    Arrived { knock, headers, body }: Arrived,
) -> Result<Response, Response> {
    let told = |refusal| Scored(refusal).into_response();
    let caller = Caller::admitted(app, knock, endpoint, None).map_err(told)?;
    let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = caller.counted(Kind::of(given).ok_or_else(|| not_supported(given)))?;
    let bytes = caller.counted(body.bytes()).map_err(told)?;
    let read = || match kind {
        Kind::Json => crate::body::invocation(&bytes).map_err(Refusal::bad),
        Kind::Csv => {
            csv_body::frame(&bytes, &texts(app, &caller.knock, &caller.endpoint)).map_err(unreadable)
        }
        Kind::Parquet => parquet_body::frame(&bytes).map_err(unreadable),
    };
    let frame = caller.counted(unhurried(bytes.len(), read)).map_err(told)?;
    let is_document = frame.origin() == Origin::Document;
    let predicted = caller.ask(&headers, frame).await.map_err(told)?;
    let respond = move |predicted| if is_document { document(&predicted) } else { answer(&predicted) };
    written(app, predicted, respond).await.map_err(told)
}

/// A table that can't be read. MLflow tells where its parser failed besides; here it is the parser's message.
fn unreadable(why: String) -> Refusal {
    Refusal::bad(why.clone()).traced(why)
}

/// The columns of texts of the versions that may answer.
fn texts(app: &App, knock: &Knock, endpoint: &str) -> Vec<String> {
    let inputs = app.plane.cards(&knock.project, endpoint).into_iter().flat_map(|card| card.inputs);
    inputs.filter(|input| input.data_type == DataType::Text).map(|input| input.name).collect()
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Csv,
    Parquet,
}

impl Kind {
    /// Of a content type, which may have no other parameter than `charset=utf-8`.
    fn of(given: &str) -> Option<Self> {
        let (kind, parameter) = given.split_once(';').unwrap_or((given, ""));
        if !["", "charset=utf-8"].contains(&parameter.trim().to_ascii_lowercase().as_str()) {
            return None;
        }
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "text/csv" => Some(Self::Csv),
            crate::PARQUET => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// MLflow tells it in plain text.
fn not_supported(given: &str) -> Response {
    let told = format!(
        "This predictor only supports the following content types: ['text/csv', 'application/json', \
         'application/vnd.apache.parquet'], with the parameter charset=utf-8 at most. Got '{given}'."
    );
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, told).into_response()
}

fn answer(predicted: &Predicted) -> Response {
    let mut text = String::with_capacity(64 + predicted.ids.len() * 60);
    text.push_str("{\"predictions\": ");
    write::predictions(&mut text, &predicted.predictions);
    text.push_str(", \"prediction_ids\": [");
    for (i, id) in predicted.ids.iter().enumerate() {
        // Writing to a text can't fail.
        let _ = write!(text, "{}\"{id}\"", if i > 0 { ", " } else { "" });
    }
    text.push_str("]}");
    respond(text, predicted)
}

/// The answer to a document: what the model gave and nothing around it, as clients of language models read it. The ids of the
/// predictions are in a header.
fn document(predicted: &Predicted) -> Response {
    let mut text = String::new();
    write::predictions(&mut text, &predicted.predictions);
    let mut response = respond(text, predicted);
    let ids: Vec<String> = predicted.ids.iter().map(ToString::to_string).collect();
    if let Ok(ids) = ids.join(",").parse() {
        response.headers_mut().insert("x-trueline-prediction-ids", ids);
    }
    response
}

fn respond(text: String, predicted: &Predicted) -> Response {
    let mut response = write::json(text);
    if let Ok(variant) = predicted.served.name.parse() {
        response.headers_mut().insert("x-trueline-variant", variant);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn content_types_are_read_as_mlflow_reads_them() {
        assert_eq!(Kind::of("application/json"), Some(Kind::Json));
        assert_eq!(Kind::of("Application/JSON; charset=UTF-8"), Some(Kind::Json));
        assert_eq!(Kind::of("text/csv"), Some(Kind::Csv));
        assert_eq!(Kind::of("application/vnd.apache.parquet"), Some(Kind::Parquet));
        for odd in ["", "application/json; format=pandas", "text/plain"] {
            assert_eq!(Kind::of(odd), None, "{odd}");
        }
    }
}
