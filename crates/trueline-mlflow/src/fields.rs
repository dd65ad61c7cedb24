//! The fields of a request: from a JSON body or from a query, in snake_case or camelCase, with MLflow's words for
//! what is missing or of a wrong type (`mlflow/server/handlers.py`).

use crate::error::{Code, WireError};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode, header};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use trueline_tracking::KeyValue;

const SEE: &str = "See the API docs for more information about request parameters.";

/// A request's fields, or those of a message in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Map<String, Json>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = WireError;

    async fn from_request(request: Request, state: &S) -> Result<Self, WireError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        // Some deletions name what they delete in the query.
        if request.method() == Method::GET || (request.method() == Method::DELETE && kind.is_none()) {
            return Ok(Self::from_query(request.uri().query().unwrap_or_default()));
        }
        let is_json =
            kind.is_some_and(|k| k.split(';').next().unwrap_or_default().trim() == "application/json");
        if !is_json {
            return Err(WireError::invalid("Bad Request. Content-Type must be one of ['application/json']."));
        }
        let body = Bytes::from_request(request, state).await.map_err(unread)?;
        Self::from_body(&body)
    }
}

impl Fields {
    /// The fields of a JSON body.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, WireError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let malformed =
            |e: serde_json::Error| WireError::invalid(format!("Malformed JSON request body: {e}"));
        let parsed: Json = serde_json::from_slice(body).map_err(malformed)?;
        // Some old clients send their JSON as a JSON string.
        let parsed = match parsed {
            Json::String(text) => serde_json::from_str(&text).map_err(malformed)?,
            other => other,
        };
        trueline_flows::check_texts(&parsed)?;
        match parsed {
            Json::Object(map) => Self::checked(map),
            Json::Null => Ok(Self::default()),
            _ => Err(WireError::invalid("Malformed request body: expected a JSON object")),
        }
    }

    /// A field given in both spellings is ambiguous.
    fn checked(map: Map<String, Json>) -> Result<Self, WireError> {
        for key in map.keys().filter(|k| k.contains('_')) {
            let camel = camel_case(key);
            if map.contains_key(&camel) {
                return Err(WireError::invalid(format!(
                    "Failed to parse the request: field '{key}' is given twice, as '{key}' and as '{camel}'"
                )));
            }
        }
        Ok(Self(map))
    }

    /// The fields of a query, or of a form.
    pub(crate) fn from_query(query: &str) -> Self {
        let mut map: Map<String, Json> = Map::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decoded(key), Json::String(decoded(value)));
            match map.get_mut(&key) {
                Some(Json::Array(list)) => list.push(value),
                Some(first) => *first = Json::Array(vec![first.take(), value]),
                None => drop(map.insert(key, value)),
            }
        }
        Self(map)
    }

    /// The whole of it as JSON, with another value in a field.
    pub(crate) fn with(&self, name: &str, value: Json) -> Json {
        let mut map = self.0.clone();
        map.remove(&camel_case(name));
        map.insert(name.to_owned(), value);
        Json::Object(map)
    }

    /// A field as it came, in either spelling.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        let found = self.0.get(name).or_else(|| self.0.get(&camel_case(name)));
        found.filter(|v| !v.is_null())
    }

    /// A text that must be there and not empty.
    pub(crate) fn required(&self, name: &str) -> Result<String, WireError> {
        self.given(name)?.ok_or_else(|| missing(name))
    }

    /// The first of two names of a text that must be there: `run_id` and its old name `run_uuid`.
    pub(crate) fn required_either(&self, name: &str, old: &str) -> Result<String, WireError> {
        match self.given(name)? {
            Some(text) => Ok(text),
            None => self.given(old)?.ok_or_else(|| missing(name)),
        }
    }

    /// A text that may be missing.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, WireError> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A text that may be missing; one that is empty counts as missing.
    pub(crate) fn given(&self, name: &str) -> Result<Option<String>, WireError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A text that may be missing, empty then.
    pub(crate) fn text_or_empty(&self, name: &str) -> Result<String, WireError> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// A whole number, as number or text.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, WireError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = |f: f64| (f.fract() == 0.0 && f.abs() < 9e18).then_some(f as i64);
        let parsed = match value {
            Json::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(whole)),
            Json::String(text) => text.parse().ok(),
            _ => None,
        };
        parsed.map(Some).ok_or_else(|| wrong_type(name, value))
    }

    /// A number; `"NaN"`, `"Infinity"` and `"-Infinity"` are numbers.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, WireError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let parsed = match value {
            Json::Number(n) => n.as_f64(),
            Json::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                other => other.parse().ok(),
            },
            _ => None,
        };
        parsed.map(Some).ok_or_else(|| wrong_type(name, value))
    }

    /// A switch; off when missing.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, WireError> {
        self.switch_or(name, false)
    }

    /// A switch with its default.
    pub(crate) fn switch_or(&self, name: &str, default: bool) -> Result<bool, WireError> {
        match self.get(name) {
            None => Ok(default),
            Some(Json::Bool(on)) => Ok(*on),
            Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// Any value, as it came.
    pub(crate) fn any(&self, name: &str) -> Option<&Json> {
        self.get(name)
    }

    /// Texts by key.
    pub(crate) fn map(&self, name: &str) -> Result<BTreeMap<String, String>, WireError> {
        let text =
            |value: &Json| value.as_str().map(ToOwned::to_owned).ok_or_else(|| wrong_type(name, value));
        match self.get(name) {
            None => Ok(BTreeMap::new()),
            Some(Json::Object(map)) => {
                map.iter().map(|(key, value)| Ok((key.clone(), text(value)?))).collect()
            }
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list of texts; one of a query counts as a list of one.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, WireError> {
        let text = |value: &Json| match value {
            Json::String(text) => Ok(text.clone()),
            Json::Number(n) => Ok(n.to_string()),
            other => Err(wrong_type(name, other)),
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Json::Array(list)) => list.iter().map(text).collect(),
            Some(one) => Ok(vec![text(one)?]),
        }
    }

    /// A list of messages.
    pub(crate) fn messages(&self, name: &str) -> Result<Vec<Fields>, WireError> {
        self.get(name).cloned().map_or(Ok(Vec::new()), |list| Self::list(name, list))
    }

    /// The same, taken out of the request, which may be large.
    pub(crate) fn take_messages(&mut self, name: &str) -> Result<Vec<Fields>, WireError> {
        let taken = self.0.remove(name).or_else(|| self.0.remove(&camel_case(name)));
        taken.filter(|v| !v.is_null()).map_or(Ok(Vec::new()), |list| Self::list(name, list))
    }

    fn list(name: &str, list: Json) -> Result<Vec<Fields>, WireError> {
        let message = |value| match value {
            Json::Object(map) => Self::checked(map),
            other => Err(wrong_type(name, &other)),
        };
        match list {
            Json::Array(list) => list.into_iter().map(message).collect(),
            other => Err(wrong_type(name, &other)),
        }
    }

    /// A message, empty when missing.
    pub(crate) fn message(&self, name: &str) -> Result<Fields, WireError> {
        match self.get(name) {
            None => Ok(Self::default()),
            Some(Json::Object(map)) => Self::checked(map.clone()),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list of `{key, value}` messages.
    pub(crate) fn pairs(&self, name: &str) -> Result<Vec<KeyValue>, WireError> {
        self.messages(name)?
            .into_iter()
            .map(|m| Ok(KeyValue::new(m.text_or_empty("key")?, m.text_or_empty("value")?)))
            .collect()
    }

    /// Such a list for the registry.
    pub(crate) fn registry_pairs(&self, name: &str) -> Result<Vec<trueline_registry::KeyValue>, WireError> {
        let pairs = self.pairs(name)?.into_iter();
        Ok(pairs.map(|KeyValue { key, value }| trueline_registry::KeyValue { key, value }).collect())
    }

    /// Fields that came in another way than as a body: the arguments of a GraphQL field.
    pub(crate) fn from_map(map: Map<String, Json>) -> Result<Self, WireError> {
        Self::checked(map)
    }

    /// The whole of it, for tests.
    #[cfg(test)]
    pub(crate) fn of(value: Json) -> Self {
        Self::from_body(value.to_string().as_bytes()).unwrap()
    }
}

fn unread(rejection: BytesRejection) -> WireError {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => WireError::new(
            Code::TooLarge,
            "The request body is larger than this call takes (1 MiB, or 64 MiB for batches, datasets and models). Send less \
             at a time; files go to the artifact API, which streams them.",
        ),
        _ => {
            WireError::invalid(format!("Bad Request. The body could not be read: {}", rejection.body_text()))
        }
    }
}

pub(crate) fn missing(name: &str) -> WireError {
    WireError::invalid(format!("Missing value for required parameter '{name}'. {SEE}"))
}

/// A refusal of a value in the words of MLflow's checks of requests.
pub(crate) fn invalid_parameter(told: impl std::fmt::Display) -> WireError {
    WireError::invalid(format!("{told} {SEE}"))
}

fn wrong_type(name: &str, value: &Json) -> WireError {
    let kind = match value {
        Json::Null => "NoneType",
        Json::Bool(_) => "bool",
        Json::Number(n) if n.is_f64() => "float",
        Json::Number(_) => "int",
        Json::String(_) => "str",
        Json::Array(_) => "list",
        Json::Object(_) => "dict",
    };
    WireError::invalid(format!(
        "Invalid value {value} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'. {SEE}"
    ))
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut chars = part.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(error: WireError) -> String {
        format!("{error:?}")
    }

    #[test]
    fn both_spellings_are_read_but_not_at_once() {
        assert_eq!(Fields::of(json!({"runId": "a"})).required("run_id").unwrap(), "a");
        assert_eq!(Fields::of(json!({"run_id": "a"})).required("run_id").unwrap(), "a");
        let both = br#"{"run_id": "a", "runId": "b"}"#;
        assert!(message(Fields::from_body(both).unwrap_err()).contains("given twice"));
    }

    #[test]
    fn missing_empty_and_wrong_types_are_told_in_mlflows_words() {
        let fields = Fields::of(json!({"name": "", "id": 123}));
        let told = message(fields.required("name").unwrap_err());
        assert!(told.contains("Missing value for required parameter 'name'. See the API docs"), "{told}");
        let told = message(fields.required("id").unwrap_err());
        let expected =
            "Invalid value 123 for parameter 'id' supplied:  Hint: Value was of type 'int'. See the API docs";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn numbers_come_as_numbers_and_as_text() {
        let fields = Fields::of(json!({"a": "12", "b": 3, "c": "NaN", "d": "-Infinity", "e": 2.0}));
        assert_eq!(fields.integer("a").unwrap(), Some(12));
        assert_eq!(fields.integer("b").unwrap(), Some(3));
        assert_eq!(fields.integer("e").unwrap(), Some(2));
        assert!(fields.number("c").unwrap().unwrap().is_nan());
        assert_eq!(fields.number("d").unwrap(), Some(f64::NEG_INFINITY));
        assert!(fields.integer("c").is_err());
    }

    #[test]
    fn a_query_repeats_a_name_for_a_list() {
        let fields = Fields::from_query("order_by=a%20b&order_by=c+d&path=x%2Fy&flag=true");
        assert_eq!(fields.texts("order_by").unwrap(), ["a b", "c d"]);
        assert_eq!(fields.required("path").unwrap(), "x/y");
        assert!(fields.switch("flag").unwrap());
    }

    #[test]
    fn json_in_a_json_string_is_read() {
        let fields = Fields::from_body(br#""{\"a\": \"b\"}""#).unwrap();
        assert_eq!(fields.required("a").unwrap(), "b");
    }
}
