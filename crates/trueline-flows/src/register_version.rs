//! Registering a version: find the files that its source names, freeze them in a manifest, give it a number.

use trueline_identity::{Authorized, ReadProject, RegisterModel};
use trueline_registry::{
    KeyValue, Manifest, ManifestFile, NewVersion, Registry, RegistryError, Version, VersionKey,
};
use trueline_tracking::{ArtifactPath, RunId, Tracking, TrackingError};

/// What a client asks to be registered.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    /// The model's name.
    pub model: String,
    /// Where the files are: `runs:/…`, `models:/…`, `mlflow-artifacts:/…`, or elsewhere.
    pub source: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// A link to the run.
    pub run_link: Option<String>,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// What is to be said of it.
    pub description: String,
    /// Its first tags.
    pub tags: Vec<KeyValue>,
}

/// Whether the files that a version was registered from are still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// The source holds what was frozen.
    Same,
    /// The source was changed afterwards; the version still is what was frozen.
    Diverged,
    /// The files lie where this server can't read them.
    External,
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The source could not be read.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
}

/// Registers a version with a frozen manifest.
///
/// # Errors
/// [`RegistryError::NotFound`] without the model, [`RegistryError::Invalid`] when the source names no files of this
/// server though it should, or what tracking says of the run or logged model.
pub async fn register_version(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    write: &Authorized<RegisterModel>,
    ask: Registration,
) -> Result<Version, RegisterError> {
    let place = locate(tracking, registry, read, &ask).await?;
    let manifest = match &place {
        Some(place) => Some(freeze(tracking, read, place).await?),
        None => None,
    };
    if let (Some(manifest), Some(place)) = (&manifest, &place)
        && manifest.files().is_empty()
    {
        return Err(RegisterError::Registry(RegistryError::Invalid(format!(
            "Unable to find model files under source '{}' (artifacts of this server at '{}' are empty): log the model \
             first, then register it.",
            ask.source,
            place.as_str()
        ))));
    }
    let run_id = match ask.run_id.filter(|r| !r.is_empty()) {
        Some(run) => Some(run),
        None => source_run(tracking, read, ask.model_id.as_deref()).await?,
    };
    let version = NewVersion {
        model: ask.model,
        source: ask.source,
        run_id,
        run_link: ask.run_link.filter(|l| !l.is_empty()),
        model_id: ask.model_id.filter(|m| !m.is_empty()),
        description: ask.description,
        tags: ask.tags,
        manifest,
    };
    Ok(registry.create_version(write, version).await?)
}

/// The run that made a logged model.
async fn source_run(
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    model: Option<&str>,
) -> Result<Option<String>, TrackingError> {
    let Some(id) = model.filter(|m| !m.is_empty()) else { return Ok(None) };
    let model = tracking.logged_model(read, id).await?;
    Ok(model.source_run.map(|r| r.to_string()))
}

/// Compares a version's frozen files with what its source holds now.
///
/// # Errors
/// What the registry or tracking says.
pub async fn source_state(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<SourceState, RegisterError> {
    let Some(frozen) = &version.manifest_digest else { return Ok(SourceState::External) };
    let ask = Registration {
        source: version.source.clone(),
        run_id: version.run_id.clone(),
        model_id: version.model_id.clone(),
        ..Registration::default()
    };
    let Ok(Some(place)) = locate(tracking, registry, read, &ask).await else {
        return Ok(SourceState::Diverged);
    };
    let now = freeze(tracking, read, &place).await?;
    Ok(if now.digest() == *frozen { SourceState::Same } else { SourceState::Diverged })
}

/// Where a client finds the files of a version: the artifacts of this server that its source names, or the source itself
/// when they lie elsewhere.
///
/// # Errors
/// What the registry or tracking says.
pub async fn download_uri(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<String, RegisterError> {
    let ask = Registration { source: version.source.clone(), ..Registration::default() };
    let place = locate(tracking, registry, read, &ask).await?;
    Ok(place.map_or_else(|| version.source.clone(), |p| format!("mlflow-artifacts:/{}", p.as_str())))
}

/// The folder of this server's artifacts that a source names, if it names one.
async fn locate(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    ask: &Registration,
) -> Result<Option<ArtifactPath>, RegisterError> {
    if let Some(path) = ArtifactPath::from_uri(&ask.source) {
        return Ok(Some(path));
    }
    if let Some(rest) = ask.source.strip_prefix("runs:/") {
        let (run, below) = rest.split_once('/').unwrap_or((rest, ""));
        let run = match tracking.run(read, &RunId::new(run)).await {
            Ok(run) => run.run,
            // MLflow takes a run of another server here; so its files can't be frozen.
            Err(TrackingError::NotFound(_)) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        let root = ArtifactPath::from_uri(&run.artifact_uri);
        return Ok(root.map(|r| r.join(below)).transpose()?);
    }
    let Some(rest) = ask.source.strip_prefix("models:/") else { return Ok(None) };
    match rest.split_once('/') {
        // `models:/m-<id>`: a logged model.
        None => {
            let model = tracking.logged_model(read, rest).await?;
            Ok(ArtifactPath::from_uri(&model.artifact_uri))
        }
        // `models:/<name>/<number>`: another version, whose own source is followed once.
        Some((name, number)) => {
            let version = registry.version(read, &VersionKey::parse(name, number)?).await?;
            Ok(ArtifactPath::from_uri(&version.source))
        }
    }
}

async fn freeze(
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    place: &ArtifactPath,
) -> Result<Manifest, TrackingError> {
    let files = tracking.artifacts_below(read, place).await?;
    let files = files.into_iter().map(|f| ManifestFile { path: f.path, sha256: f.sha256, size: f.size });
    Ok(Manifest::new(files.collect()))
}
