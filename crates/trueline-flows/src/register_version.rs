//! Registering a version: find the files that its source names, freeze them in a manifest, give it a number.

use crate::artifact_proxy::frozen_uri;
use crate::source::{self, Source};
use trueline_identity::{Authorized, ReadProject, RegisterModel};
use trueline_registry::{KeyValue, NewVersion, Registry, RegistryError, Version};
use trueline_tracking::{RunId, Tracking, TrackingError};

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
/// server though it should or contradicts the run, or what tracking says of the run or logged model.
pub async fn register_version(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    write: &Authorized<RegisterModel>,
    ask: Registration,
) -> Result<Version, RegisterError> {
    let ask = Registration { run_id: given(ask.run_id), model_id: given(ask.model_id), ..ask };
    source::refuse_local(tracking, read, &ask).await?;
    let found = Source::locate(tracking, registry, read, &ask.source).await?;
    let origin = Origin::of(tracking, read, &found, &ask).await?;
    let manifest = found.files.freeze(tracking, read).await?;
    if manifest.as_ref().is_some_and(|m| m.files().is_empty()) {
        return Err(invalid(format!(
            "Unable to find model files under source '{}' (this server's artifacts there are empty): log the model \
             first, then register it.",
            ask.source
        )));
    }
    let version = NewVersion {
        model: ask.model,
        source: ask.source,
        run_id: origin.run_id,
        run_link: given(ask.run_link),
        model_id: ask.model_id,
        description: ask.description,
        tags: ask.tags,
        origins: origin.nodes,
        manifest,
    };
    Ok(registry.create_version(write, version).await?)
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

fn invalid(message: String) -> RegisterError {
    RegisterError::Registry(RegistryError::Invalid(message))
}

/// What of this project a version comes from.
struct Origin {
    run_id: Option<String>,
    /// Ends of lineage edges: only what this project has.
    nodes: Vec<(&'static str, String)>,
}

impl Origin {
    async fn of(
        tracking: &Tracking,
        read: &Authorized<ReadProject>,
        found: &Source,
        ask: &Registration,
    ) -> Result<Self, RegisterError> {
        let mut made_by = found.run.clone();
        if let Some(id) = &ask.model_id {
            let model = tracking.logged_model(read, id).await?;
            made_by = made_by.or(model.source_run);
        }
        if let (Some(said), Some(real)) = (&ask.run_id, &found.run)
            && said != real.as_str()
        {
            return Err(invalid(format!(
                "Invalid model version source: '{}'. It lies in the artifacts of run '{real}', but the run_id request \
                 parameter says '{said}'. Give the run that made the files, or leave run_id out.",
                ask.source
            )));
        }
        let run_id = ask.run_id.clone().or_else(|| made_by.map(|r| r.to_string()));
        let mut nodes = Vec::new();
        if let Some(run) = &run_id {
            match tracking.run(read, &RunId::new(run)).await {
                Ok(_) => nodes.push(("run", run.clone())),
                // MLflow takes a run of another server here.
                Err(TrackingError::NotFound(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        nodes.extend(ask.model_id.clone().or_else(|| found.model.clone()).map(|m| ("logged_model", m)));
        nodes.extend(found.version.clone().map(|v| ("version", v)));
        Ok(Self { run_id, nodes })
    }
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
    let found = match Source::locate(tracking, registry, read, &version.source).await {
        Ok(found) => found,
        // The run or version that it names is gone.
        Err(
            RegisterError::Tracking(TrackingError::NotFound(_))
            | RegisterError::Registry(RegistryError::NotFound(_)),
        ) => {
            return Ok(SourceState::Diverged);
        }
        Err(other) => return Err(other),
    };
    let now = found.files.manifest(tracking, read).await?;
    let same = now.is_some_and(|now| now.digest() == *frozen);
    Ok(if same { SourceState::Same } else { SourceState::Diverged })
}

/// Where a client finds the files of a version: the frozen ones, or the source itself when they lie elsewhere.
#[must_use]
pub fn download_uri(version: &Version) -> String {
    version.manifest_digest.as_deref().map_or_else(|| version.source.clone(), frozen_uri)
}
