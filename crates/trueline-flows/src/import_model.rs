//! A registered model of another store comes in: the files that its versions name are found among the artifacts that came
//! before, and frozen.

use crate::RegisterError;
use crate::source::Source;
use trueline_identity::{Authorized, ReadProject, RegisterModel};
use trueline_registry::{ImportedRegisteredModel, ImportedVersion, ModelImport, Registry, RegistryError};
use trueline_tracking::{RunId, Tracking, TrackingError};

/// Takes in a model with its versions, frozen where their files are here. Versions' manifests and origins are filled in.
///
/// # Errors
/// What the registry or tracking says.
pub async fn import_model(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    write: &Authorized<RegisterModel>,
    source: &str,
    mut model: ImportedRegisteredModel,
) -> Result<ModelImport, RegisterError> {
    for version in model.versions.iter_mut().filter(|v| !v.deleted) {
        freeze(tracking, registry, read, version).await?;
    }
    Ok(registry.import_model(write, source, model).await?)
}

async fn freeze(
    tracking: &Tracking,
    registry: &Registry,
    read: &Authorized<ReadProject>,
    version: &mut ImportedVersion,
) -> Result<(), RegisterError> {
    let found = match Source::locate(tracking, registry, read, &version.source).await {
        Ok(found) => found,
        // It names what is not here, or what was never a name here: the version stays without files.
        Err(
            RegisterError::Tracking(TrackingError::NotFound(_) | TrackingError::Invalid(_))
            | RegisterError::Registry(RegistryError::NotFound(_) | RegistryError::Invalid(_))
            | RegisterError::RemoteFile(_),
        ) => return Ok(()),
        Err(other) => return Err(other),
    };
    let run = version.run_id.clone().or_else(|| found.run.as_ref().map(ToString::to_string));
    if let Some(run) = &run {
        match tracking.run(read, &RunId::new(run)).await {
            Ok(_) => version.origins.push(("run", run.clone())),
            Err(TrackingError::NotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    version.model_id = version.model_id.take().or(found.model);
    version.origins.extend(version.model_id.clone().map(|m| ("logged_model", m)));
    version.origins.extend(found.version.map(|v| ("version", v)));
    let manifest = found.files.manifest(tracking, read).await?;
    version.manifest = manifest.filter(|m| !m.files().is_empty());
    Ok(())
}
