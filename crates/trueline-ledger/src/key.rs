//! The key that signs checkpoints, kept in the data directory. Its public half is what a verifier is given, from
//! outside.

use crate::files::CHECKPOINT;
use crate::{LedgerError, Sources};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use trueline_tlog::{SignerKey, VerifierKey};

/// The name of a log whose server was given none.
const ORIGIN: &str = "trueline.local/ledger";

/// The signing key of one log.
#[derive(Debug)]
pub struct LedgerKey(SignerKey);

impl LedgerKey {
    /// Reads the key at `path`, or makes one there, readable by its owner alone. A new key is made only as long as nothing
    /// in the log under `ledger` was signed by another.
    ///
    /// # Errors
    /// [`LedgerError::KeyLost`] when there is a checkpoint but no key, [`LedgerError::Files`].
    pub fn open(path: &Path, ledger: &Path, sources: &Sources) -> Result<Self, LedgerError> {
        let failed = |e: &dyn std::fmt::Display| LedgerError::files(path, e);
        match fs::read_to_string(path) {
            Ok(text) => return text.trim().parse().map(Self).map_err(|e| failed(&e)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed(&e)),
        }
        if fs::exists(ledger.join(CHECKPOINT)).map_err(|e| failed(&e))? {
            let (path, ledger) = (path.display().to_string(), ledger.display().to_string());
            return Err(LedgerError::KeyLost { path, ledger });
        }
        let id = &sources.id()[..12];
        let key =
            SignerKey::from_seed(&format!("{ORIGIN}/{id}"), &sources.bytes()).map_err(|e| failed(&e))?;
        write_private(path, key.to_private_string().as_bytes()).map_err(|e| failed(&e))?;
        Ok(Self(key))
    }

    /// The public half, as text: `name+id+key`.
    #[must_use]
    pub fn public(&self) -> String {
        self.0.verifier().to_string()
    }

    pub(crate) fn signer(&self) -> &SignerKey {
        &self.0
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        self.0.verifier()
    }
}

/// Writes a file for its owner alone, so that after a crash it is there whole or not at all.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("key.new");
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, ledger) = (dir.path().join("ledger.key"), dir.path().join("ledger"));
        // What a crash in the middle of an earlier try left.
        fs::write(dir.path().join("ledger.key.new"), "PRIVATE+").unwrap();
        let made = LedgerKey::open(&path, &ledger, &Sources::system()).unwrap().public();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LedgerKey::open(&path, &ledger, &Sources::system()).unwrap().public(), made);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing lies beside it");
    }

    #[test]
    fn a_log_that_was_signed_gets_no_second_key() {
        let dir = tempfile::tempdir().unwrap();
        let (path, ledger) = (dir.path().join("ledger.key"), dir.path().join("ledger"));
        fs::create_dir(&ledger).unwrap();
        fs::write(ledger.join(CHECKPOINT), "signed").unwrap();
        let refused = LedgerKey::open(&path, &ledger, &Sources::system()).unwrap_err();
        assert!(matches!(refused, LedgerError::KeyLost { .. }), "{refused}");
        assert!(!path.exists());
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.key");
        fs::write(&path, "").unwrap();
        let refused = LedgerKey::open(&path, dir.path(), &Sources::system()).unwrap_err();
        assert!(matches!(refused, LedgerError::Files { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
