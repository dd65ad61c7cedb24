//! A version's manifest: its files by path, size and hash, frozen when it is registered. Gates, approvals and serving
//! read only what it names, and its digest is what an approval is bound to (rule 8).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

    /// SHA-256 over its lines `<sha256> <size> <path>`, in hexadecimal: the same files give the same digest.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            hash.update(format!("{} {} {}\n", file.sha256, file.size, file.path).as_bytes());
        }
        hex::encode(hash.finalize())
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
}
