//! An event: its header is the leaf of the log, its payload a row of its own that can be erased without
//! breaking the proof, because the leaf holds only the payload's salted hash.

use crate::{LedgerError, Millis, ProjectId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The largest entry that the log's format can hold (a 16-bit length).
const LARGEST_ENTRY: usize = 65_535;

/// Bytes of a salt as it is stored: 32 hexadecimal digits. A verifier insists on it, because with a salt of any length the
/// beginning of a body could be told as the end of the salt.
const SALT: usize = 32;

/// Who does something, as the policy has established it; never taken from a request's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// `user:ann`, `local` or `system:<part>`.
    pub principal: String,
    /// Whom a service acts for.
    pub on_behalf_of: Option<String>,
    /// The policy's decision that allowed it.
    pub decision: Option<String>,
    /// The request that it came with.
    pub request: Option<String>,
}

impl Actor {
    /// A part of the server that acts by itself.
    #[must_use]
    pub fn system(part: &str) -> Self {
        Self { principal: format!("system:{part}"), ..Self::default() }
    }
}

/// The id of an event: 32 hexadecimal digits.
pub type EventId = String;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The id or name of it within its project.
    pub id: String,
    /// Its kind in the words of the house: `run`, `version`, `alias`.
    pub kind: String,
}

impl Resource {
    /// A resource of `kind` with `id`.
    pub fn new(kind: &str, id: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), id: id.into() }
    }
}

/// An event that a transaction is about to record.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Where it belongs.
    pub project: ProjectId,
    /// `<kind>.<what happened>`, for example `run.created`.
    pub action: &'static str,
    /// What it is about.
    pub resource: Resource,
    /// What changed, with what was there before where that matters.
    pub payload: serde_json::Value,
}

impl NewEvent {
    /// An event without a payload yet.
    pub fn new(project: &ProjectId, action: &'static str, kind: &str, id: impl Into<String>) -> Self {
        Self {
            project: project.clone(),
            action,
            resource: Resource::new(kind, id),
            payload: serde_json::Value::Null,
        }
    }

    /// The same with a payload.
    #[must_use]
    pub fn with(mut self, payload: serde_json::Value) -> Self {
        self.payload = payload;
        self
    }
}

/// The header of an event as it stands in the log: canonical JSON, keys in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// When, in milliseconds since 1970 by the wall clock.
    pub at_ms: Millis,
    /// The policy decision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<String>,
    /// The event's id.
    pub id: EventId,
    /// Whom the actor acts for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on_behalf_of: Option<String>,
    /// SHA-256 of salt and payload, in hexadecimal.
    pub payload: String,
    /// The project's id.
    pub project: String,
    /// The request id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<String>,
    /// What it is about.
    pub resource: Resource,
    /// Version of this layout.
    pub v: u32,
}

impl Entry {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| LedgerError::Diverged(format!("an entry can't be written: {e}")))?;
        if bytes.len() > LARGEST_ENTRY {
            return Err(LedgerError::TooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Whether these are the salt and the body that the entry tells of.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn check_payload(&self, salt: &[u8], body: &str) -> Result<(), String> {
        if salt.len() != SALT {
            return Err(format!("its salt has {} bytes instead of {SALT}", salt.len()));
        }
        if payload_digest(salt, body) != self.payload {
            return Err("its payload was altered".to_owned());
        }
        Ok(())
    }
}

/// SHA-256 over salt and payload, in hexadecimal: what a leaf says of its payload.
#[must_use]
pub fn payload_digest(salt: &[u8], body: &str) -> String {
    hex::encode(Sha256::new().chain_update(salt).chain_update(body.as_bytes()).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(salt: &[u8], body: &str) -> Entry {
        Entry {
            action: "run.created".to_owned(),
            actor: "local".to_owned(),
            at_ms: 0,
            decision: None,
            id: "e".to_owned(),
            on_behalf_of: None,
            payload: payload_digest(salt, body),
            project: "default".to_owned(),
            request: None,
            resource: Resource::new("run", "r"),
            v: 1,
        }
    }

    #[test]
    fn a_payload_is_known_by_salt_and_body() {
        let salt = [b'a'; 32];
        let entry = entry(&salt, "{}");
        assert_eq!(entry.check_payload(&salt, "{}"), Ok(()));
        assert!(entry.check_payload(&salt, "{ }").unwrap_err().contains("altered"));
        assert!(entry.check_payload(&[b'b'; 32], "{}").unwrap_err().contains("altered"));
    }

    #[test]
    fn bytes_cannot_move_from_the_body_into_the_salt() {
        let salt = [b'a'; 32];
        let entry = entry(&salt, "[1,{}]");
        let mut longer = salt.to_vec();
        longer.extend(b"[1,");
        assert_eq!(payload_digest(&longer, "{}]"), entry.payload, "the digest alone does not tell");
        assert!(entry.check_payload(&longer, "{}]").unwrap_err().contains("35 bytes"));
    }
}
