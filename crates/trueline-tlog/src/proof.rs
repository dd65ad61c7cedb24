//! `.tlog-proof` files: an entry's index, its inclusion proof and the signed checkpoint, checkable offline with the log's
//! public key alone (c2sp.org/tlog-proof). Witness signatures are carried, not required.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use crate::merkle::{
    Hash, HashReader as _, ProofError, ProveError, inclusion_proof, leaf_hash, verify_inclusion,
};
use crate::note::{MAX_NOTE_BYTES, Note, VerifierKey};
use crate::read::{LogReader, TileHashes};

/// Most hashes that an inclusion proof can have.
pub const MAX_PROOF_HASHES: usize = 64;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Proof that an entry stands in a log. `Display` and `FromStr` speak the file. Until one of the `verify` functions has
/// returned, nothing in it is known to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Bytes for the application, not covered by any signature; empty if there are none.
    pub extra: Vec<u8>,
    /// Index of the entry.
    pub index: u64,
    /// Inclusion proof, from the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, word for word.
    pub checkpoint: String,
}

/// Why a proof file cannot be made or is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Not such a file.
    #[error("malformed proof: {0}")]
    Malformed(&'static str),
    /// The checkpoint in it.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry does not stand there in the log.
    #[error("entry {index} of the checkpointed log is not this one: {fault}")]
    Inclusion {
        /// Index that the proof claims.
        index: u64,
        /// How the proof fails.
        fault: ProofError,
    },
    /// The log cannot be read, or has no such entry.
    #[error(transparent)]
    Prove(#[from] ProveError),
}

impl TlogProof {
    /// Proves entry `index` from the log's tiles under a signed checkpoint. The checkpoint's signature is not verified, but
    /// a proof that does not lead to its root is not given out.
    ///
    /// # Errors
    /// The checkpoint is malformed, the entry is not in it, or tiles are missing or altered.
    pub fn prove<R: LogReader>(
        reader: R,
        signed_checkpoint: &str,
        index: u64,
    ) -> Result<Self, TlogProofError> {
        let note = Note::parse_unverified(signed_checkpoint.as_bytes()).map_err(CheckpointError::from)?;
        let Checkpoint { size, root, .. } = note.text().parse()?;
        let mut nodes = TileHashes::new(reader, size);
        let hashes = inclusion_proof(&mut nodes, index, size)?;
        let leaf = nodes.hash(0, index).map_err(ProveError::from)?;
        verify_inclusion(&leaf, index, size, &hashes, &root)
            .map_err(|fault| TlogProofError::Inclusion { index, fault })?;
        Ok(TlogProof { extra: Vec::new(), index, hashes, checkpoint: signed_checkpoint.to_owned() })
    }

    /// Checks that `entry` stands at [`TlogProof::index`] in the log of this key, and returns the checkpoint that says so.
    ///
    /// # Errors
    /// The checkpoint is not signed by the key or is of another log, or the entry is not there.
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, TlogProofError> {
        self.verify_leaf(&leaf_hash(entry), key)
    }

    /// As [`TlogProof::verify`], for an entry of which only the leaf hash is known.
    ///
    /// # Errors
    /// As [`TlogProof::verify`].
    pub fn verify_leaf(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root)
            .map_err(|fault| TlogProofError::Inclusion { index: self.index, fault })?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for TlogProof {
    type Err = TlogProofError;

    fn from_str(text: &str) -> Result<Self, TlogProofError> {
        let malformed = TlogProofError::Malformed;
        if text.len() > 2 * MAX_NOTE_BYTES {
            return Err(malformed("longer than 2,000,000 bytes"));
        }
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(malformed("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("the first line is not c2sp.org/tlog-proof@v1"));
        }
        let mut extra = Vec::new();
        if let Some(encoded) = lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            let decoded = STANDARD.decode(encoded).ok().filter(|extra| !extra.is_empty());
            extra = decoded.ok_or(malformed("extra is not base64"))?;
            lines.next();
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(malformed("no index line with a decimal without leading zeros"))?;
        let hashes = lines.take(MAX_PROOF_HASHES + 1).map(Hash::from_base64).collect::<Result<Vec<_>, _>>();
        let hashes = hashes.map_err(|_| malformed("a proof line is not a hash in base64"))?;
        if hashes.len() > MAX_PROOF_HASHES {
            return Err(malformed("more than 64 proof lines"));
        }
        if checkpoint.is_empty() {
            return Err(malformed("no checkpoint"));
        }
        Ok(TlogProof { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}
