//! Which sources a version may name. The rules and words are MLflow's: without them a client could have any file of the
//! server's machine taken for a model.

use crate::{RegisterError, Registration};
use std::path::{Component, Path, PathBuf};
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::RegistryError;
use trueline_tracking::{RunId, Tracking};

/// The tag of a version that is a prompt.
const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
/// How often a source may be encoded in itself.
const DEEPEST_ENCODING: usize = 16;

/// Refuses a source that leads out of where its run or logged model lies.
pub(crate) async fn check(
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    ask: &Registration,
) -> Result<(), RegisterError> {
    let is_prompt = ask.tags.iter().any(|t| t.key == PROMPT_TAG && t.value.eq_ignore_ascii_case("true"));
    match local_path(&ask.source)? {
        // The text of a prompt is a tag; its source is only a word.
        Some(_) if is_prompt && !ask.source.starts_with("file:") && !ask.source.starts_with('/') => Ok(()),
        Some(_) if is_prompt => Err(invalid(format!(
            "Invalid prompt source: '{}'. Local source paths are not allowed for prompts.",
            ask.source
        ))),
        Some(path) => check_local(tracking, read, ask, &path).await,
        None => check_remote(&ask.source),
    }
}

/// A path of this machine is a source only inside the artifacts of the run or logged model that is named with it.
async fn check_local(
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    ask: &Registration,
    path: &Path,
) -> Result<(), RegisterError> {
    let (parameter, root) = match (&ask.model_id, &ask.run_id) {
        (Some(id), _) => ("model_id", Some(tracking.logged_model(read, id).await?.artifact_uri)),
        (None, Some(id)) => {
            ("run_id", Some(tracking.run(read, &RunId::new(id)).await?.run.artifact_uri.clone()))
        }
        (None, None) => ("run_id", None),
    };
    let root = root.as_deref().map(local_path).transpose()?.flatten();
    if root.is_some_and(|root| path.starts_with(root)) {
        return Ok(());
    }
    Err(invalid(format!(
        "Invalid model version source: '{}'. To use a local path as a model version source, the {parameter} request \
         parameter has to be specified and the local path has to be contained within the artifact directory of the run \
         specified by the {parameter}.",
        ask.source
    )))
}

/// An address must say where it leads, however often it is encoded.
fn check_remote(source: &str) -> Result<(), RegisterError> {
    let refused = || {
        invalid(format!(
            "Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, \
             objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references \
             present. Please provide an absolute path."
        ))
    };
    let mut plain = source.to_owned();
    for _ in 0..DEEPEST_ENCODING {
        let decoded = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy().into_owned();
        if decoded == plain {
            let relative = plain.split('/').any(|part| part == ".." || part == ".");
            return if relative || plain.contains('\0') { Err(refused()) } else { Ok(()) };
        }
        plain = decoded;
    }
    Err(refused())
}

fn invalid(message: String) -> RegisterError {
    RegisterError::Registry(RegistryError::Invalid(message))
}

/// The absolute path that a source names on this machine, without steps up; none when it is an address of elsewhere.
pub(crate) fn local_path(source: &str) -> Result<Option<PathBuf>, RegisterError> {
    let path = match source.strip_prefix("file:") {
        None if has_scheme(source) => return Ok(None),
        None => source.to_owned(),
        Some(rest) => match rest.strip_prefix("//") {
            None => decoded(rest),
            Some(with_host) => {
                let (host, path) = with_host.split_at(with_host.find('/').unwrap_or(with_host.len()));
                let here =
                    host.is_empty() || host == "." || host.starts_with("localhost") || host == "127.0.0.1";
                if !here {
                    return Err(RegisterError::RemoteFile(source.to_owned()));
                }
                decoded(path)
            }
        },
    };
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| PathBuf::from("/").join(&path));
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    Ok(Some(plain))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether a text begins like `s3:`.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else { return false };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(source: &str) -> Option<String> {
        local_path(source).unwrap().map(|path| path.display().to_string())
    }

    #[test]
    fn paths_of_this_machine_are_told_from_addresses() {
        assert_eq!(local("/data/1/r").as_deref(), Some("/data/1/r"));
        assert_eq!(local("file:///data/my%20runs").as_deref(), Some("/data/my runs"));
        assert_eq!(local("file://localhost/data").as_deref(), Some("/data"));
        assert_eq!(local("/data/1/r/../../../etc").as_deref(), Some("/etc"));
        assert_eq!(local("file:///data/1/model/..").as_deref(), Some("/data/1"));
        assert!(local("model").unwrap().ends_with("/model"));
        for elsewhere in ["s3://bucket/x", "runs:/abc/m", "models:/m/1", "mlflow-artifacts:/1/r", "dbfs:/x"] {
            assert_eq!(local(elsewhere), None, "{elsewhere}");
        }
        let told = local_path("file://10.0.0.9/data").unwrap_err().to_string();
        assert!(told.starts_with("file://10.0.0.9/data is not a valid remote uri."), "{told}");
    }

    #[test]
    fn addresses_with_steps_up_are_refused_however_they_are_written() {
        for fine in
            ["mlflow-artifacts:/models///", "mlflow-artifacts://h:9/models/..../", "s3://b/x", "models:/m/1"]
        {
            assert!(check_remote(fine).is_ok(), "{fine}");
        }
        let bad =
            ["http://h/../x", "mlflow-artifacts://h/m/..%2f..%2fx", "s3a://b/%252e%252e/x", "ftp://h/x%00"];
        for bad in bad {
            assert!(check_remote(bad).is_err(), "{bad}");
        }
    }
}
