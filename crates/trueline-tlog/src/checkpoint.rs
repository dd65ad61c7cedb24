//! Checkpoints of C2SP: origin, size and root of a log as the text of a signed note.
//! Whether a log agrees with its checkpoint is asked in `verify`.

use std::fmt;
use std::str::FromStr;

use crate::merkle::Hash;
use crate::note::{Note, NoteError, SignerKey, VerifierKey};

/// Size and root of a log. `Display` and `FromStr` speak the note text, without signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identity of the log; by recommendation a URL without scheme, and the name of the signing key.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Merkle tree hash over them.
    pub root: Hash,
    /// Further lines, opaque and best left empty.
    pub extensions: Vec<String>,
}

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text.
    #[error("malformed checkpoint: {0}")]
    Malformed(&'static str),
    /// Rightly signed, but for another log.
    #[error("the checkpoint is for log {origin:?}, the trusted key is for {key:?}")]
    Origin {
        /// Origin line of the checkpoint.
        origin: String,
        /// Name of the trusted key.
        key: String,
    },
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Self {
        Checkpoint { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// Signs it; `to_string()` of the result is the checkpoint file.
    ///
    /// # Errors
    /// Origin or an extension line is empty or has control characters, or there is no signer.
    pub fn sign(&self, signers: &[&SignerKey]) -> Result<Note, CheckpointError> {
        let text = self.to_string();
        if text.parse().as_ref() != Ok(self) {
            return Err(CheckpointError::Malformed("origin and extensions are single, non-empty lines"));
        }
        Ok(Note::sign(&text, signers)?)
    }

    /// Reads a signed checkpoint that must be signed by `key` and have the key's name as origin.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(signed: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint = Self::open_any_origin(signed, std::slice::from_ref(key))?;
        if checkpoint.origin != key.name() {
            return Err(CheckpointError::Origin { origin: checkpoint.origin, key: key.name().to_owned() });
        }
        Ok(checkpoint)
    }

    /// Reads a checkpoint signed by one of the keys, whatever its origin: the caller compares that.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open_any_origin(signed: &[u8], keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        Note::open(signed, keys)?.text().parse()
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let lines = text.strip_suffix('\n').ok_or(malformed("it does not end in a newline"))?;
        let mut lines = lines.split('\n');
        if lines.clone().any(str::is_empty) {
            return Err(malformed("it has an empty line"));
        }
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(malformed("it has fewer than three lines"));
        };
        let size = parse_decimal(size).ok_or(malformed("the size is not a decimal without leading zeros"))?;
        let root = Hash::from_base64(root).map_err(|_| malformed("the root is not a hash in base64"))?;
        let extensions = lines.map(str::to_owned).collect();
        Ok(Checkpoint { origin: origin.to_owned(), size, root, extensions })
    }
}

/// Decimal digits without sign or leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}
