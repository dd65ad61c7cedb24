//! Declared models: that they exist, and what their versions must pass. Versions are registered by training.

use super::{Act, Change, File, Place};
use crate::cli::client::Client;
use crate::cli::model::{encoded, read_policy};
use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use trueline_registry::{ReleasePolicy, check_model_name};

/// A registered model.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelSpec {
    /// Its name.
    name: String,
    /// The file of its release policy, beside this one. A model that declares none keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PathBuf>,
}

pub(super) fn compare<'a>(
    file: &'a File,
    place: &Place<'a>,
    client: &Client,
) -> anyhow::Result<Vec<Change<'a>>> {
    let mut changes = Vec::new();
    for (i, spec) in file.models.iter().enumerate() {
        if file.models[..i].iter().any(|m| m.name == spec.name) {
            bail!("two models are called `{}`", spec.name);
        }
        check_model_name(&spec.name)?;
        let path = format!("/api/v1/models/{}", encoded(&spec.name));
        let there = client.find(&path)?;
        let policy_there = there.as_ref().map(|m| m["policy"]["policy"].clone()).unwrap_or_default();
        changes.push(Change::of("model", &spec.name, there.is_some(), {
            let path = path.clone();
            move |client| client.send("PUT", &path, &json!({})).map(drop)
        }));
        let Some(policy) = &spec.policy else { continue };
        let policy = place.folder.join(policy);
        let shown = policy.display().to_string();
        let declared: ReleasePolicy =
            serde_json::from_value(read_policy(&shown)?).with_context(|| format!("{shown} is no policy"))?;
        declared.check().with_context(|| format!("{shown} is no policy"))?;
        let declared = json!(declared);
        let mut change = Change::of("release policy", &spec.name, declared == policy_there, {
            let (path, declared) = (format!("{path}/policy"), declared.clone());
            move |client| client.send("PUT", &path, &declared).map(drop)
        });
        if !policy_there.is_null() && change.act == Act::Create {
            (change.act, change.why) =
                (Act::Change, "it is declared otherwise: approvals count no more".to_owned());
        }
        changes.push(change);
    }
    Ok(changes)
}
