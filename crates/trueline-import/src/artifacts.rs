//! Files of runs and logged models: where they lie on this machine, and their way into this server's artifacts.

use crate::importer::{Progress, Target};
use crate::{ImportError, Report};
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;
use trueline_tracking::{ArtifactPath, ImportedArtifact, TrackingError};

/// Files that get their paths in one transaction.
const FILES: usize = 200;
/// Files that are read at once.
const AT_ONCE: usize = 4;
/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// What becomes of artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Artifacts {
    /// Files on this machine are copied; others stay where they are.
    #[default]
    Copy,
    /// All stay where they are.
    Reference,
}

/// Where a URI of the source leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lies {
    /// In a folder of this machine.
    Here(PathBuf),
    /// Behind the proxy of an MLflow server whose folder was not named.
    Behind,
    /// In another store.
    Away(String),
}

/// The path that a URI names on this machine, or the scheme of one that names none.
pub(crate) fn local_path(uri: &str) -> Result<PathBuf, &str> {
    if let Some(rest) = uri.strip_prefix("file:") {
        // With an authority (`file://host/…`) the path begins after it.
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.find('/').map_or(with_host, |at| &with_host[at..]),
            None => rest,
        };
        return Ok(PathBuf::from(&*percent_decode_str(path).decode_utf8_lossy()));
    }
    match uri.split_once(':') {
        Some((scheme, _)) => Err(scheme),
        None => Ok(PathBuf::from(uri)),
    }
}

/// What there is to copy, gathered while runs are read.
#[derive(Debug, Default)]
pub(crate) struct Copying {
    mode: Artifacts,
    /// What `mlflow-artifacts:/` stands for.
    root: Option<PathBuf>,
    /// What relative paths begin at.
    base: PathBuf,
    jobs: Vec<(PathBuf, ArtifactPath)>,
    /// Those of them that get an address here, by folder.
    folders: HashMap<PathBuf, ArtifactPath>,
}

/// A file to be copied, by path and name here.
type File = (PathBuf, ArtifactPath);

impl Copying {
    pub(crate) fn new(mode: Artifacts, root: Option<PathBuf>, base: PathBuf) -> Self {
        Self { mode, root, base, ..Self::default() }
    }

    fn lies(&self, uri: &str) -> Lies {
        if let Some(path) = ArtifactPath::from_uri(uri) {
            return match &self.root {
                Some(root) => Lies::Here(root.join(path.as_str())),
                None => Lies::Behind,
            };
        }
        match local_path(uri) {
            Ok(path) => Lies::Here(self.base.join(path)),
            Err(scheme) => Lies::Away(scheme.to_owned()),
        }
    }

    /// Notes that the files at `uri` belong to `own`, a folder of this server; answers the URI that they have from now on, empty
    /// for `own`.
    pub(crate) fn adopt(&mut self, uri: &str, own: &str, report: &mut Report) -> String {
        let lies = self.lies(uri);
        if self.mode == Artifacts::Reference {
            if ArtifactPath::from_uri(uri).is_some() {
                report.miss(
                    "folders of artifacts",
                    1,
                    "they lie behind the proxy of the MLflow server (`mlflow-artifacts:`), which can't be referred to; \
                     copy them: --artifacts copy --artifacts-root <its --artifacts-destination>",
                );
            }
            return uri.to_owned();
        }
        let proxied = ArtifactPath::from_uri(uri).filter(|path| !path.is_root());
        match (lies, proxied) {
            (Lies::Here(folder), Some(path)) => {
                self.jobs.push((folder, path));
                uri.to_owned()
            }
            (Lies::Here(folder), None) => match ArtifactPath::parse(own) {
                Ok(path) => {
                    self.folders.insert(folder.clone(), path.clone());
                    self.jobs.push((folder, path));
                    String::new()
                }
                Err(_) => uri.to_owned(),
            },
            (Lies::Behind, _) => {
                report.miss(
                    "folders of artifacts",
                    1,
                    "they lie behind the proxy of the MLflow server (`mlflow-artifacts:`); import again with \
                     --artifacts-root <its --artifacts-destination>, and they come too",
                );
                uri.to_owned()
            }
            (Lies::Away(scheme), _) => {
                report.miss(
                    "folders of artifacts",
                    1,
                    format!(
                        "they stay where they are, at {scheme}: addresses; clients go on reading them there"
                    ),
                );
                uri.to_owned()
            }
        }
    }

    /// Whether a URI leads to a folder of this machine that is not there, as of most traces, so that there is nothing to copy.
    pub(crate) fn is_nothing(&self, uri: &str) -> bool {
        self.mode == Artifacts::Copy && matches!(self.lies(uri), Lies::Here(folder) if !folder.is_dir())
    }

    /// What an experiment's artifact location is from now on; empty for one of this server.
    pub(crate) fn location(&self, uri: &str) -> String {
        match (self.mode, self.lies(uri)) {
            (Artifacts::Copy, Lies::Here(_) | Lies::Behind) => String::new(),
            _ => uri.to_owned(),
        }
    }

    /// The address here of a path below a folder that is copied, as a version's source may name it.
    pub(crate) fn moved(&self, source: &str) -> Option<String> {
        let Lies::Here(path) = self.lies(source) else { return None };
        if self.mode == Artifacts::Reference || ArtifactPath::from_uri(source).is_some() {
            return None;
        }
        // The folder that holds it is one of its own ancestors.
        path.ancestors().find_map(|folder| {
            let own = self.folders.get(folder)?;
            let below = path.strip_prefix(folder).ok()?.to_str()?;
            Some(format!("mlflow-artifacts:/{}", own.join(below).ok()?.as_str()))
        })
    }

