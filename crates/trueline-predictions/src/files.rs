//! Folders and files: their names, and what makes a new name durable.
//!
//! ```text
//! <root>/lock
//! <root>/<project>/endpoints/<endpoint>/<20 digits>.log, .idx, .gone
//! <root>/<project>/labels/<20 digits>.log, .idx, .gone
//! ```

use crate::{LogError, StreamName};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LONGEST_NAME: usize = 64;

/// The folder name of a project or endpoint: every byte that is not a letter, a digit, `-`, `_` or `.` (except a first
/// `.`) as `%XX`.
fn folder_name(name: &str) -> Result<String, LogError> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(LogError::Name(name.to_owned()));
    }
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if at > 0 => out.push('.'),
            b'-' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(out)
}

/// The name that a folder stands for; none for a folder that the log did not make.
fn name_of(folder: &Path) -> Option<String> {
    let text = folder.file_name()?.to_str()?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    let name = String::from_utf8(bytes).ok()?;
    (folder_name(&name).ok()? == text).then_some(name)
}

/// Where a stream's segments lie.
pub(crate) fn folder_of(root: &Path, stream: &StreamName) -> Result<PathBuf, LogError> {
    let project = root.join(folder_name(stream.project())?);
    Ok(match stream {
        StreamName::Predictions { endpoint, .. } => project.join("endpoints").join(folder_name(endpoint)?),
        StreamName::Labels { .. } => project.join("labels"),
    })
}

/// All streams that have a folder, by name.
pub(crate) fn streams(root: &Path) -> Result<Vec<StreamName>, LogError> {
    let mut found = Vec::new();
    for folder in folders(root)? {
        let Some(project) = name_of(&folder) else { continue };
        for endpoint in folders(&folder.join("endpoints"))? {
            if let Some(endpoint) = name_of(&endpoint) {
                found.push(StreamName::Predictions { project: project.clone(), endpoint });
            }
        }
        if folder.join("labels").is_dir() {
            found.push(StreamName::Labels { project });
        }
    }
    found.sort();
    Ok(found)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, LogError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, LogError> {
    let read = || match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
    };
    read().map_err(|e| LogError::io(folder, &e))
}

pub(crate) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.log"))
}

/// The files `<number>.<extension>` of a folder, by number.
pub(crate) fn numbered(folder: &Path, extension: &str) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let number = |path: PathBuf| {
        let number = path.file_stem()?.to_str()?.parse().ok()?;
        (path.extension()? == extension).then_some((number, path))
    };
    let mut found: Vec<_> = entries(folder)?.into_iter().filter_map(number).collect();
    found.sort_unstable();
    Ok(found)
}

/// Makes a folder below `root`, if it is missing, and its name durable.
pub(crate) fn make_folder(folder: &Path, root: &Path) -> Result<(), LogError> {
    fs::create_dir_all(folder).map_err(|e| LogError::io(folder, &e))?;
    sync_up(folder, root)
}

/// Makes the names in a folder durable, and its own name and those above it up to `root`.
pub(crate) fn sync_up(folder: &Path, root: &Path) -> Result<(), LogError> {
    folder.ancestors().take_while(|p| p.starts_with(root)).try_for_each(sync_folder)
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), LogError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| LogError::io(folder, &e))
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), LogError> {
    path.parent().map_or(Ok(()), |folder| {
        sync_folder(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
    })
}

/// Writes a file beside its place, makes it durable, and renames it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|e| LogError::io(path, &e))?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_has_a_folder_of_its_own(name in "\\PC{1,16}") {
            let folder = folder_name(&name).unwrap();
            prop_assert!(folder.len() <= 255 && !folder.contains('/') && folder != "." && folder != "..");
            prop_assert_eq!(name_of(Path::new(&folder)), Some(name));
        }
    }

    #[test]
    fn a_name_without_bytes_or_with_too_many_is_refused() {
        assert_eq!(folder_name(""), Err(LogError::Name(String::new())));
        assert!(folder_name(&"x".repeat(64)).is_ok());
        assert!(folder_name(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_folder_that_is_none_of_ours_has_no_name() {
        for folder in ["lost+found", "a%2", "%61", "%ZZ", ".hidden"] {
            assert_eq!(name_of(Path::new(folder)), None, "{folder}");
        }
    }
}
