//! MLflow's folder of files: `mlruns` with a folder for each experiment and run. Ids are the names of folders, since what is
//! written inside them is read by rules that changed over the years.

mod meta;
mod models;
mod registry;
mod runs;
mod traces;

use super::experiments::lifecycle;
use super::given;
use crate::ImportError;
use crate::importer::Importer;
use meta::ExperimentMeta;
use std::path::{Path, PathBuf};
use trueline_tracking::{Experiment, ExperimentId, KeyValue};

/// Where deleted experiments lie.
const TRASH: &str = ".trash";
const META: &str = "meta.yaml";
/// Folders of an experiment that are no runs.
const NO_RUNS: [&str; 4] = ["tags", "datasets", "traces", "models"];

/// Reads a folder, in the order in which things refer to each other.
pub(super) fn read(root: &Path, importer: &mut Importer) -> Result<(), ImportError> {
    let mut experiments = Vec::new();
    for place in [root.to_owned(), root.join(TRASH)] {
        for (name, folder) in folders(&place)? {
            if let Ok(id) = name.parse::<i64>()
                && let Some(meta) = meta::read::<ExperimentMeta>(&folder, importer)?
            {
                experiments.push((id, folder, meta));
            }
        }
    }
    if experiments.is_empty() && !root.join("models").is_dir() {
        return Err(ImportError::source(
            &root.display().to_string(),
            "there is no experiment of MLflow in it; name the folder `mlruns`",
        ));
    }
    experiments.sort_by_key(|(id, ..)| *id);
    let mut all = Vec::new();
    for (id, folder, meta) in &experiments {
        all.push(experiment(*id, folder, meta, importer)?);
    }
    importer.experiments(all)?;
    for (id, folder, _) in &experiments {
        runs::read(folder, *id, importer)?;
        models::read(folder, *id, importer)?;
    }
    importer.settle()?;
    for (id, folder, _) in &experiments {
        traces::read(folder, *id, importer)?;
    }
    importer.copy_artifacts()?;
    registry::read(&root.join("models"), importer)
}

fn experiment(
    id: i64,
    folder: &Path,
    meta: &ExperimentMeta,
    importer: &Importer,
) -> Result<Experiment, ImportError> {
    let location = given(meta.artifact_location.clone()).unwrap_or_default();
    let created = meta.creation_time.unwrap_or_default();
    Ok(Experiment {
        id: ExperimentId(id),
        name: meta.name.clone().unwrap_or_else(|| id.to_string()),
        artifact_location: importer.copying.location(&location),
        lifecycle: lifecycle(meta.lifecycle_stage.clone()),
        created_at_ms: created,
        updated_at_ms: meta.last_update_time.unwrap_or(created),
        tags: pairs(&folder.join("tags"))?,
    })
}

/// The folders in a folder, by name; of a folder that is not there, none.
fn folders(place: &Path) -> Result<Vec<(String, PathBuf)>, ImportError> {
    let mut found = Vec::new();
    for path in entries(place)? {
        if path.is_dir()
            && let Some(name) = path.file_name().and_then(|n| n.to_str())
        {
            found.push((name.to_owned(), path));
        }
    }
    Ok(found)
}

fn entries(place: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let listing = match std::fs::read_dir(place) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ImportError::file(place, error)),
    };
    let paths: Result<Vec<PathBuf>, _> = listing.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(|e| ImportError::file(place, e))?;
    paths.sort();
    Ok(paths)
}

/// The files below a folder by their path within it: a key with a slash lies in a folder of its own.
fn files(place: &Path) -> Result<Vec<(String, PathBuf)>, ImportError> {
    fn walk(at: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<(), ImportError> {
        for path in entries(at)? {
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let key = format!("{prefix}{name}");
            match path.is_dir() {
                true => walk(&path, &format!("{key}/"), found)?,
                false => found.push((key, path)),
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(place, "", &mut found)?;
    Ok(found)
}

fn text(path: &Path) -> Result<String, ImportError> {
    let bytes = std::fs::read(path).map_err(|e| ImportError::file(path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Params or tags: a file for each, which holds the value.
fn pairs(place: &Path) -> Result<Vec<KeyValue>, ImportError> {
    files(place)?.into_iter().map(|(key, path)| Ok(KeyValue::new(key, text(&path)?))).collect()
}

/// The address of artifacts: what is written down, unless they lie beside it. Folders get moved, and what is written does not
/// move with them.
fn artifacts(written: Option<String>, beside: &Path) -> String {
    let written = given(written).unwrap_or_default();
    let local = written.is_empty() || written.starts_with("file:") || !written.contains(':');
    match local && beside.is_dir() {
        true => std::path::absolute(beside).unwrap_or_else(|_| beside.to_owned()).display().to_string(),
        false => written,
    }
}
