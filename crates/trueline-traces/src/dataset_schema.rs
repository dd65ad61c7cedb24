//! What an evaluation dataset tells of its records: their fields with types, and how many there are.

use crate::dataset_records::NewRecord;
use crate::value::to_json;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// The same value with the keys of all its objects in order.
pub(crate) fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(members) => {
            let members: BTreeMap<&String, Json> = members.iter().map(|(k, v)| (k, sorted(v))).collect();
            Json::Object(members.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// The schema with the fields of new records in it; a field's type is that of its first value.
pub(crate) fn schema(kept: Option<&str>, records: &[NewRecord]) -> Json {
    let start = || json!({ "inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0" });
    let mut schema = kept.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(start);
    let mut take = |part: &str, members: &Map<String, Json>| {
        if let Some(fields) = schema.get_mut(part).and_then(Json::as_object_mut) {
            for (key, value) in members {
                fields.entry(key.clone()).or_insert_with(|| type_of(value).into());
            }
        }
    };
    for record in records {
        take("inputs", &record.inputs);
        if let Some(Json::Object(outputs)) = &record.outputs {
            take("outputs", outputs);
        }
        take("expectations", &record.expectations);
    }
    let plain = records.iter().filter_map(|r| r.outputs.as_ref()).find(|o| !o.is_object() && !o.is_null());
    if let Some(output) = plain
        && schema["outputs"].as_object().is_some_and(Map::is_empty)
    {
        schema["outputs"] = type_of(output).into();
    }
    schema
}

/// The profile of so many records.
pub(crate) fn profile(records: i64) -> Option<String> {
    (records > 0).then(|| to_json(&BTreeMap::from([("num_records", records)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset_records::tests::record;

    #[test]
    fn a_schema_keeps_the_first_type_of_each_field() {
        let first = [record(json!({"inputs": {"q": "x"}, "outputs": {"a": 1}}))];
        let kept = to_json(&schema(None, &first));
        let second = [record(json!({"inputs": {"q": 1, "n": 0.5}, "expectations": {"e": [1]}}))];
        let merged = schema(Some(&kept), &second);
        assert_eq!(merged["inputs"], json!({"q": "string", "n": "float"}));
        assert_eq!(merged["outputs"], json!({"a": "integer"}));
        assert_eq!(merged["expectations"], json!({"e": "array"}));
        assert_eq!(schema(None, &[record(json!({"outputs": "text"}))])["outputs"], json!("string"));
    }
}
