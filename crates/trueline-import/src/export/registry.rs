//! Registered models with their versions, aliases and tags; prompts are among them, told by their tags.

use super::Export;
use super::sheet::Table;
use crate::ImportError;
use trueline_db::Tx;
use trueline_registry::{ImportedVersion, export};
use trueline_tracking::export as tracking;

/// Models that are read at once, each with all its versions.
const PAGE: u32 = 100;
/// What MLflow keeps of a version that was deleted.
const DELETED: &str = "Deleted_Internal";

const MODELS: Table = Table {
    name: "registered_models",
    columns: &["name", "creation_time", "last_updated_time", "description"],
};
const MODEL_TAGS: Table = Table { name: "registered_model_tags", columns: &["name", "key", "value"] };
const ALIASES: Table = Table { name: "registered_model_aliases", columns: &["name", "alias", "version"] };
const VERSIONS: Table = Table {
    name: "model_versions",
    columns: &[
        "name",
        "version",
        "creation_time",
        "last_updated_time",
        "description",
        "current_stage",
        "source",
        "run_id",
        "status",
        "run_link",
        "storage_location",
    ],
};
const VERSION_TAGS: Table =
    Table { name: "model_version_tags", columns: &["name", "version", "key", "value"] };

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Tells of all models.
pub(super) fn write(tx: &mut Tx<'_>, to: &mut Export<'_>) -> Result<(), ImportError> {
    let mut after = String::new();
    loop {
        let page = export::models(tx, to.read, &after, PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.name);
        for model in page {
            let name = &model.name;
            let row = vec![
                name.into(),
                model.created_at_ms.into(),
                model.updated_at_ms.into(),
                given(model.description).into(),
            ];
            to.sheet.put(&MODELS, row)?;
            for tag in model.tags {
                to.sheet.put(&MODEL_TAGS, vec![name.into(), tag.key.into(), tag.value.into()])?;
            }
            for alias in model.aliases {
                to.sheet.put(&ALIASES, vec![name.into(), alias.alias.into(), alias.version.into()])?;
            }
            to.report.registered_models += 1;
            for version in model.versions {
                write_version(tx, to, name, version)?;
            }
        }
        to.tell();
    }
}

fn write_version(
    tx: &mut Tx<'_>,
    to: &mut Export<'_>,
    name: &str,
    of: ImportedVersion,
) -> Result<(), ImportError> {
    let stage = if of.deleted { DELETED } else { of.stage.as_str() };
    let source = to.artifacts.moved(&of.source);
    let stored = stored(tx, to, &of)?;
    let row = vec![
        name.into(),
        of.version.into(),
        of.created_at_ms.into(),
        of.updated_at_ms.into(),
        given(of.description).into(),
        stage.into(),
        source.into(),
        of.run_id.into(),
        "READY".into(),
        of.run_link.into(),
        stored.into(),
    ];
    to.sheet.put(&VERSIONS, row)?;
    for tag in of.tags {
        to.sheet
            .put(&VERSION_TAGS, vec![name.into(), of.version.into(), tag.key.into(), tag.value.into()])?;
    }
    to.report.versions += 1;
    Ok(())
}

/// Where the files of a version are: at the place that its source names, or, when that is gone or holds something else by now,
/// at a place of their own.
fn stored(tx: &mut Tx<'_>, to: &mut Export<'_>, of: &ImportedVersion) -> Result<String, ImportError> {
    let named = match of.source.strip_prefix("models:/").filter(|id| !id.contains('/')) {
        Some(id) => tracking::logged_model_uri(tx, to.read, id)?,
        None => match of.source.strip_prefix("runs:/").and_then(|rest| rest.split_once('/')) {
            Some((run, path)) => tracking::run_uri(tx, to.read, run)?
                .map(|uri| format!("{}/{path}", uri.trim_end_matches('/'))),
            None => None,
        },
    };
    let named = named.unwrap_or_else(|| of.source.clone());
    match &of.manifest {
        Some(manifest) if !of.deleted => to.artifacts.frozen(tx, manifest, &named, &mut to.report),
        _ => Ok(to.artifacts.moved(&named)),
    }
}
