//! One server for one data directory: a file that holds its process id, locked while it lives.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

/// Holds the lock until it is dropped; the system drops it when the process dies, however that happens.
pub(crate) struct DirectoryLock {
    _file: File,
}

pub(crate) fn acquire(path: &Path) -> anyhow::Result<DirectoryLock> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("can't open {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        bail!(
            "another server (pid {}) uses this data directory: stop it, or choose another with --data-dir",
            pid.trim()
        );
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(DirectoryLock { _file: file })
}
