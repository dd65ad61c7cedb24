//! Declared entities and feature views, which a file of their own lists. Datasets need not be there: a view waits for its data.

use super::{Act, Change, File, Place};
use crate::cli::client::Client;
use crate::cli::features::declaration;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use trueline_features::{Declaration, Entity, ViewSpec};

const DECLARE: &str = "/api/v1/feature-declarations";

pub(super) fn compare<'a>(
    file: &'a File,
    place: &Place<'a>,
    client: &Client,
) -> anyhow::Result<Vec<Change<'a>>> {
    let Some(path) = &file.features else { return Ok(Vec::new()) };
    let path = place.folder.join(path);
    let declared: Declaration = serde_json::from_value(declaration(&path)?)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let entities = client.get("/api/v1/entities")?;
    let views = client.get("/api/v1/feature-views")?;
    let mut changes = Vec::new();
    for entity in &declared.entities {
        changes.push(compare_entity(entity, &entities["entities"])?);
    }
    for view in &declared.views {
        view.check()?;
        changes.push(compare_view(view, &views["views"]));
    }
    Ok(changes)
}

fn named<'v>(all: &'v Value, name: &str) -> Option<&'v Value> {
    all.as_array().into_iter().flatten().find(|thing| thing["name"] == name)
}

fn change(kind: &'static str, name: &str, (act, why): (Act, &str), body: Value) -> Change<'static> {
    let make = move |client: &Client| client.send("POST", DECLARE, &body).map(drop);
    Change { kind, name: name.to_owned(), act, why: why.to_owned(), make: Box::new(make) }
}

fn compare_entity(entity: &Entity, there: &Value) -> anyhow::Result<Change<'static>> {
    let key = if entity.join_key.is_empty() { &entity.name } else { &entity.join_key };
    let differs = match named(there, &entity.name) {
        None => (Act::Create, "it does not exist yet"),
        Some(found) if found["join_key"] != key.as_str() => bail!(
            "entity `{}` has the key {}, and views rely on it: declare another entity for `{key}`",
            entity.name,
            found["join_key"]
        ),
        Some(_) => (Act::Keep, ""),
    };
    Ok(change("entity", &entity.name, differs, json!({ "entities": [entity] })))
}

fn compare_view(view: &ViewSpec, there: &Value) -> Change<'static> {
    let declared = json!(view);
    // What is there says more than what is declared: its version, who made it.
    let is_so = |found: &Value| {
        declared.as_object().into_iter().flatten().all(|(field, value)| found[field] == *value)
    };
    let differs = match named(there, &view.name) {
        None => (Act::Create, "it does not exist yet"),
        Some(found) if !is_so(found) => {
            (Act::Change, "it is declared otherwise: that is a new version, the old one stays")
        }
        Some(_) => (Act::Keep, ""),
    };
    change("feature view", &view.name, differs, json!({ "views": [view] }))
}
