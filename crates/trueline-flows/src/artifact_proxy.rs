//! The tree that a client's artifact calls see: the project's own files, which change, and below `model-versions` the
//! frozen files of registered versions by the digest of their manifest, which never do. What `models:/name/3` loads
//! comes from there, so that it is what was registered whatever became of the run's artifacts (rule 8).

use crate::RegisterError;
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::{Manifest, Registry};
use trueline_tracking::{
    ArtifactEntry, ArtifactFile, ArtifactPath, Level, OpenArtifact, Tracking, TrackingError,
};

/// The folder below which frozen files are found.
const FROZEN: &str = "model-versions";

/// Where the frozen files of a manifest are found.
#[must_use]
pub fn frozen_uri(digest: &str) -> String {
    format!("mlflow-artifacts:/{FROZEN}/{digest}")
}

/// What a path leads to among frozen files.
pub(crate) enum Frozen<'p> {
    /// The folder of all of them, which is not listed: digests are found through versions.
    All,
    /// The files of one manifest.
    Of {
        /// The manifest's digest.
        digest: &'p str,
        /// The rest of the path.
        below: &'p str,
    },
}

/// Reads a path that leads to frozen files.
pub(crate) fn frozen(path: &ArtifactPath) -> Option<Frozen<'_>> {
    let rest = path.as_str().strip_prefix(FROZEN)?;
    if rest.is_empty() {
        return Some(Frozen::All);
    }
    let (digest, below) = rest.strip_prefix('/')?.split_once('/').unwrap_or((&rest[1..], ""));
    Some(Frozen::Of { digest, below })
}

/// The files of a manifest below a folder of it, with paths relative to that.
pub(crate) fn files_below(manifest: &Manifest, folder: &str) -> Vec<ArtifactFile> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let below = |f: &trueline_registry::ManifestFile| {
        let path = f.path.strip_prefix(&prefix)?.to_owned();
        Some(ArtifactFile { path, sha256: f.sha256.clone(), size: f.size })
    };
    manifest.files().iter().filter_map(below).collect()
}

/// What a folder holds, at most so many entries.
///
/// # Errors
/// What the registry or tracking says.
pub async fn list_folder(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    folder: &ArtifactPath,
    most: usize,
) -> Result<Vec<ArtifactEntry>, RegisterError> {
    let (digest, below) = match frozen(folder) {
        None => return Ok(tracking.list_artifacts(read, folder, most).await?),
        Some(Frozen::All) => return Ok(Vec::new()),
        Some(Frozen::Of { digest, below }) => (digest, below),
    };
    let manifest = registry.manifest_of_digest(read, digest).await?.unwrap_or_default();
    let mut level = Level::default();
    files_below(&manifest, below).into_iter().for_each(|file| level.take(file));
    let mut entries = level.entries();
    entries.truncate(most);
    Ok(entries)
}

/// The file at a path.
///
/// # Errors
/// [`TrackingError::NotFound`], or what the registry says.
pub async fn find_file(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    path: &ArtifactPath,
) -> Result<OpenArtifact, RegisterError> {
    let missing = || TrackingError::NotFound(format!("No such artifact: '{}'", path.as_str()));
    let (digest, below) = match frozen(path) {
        None => return Ok(tracking.artifact(read, path).await?),
        Some(Frozen::All) => return Err(missing().into()),
        Some(Frozen::Of { digest, below }) => (digest, below),
    };
    let manifest = registry.manifest_of_digest(read, digest).await?.ok_or_else(missing)?;
    let file = manifest.file(below).ok_or_else(missing)?;
    Ok(OpenArtifact::blob(&file.sha256, file.size))
}

/// Whether a path leads to frozen files.
#[must_use]
pub fn is_frozen(path: &ArtifactPath) -> bool {
    frozen(path).is_some()
}

/// Refuses a change to frozen files.
///
/// # Errors
/// [`TrackingError::Invalid`].
pub fn check_changeable(path: &ArtifactPath) -> Result<(), TrackingError> {
    match frozen(path) {
        None => Ok(()),
        Some(_) => Err(TrackingError::Invalid(format!(
            "Invalid path: what lies below '{FROZEN}' are the frozen files of registered versions, which can't be \
             changed. Log to a run, then register a new version."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::parse(text).unwrap()
    }

    #[test]
    fn frozen_files_cannot_be_changed_and_all_others_can() {
        for fixed in ["model-versions", "model-versions/abc", "model-versions/abc/MLmodel"] {
            assert!(check_changeable(&path(fixed)).is_err(), "{fixed}");
        }
        for free in ["", "model-versions-2/x", "1/model-versions/x"] {
            assert!(check_changeable(&path(free)).is_ok(), "{free}");
        }
    }

    #[test]
    fn a_path_names_digest_and_rest() {
        let parts = |text| match frozen(&path(text)) {
            Some(Frozen::Of { digest, below }) => format!("{digest} {below}"),
            Some(Frozen::All) => "all".to_owned(),
            None => "none".to_owned(),
        };
        assert_eq!(parts("model-versions/abc"), "abc ");
        assert_eq!(parts("model-versions/abc/data/x"), "abc data/x");
        assert_eq!(parts("model-versions"), "all");
        assert_eq!(parts("1/r"), "none");
    }
}
