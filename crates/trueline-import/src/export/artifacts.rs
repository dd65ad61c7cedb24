//! Files of runs, logged models and versions: copied to a folder that is laid out as MLflow lays out its own, or left where
//! they are.

use super::Exported;
use crate::ImportError;
use crate::artifacts::local_path;
use futures::StreamExt;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::Manifest;
use trueline_tracking::{ArtifactPath, OpenArtifact, Tracking, export};

/// Rows of files that are read at once.
const PAGE: u32 = 500;

/// Where files go to, and how they are read.
pub(super) struct Files<'e> {
    pub(super) runtime: &'e Handle,
    pub(super) tracking: &'e Tracking,
    pub(super) read: &'e Authorized<ReadProject>,
    /// The folder that they are copied to, absolute; none when they stay.
    pub(super) folder: Option<PathBuf>,
    /// Folders of this machine that were copied, and where to.
    pub(super) moved: HashMap<PathBuf, PathBuf>,
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Files<'_> {
    /// The place of a path of the proxy's tree, when files are copied.
    fn own(&self, uri: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(ArtifactPath::from_uri(uri)?.as_str()))
    }

    /// The address of an experiment's artifacts from now on.
    pub(super) fn location(&self, uri: &str, own: &str) -> String {
        match (&self.folder, self.own(uri)) {
            (Some(_), Some(place)) => text(&place),
            (Some(folder), None) if local_path(uri).is_ok() => text(&folder.join(own)),
            _ => uri.to_owned(),
        }
    }

    /// The address of an owner's files from now on. What lies in a folder of this machine is copied at once.
    pub(super) fn adopt(
        &mut self,
        uri: &str,
        own: &str,
        report: &mut Exported,
    ) -> Result<String, ImportError> {
        let proxied = ArtifactPath::from_uri(uri).is_some();
        let Some(folder) = &self.folder else {
            let why = "they stay with this server (`mlflow-artifacts:`), where MLflow's own does not look; export again with \
                       --artifacts copy <folder>";
            report.miss("folders of artifacts", u64::from(proxied), why);
            return Ok(uri.to_owned());
        };
        if let Some(place) = self.own(uri) {
            return Ok(text(&place));
        }
        match local_path(uri) {
            Ok(from) => {
                let place = folder.join(own);
                copy_folder(&from, &place, report)?;
                self.moved.insert(from, place.clone());
                Ok(text(&place))
            }
            Err(scheme) => {
                let why = format!("they stay where they are, at {scheme}: addresses");
                report.miss("folders of artifacts", 1, why);
                Ok(uri.to_owned())
            }
        }
    }

    /// The address that files of an owner have from now on.
    pub(super) fn moved(&self, uri: &str) -> String {
        if let Some(place) = self.own(uri) {
            return text(&place);
        }
        let Ok(path) = local_path(uri) else { return uri.to_owned() };
        let moved = path.ancestors().find_map(|folder| {
            let place = self.moved.get(folder)?;
            Some(text(&place.join(path.strip_prefix(folder).ok()?)))
        });
        moved.unwrap_or_else(|| uri.to_owned())
    }

    /// The address of a version's frozen files: that of its source, as long as the same files lie there.
    pub(super) fn frozen(
        &self,
        tx: &mut Tx<'_>,
        manifest: &Manifest,
        source: &str,
        report: &mut Exported,
    ) -> Result<String, ImportError> {
        let Some(folder) = &self.folder else { return Ok(source.to_owned()) };
        if self.holds(tx, manifest, source)? {
            return Ok(self.moved(source));
        }
        let place = folder.join("model-versions").join(manifest.digest());
        if !place.exists() {
            for file in manifest.files() {
                self.copy_blob(&file.sha256, file.size, &place.join(&file.path), report)?;
            }
        }
        Ok(text(&place))
    }

    fn holds(&self, tx: &mut Tx<'_>, manifest: &Manifest, source: &str) -> Result<bool, ImportError> {
        let Some(path) = ArtifactPath::from_uri(source) else { return Ok(false) };
        for file in manifest.files() {
            let Ok(at) = path.join(&file.path) else { return Ok(false) };
            if export::artifact(tx, self.read, at.as_str())?.is_none_or(|found| found.sha256 != file.sha256) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies what this server keeps as blobs.
    pub(super) fn copy_blobs(
        &self,
        tx: &mut Tx<'_>,
        report: &mut Exported,
        mut tell: impl FnMut(&Exported),
    ) -> Result<(), ImportError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut after = String::new();
        loop {
            let page = export::artifacts(tx, self.read, &after, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.path);
            for file in page {
                self.copy_blob(&file.sha256, file.size, &folder.join(&file.path), report)?;
                tell(report);
            }
        }
    }

    fn copy_blob(
        &self,
        sha256: &str,
        size: u64,
        to: &Path,
        report: &mut Exported,
    ) -> Result<(), ImportError> {
        let mut file = create(to)?;
        let written = self.runtime.block_on(async {
            let bytes =
                self.tracking.artifact_bytes(self.read, OpenArtifact::blob(sha256, size), None).await?;
            let mut bytes = std::pin::pin!(bytes);
            while let Some(some) = bytes.next().await {
                let some = some.map_err(trueline_tracking::TrackingError::from)?;
                file.write_all(&some).map_err(|e| ImportError::file(to, e))?;
            }
            Ok::<_, ImportError>(())
        });
        written?;
        report.artifacts += 1;
        report.artifact_bytes += size;
        Ok(())
    }
}

fn create(path: &Path) -> Result<File, ImportError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| ImportError::file(folder, e))?;
    }
    File::create_new(path).map_err(|e| ImportError::file(path, e))
}

/// Copies the files below a folder; one that is not there has none.
fn copy_folder(from: &Path, to: &Path, report: &mut Exported) -> Result<(), ImportError> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ImportError::file(from, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| ImportError::file(from, e))?;
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| ImportError::file(&path, e))?;
        if kind.is_dir() {
            copy_folder(&path, &place, report)?;
        } else if path.is_file() {
            let mut source = File::open(&path).map_err(|e| ImportError::file(&path, e))?;
            let copied = std::io::copy(&mut source, &mut create(&place)?);
            report.artifact_bytes += copied.map_err(|e| ImportError::file(&place, e))?;
            report.artifacts += 1;
        } else {
            report.miss("artifacts", 1, "they are links to folders or nowhere, or no files at all");
        }
    }
    Ok(())
}
