//! Signed notes of C2SP: text with signatures under it, and the strings in which keys travel (as in Go's sumdb/note).
//! Only Ed25519 (type 0x01) is signed and verified; other signatures are carried and ignored.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Longest note that is looked at, in bytes.
pub const MAX_NOTE_BYTES: usize = 1_000_000;
/// Most signatures in a note that is looked at; the specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

const ED25519: u8 = 0x01;
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a note or key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a note at all.
    #[error("malformed note: {0}")]
    Malformed(&'static str),
    /// No signature is by a trusted key.
    #[error("no signature by a trusted key; the note is signed by: {}", .signers.join(", "))]
    NoTrustedSignature {
        /// Name and id of each signing key, unverified.
        signers: Vec<String>,
    },
    /// A signature that claims to be by a trusted key is not.
    #[error("the signature by {name} does not fit the text")]
    BadSignature {
        /// Name of the key.
        name: String,
    },
    /// Not a key string.
    #[error("malformed key: {0}")]
    Key(&'static str),
}

/// First four bytes of a hash over name, signature type and public key: tells keys apart, secures nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)\[..4\] (c2sp.org/signed-note).
    #[must_use]
    pub fn ed25519(name: &str, public_key: &[u8; 32]) -> Self {
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(public_key)
            .finalize();
        KeyId([digest[0], digest[1], digest[2], digest[3]])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c < ' ' || c == '+';
    if name.is_empty() || name.contains(bad) {
        return Err(NoteError::Key("a key name is not empty and has no spaces, control characters or plus"));
    }
    Ok(())
}

/// Reads `id+base64(0x01 ‖ 32 bytes)`.
fn parse_key_material(id: &str, material: &str) -> Result<(KeyId, [u8; 32]), NoteError> {
    let id = hex::decode(id).ok().and_then(|id| id.try_into().ok());
    let id = id.ok_or(NoteError::Key("the key id is not 8 hex digits"))?;
    let material = STANDARD.decode(material).map_err(|_| NoteError::Key("the key is not base64"))?;
    match material.split_first() {
        Some((&ED25519, key)) => {
            let key = key.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
            Ok((KeyId(id), key))
        }
        _ => Err(NoteError::Key("the key is not of type 0x01, Ed25519")),
    }
}

fn key_material(key: &[u8; 32]) -> String {
    let mut bytes = vec![ED25519];
    bytes.extend(key);
    STANDARD.encode(bytes)
}

/// A named public key. `Display` and `FromStr` speak the vkey form `name+id+base64(0x01 ‖ public key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Names an Ed25519 public key.
    ///
    /// # Errors
    /// [`NoteError::Key`]: the name has spaces or plus, or the bytes are no public key.
    pub fn new(name: &str, public_key: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = VerifyingKey::from_bytes(public_key)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or(NoteError::Key("not a valid Ed25519 public key"))?;
        Ok(VerifierKey { name: name.to_owned(), id: KeyId::ed25519(name, public_key), key })
    }

    /// Name, by recommendation a URL without scheme.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` (64 bytes) is this key's over `text`, by strict RFC 8032 verification.
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id, key_material(self.public_key()))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("a verifier key is name+id+base64"));
        };
        let (id, key) = parse_key_material(id, material)?;
        let verifier = VerifierKey::new(name, &key)?;
        if verifier.id != id {
            return Err(NoteError::Key("the key id does not fit name and key"));
        }
        Ok(verifier)
    }
}

/// A named private key. `Debug` hides it; [`SignerKey::to_private_string`] does not.
#[derive(Clone)]
pub struct SignerKey {
    key: SigningKey,
    verifier: VerifierKey,
}

