//! Where the files of a version come from: blobs by their hash, or a folder that somebody put there.

use crate::error::ServingError;
use crate::model::{ModelFile, ModelSpec};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use tempfile::TempDir;
use trueline_blobs::{Blobs, Namespace};
use trueline_ledger::ProjectId;

/// The largest file of a model that is loaded into memory, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// The most files that a folder of a model may have.
const MOST_FILES: usize = 10_000;

/// Gives the files of versions.
#[async_trait]
pub trait ModelFiles: Send + Sync + std::fmt::Debug {
    /// The bytes of one file of a version.
    ///
    /// # Errors
    /// [`ServingError::Blob`] when they are not there, [`ServingError::Unservable`] when there are too many of them or they
    /// can't be read.
    async fn read(
        &self,
        project: &ProjectId,
        spec: &ModelSpec,
        file: &ModelFile,
    ) -> Result<Bytes, ServingError>;

    /// A folder with all files of a version, for runtimes that open files by themselves. Nobody writes to it.
    ///
    /// # Errors
    /// As [`ModelFiles::read`].
    async fn folder(&self, project: &ProjectId, spec: &ModelSpec) -> Result<ModelFolder, ServingError>;
}

/// A folder with the files of a version, which is there for as long as somebody holds this.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    _copy: Option<Arc<Copied>>,
}

impl ModelFolder {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A copy, which goes with the last who held it.
#[derive(Debug)]
struct Copied(Option<TempDir>);

/// A copy that is there, or is being made by whoever has the lock.
type Copying = tokio::sync::Mutex<Weak<Copied>>;

impl Drop for Copied {
    fn drop(&mut self) {
        let gone = self.0.take();
        // It may be gigabytes. Where no thread is to be had, it is removed right here.
        drop(std::thread::Builder::new().spawn(move || drop(gone)));
    }
}

/// Versions whose files are blobs. Where a runtime needs a folder, they are copied to one, which is shared by all who need it
/// and removed when nobody does.
#[derive(Debug)]
pub struct FrozenFiles {
    blobs: Blobs,
    copies: PathBuf,
    /// What was copied, by project and digest of the manifest. Each is locked while it is copied, so that no two are.
    copied: Mutex<HashMap<(ProjectId, String), Arc<Copying>>>,
}

impl FrozenFiles {
    /// Those of a store, with folders in `copies`, which is nobody else's: what is left there of a process that was killed is
    /// removed.
    #[must_use]
    pub fn new(blobs: Blobs, copies: PathBuf) -> Self {
        match std::fs::remove_dir_all(&copies) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %copies.display(), "old copies of models are left");
            }
            _ => {}
        }
        Self { blobs, copies, copied: Mutex::default() }
    }

    async fn copy(&self, project: &ProjectId, spec: &ModelSpec) -> Result<TempDir, ServingError> {
        let failed =
            |e: std::io::Error| spec.unservable(format!("its files can't be copied to a folder: {e}"));
        tokio::fs::create_dir_all(&self.copies).await.map_err(failed)?;
        let digest = spec.manifest_digest.get(..12).unwrap_or_default();
        let copy = tempfile::Builder::new().prefix(&format!("{digest}-")).tempdir_in(&self.copies);
        let copy = copy.map_err(failed)?;
        for file in &spec.files {
            let path = Path::new(&file.path);
            if !path.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(spec.unservable(format!("its file `{}` is no path below it", file.path)));
            }
            let place = copy.path().join(path);
            if let Some(parent) = place.parent() {
                tokio::fs::create_dir_all(parent).await.map_err(failed)?;
            }
            let bytes = self.read(project, spec, file).await?;
            tokio::fs::write(&place, bytes).await.map_err(failed)?;
        }
        Ok(copy)
    }
}

#[async_trait]
impl ModelFiles for FrozenFiles {
    async fn read(
        &self,
        project: &ProjectId,
        _: &ModelSpec,
        file: &ModelFile,
    ) -> Result<Bytes, ServingError> {
        Ok(self.blobs.get_bytes(&Namespace::new(project.as_str()), &file.sha256, LARGEST_FILE).await?)
    }

    async fn folder(&self, project: &ProjectId, spec: &ModelSpec) -> Result<ModelFolder, ServingError> {
        let key = (project.clone(), spec.manifest_digest.clone());
        let copying = {
            let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody copies at the moment and nobody has a copy of.
            copied.retain(|_, copying| {
                Arc::strong_count(copying) > 1 || copying.try_lock().is_ok_and(|copy| copy.strong_count() > 0)
            });
            Arc::clone(copied.entry(key).or_default())
        };
        let mut there = copying.lock().await;
        let copy = match there.upgrade() {
            Some(copy) => copy,
            None => Arc::new(Copied(Some(self.copy(project, spec).await?))),
        };
        *there = Arc::downgrade(&copy);
        let path = copy.0.as_ref().map(|dir| dir.path().to_owned()).unwrap_or_default();
        Ok(ModelFolder { path, _copy: Some(copy) })
    }
}

