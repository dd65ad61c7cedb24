//! The Merkle tree of RFC 6962: hashes, roots, inclusion and consistency proofs, made and verified.
//! Nodes come through [`HashReader`]; how they are stored in tiles is told in `tile` and `read`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::read::ReadError;

/// A SHA-256 hash of a leaf, a node or a whole tree. `Display` and `FromStr` speak base64, as checkpoints and proofs
/// do; `{:x}` and `Debug` speak hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// Text or bytes that are not a 32-byte hash in the expected encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a 32-byte hash in {encoding}: {text:?}")]
pub struct HashParseError {
    encoding: &'static str,
    text: String,
}

impl Hash {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Root of the tree without leaves, SHA-256 of the empty string (RFC 6962 §2.1).
    pub const EMPTY_ROOT: Hash = Hash([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Standard base64 with padding (RFC 4648 §4), 44 characters.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads 64 hex digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_hex(text: &str) -> Result<Self, HashParseError> {
        hex::decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Hash)
            .ok_or_else(|| HashParseError { encoding: "hex", text: text.to_owned() })
    }

    /// Reads canonical standard base64 with padding.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_base64(text: &str) -> Result<Self, HashParseError> {
        STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Hash)
            .ok_or_else(|| HashParseError { encoding: "base64", text: text.to_owned() })
    }

    /// Splits bytes into hashes; a rest shorter than a hash is dropped, so check the length first.
    pub(crate) fn many(bytes: &[u8]) -> Vec<Hash> {
        let (hashes, _rest) = bytes.as_chunks::<32>();
        hashes.iter().copied().map(Hash).collect()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::LowerHex for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self:x})")
    }
}

impl FromStr for Hash {
    type Err = HashParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_base64(text)
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Hash(bytes)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Hash of an entry as a leaf: SHA-256(0x00 ‖ entry), RFC 6962 §2.1.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right), RFC 6962 §2.1.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into())
}

/// Merkle tree hash of leaf hashes: MTH of RFC 6962 §2.1, [`Hash::EMPTY_ROOT`] for none.
///
/// The same function joins the roots of complete, equally high subtrees, the last of which may be incomplete, because
/// the tree always splits at a power of two.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

/// Fetches nodes of the tree that are roots of complete subtrees.
pub trait HashReader {
    /// Hash of the node over leaves `index << level .. (index + 1) << level`; level 0 holds the leaf hashes.
    ///
    /// # Errors
    /// The node is not complete in this tree, or cannot be read.
    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, ReadError>;
}

