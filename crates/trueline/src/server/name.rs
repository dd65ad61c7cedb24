//! The name of a server among those that share its database.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The file of the name. It lies in the folder of the log of predictions, whose segments are told from other servers' by it, so
/// that it goes where they go.
const FILE: &str = "server";

/// The name of the server whose log this folder is; `given` from now on where it has none.
///
/// # Errors
/// What the disk says.
pub(super) fn of_log(folder: &Path, given: &str) -> io::Result<String> {
    let path = folder.join(FILE);
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::create_dir_all(folder)?;
    let written = path.with_extension("new");
    fs::write(&written, given)?;
    File::open(&written)?.sync_all()?;
    fs::rename(&written, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(given.to_owned())
}

#[cfg(test)]
mod tests {
    use super::of_log;

    #[test]
    fn a_log_keeps_its_name_whatever_becomes_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("predictions");
        assert_eq!(of_log(&log, "one").unwrap(), "one");
        assert_eq!(of_log(&log, "another").unwrap(), "one");
        std::fs::write(log.join("server"), "\n").unwrap();
        assert_eq!(of_log(&log, "another").unwrap(), "another");
    }
}
