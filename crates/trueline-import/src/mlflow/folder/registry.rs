//! Registered models of a folder.

use super::super::registry::{Said, version};
use super::meta::{self, RegisteredModelMeta, VersionMeta};
use super::{files, folders, pairs, text};
use crate::ImportError;
use crate::importer::Importer;
use std::path::Path;
use trueline_registry::{Alias, ImportedRegisteredModel, ImportedVersion, KeyValue};

fn tags(place: &Path) -> Result<Vec<KeyValue>, ImportError> {
    let pairs = pairs(&place.join("tags"))?.into_iter();
    Ok(pairs.map(|pair| KeyValue { key: pair.key, value: pair.value }).collect())
}

/// Takes all registered models.
pub(super) fn read(place: &Path, importer: &mut Importer) -> Result<(), ImportError> {
    for (folder_name, place) in folders(place)? {
        let Some(meta) = meta::read::<RegisteredModelMeta>(&place, importer)? else { continue };
        let mut versions = Vec::new();
        for (name, place) in folders(&place)? {
            let number = name.strip_prefix("version-").and_then(|n| n.parse().ok());
            if let Some(number) = number
                && let Some(meta) = meta::read::<VersionMeta>(&place, importer)?
            {
                versions.push(of_version(number, meta, &place, importer)?);
            }
        }
        let created = meta.creation_timestamp.unwrap_or_default();
        importer.registered_model(ImportedRegisteredModel {
            name: meta.name.unwrap_or(folder_name),
            description: meta.description.unwrap_or_default(),
            created_at_ms: created,
            updated_at_ms: meta.last_updated_timestamp.unwrap_or(created),
            tags: tags(&place)?,
            aliases: aliases(&place.join("aliases"))?,
            versions,
        })?;
    }
    Ok(())
}

fn of_version(
    number: i64,
    meta: VersionMeta,
    place: &Path,
    importer: &mut Importer,
) -> Result<ImportedVersion, ImportError> {
    let said = Said {
        version: number,
        created_at_ms: meta.creation_timestamp.unwrap_or_default(),
        updated_at_ms: meta.last_updated_timestamp,
        description: meta.description,
        stage: meta.current_stage,
        source: meta.source,
        run_id: meta.run_id,
        run_link: meta.run_link,
        stored: meta.storage_location,
        status: meta.status,
    };
    Ok(ImportedVersion { tags: tags(place)?, ..version(said, importer) })
}

/// A file for each alias, which holds the number.
fn aliases(place: &Path) -> Result<Vec<Alias>, ImportError> {
    let mut found = Vec::new();
    for (alias, path) in files(place)? {
        found.extend(text(&path)?.trim().parse().ok().map(|version| Alias { alias, version }));
    }
    Ok(found)
}
