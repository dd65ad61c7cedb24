//! Transparency log arithmetic: the Merkle tree, its tiles, signed checkpoints, proofs, and the check of a whole log.
//! Pure functions only: no I/O, clock or randomness; files come through [`LogReader`], keys as arguments.
//! What an entry means, and where files lie, is the ledger's business.
//!
//! | module | what | source |
//! |---|---|---|
//! | [`merkle`] | hashes, roots, inclusion and consistency proofs | RFC 6962 §2.1, RFC 9162 §2.1 |
//! | [`tile`] | names and contents of tiles and entry bundles | <https://c2sp.org/tlog-tiles> |
//! | [`append`] | growing a log: leaves in, tiles and root out | same |
//! | [`read`] | reading a log's files; tree nodes out of tiles | same |
//! | [`note`] | signed text, key strings | <https://c2sp.org/signed-note> |
//! | [`checkpoint`] | signed size and root | <https://c2sp.org/tlog-checkpoint> |
//! | [`proof`] | `.tlog-proof` files | <https://c2sp.org/tlog-proof> |
//! | [`verify`] | recomputing everything and naming the first bad entry | |
//!
//! ```
//! # use std::collections::BTreeMap;
//! use trueline_tlog::{Checkpoint, LogAppender, SignerKey, TlogProof, verify_log};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SignerKey::from_seed("example.com/ledger", &[7; 32])?; // from a secure random source
//! let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new(); // or any other `LogReader`
//!
//! let mut log = LogAppender::new(); // later: LogAppender::resume(&files, checkpoint.size)
//! log.push(b"model registered")?;
//! log.push(b"model approved")?;
//! for tile in log.take_tiles() {
//!     files.insert(tile.id.path(), tile.bytes);
//! }
//! let signed = Checkpoint::new(key.name(), log.size(), log.root()).sign(&[&key])?.to_string();
//!
//! let report = verify_log(&files, signed.as_bytes(), key.verifier(), None, |_index, _entry| {})?;
//! assert_eq!(report.checkpoint.size, 2);
//! let proof = TlogProof::prove(&files, &signed, 1)?;
//! proof.verify(b"model approved", key.verifier())?;
//! # Ok(())
//! # }
//! ```

pub mod append;
pub mod checkpoint;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod read;
pub mod tile;
pub mod verify;

pub use append::{Appender, Frontier, LogAppender};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use merkle::{Hash, HashReader, leaf_hash, node_hash};
pub use note::{NoteError, SignerKey, VerifierKey};
pub use proof::TlogProof;
pub use read::{LogReader, ReadError, TileHashes};
pub use tile::{EntryBundle, Tile, TileId, TileLevel, tiles_added, tiles_for_size};
pub use verify::{Fault, Finding, Report, check_stale_tile, verify_log};
