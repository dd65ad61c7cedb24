//! Declared monitors.

use super::{Act, Change, File, Place};
use crate::cli::client::Client;
use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trueline_monitoring::{DriftRule, MissingRule, MonitorSpec, QualityRule, ReferenceSource};
use trueline_pipelines::Span;

/// What watches an endpoint.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MonitorDeclaration {
    /// Its name: lower-case letters, digits, inner hyphens.
    name: String,
    /// The endpoint that it watches.
    endpoint: String,
    /// Length of a window in event time; 7d, if it is not said.
    #[serde(default = "seven_days")]
    window: Span,
    /// How long after its end a window waits for late records.
    #[serde(default)]
    lateness: Span,
    /// How long after that labels may take before quality is judged.
    #[serde(default)]
    label_wait: Span,
    /// Records and labels that are older than this change no window any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    horizon: Option<Span>,
    /// What windows are compared with.
    #[serde(default)]
    reference: ReferenceSource,
    /// Which features are watched; all, if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    features: Option<Vec<String>>,
    /// When inputs count as drifted.
    #[serde(default)]
    drift: DriftRule,
    /// When a feature is missing too often.
    #[serde(default)]
    missing: MissingRule,
    /// When the model is no longer good enough.
    #[serde(default)]
    quality: Vec<QualityRule>,
    /// How many windows in a row must alarm before an alert fires; 1, if it is not said.
    #[serde(default = "one", rename = "for")]
    consecutive: u32,
    /// Addresses that are told of a firing and of its end.
    #[serde(default)]
    webhooks: Vec<String>,
}

fn seven_days() -> Span {
    Span::seconds(7 * 86_400)
}

fn one() -> u32 {
    1
}

impl MonitorDeclaration {
    fn spec(&self) -> MonitorSpec {
        MonitorSpec {
            window_ms: self.window.millis(),
            lateness_ms: self.lateness.millis(),
            label_wait_ms: self.label_wait.millis(),
            horizon_ms: self.horizon.map(Span::millis),
            reference: self.reference,
            features: self.features.clone(),
            drift: self.drift,
            missing: self.missing,
            quality: self.quality.clone(),
            consecutive: self.consecutive,
            webhooks: self.webhooks.clone(),
        }
    }
}

pub(super) fn compare<'a>(file: &'a File, _: &Place<'a>, client: &Client) -> anyhow::Result<Vec<Change<'a>>> {
    if file.monitors.is_empty() {
        return Ok(Vec::new());
    }
    let there = client.get("/api/v1/monitors")?;
    let there = there["monitors"].as_array().cloned().unwrap_or_default();
    let mut changes: Vec<Change<'a>> = Vec::new();
    for declared in &file.monitors {
        let (name, spec) = (&declared.name, declared.spec());
        spec.check().map_err(|e| anyhow::anyhow!("monitor `{name}`: {e}"))?;
        if changes.iter().any(|c| c.name == *name) {
            bail!("two monitors are called `{name}`");
        }
        let found = there.iter().find(|m| m["name"] == name.as_str());
        if let Some(found) = found {
            let (endpoint, window) = (&found["endpoint"], &found["spec"]["window_ms"]);
            if *endpoint != declared.endpoint.as_str() || *window != json!(spec.window_ms) {
                bail!(
                    "monitor `{name}` watches endpoint {endpoint} in windows of {window} ms, and neither can be changed: \
                     declare it as it is, or another monitor"
                );
            }
        }
        let (act, why) = match found {
            None => (Act::Create, "it does not exist yet"),
            Some(found) if found["digest"] != spec.digest(&declared.endpoint).as_str() => {
                (Act::Change, "it is declared otherwise")
            }
            Some(_) => (Act::Keep, ""),
        };
        let (path, body) =
            (format!("/api/v1/monitors/{name}"), json!({ "endpoint": declared.endpoint, "spec": spec }));
        changes.push(Change {
            kind: "monitor",
            name: name.clone(),
            act,
            why: why.to_owned(),
            make: Box::new(move |client| client.send("PUT", &path, &body).map(drop)),
        });
    }
    Ok(changes)
}
