//! Files of a run: the copy of the project's folder that its steps work in, and the hashes of what they read.

use crate::PipelineError;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files that a step may read and make.
const MOST_FILES: usize = 100_000;

/// Makes `to` a copy of these files and folders of `from`, without what lies at or below `skip`. Symbolic links are copied as links when they stay inside, and
/// refused when they lead out of the folder, because a hash would then not tell of what is read.
///
/// # Errors
/// [`PipelineError::Files`].
pub fn copy_project(from: &Path, to: &Path, paths: &[String], skip: &[PathBuf]) -> Result<(), PipelineError> {
    std::fs::create_dir_all(to).map_err(|e| PipelineError::files(to, e))?;
    for path in paths {
        copy(&from.join(path), &to.join(path), from, skip)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, root: &Path, skip: &[PathBuf]) -> Result<(), PipelineError> {
    if skip.iter().any(|out| from.starts_with(out)) {
        return Ok(());
    }
    let failed = |e: std::io::Error| PipelineError::files(from, e);
    let meta = match std::fs::symlink_metadata(from) {
        Ok(meta) => meta,
        // Between the listing and now it went away: whoever needs it will say so.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    if meta.is_dir() {
        std::fs::create_dir_all(to).map_err(failed)?;
        for entry in std::fs::read_dir(from).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name != ".git" {
                copy(&from.join(&name), &to.join(&name), root, skip)?;
            }
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    if meta.is_symlink() {
        let target = std::fs::read_link(from).map_err(failed)?;
        let inside = from.canonicalize().is_ok_and(|real| real.starts_with(root));
        if target.is_absolute() || !inside {
            return Err(PipelineError::files(from, "is a link that leads out of the project's folder"));
        }
        return match std::os::unix::fs::symlink(target, to) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(e)),
            _ => Ok(()),
        };
    }
    if meta.is_file() {
        std::fs::copy(from, to).map_err(failed)?;
    }
    Ok(())
}

/// The files at a declared path: itself, or all in the folder that it is, as paths relative to `root`, in order.
///
/// # Errors
/// [`PipelineError::Files`] when it does not exist, leads out of the folder or holds too many files.
pub fn declared_files(root: &Path, path: &str) -> Result<Vec<String>, PipelineError> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from(path)];
    let real_root = root.canonicalize().map_err(|e| PipelineError::files(root, e))?;
    while let Some(relative) = left.pop() {
        let full = root.join(&relative);
        let failed = |e: std::io::Error| PipelineError::files(&relative, e);
        let real = full.canonicalize().map_err(failed)?;
        if !real.starts_with(&real_root) {
            return Err(PipelineError::files(&relative, "leads out of the project's folder"));
        }
        if full.is_dir() {
            for entry in std::fs::read_dir(&full).map_err(failed)? {
                left.push(relative.join(entry.map_err(failed)?.file_name()));
            }
        } else {
            let text = relative.to_str();
            let text = text.ok_or_else(|| PipelineError::files(&relative, "its name is no UTF-8"))?;
            found.push(text.to_owned());
        }
        if found.len() + left.len() > MOST_FILES {
            return Err(PipelineError::files(Path::new(path), format!("holds more than {MOST_FILES} files")));
        }
    }
    found.sort();
    Ok(found)
}

/// SHA-256 and size of a file.
///
/// # Errors
/// What the disk says.
pub fn hash_file(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex::encode(hash.finalize()), size));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

/// The hashes of all files at these paths, by path.
pub(crate) fn hashes(root: &Path, paths: &[String]) -> Result<BTreeMap<String, String>, PipelineError> {
    let mut found = BTreeMap::new();
    for path in paths {
        for file in declared_files(root, path)? {
            let full = root.join(&file);
            let (sha256, _) = hash_file(&full).map_err(|e| PipelineError::files(&full, e))?;
            found.insert(file, sha256);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_what_was_asked_for_and_no_link_out_of_it() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(from.path().join("data")).unwrap();
        std::fs::write(from.path().join("data/a.csv"), "1").unwrap();
        std::fs::write(from.path().join("other"), "2").unwrap();
        copy_project(from.path(), to.path(), &["data".to_owned(), "gone".to_owned()], &[]).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("data/a.csv")).unwrap(), "1");
        assert!(!to.path().join("other").exists());
        std::os::unix::fs::symlink("/etc/passwd", from.path().join("data/link")).unwrap();
        let again = tempfile::tempdir().unwrap();
        let data = ["data".to_owned()];
        copy_project(from.path(), again.path(), &data, &[from.path().join("data")]).unwrap();
        assert!(!again.path().join("data").exists());
        let refused = copy_project(from.path(), to.path(), &data, &[]).unwrap_err().to_string();
        assert!(refused.contains("leads out of"), "{refused}");
    }

    #[test]
    fn a_link_out_of_the_folder_is_no_input() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("etc")).unwrap();
        let refused = declared_files(root.path(), "etc").unwrap_err().to_string();
        assert!(refused.contains("leads out of"), "{refused}");
        assert!(declared_files(root.path(), "none").is_err());
    }
}
