//! The name of a server among those that share its database.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The file of the name. It lies in the folder of the log of predictions, whose segments are told from other servers' by it, so
/// that it goes where they go.
const FILE: &str = "server";

/// The name of the server whose log this folder is. One that has none yet gets `as_before`, if something is in it, for that was its
/// server's name before; else a `fresh` one: it is another log, whatever else was copied with the data directory.
///
/// # Errors
/// What the disk says.
pub(super) fn of_log(folder: &Path, as_before: &str, fresh: impl FnOnce() -> String) -> io::Result<String> {
    let path = folder.join(FILE);
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::create_dir_all(folder)?;
    let has_any = fs::read_dir(folder)?.flatten().any(|entry| entry.path().is_dir());
    let given = if has_any { as_before.to_owned() } else { fresh() };
    let written = path.with_extension("new");
    fs::write(&written, &given)?;
    File::open(&written)?.sync_all()?;
    fs::rename(&written, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::of_log;

    #[test]
    fn a_log_keeps_its_name_whatever_becomes_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("predictions");
        let named = |as_before| of_log(&log, as_before, || "fresh".to_owned()).unwrap();
        assert_eq!(named("one"), "fresh");
        assert_eq!(named("another"), "fresh");
        std::fs::create_dir(log.join("default")).unwrap();
        assert_eq!(named("another"), "fresh");
        std::fs::write(log.join("server"), "\n").unwrap();
        assert_eq!(named("one of before"), "one of before");
    }
}