impl SignerKey {
    /// The key of a 32-byte RFC 8032 seed, which must come from a secure random source.
    ///
    /// # Errors
    /// [`NoteError::Key`]: the name has spaces or plus.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, key.verifying_key().as_bytes())?;
        Ok(SignerKey { key, verifier })
    }

    /// The public half, to hand out.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// `PRIVATE+KEY+name+id+base64(0x01 ‖ seed)`, the secret itself; `FromStr` reads it back.
    #[must_use]
    pub fn to_private_string(&self) -> String {
        let VerifierKey { name, id, .. } = &self.verifier;
        format!("PRIVATE+KEY+{name}+{id}+{}", key_material(self.key.as_bytes()))
    }

    fn sign(&self, text: &str) -> Signature {
        let bytes = self.key.sign(text.as_bytes()).to_bytes().to_vec();
        Signature { name: self.name().to_owned(), key_id: self.verifier.id, bytes }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignerKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl FromStr for SignerKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Key("a private key is PRIVATE+KEY+name+id+base64");
        let Some(rest) = text.strip_prefix("PRIVATE+KEY+") else {
            return Err(malformed);
        };
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed);
        };
        let (id, seed) = parse_key_material(id, material)?;
        let signer = SignerKey::from_seed(name, &seed)?;
        if signer.verifier.id != id {
            return Err(NoteError::Key("the key id does not fit name and key"));
        }
        Ok(signer)
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub key_id: KeyId,
    /// The signature without the key id; 64 bytes for Ed25519.
    pub bytes: Vec<u8>,
}

/// A note. Made by [`Note::sign`] or [`Note::open`]; one from [`Note::parse_unverified`] may say anything. `Display` gives
/// the signed form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Signs a text, which must end in a newline and have no other control characters.
    ///
    /// # Errors
    /// [`NoteError::Malformed`]: such a text cannot be a note, or there is no signer.
    pub fn sign(text: &str, signers: &[&SignerKey]) -> Result<Self, NoteError> {
        check_characters(text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed("the text does not end in a newline"));
        }
        if signers.is_empty() || signers.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("a note has 1 to 100 signatures"));
        }
        let signatures = signers.iter().map(|signer| signer.sign(text)).collect();
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// Reads a note and verifies the signatures of trusted keys, of which there must be one. Signatures of other keys are
    /// ignored, as the specification demands; one by a trusted key that does not verify spoils the note.
    ///
    /// # Errors
    /// Malformed, not signed by a trusted key, or wrongly.
    pub fn open(bytes: &[u8], trusted: &[VerifierKey]) -> Result<Self, NoteError> {
        let note = Self::parse_unverified(bytes)?;
        let mut verified = false;
        for signature in &note.signatures {
            let signed_by = |key: &&VerifierKey| key.name == signature.name && key.id == signature.key_id;
            let Some(key) = trusted.iter().find(signed_by) else { continue };
            if !key.verifies(note.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::BadSignature { name: signature.name.clone() });
            }
            verified = true;
        }
        if verified {
            return Ok(note);
        }
        let signers = note.signatures.iter().map(|by| format!("{}+{}", by.name, by.key_id)).collect();
        Err(NoteError::NoTrustedSignature { signers })
    }

    /// Reads the form of a note without verifying any signature.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("longer than 1,000,000 bytes"));
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        check_characters(note)?;
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line before signatures"))?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Malformed("no signature lines"))?;
        let lines: Vec<_> = lines.split('\n').take(MAX_SIGNATURES + 1).collect();
        if lines.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("more than 100 signatures"));
        }
        let signatures = lines.into_iter().map(parse_signature).collect::<Result<_, _>>()?;
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// What is signed, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines, also those of unknown keys.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, key_id, bytes } in &self.signatures {
            let encoded = STANDARD.encode([key_id.0.as_slice(), bytes].concat());
            writeln!(f, "{SIGNATURE_MARK}{name} {encoded}")?;
        }
        Ok(())
    }
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(NoteError::Malformed("control characters other than newline"));
    }
    Ok(())
}

fn parse_signature(line: &str) -> Result<Signature, NoteError> {
    let rest = line.strip_prefix(SIGNATURE_MARK);
    let rest = rest.ok_or(NoteError::Malformed("a signature line begins with an em dash and a space"))?;
    let (name, encoded) =
        rest.split_once(' ').ok_or(NoteError::Malformed("a signature line has two fields"))?;
    check_name(name).map_err(|_| NoteError::Malformed("bad key name"))?;
    let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Malformed("a signature is not base64"))?;
    match bytes.split_first_chunk() {
        Some((key_id, signature)) if !signature.is_empty() => {
            Ok(Signature { name: name.to_owned(), key_id: KeyId(*key_id), bytes: signature.to_vec() })
        }
        _ => Err(NoteError::Malformed("a signature is too short")),
    }
}