    /// Copies all files that are not here yet.
    pub(crate) fn copy(
        &mut self,
        runtime: &Handle,
        target: &Arc<Target>,
        source: &str,
        report: &mut Report,
        progress: &mut Progress,
    ) -> Result<(), ImportError> {
        let mut waiting = Vec::new();
        for (folder, own) in &self.jobs {
            let mut files = Vec::new();
            walk(folder, own, &mut files, report)?;
            if files.is_empty() {
                continue;
            }
            let read = &target.leaves.read;
            let here = runtime.block_on(target.tracking.artifacts_below(read, own))?;
            let prefix = format!("{}/", own.as_str());
            let here: std::collections::HashSet<String> =
                here.into_iter().map(|f| format!("{prefix}{}", f.path)).collect();
            for file in files {
                match here.contains(file.1.as_str()) {
                    true => report.artifacts.known += 1,
                    false => waiting.push(file),
                }
            }
            while waiting.len() >= FILES {
                let some = waiting.split_off(waiting.len() - FILES);
                runtime.block_on(bring(target, source, some, report))?;
                progress(report);
            }
        }
        runtime.block_on(bring(target, source, waiting, report))?;
        progress(report);
        Ok(())
    }
}

/// The files below a folder; a folder that is not there has none.
fn walk(
    folder: &Path,
    own: &ArtifactPath,
    found: &mut Vec<File>,
    report: &mut Report,
) -> Result<(), ImportError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ImportError::file(folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| ImportError::file(folder, e))?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(below) = name.to_str().and_then(|name| own.join(name).ok()) else {
            report.miss("artifacts", 1, "their names are no text, or hold characters that are not allowed");
            continue;
        };
        let kind = entry.file_type().map_err(|e| ImportError::file(&path, e))?;
        if kind.is_dir() {
            walk(&path, &below, found, report)?;
        } else if path.is_file() {
            found.push((path, below));
        } else {
            report.miss("artifacts", 1, "they are links to folders or nowhere, or no files at all");
        }
    }
    Ok(())
}

/// Keeps files and gives them their paths.
async fn bring(
    target: &Arc<Target>,
    source: &str,
    files: Vec<File>,
    report: &mut Report,
) -> Result<(), ImportError> {
    let mut ready: Vec<ImportedArtifact> = Vec::with_capacity(files.len());
    for some in files.chunks(AT_ONCE) {
        let mut reading = tokio::task::JoinSet::new();
        for (path, own) in some {
            let (target, path, own) = (Arc::clone(target), path.clone(), own.clone());
            reading.spawn(async move { put(&target, &path, &own).await });
        }
        while let Some(done) = reading.join_next().await {
            ready.push(done.map_err(|e| ImportError::Stopped(e.to_string()))??);
        }
    }
    let bytes: u64 = ready.iter().map(ImportedArtifact::size).sum();
    if ready.is_empty() {
        return Ok(());
    }
    report.artifacts.new += target.tracking.import_artifacts(&target.leaves.write, source, ready).await?;
    report.artifact_bytes += bytes;
    Ok(())
}

async fn put(target: &Target, path: &Path, own: &ArtifactPath) -> Result<ImportedArtifact, ImportError> {
    let file = tokio::fs::File::open(path).await.map_err(|e| ImportError::file(path, e))?;
    let bytes = ReaderStream::with_capacity(file, BUFFER);
    match target.tracking.put_imported(&target.leaves.write, own, bytes).await {
        Err(TrackingError::Blob(error)) => Err(ImportError::file(path, error)),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copying() -> Copying {
        Copying::new(Artifacts::Copy, Some("/dest".into()), "/data".into())
    }

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        let lies = |uri| copying().lies(uri);
        assert_eq!(lies("mlflow-artifacts:/1/r/artifacts"), Lies::Here("/dest/1/r/artifacts".into()));
        assert_eq!(lies("file:///a%20b/c"), Lies::Here("/a b/c".into()));
        assert_eq!(lies("./mlruns/0"), Lies::Here("/data/./mlruns/0".into()));
        assert_eq!(lies("/abs"), Lies::Here("/abs".into()));
        assert_eq!(lies("s3://bucket/x"), Lies::Away("s3".into()));
        let without = Copying::new(Artifacts::Copy, None, "/data".into());
        assert_eq!(without.lies("mlflow-artifacts:/1"), Lies::Behind);
    }

    #[test]
    fn a_path_below_a_copied_folder_gets_its_address_here() {
        let mut copying = copying();
        let mut report = Report::default();
        assert_eq!(copying.adopt("file:///old/1/r/artifacts", "1/r/artifacts", &mut report), "");
        let moved = copying.moved("/old/1/r/artifacts/model").unwrap();
        assert_eq!(moved, "mlflow-artifacts:/1/r/artifacts/model");
        assert_eq!(copying.moved("/old/1/r2/artifacts/model"), None);
        assert_eq!(copying.moved("s3://b/old/1/r/artifacts"), None);
        assert_eq!(copying.adopt("s3://b/x", "1/r/artifacts", &mut report), "s3://b/x");
        assert_eq!(report.finished().not_taken.len(), 1);
    }
}
