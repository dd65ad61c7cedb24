//! What is needed to try an endpoint: the input example of the version that answers, and how it is sent.

use super::{Visitor, Web, mlmodel};
use crate::Links;
use crate::pages::{AskIt, Signature};
use crate::snippets::{self, Asked};
use serde_json::{Map, Value as Json, json};
use trueline_registry::{Manifest, VersionKey};
use trueline_serving::{Endpoint, parse_json};

/// Larger examples are not read.
const LARGEST: u64 = 1 << 20;
/// Rows of an example that the form is filled with.
const ROWS: usize = 3;
/// A longer input is not put on a page.
const LONGEST: usize = 16 << 10;

/// How an endpoint is tried; none while nothing is deployed to it.
pub(super) async fn ask_it(app: &Web, visitor: &Visitor, endpoint: &Endpoint) -> Option<AskIt> {
    let spec = &endpoint.route.as_ref()?.variants.first()?.spec;
    let key = VersionKey::new(&spec.model, spec.version);
    let manifest = match visitor.session.leave() {
        // A version that was deleted since goes on answering; nothing more is known of it.
        Ok(read) => app.registry.manifest(&read, &key).await.ok().flatten(),
        Err(_) => None,
    };
    let mut model = mlmodel::MlModel::default();
    let mut example = None;
    if let Some(manifest) = &manifest {
        model = mlmodel::of_version(app, visitor, manifest).await.unwrap_or_default();
        example = logged(app, visitor, manifest, model.serving_input.as_deref()).await;
    }
    let is_logged = example.is_some();
    let body = example.unwrap_or_else(|| made_up(model.signature.as_ref()));
    let name = endpoint.name.to_string();
    let asked = Asked {
        address: &visitor.address,
        project: visitor.project(),
        endpoint: &name,
        token: visitor.session.caller().has_token(),
        body: &body,
        signature: model.signature.as_ref(),
    };
    Some(AskIt {
        path: asked.path(),
        predictions: Links::new(Some(visitor.project())).prediction(""),
        body: snippets::input(&body),
        is_logged,
        of: spec.name(),
        snippets: asked.snippets(),
    })
}

/// The example that was logged with the model, with a few of its rows.
async fn logged(app: &Web, visitor: &Visitor, manifest: &Manifest, path: Option<&str>) -> Option<Json> {
    let file = manifest.file(path?)?;
    let leave = visitor.session.leave().ok()?;
    let bytes = app.tracking.blob(&leave, &file.sha256, LARGEST).await.ok()?;
    let example = cut(parse_json(&bytes).ok()?);
    (example.is_object() && example.to_string().len() <= LONGEST).then_some(example)
}

/// The first rows of an example in any of MLflow's forms.
fn cut(mut example: Json) -> Json {
    let short = |rows: &mut Json| {
        if let Some(rows) = rows.as_array_mut() {
            rows.truncate(ROWS);
        }
    };
    if let Some(split) = example.get_mut("dataframe_split").and_then(Json::as_object_mut) {
        for part in ["data", "index"] {
            split.get_mut(part).map(short);
        }
    }
    for form in ["dataframe_records", "instances", "inputs"] {
        match example.get_mut(form) {
            Some(Json::Object(named)) => named.values_mut().for_each(short),
            Some(rows) => short(rows),
            None => {}
        }
    }
    example
}

/// A row as the signature has it.
fn made_up(signature: Option<&Signature>) -> Json {
    let value = |kind: &str| match kind {
        "long" | "integer" => json!(1),
        "boolean" => json!(true),
        "string" => json!("text"),
        "datetime" => json!("2026-01-31T12:00:00Z"),
        _ => json!(0.5),
    };
    let fields = signature.map(|s| s.inputs.as_slice()).unwrap_or_default();
    let row: Map<String, Json> = fields.iter().map(|f| (f.name.clone(), value(&f.kind))).collect();
    json!({ "dataframe_records": [row] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_of_many_rows_is_cut_in_every_form() {
        let rows = json!([1, 2, 3, 4, 5]);
        let split = cut(json!({ "dataframe_split": { "columns": ["a"], "index": rows, "data": rows } }));
        let three = json!([1, 2, 3]);
        let expected = json!({ "dataframe_split": { "columns": ["a"], "index": three, "data": three } });
        assert_eq!(split, expected);
        for form in ["dataframe_records", "instances", "inputs"] {
            assert_eq!(cut(json!({ form: rows })), json!({ form: three }));
        }
        assert_eq!(cut(json!({ "inputs": { "a": rows } })), json!({ "inputs": { "a": three } }));
    }
}
