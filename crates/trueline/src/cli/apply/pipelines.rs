//! Declared pipelines.

use super::{Act, Change, File, Place};
use crate::cli::client::Client;
use anyhow::bail;
use serde_json::json;

pub(super) fn compare<'a>(
    file: &'a File,
    place: &Place<'a>,
    client: &Client,
) -> anyhow::Result<Vec<Change<'a>>> {
    if file.pipelines.is_empty() {
        return Ok(Vec::new());
    }
    let there = client.get("/api/v1/pipelines")?;
    let there = there["pipelines"].as_array().cloned().unwrap_or_default();
    let folder = place.folder.display().to_string();
    let mut changes: Vec<Change<'a>> = Vec::new();
    for spec in &file.pipelines {
        spec.check().map_err(|e| anyhow::anyhow!("pipeline `{}`: {e}", spec.name))?;
        if changes.iter().any(|c| c.name == spec.name) {
            bail!("two pipelines are called `{}`", spec.name);
        }
        let (act, why) = match there.iter().find(|p| p["name"] == spec.name.as_str()) {
            None => (Act::Create, "it does not exist yet"),
            Some(found) if found["directory"] != folder.as_str() => (Act::Change, "its folder is another"),
            Some(found) if found["version"] != spec.version().as_str() => {
                (Act::Change, "it is declared otherwise")
            }
            Some(_) => (Act::Keep, ""),
        };
        let body = json!({ "directory": folder, "declaration": spec });
        let path = format!("/api/v1/pipelines/{}", spec.name);
        changes.push(Change {
            kind: "pipeline",
            name: spec.name.clone(),
            act,
            why: why.to_owned(),
            make: Box::new(move |client| client.send("PUT", &path, &body).map(drop)),
        });
    }
    Ok(changes)
}
