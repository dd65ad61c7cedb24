//! Registering a version: find the files that its source names, freeze them in a manifest, give it a number.

use crate::artifact_proxy::frozen_uri;
use crate::source::Source;
use crate::source_rules;
use trueline_identity::{Authorized, ReadProject, RegisterModel, WriteTracking};
use trueline_registry::{KeyValue, NewVersion, Registry, RegistryError, Version, VersionKey};
use trueline_tracking::{RunId, Tracking, TrackingError};

/// So many copies of copies are followed.
const LONGEST_CHAIN: usize = 32;

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
    /// No files were frozen: they lie where this server can't read them, or there were none.
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
    /// The source is a file of another machine.
    #[error(
        "{0} is not a valid remote uri. For remote access on windows, please consider using a different scheme such as \
         SMB (e.g. smb://<hostname>/<path>)."
    )]
    RemoteFile(String),
}

/// Registers a version with a frozen manifest, when there are files to be frozen, and notes it with its logged model.
///
/// # Errors
/// [`RegistryError::NotFound`] without the model, [`RegistryError::Invalid`] when the source leads where it may not or
/// contradicts the run, or what tracking says of the run or logged model.
pub async fn register_version(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    write: &Authorized<RegisterModel>,
    log: &Authorized<WriteTracking>,
    ask: Registration,
) -> Result<Version, RegisterError> {
    let ask = Registration { run_id: given(ask.run_id), model_id: given(ask.model_id), ..ask };
    source_rules::check(tracking, read, &ask).await?;
    let found = Source::locate(tracking, registry, read, &ask.source).await?;
    let origin = Origin::of(tracking, read, &found, &ask).await?;
    // Nothing was there to be frozen: the version is a name for what may come, and no endpoint takes it.
    let manifest = found.files.freeze(tracking, read).await?.filter(|m| !m.files().is_empty());
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
    let registered = registry.create_version(write, version).await?;
    if let Some(id) = &registered.model_id {
        tracking.note_registered(log, id, &registered.key.model, registered.key.version).await?;
    }
    Ok(registered)
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

/// Where a client finds the files of a version: the frozen ones, or the source itself when none were. A copy of another
/// version is found where that is.
///
/// # Errors
/// What the registry or tracking says.
pub async fn download_uri(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<String, RegisterError> {
    let mut version = version.clone();
    for _ in 0..LONGEST_CHAIN {
        if let Some(digest) = &version.manifest_digest {
            return Ok(frozen_uri(digest));
        }
        let Some(rest) = version.source.strip_prefix("models:/") else { return Ok(version.source) };
        let Some((name, number)) = rest.split_once('/') else {
            return Ok(tracking.logged_model(read, rest).await?.artifact_uri);
        };
        let key = VersionKey::parse(name, number)?;
        match registry.version(read, &key).await {
            Ok(next) => version = next,
            Err(RegistryError::NotFound(_)) => return Ok(version.source),
            Err(other) => return Err(other.into()),
        }
    }
    // Models that were renamed can make a circle of copies.
    Ok(version.source)
}
