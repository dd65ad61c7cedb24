//! The key that signs checkpoints, kept in the data directory. Its public half is what a verifier is given, from
//! outside.

use crate::{LedgerError, Sources};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use trueline_tlog::{SignerKey, VerifierKey};

/// The name of a log whose server was given none.
const ORIGIN: &str = "trueline.local/ledger";

/// The signing key of one log.
#[derive(Debug)]
pub struct LedgerKey(SignerKey);

impl LedgerKey {
    /// Reads the key at `path`, or makes one there, readable by its owner alone.
    ///
    /// # Errors
    /// [`LedgerError::Files`].
    pub fn open(path: &Path, sources: &Sources) -> Result<Self, LedgerError> {
        let failed = |e: &dyn std::fmt::Display| LedgerError::files(path, e);
        if let Ok(text) = fs::read_to_string(path) {
            return text.trim().parse().map(Self).map_err(|e| failed(&e));
        }
        let id = &sources.id()[..12];
        let key =
            SignerKey::from_seed(&format!("{ORIGIN}/{id}"), &sources.bytes()).map_err(|e| failed(&e))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed(&e))?;
        file.write_all(key.to_private_string().as_bytes()).map_err(|e| failed(&e))?;
        file.sync_all().map_err(|e| failed(&e))?;
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