/// All leaf hashes in memory: for tests and small trees.
impl HashReader for &[Hash] {
    fn hash(&mut self, level: u8, index: u64) -> Result<Hash, ReadError> {
        let width = 1usize.checked_shl(level.into());
        let start = width.and_then(|width| usize::try_from(index).ok()?.checked_mul(width));
        width
            .zip(start)
            .and_then(|(width, start)| self.get(start..start.checked_add(width)?))
            .map(root)
            .ok_or(ReadError::OutsideTree { level, index, size: self.len() as u64 })
    }
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// There is no such leaf in the tree.
    #[error("no entry {index} in a tree of {size}; entries are numbered from 0")]
    NoSuchLeaf {
        /// Asked leaf.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// Consistency runs from a smaller to a larger tree.
    #[error("a tree of {first} is not a beginning of a tree of {second}")]
    NotBefore {
        /// Earlier size.
        first: u64,
        /// Later size.
        second: u64,
    },
    /// A node could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Index or sizes that no proof can connect.
    #[error("index or tree size out of range")]
    OutOfRange,
    /// Too many or too few hashes for the position.
    #[error("the proof has the wrong number of hashes")]
    WrongLength,
    /// Recomputed and given root differ.
    #[error("the proof leads to another root")]
    RootMismatch,
}

/// Root of the first `size` leaves (MTH, RFC 6962 §2.1).
///
/// # Errors
/// A node could not be read.
pub fn tree_root(nodes: &mut impl HashReader, size: u64) -> Result<Hash, ReadError> {
    if size == 0 {
        return Ok(Hash::EMPTY_ROOT);
    }
    range_hash(nodes, 0, size)
}

/// Hash over leaves `start..end`, which begin a subtree: `start` is a multiple of the power of two not below the length.
fn range_hash(nodes: &mut impl HashReader, start: u64, end: u64) -> Result<Hash, ReadError> {
    let width = end - start;
    if width.is_power_of_two() {
        let level = width.trailing_zeros();
        // A u64 has at most 63 trailing zeros unless it is 0, and the width is not.
        return nodes.hash(level as u8, start >> level);
    }
    let middle = start + split(width);
    let left = range_hash(nodes, start, middle)?;
    let right = range_hash(nodes, middle, end)?;
    Ok(node_hash(&left, &right))
}

/// Largest power of two below `width` (RFC 6962 §2.1), which is at least 2.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// Inclusion proof of leaf `index` in the tree of `size` leaves, from the leaf's sibling up: PATH of RFC 6962 §2.1.1.
///
/// # Errors
/// No such leaf, or a node could not be read.
pub fn inclusion_proof(nodes: &mut impl HashReader, index: u64, size: u64) -> Result<Vec<Hash>, ProveError> {
    if index >= size {
        return Err(ProveError::NoSuchLeaf { index, size });
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Consistency proof between the trees of `first` and `second` leaves: PROOF of RFC 6962 §2.1.2. Empty if the sizes are
/// equal or the first is 0.
///
/// # Errors
/// `first > second`, or a node could not be read.
pub fn consistency_proof(
    nodes: &mut impl HashReader,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, ProveError> {
    if first > second {
        return Err(ProveError::NotBefore { first, second });
    }
    let mut path = Vec::new();
    if first == 0 || first == second {
        return Ok(path);
    }
    let (mut start, mut end) = (0, second);
    // SUBPROOF: walk down to the subtree that ends where the first tree ends.
    while first != end {
        let middle = start + split(end - start);
        if first <= middle {
            path.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    // The verifier knows the first root; only another subtree needs its hash.
    if start != 0 {
        path.push(range_hash(nodes, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that `leaf` is entry `index` of the tree of `size` leaves with this root (RFC 9162 §2.1.3.2).
///
/// # Errors
/// The proof does not hold.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut computed = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            computed = node_hash(sibling, &computed);
            skip_lone_levels(&mut node, &mut last);
        } else {
            computed = node_hash(&computed, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if computed == *root { Ok(()) } else { Err(ProofError::RootMismatch) }
}

/// Goes up while the node is a left one without a sibling.
fn skip_lone_levels(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// Checks that the tree of `first` leaves is the beginning of the tree of `second` leaves (RFC 9162 §2.1.4.2).
///
/// Equal sizes need equal roots and an empty proof; size 0 needs [`Hash::EMPTY_ROOT`] and an empty proof.
///
/// # Errors
/// The proof does not hold.
pub fn verify_consistency(
    first: u64,
    second: u64,
    proof: &[Hash],
    first_root: &Hash,
    second_root: &Hash,
) -> Result<(), ProofError> {
    if first > second {
        return Err(ProofError::OutOfRange);
    }
    if first == 0 || first == second {
        let expected = if first == 0 { &Hash::EMPTY_ROOT } else { second_root };
        return match (proof.is_empty(), first_root == expected) {
            (false, _) => Err(ProofError::WrongLength),
            (true, false) => Err(ProofError::RootMismatch),
            (true, true) => Ok(()),
        };
    }
    let (seed, path) = if first.is_power_of_two() {
        (first_root, proof)
    } else {
        proof.split_first().ok_or(ProofError::WrongLength)?
    };
    let (mut node, mut last) = (first - 1, second - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*seed, *seed);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            skip_lone_levels(&mut node, &mut last);
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if old == *first_root && new == *second_root { Ok(()) } else { Err(ProofError::RootMismatch) }
}
