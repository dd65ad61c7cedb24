//! The data directory itself. A file in it is durable only when the folder is, and a folder only when the one that it
//! stands in has been fsynced.

use anyhow::Context;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes the folder if it is missing, and durable in any case: a crash may have come between the two.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    make_durably(folder).with_context(|| format!("can't make the data directory {}", folder.display()))
}

fn make_durably(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing = folder.ancestors().take_while(|place| !place.exists()).count();
    std::fs::create_dir_all(&folder)?;
    for parent in folder.ancestors().skip(1).take(missing.max(1)) {
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            // Who may not read it has not made anything in it either.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_made_all_the_way_and_a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b/c");
        make(&folder).unwrap();
        make(&folder).unwrap();
        assert!(folder.is_dir());
        std::fs::write(folder.join("file"), "").unwrap();
        let error = make(&folder.join("file/d")).unwrap_err();
        assert!(error.to_string().contains("can't make the data directory"), "{error}");
    }
}
