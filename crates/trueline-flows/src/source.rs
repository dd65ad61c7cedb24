//! What the source of a version names: files of a run or logged model, the frozen files of another version, or
//! something that lies elsewhere.

use crate::RegisterError;
use crate::artifact_proxy::{Frozen, files_below, frozen};
use crate::source_rules::local_path;
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::{Manifest, ManifestFile, Registry, VersionKey};
use trueline_tracking::{ArtifactOwner, ArtifactPath, RunId, Tracking, TrackingError};

/// A source as this server understands it.
#[derive(Debug)]
pub(crate) struct Source {
    /// The files.
    pub(crate) files: Files,
    /// The run that made them, when this project has it.
    pub(crate) run: Option<RunId>,
    /// The logged model that they are, when this project has it.
    pub(crate) model: Option<String>,
    /// The id of the version that they were taken from.
    pub(crate) version: Option<String>,
}

/// The files that a source names.
#[derive(Debug)]
pub(crate) enum Files {
    /// What lies in a folder now.
    Folder(ArtifactPath),
    /// What was frozen before.
    Frozen(Manifest),
    /// Where this server can't read them.
    Elsewhere,
}

impl Files {
    /// The files as they will stay: kept as blobs, wherever they lie. None when they lie elsewhere.
    pub(crate) async fn freeze(
        self,
        tracking: &Tracking,
        read: &Authorized<ReadProject>,
    ) -> Result<Option<Manifest>, TrackingError> {
        match self {
            Self::Folder(folder) => Ok(Some(manifest(tracking.freeze(read, &folder).await?))),
            other => other.manifest(tracking, read).await,
        }
    }

    /// The files as they are now; none when they lie elsewhere.
    pub(crate) async fn manifest(
        self,
        tracking: &Tracking,
        read: &Authorized<ReadProject>,
    ) -> Result<Option<Manifest>, TrackingError> {
        match self {
            Self::Folder(folder) => Ok(Some(manifest(tracking.artifacts_below(read, &folder).await?))),
            Self::Frozen(manifest) => Ok(Some(manifest)),
            Self::Elsewhere => Ok(None),
        }
    }
}

fn manifest(files: Vec<trueline_tracking::ArtifactFile>) -> Manifest {
    let files = files.into_iter().map(|f| ManifestFile { path: f.path, sha256: f.sha256, size: f.size });
    Manifest::new(files.collect())
}

impl Source {
    fn elsewhere() -> Self {
        Self { files: Files::Elsewhere, run: None, model: None, version: None }
    }

    pub(crate) async fn locate(
        tracking: &Tracking,
        registry: &Registry,
        read: &Authorized<ReadProject>,
        source: &str,
    ) -> Result<Self, RegisterError> {
        // A path of this machine may go up and down again: what counts is where it ends.
        let local = local_path(source)?;
        let named = local.as_deref().map_or(source, |path| path.to_str().unwrap_or(source));
        if let Some(path) = tracking.artifact_path(read, named) {
            return Self::at(tracking, registry, read, path).await;
        }
        if let Some(rest) = source.strip_prefix("runs:/") {
            let (run, below) = rest.split_once('/').unwrap_or((rest, ""));
            return Self::of_run(tracking, read, run, below).await;
        }
        let Some(rest) = source.strip_prefix("models:/") else { return Ok(Self::elsewhere()) };
        match rest.split_once('/') {
            // `models:/m-<id>`: a logged model.
            None => {
                let model = tracking.logged_model(read, rest).await?;
                let files =
                    tracking.artifact_path(read, &model.artifact_uri).map_or(Files::Elsewhere, Files::Folder);
                Ok(Self { files, run: model.source_run, model: Some(model.id), version: None })
            }
            // `models:/<name>/<number>`: another version, whose frozen files these are.
            Some((name, number)) => {
                let key = VersionKey::parse(name, number)?;
                let version = registry.version(read, &key).await?;
                let frozen = registry.manifest(read, &key).await?;
                Ok(Self {
                    files: frozen.map_or(Files::Elsewhere, Files::Frozen),
                    run: None,
                    model: None,
                    version: Some(version.id),
                })
            }
        }
    }

    async fn of_run(
        tracking: &Tracking,
        read: &Authorized<ReadProject>,
        run: &str,
        below: &str,
    ) -> Result<Self, RegisterError> {
        let run = match tracking.run(read, &RunId::new(run)).await {
            Ok(run) => run,
            // MLflow takes a run of another server here; so its files can't be frozen.
            Err(TrackingError::NotFound(_)) => return Ok(Self::elsewhere()),
            Err(other) => return Err(other.into()),
        };
        let files = match tracking.artifact_path(read, &run.run.artifact_uri) {
            Some(root) => Files::Folder(root.join(below)?),
            None => Files::Elsewhere,
        };
        Ok(Self { files, run: Some(run.run.id.clone()), model: None, version: None })
    }

    async fn at(
        tracking: &Tracking,
        registry: &Registry,
        read: &Authorized<ReadProject>,
        path: ArtifactPath,
    ) -> Result<Self, RegisterError> {
        match frozen(&path) {
            Some(Frozen::Of { digest, below }) => {
                let all = registry.manifest_of_digest(read, digest).await?.unwrap_or_default();
                let files = Files::Frozen(manifest(files_below(&all, below)));
                Ok(Self { files, ..Self::elsewhere() })
            }
            Some(Frozen::All) => Ok(Self { files: Files::Frozen(Manifest::default()), ..Self::elsewhere() }),
            None => {
                let (run, model) = match tracking.owner_of(read, &path).await? {
                    Some(ArtifactOwner::Run(run)) => (Some(run), None),
                    Some(ArtifactOwner::LoggedModel { id, source_run }) => (source_run, Some(id)),
                    None => (None, None),
                };
                Ok(Self { files: Files::Folder(path), run, model, version: None })
            }
        }
    }
}
