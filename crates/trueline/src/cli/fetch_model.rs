//! A model brought to a folder: one that is there already, one in a bucket, or a version or a run's model of a server.

use super::Connection;
use super::client::Client;
use super::fetch_bucket;
use anyhow::{Context, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::path::{Component, Path, PathBuf};
use tempfile::TempDir;

/// What stays as it is in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The deepest folder of a model that is looked into.
const DEEPEST: usize = 32;

/// A model's folder.
pub(crate) struct Fetched {
    pub(crate) folder: PathBuf,
    /// Goes with what was fetched.
    pub(crate) kept: Option<TempDir>,
}

/// Where a model is, as MLflow writes it.
#[derive(Debug, PartialEq, Eq)]
enum Place<'u> {
    Folder(&'u str),
    Bucket(&'u str),
    Version { name: &'u str, version: &'u str },
    Alias { name: &'u str, alias: &'u str },
    Run { id: &'u str, path: &'u str },
}

impl<'u> Place<'u> {
    fn parse(uri: &'u str) -> anyhow::Result<Self> {
        if let Some(model) = uri.strip_prefix("models:/") {
            let model = model.trim_start_matches('/');
            return match (model.rsplit_once('@'), model.rsplit_once('/')) {
                (Some((name, alias)), _) if !name.is_empty() && !alias.is_empty() => {
                    Ok(Self::Alias { name, alias })
                }
                (None, Some((name, version))) if !name.is_empty() && !version.is_empty() => {
                    Ok(Self::Version { name, version })
                }
                _ => bail!("`{uri}` names no version: write models:/name/version or models:/name@alias"),
            };
        }
        if let Some(run) = uri.strip_prefix("runs:/") {
            return match run.trim_start_matches('/').split_once('/') {
                Some((id, path)) if !id.is_empty() && !path.is_empty() => Ok(Self::Run { id, path }),
                _ => bail!("`{uri}` names no model: write runs:/run/path"),
            };
        }
        if trueline_blobs::is_bucket(uri) {
            return Ok(Self::Bucket(uri));
        }
        match uri.split_once("://") {
            Some(("file", path)) => Ok(Self::Folder(path)),
            Some((scheme, _)) => bail!(
                "models are not read from {scheme}:// here: name a folder, `s3://bucket/folder`, `models:/name/version` or \
                 `runs:/run/path`"
            ),
            None => Ok(Self::Folder(uri.strip_prefix("file:").unwrap_or(uri))),
        }
    }
}

/// Brings a model to a folder.
pub(crate) fn fetch(uri: &str, connection: &Connection) -> anyhow::Result<Fetched> {
    let place = Place::parse(uri)?;
    match place {
        Place::Folder(folder) => return Ok(Fetched { folder: folder.into(), kept: None }),
        Place::Bucket(bucket) => return copied(uri, |to| fetch_bucket::copy(bucket, to)),
        Place::Version { .. } | Place::Alias { .. } | Place::Run { .. } => {}
    }
    let client = Client::new(connection);
    let source = source(&client, &place).with_context(|| format!("{uri} can't be fetched"))?;
    // An address may name a server before the path: mlflow-artifacts://host:port/path.
    if let Some(root) = source.strip_prefix("mlflow-artifacts:").map(|path| path.trim_start_matches('/')) {
        return copied(uri, |to| copy(&client, root, to, 0));
    }
    match Place::parse(&source)? {
        Place::Folder(folder) => Ok(Fetched { folder: folder.into(), kept: None }),
        Place::Bucket(bucket) => copied(uri, |to| fetch_bucket::copy(bucket, to)),
        _ => bail!("{uri} lies at {source}, which is not read from here"),
    }
}

/// A model that is copied to a folder of its own.
fn copied(uri: &str, copy: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<Fetched> {
    let kept = tempfile::tempdir()?;
    copy(kept.path()).with_context(|| format!("{uri} can't be fetched"))?;
    Ok(Fetched { folder: kept.path().to_owned(), kept: Some(kept) })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The address of a model's files.
fn source(client: &Client, place: &Place<'_>) -> anyhow::Result<String> {
    let api = "/api/2.0/mlflow";
    let text = |value: &serde_json::Value| {
        value.as_str().map(ToOwned::to_owned).context("the server's answer does not say where it lies")
    };
    let of_version = |name: &str, version: &str| {
        let asked = format!(
            "{api}/model-versions/get-download-uri?name={}&version={}",
            encoded(name),
            encoded(version)
        );
        text(&client.get(&asked)?["artifact_uri"])
    };
    match place {
        Place::Folder(place) | Place::Bucket(place) => Ok((*place).to_owned()),
        Place::Version { name, version } => of_version(name, version),
        Place::Alias { name, alias } => {
            let asked =
                format!("{api}/registered-models/alias?name={}&alias={}", encoded(name), encoded(alias));
            of_version(name, &text(&client.get(&asked)?["model_version"]["version"])?)
        }
        Place::Run { id, path } => {
            let run = client.get(&format!("{api}/runs/get?run_id={}", encoded(id)))?;
            Ok(format!("{}/{path}", text(&run["run"]["info"]["artifact_uri"])?))
        }
    }
}

/// Copies a folder of the artifact proxy, and those in it.
fn copy(client: &Client, from: &str, to: &Path, depth: usize) -> anyhow::Result<()> {
    if depth > DEEPEST {
        bail!("its folders are deeper than {DEEPEST}");
    }
    let proxy = "/api/2.0/mlflow-artifacts/artifacts";
    let listed = client.get(&format!("{proxy}?path={}", encoded(from)))?;
    for file in listed["files"].as_array().into_iter().flatten() {
        let name = file["path"].as_str().unwrap_or_default();
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !plain {
            bail!("the server lists a file `{name}`, which is no name");
        }
        let (inner, place) = (format!("{from}/{name}"), to.join(name));
        if file["is_dir"] == true {
            std::fs::create_dir_all(&place)?;
            copy(client, &inner, &place, depth + 1)?;
        } else {
            let path = format!("{proxy}/{}", utf8_percent_encode(&inner, PATH));
            client.fetch(&path, &mut std::fs::File::create(&place)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_address_is_read_as_mlflow_writes_it() {
        let place = |uri| Place::parse(uri).map_err(|e| e.to_string());
        assert_eq!(place("models:/delays/3"), Ok(Place::Version { name: "delays", version: "3" }));
        assert_eq!(place("models:/a/b@prod"), Ok(Place::Alias { name: "a/b", alias: "prod" }));
        assert_eq!(place("runs:/0a1b/model/x"), Ok(Place::Run { id: "0a1b", path: "model/x" }));
        assert_eq!(place("./model"), Ok(Place::Folder("./model")));
        assert_eq!(place("file:///opt/ml/model"), Ok(Place::Folder("/opt/ml/model")));
        assert_eq!(place("s3://team/models/1"), Ok(Place::Bucket("s3://team/models/1")));
        for bad in ["models:/delays", "models:/@prod", "runs:/0a1b", "gs://bucket/model"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
