//! W&B's values: JSON in which NaN and the infinities stand bare, and nested keys.

use super::record::Item;
use serde_json::Value as Json;

/// A value of the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number; truths are 0 and 1.
    Number(f64),
    /// Anything else that is shown as text.
    Text(String),
    /// Media, tables and histograms: what they point to lies in files.
    Media,
}

/// The key of an item: nested ones are joined as W&B shows them.
pub(super) fn key(item: &Item) -> String {
    if item.nested_key.is_empty() { item.key.clone() } else { item.nested_key.join(".") }
}

/// The values of an item, each with its key; objects fall apart into their fields.
pub(super) fn values(item: &Item) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    match item.value_json.trim() {
        "NaN" => found.push((key(item), Value::Number(f64::NAN))),
        "Infinity" => found.push((key(item), Value::Number(f64::INFINITY))),
        "-Infinity" => found.push((key(item), Value::Number(f64::NEG_INFINITY))),
        text => match serde_json::from_str(text) {
            Ok(json) => flatten(key(item), json, &mut found),
            // An object with a bare NaN in it.
            Err(_) => found.push((key(item), Value::Text(text.to_owned()))),
        },
    }
    found
}

fn flatten(key: String, json: Json, found: &mut Vec<(String, Value)>) {
    match json {
        Json::Object(fields) if fields.contains_key("_type") => found.push((key, Value::Media)),
        Json::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(format!("{key}.{name}"), value, found);
            }
        }
        Json::Number(number) => {
            found.extend(number.as_f64().map(|n| (key, Value::Number(n))));
        }
        Json::Bool(truth) => found.push((key, Value::Number(f64::from(u8::from(truth))))),
        Json::String(text) => found.push((key, Value::Text(text))),
        other => found.push((key, Value::Text(other.to_string()))),
    }
}

/// The text of a config value: as it was written, truths too.
pub(super) fn text(json: &str) -> Vec<(String, String)> {
    fn walk(key: String, json: Json, found: &mut Vec<(String, String)>) {
        match json {
            Json::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                    walk(key, value, found);
                }
            }
            Json::String(text) => found.push((key, text)),
            other => found.push((key, other.to_string())),
        }
    }
    let mut found = Vec::new();
    match serde_json::from_str(json) {
        Ok(value) => walk(String::new(), value, &mut found),
        Err(_) => found.push((String::new(), json.to_owned())),
    }
    found
}

/// A key as clients may name it here: other characters become `_`, and it is a path without empty parts.
pub(super) fn clean(key: &str) -> String {
    let fine = |c: char| if c.is_alphanumeric() || "_-. :/".contains(c) { c } else { '_' };
    let parts = key.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
    let joined = parts.collect::<Vec<_>>().join("/");
    let cleaned: String = joined.chars().map(fine).take(250).collect();
    if cleaned.is_empty() { "_".to_owned() } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str, json: &str) -> Item {
        Item { key: key.into(), nested_key: Vec::new(), value_json: json.into() }
    }

    #[test]
    fn values_fall_apart_into_numbers_and_texts() {
        let read = |json| values(&item("k", json));
        assert!(matches!(read("NaN")[0].1, Value::Number(n) if n.is_nan()));
        assert_eq!(read("-Infinity"), [("k".into(), Value::Number(f64::NEG_INFINITY))]);
        assert_eq!(read("true"), [("k".into(), Value::Number(1.0))]);
        assert_eq!(read(r#"{"x": {"y": 2}}"#), [("k.x.y".into(), Value::Number(2.0))]);
        assert_eq!(read(r#"{"_type": "image-file"}"#), [("k".into(), Value::Media)]);
        assert_eq!(read(r#"{"x": NaN}"#), [("k".into(), Value::Text(r#"{"x": NaN}"#.into()))]);
        let nested = Item { nested_key: vec!["a".into(), "b".into()], ..item("", "1") };
        assert_eq!(values(&nested), [("a.b".into(), Value::Number(1.0))]);
        assert_eq!(
            text(r#"{"a": [1, 2], "b": "x"}"#),
            [("a".into(), "[1,2]".into()), ("b".into(), "x".into())]
        );
        assert_eq!(text("null"), [("".into(), "null".into())]);
    }

    #[test]
    fn keys_are_made_ones_that_can_be_asked_for() {
        assert_eq!(clean("val/acc"), "val/acc");
        assert_eq!(clean("/a//b/../c%"), "a/b/c_");
        assert_eq!(clean(""), "_");
    }
}
