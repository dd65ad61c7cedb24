//! Who made a version: who registered it, and who started the runs and logged the models that it was made from. A client
//! may name its run or not; the place of the files names it too.

use crate::release::{ReleaseError, Releases};
use std::collections::BTreeSet;
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::{RegistryError, Version, VersionKey};
use trueline_tracking::{RunId, TrackingError};

/// Ids in one source that are looked up; a source of this server names two at most.
const MOST_IDS: usize = 8;

/// The principals without whom the version would not be; none of them may decide on it.
pub(crate) async fn authors(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<BTreeSet<String>, ReleaseError> {
    let mut out = makers(releases, read, version).await?;
    if let Some(original) = original(&version.source) {
        match releases.registry.version(read, &original).await {
            Ok(original) => out.extend(makers(releases, read, &original).await?),
            Err(RegistryError::NotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(out)
}

/// The version that a source `models:/<name>/<number>` names.
fn original(source: &str) -> Option<VersionKey> {
    let (model, number) = source.strip_prefix("models:/")?.split_once('/')?;
    VersionKey::parse(model, number).ok()
}

async fn makers(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<BTreeSet<String>, ReleaseError> {
    let mut out = BTreeSet::from([version.created_by.clone()]);
    let named = [version.run_id.as_deref(), version.model_id.as_deref()];
    let mut runs = BTreeSet::new();
    for id in named.into_iter().flatten().chain(ids(&version.source)) {
        if !id.starts_with("m-") {
            runs.insert(id.to_owned());
            continue;
        }
        if let Some(model) = found(releases.tracking.logged_model(read, id).await)? {
            out.insert(model.created_by);
            runs.extend(model.source_run.map(|run| run.to_string()));
        }
    }
    for run in runs {
        if let Some(run) = found(releases.tracking.run(read, &RunId::new(run)).await)? {
            out.insert(run.run.created_by.clone());
        }
    }
    Ok(out)
}

fn found<T>(looked_up: Result<T, TrackingError>) -> Result<Option<T>, TrackingError> {
    match looked_up {
        Ok(thing) => Ok(Some(thing)),
        Err(TrackingError::NotFound(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What in a source may be the id of a run (32 hexadecimal digits) or of a logged model (`m-` before them).
fn ids(source: &str) -> impl Iterator<Item = &str> {
    let is_id = |part: &&str| {
        let digits = part.strip_prefix("m-").unwrap_or(part);
        digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    source.split('/').filter(is_id).take(MOST_IDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_source_names_its_run_its_logged_model_or_another_version() {
        let of = |source: String| ids(&source).map(ToOwned::to_owned).collect::<Vec<_>>();
        assert_eq!(of(format!("runs:/{ID}/model")), [ID]);
        assert_eq!(of(format!("mlflow-artifacts:/7/{ID}/artifacts/model")), [ID]);
        assert_eq!(of(format!("models:/m-{ID}")), [format!("m-{ID}")]);
        assert_eq!(of(format!("mlflow-artifacts:/7/models/m-{ID}/artifacts")), [format!("m-{ID}")]);
        assert!(of("s3://bucket/model".to_owned()).is_empty());
        assert_eq!(original("models:/delays/3"), Some(VersionKey::new("delays", 3)));
        assert_eq!(original(&format!("models:/m-{ID}")), None);
        assert_eq!(original("models:/delays@champion"), None);
    }
}