/// Versions whose files lie in folders, as MLflow saves them; for serving without a registry.
#[derive(Debug, Default)]
pub struct Folders {
    by_digest: RwLock<HashMap<String, PathBuf>>,
}

impl Folders {
    /// Takes in a folder as version 1 of a model of that name. The files are read here to know what they are.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] when there is no `MLmodel` file in it, or the folder can't be read.
    pub fn add(&self, folder: &Path, model: &str) -> Result<ModelSpec, ServingError> {
        let invalid = |why: String| ServingError::Invalid(format!("{}: {why}", folder.display()));
        if !folder.join("MLmodel").is_file() {
            return Err(invalid(
                "there is no file `MLmodel` here; name the folder that MLflow saved a model in".to_owned(),
            ));
        }
        let mut files = Vec::new();
        list(folder, folder, &mut files).map_err(|e| invalid(e.to_string()))?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let whole = files.iter().fold(Sha256::new(), |hash, file| {
            hash.chain_update(&file.path).chain_update([0]).chain_update(&file.sha256)
        });
        let digest = hex::encode(whole.finalize());
        let mut known = self.by_digest.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(digest.clone(), folder.to_owned());
        let id = format!("{model}@{digest}");
        Ok(ModelSpec { id, model: model.to_owned(), version: 1, manifest_digest: digest, files })
    }

    fn folder_of(&self, spec: &ModelSpec) -> Result<PathBuf, ServingError> {
        let known = self.by_digest.read().unwrap_or_else(PoisonError::into_inner);
        let folder = known.get(&spec.manifest_digest).cloned();
        folder.ok_or_else(|| spec.unservable("its folder is not known"))
    }
}

/// The files below a folder, without following links out of it.
fn list(root: &Path, folder: &Path, files: &mut Vec<ModelFile>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
            continue;
        }
        if files.len() == MOST_FILES {
            return Err(std::io::Error::other(format!("it has more than {MOST_FILES} files")));
        }
        let relative = path.strip_prefix(root).map_err(std::io::Error::other)?;
        files.push(ModelFile { path: relative.to_string_lossy().into_owned(), sha256: hash_of(&path)? });
    }
    Ok(())
}

fn hash_of(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (std::fs::File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[async_trait]
impl ModelFiles for Folders {
    async fn read(&self, _: &ProjectId, spec: &ModelSpec, file: &ModelFile) -> Result<Bytes, ServingError> {
        let path = self.folder_of(spec)?.join(&file.path);
        let failed = |e: std::io::Error| spec.unservable(format!("{} can't be read: {e}", path.display()));
        let size = tokio::fs::metadata(&path).await.map_err(failed)?.len();
        if size > LARGEST_FILE {
            return Err(spec.unservable(format!(
                "{} is larger than {} MiB",
                path.display(),
                LARGEST_FILE >> 20
            )));
        }
        Ok(tokio::fs::read(&path).await.map_err(failed)?.into())
    }

    async fn folder(&self, _: &ProjectId, spec: &ModelSpec) -> Result<ModelFolder, ServingError> {
        Ok(ModelFolder { path: self.folder_of(spec)?, _copy: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::default();
        let told = folders.add(dir.path(), "m").unwrap_err().to_string();
        assert!(told.contains("no file `MLmodel`"), "{told}");
        std::fs::write(dir.path().join("MLmodel"), "flavors: {}").unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/model.ubj"), "x").unwrap();
        let spec = folders.add(dir.path(), "m").unwrap();
        let paths: Vec<&str> = spec.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["MLmodel", "data/model.ubj"]);
        std::fs::write(dir.path().join("data/model.ubj"), "y").unwrap();
        assert_ne!(folders.add(dir.path(), "m").unwrap().manifest_digest, spec.manifest_digest);
    }

    #[tokio::test]
    async fn a_copy_is_shared_and_goes_with_the_last_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let (copies, project) = (dir.path().join("models"), ProjectId::new("p"));
        std::fs::create_dir_all(copies.join("left-by-a-killed-process")).unwrap();
        let blobs = Blobs::local(&dir.path().join("blobs")).unwrap();
        let blob = blobs.put_bytes(&Namespace::new("p"), Bytes::from_static(b"weights")).await.unwrap();
        let files = vec![ModelFile { path: "data/w".into(), sha256: blob.sha256 }];
        let digest = "0123456789abcdef".to_owned();
        let spec =
            ModelSpec { id: "v".into(), model: "m".into(), version: 1, manifest_digest: digest, files };

        let frozen = FrozenFiles::new(blobs, copies.clone());
        assert!(!copies.exists());
        let (one, other) = tokio::join!(frozen.folder(&project, &spec), frozen.folder(&project, &spec));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.path(), other.path());
        drop(one);
        assert_eq!(std::fs::read(other.path().join("data/w")).unwrap(), b"weights");
        drop(other);
        let entries = || std::fs::read_dir(&copies).unwrap().count();
        while entries() > 0 {
            std::thread::yield_now();
        }
        assert!(frozen.folder(&project, &spec).await.unwrap().path().join("data/w").is_file());
    }
}
