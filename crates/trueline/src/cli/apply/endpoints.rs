//! Declared endpoints.

use super::{Act, Change, File, Place};
use crate::cli::client::Client;
use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trueline_serving::EndpointName;

/// Whether an answer waits until its record in the prediction log is durable.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Log {
    /// An answer leaves only when its record is durable, else 503.
    Required,
    /// An answer never waits; what could not be logged is counted.
    #[default]
    BestEffort,
}

/// An endpoint.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointSpec {
    /// Its name: lower-case letters, digits, inner hyphens.
    name: String,
    /// Whether answers wait for the log.
    #[serde(default)]
    log: Log,
    /// Header whose value makes a caller stay with one variant; `x-trueline-key` always does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sticky_header: Option<String>,
}

pub(super) fn compare<'a>(file: &'a File, _: &Place<'a>, client: &Client) -> anyhow::Result<Vec<Change<'a>>> {
    if file.endpoints.is_empty() {
        return Ok(Vec::new());
    }
    let there = client.get("/api/v1/endpoints")?;
    let there = there["endpoints"].as_array().cloned().unwrap_or_default();
    let mut changes: Vec<Change<'a>> = Vec::new();
    for spec in &file.endpoints {
        EndpointName::parse(&spec.name)?;
        if changes.iter().any(|c| c.name == spec.name) {
            bail!("two endpoints are called `{}`", spec.name);
        }
        let declared = json!({
            "name": spec.name, "log": spec.log, "sticky_header": spec.sticky_header.as_ref().map(|h| h.to_lowercase()),
        });
        let act = match there.iter().find(|e| e["name"] == spec.name.as_str()) {
            None => Act::Create,
            Some(found) => {
                let differs =
                    ["log", "sticky_header"].into_iter().find(|field| found[field] != declared[field]);
                if let Some(field) = differs {
                    bail!(
                        "endpoint `{}` exists with another `{field}` ({} instead of {}), which can't be changed: declare \
                         it as it is, or make one with another name",
                        spec.name,
                        found[field],
                        declared[field]
                    );
                }
                Act::Keep
            }
        };
        let make = move |client: &Client| client.send("POST", "/api/v1/endpoints", &declared).map(drop);
        let why = if act == Act::Create { "it does not exist yet" } else { "" };
        changes.push(Change {
            kind: "endpoint",
            name: spec.name.clone(),
            act,
            why: why.to_owned(),
            make: Box::new(make),
        });
    }
    Ok(changes)
}
