//! Secrets at rest: sealed with ChaCha20-Poly1305 under a key of the data directory, bound to the webhook that they belong
//! to, so that a sealed secret moved to another row does not open.

use crate::WebhookError;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use trueline_ledger::{Sources, write_private};

/// The key that secrets are kept under.
#[derive(Clone)]
pub struct SecretKey(Arc<LessSafeKey>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl SecretKey {
    /// Reads the key at `path`, or makes one there, readable by its owner alone.
    ///
    /// # Errors
    /// [`WebhookError::Key`].
    pub fn open(path: &Path, sources: &Sources) -> Result<Self, WebhookError> {
        let failed =
            |e: &dyn fmt::Display| WebhookError::Key { path: path.display().to_string(), why: e.to_string() };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mut key = [0; 32];
                hex::decode_to_slice(text.trim(), &mut key).map_err(|_| {
                    failed(&"this is no key of 64 hexadecimal digits; put the right file back")
                })?;
                Self::of(&key)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let key: [u8; 32] = sources.bytes();
                write_private(path, format!("{}\n", hex::encode(key)).as_bytes()).map_err(|e| failed(&e))?;
                Self::of(&key)
            }
            Err(e) => Err(failed(&e)),
        }
    }

    /// A key that is given as text, of any form: several servers over one database are given the same.
    ///
    /// # Errors
    /// [`WebhookError::Key`], which does not happen.
    pub fn from_text(text: &str) -> Result<Self, WebhookError> {
        Self::of(&Sha256::digest(text.as_bytes()).into())
    }

    fn of(key: &[u8; 32]) -> Result<Self, WebhookError> {
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| WebhookError::Key {
            path: "the key for secrets".to_owned(),
            why: "it has the wrong length".to_owned(),
        })?;
        Ok(Self(Arc::new(LessSafeKey::new(unbound))))
    }

    /// Seals a secret of `webhook`: nonce and ciphertext, in hexadecimal.
    pub(crate) fn seal(
        &self,
        webhook: &str,
        secret: &str,
        nonce: [u8; NONCE_LEN],
    ) -> Result<String, WebhookError> {
        let mut bytes = secret.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(webhook.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| WebhookError::Invalid("this secret is too long".to_owned()))?;
        Ok(format!("{}{}", hex::encode(nonce), hex::encode(bytes)))
    }

    /// Opens what [`Self::seal`] made for the same webhook.
    pub(crate) fn open_sealed(&self, webhook: &str, sealed: &str) -> Result<String, WebhookError> {
        let refused = || WebhookError::Sealed { webhook: webhook.to_owned() };
        let bytes = hex::decode(sealed).map_err(|_| refused())?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut rest = rest.to_vec();
        let opened =
            self.0.open_in_place(nonce, Aad::from(webhook.as_bytes()), &mut rest).map_err(|_| refused())?;
        String::from_utf8(opened.to_vec()).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_own_webhook_under_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.key");
        let key = SecretKey::open(&path, &Sources::system()).unwrap();
        let sealed = key.seal("w1", "hush", Sources::system().bytes()).unwrap();
        assert!(!sealed.contains(&hex::encode("hush")));
        let again = SecretKey::open(&path, &Sources::system()).unwrap();
        assert_eq!(again.open_sealed("w1", &sealed).unwrap(), "hush");
        assert!(matches!(again.open_sealed("w2", &sealed), Err(WebhookError::Sealed { .. })));
        let other = SecretKey::from_text("another").unwrap();
        assert!(matches!(other.open_sealed("w1", &sealed), Err(WebhookError::Sealed { .. })));
    }

    #[test]
    fn a_file_that_is_no_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.key");
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(SecretKey::open(&path, &Sources::system()), Err(WebhookError::Key { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
    }

    #[test]
    fn a_key_does_not_show_in_what_is_printed() {
        assert_eq!(format!("{:?}", SecretKey::from_text("k").unwrap()), "SecretKey");
    }
}
