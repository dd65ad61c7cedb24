//! A version's manifest: its files by path, size and hash, frozen when it is registered. Gates, approvals and serving
//! read only what it names, and its digest is what an approval is bound to (rule 8).

use crate::{Registry, RegistryError};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::ProjectId;

/// One file of a version; its bytes are the blob with this hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Path within the version.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// All files of a version, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    files: Vec<ManifestFile>,
}

impl Manifest {
    /// Of these files, in any order.
    #[must_use]
    pub fn new(mut files: Vec<ManifestFile>) -> Self {
        files.sort();
        Self { files }
    }

    /// The files, by path.
    #[must_use]
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The file at a path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&ManifestFile> {
        self.files.binary_search_by(|f| f.path.as_str().cmp(path)).ok().map(|i| &self.files[i])
    }

    /// Size of all files in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }

    /// SHA-256, in hexadecimal, over the JSON list of `[path, sha256, size]` of its files: the same files give the same
    /// digest, and no others do, since JSON escapes what could pass for the end of a path.
    #[must_use]
    pub fn digest(&self) -> String {
        let files: Vec<Json> = self.files.iter().map(|f| json!([f.path, f.sha256, f.size])).collect();
        hex::encode(Sha256::digest(Json::from(files).to_string()))
    }
}

/// A manifest of a project by its digest.
pub(crate) fn find(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    digest: &str,
) -> Result<Option<Manifest>, RegistryError> {
    let sql = "SELECT body FROM version_manifests WHERE project = ?1 AND digest = ?2";
    let body: Option<String> = tx.scalar(sql, &[project.into(), digest.into()])?;
    let read = |body: String| {
        let unreadable =
            |e: serde_json::Error| RegistryError::Manifest { digest: digest.to_owned(), why: e.to_string() };
        serde_json::from_str(&body).map_err(unreadable)
    };
    body.map(read).transpose()
}

pub(crate) fn insert(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    digest: &str,
    manifest: &Manifest,
) -> Result<(), RegistryError> {
    tx.execute(
        "INSERT INTO version_manifests (project, digest, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (project, digest) DO UPDATE SET unused_since_ms = NULL",
        &[project.into(), digest.into(), json!(manifest).to_string().into()],
    )?;
    Ok(())
}

impl Registry {
    /// The frozen files that a digest stands for, in this project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn manifest_of_digest(
        &self,
        leave: &Authorized<ReadProject>,
        digest: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        let (project, digest) = (leave.project().clone(), digest.to_owned());
        self.ledger.db().read(move |tx| find(tx, &project, &digest)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, sha: char) -> ManifestFile {
        ManifestFile { path: path.into(), sha256: sha.to_string().repeat(64), size: 1 }
    }

    #[test]
    fn the_digest_depends_on_contents_and_not_on_order() {
        let one = Manifest::new(vec![file("a", '1'), file("b", '2')]);
        let other = Manifest::new(vec![file("b", '2'), file("a", '1')]);
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), Manifest::new(vec![file("a", '1'), file("b", '3')]).digest());
        assert_ne!(one.digest(), Manifest::new(vec![file("a", '1')]).digest());
        assert_eq!(one.file("b").map(|f| f.sha256.as_str()), Some("2".repeat(64).as_str()));
        assert_eq!(one.file("c"), None);
    }

    #[test]
    fn no_path_can_pass_for_two_files() {
        let two = Manifest::new(vec![file("a", '1'), file("b", '2')]);
        let sly = format!("a\n{} 1 b", "2".repeat(64));
        assert_ne!(two.digest(), Manifest::new(vec![file(&sly, '1')]).digest());
    }
}
