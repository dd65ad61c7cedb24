//! The ledger: what happened, newest first, and whether the log is sound.

use super::Pager;
use crate::links::ViewUrl;
use crate::parts::Reference;
use crate::shell::Shell;
use crate::words;
use askama::Template;
use jiff::Timestamp;

/// An event in one line.
#[derive(Clone, Debug)]
pub struct EventLine {
    /// Its index in the log; none for the moment between its commit and its turn.
    pub index: Option<u64>,
    /// Its id.
    pub id: String,
    /// When it was committed.
    pub at: Timestamp,
    /// Who did it, as in the log: `user:ann`.
    pub actor: String,
    /// What was done, as in the log: `run.created`.
    pub action: String,
    /// On what; the kind as in the log.
    pub resource: Reference,
    /// What completes the sentence after the resource, for example `at version 3`; may be empty.
    pub detail: String,
    /// The project's name.
    pub project: String,
    /// Whether the payload was erased.
    pub erased: bool,
}

impl EventLine {
    pub(crate) fn who(&self) -> &str {
        words::person(&self.actor)
    }

    pub(crate) fn verb(&self) -> String {
        words::verb(&self.action)
    }

    pub(crate) fn noun(&self) -> String {
        words::noun(&self.resource.kind)
    }
}

/// The signed head of the log.
#[derive(Clone, Debug)]
pub struct LedgerHead {
    /// How many events it covers.
    pub tree_size: u64,
    /// The root hash, base64 as in the checkpoint.
    pub root_hash: String,
    /// When the checkpoint was signed.
    pub signed_at: Timestamp,
    /// The id of the key, as in the signature line.
    pub key_id: String,
    /// The origin line of the checkpoint.
    pub origin: String,
    /// The command that verifies the files without the server.
    pub verify_command: String,
}

/// What the last verification found.
#[derive(Clone, Debug)]
pub enum Verification {
    /// Nobody verified yet.
    Never,
    /// At work since.
    Running {
        /// When it began.
        since: Timestamp,
    },
    /// All entries agree.
    Sound {
        /// When it ended.
        at: Timestamp,
        /// How many entries were recomputed.
        entries: u64,
        /// Segments of the prediction log that lie with other servers.
        elsewhere: u64,
    },
    /// Something does not agree.
    Failing {
        /// When it ended.
        at: Timestamp,
        /// The index of the first bad entry.
        index: u64,
        /// What is wrong with it, as a sentence.
        finding: String,
        /// How many findings there are in all.
        findings: u64,
    },
}

/// The newest events and the head of the log. The view reads `project`, `actor`, `action` (a prefix), `resource`
/// (`kind:id`) and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "ledger.html")]
pub struct LedgerPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filters.
    pub view: ViewUrl,
    /// The newest events first.
    pub events: Vec<EventLine>,
    /// Actions to propose in the filter.
    pub actions: Vec<String>,
    /// The signed head; none before the first checkpoint.
    pub head: Option<LedgerHead>,
    /// The state of the last verification.
    pub verification: Verification,
    /// Whether the caller may verify.
    pub can_verify: bool,
    /// Where the page of events ends.
    pub pager: Pager,
}

/// The part of the ledger page that "Verify now" replaces; answered to a request of htmx.
#[derive(Clone, Debug, Template)]
#[template(path = "verification.html")]
pub struct VerificationPart {
    /// What all pages share; the clock is used.
    pub shell: Shell,
    /// The state after the request.
    pub verification: Verification,
}

/// What an event carries.
#[derive(Clone, Debug)]
pub enum Payload {
    /// As recorded.
    Json(serde_json::Value),
    /// Erased: the proof still holds, the content is gone.
    Erased {
        /// The index of the event that erased it.
        by: Option<u64>,
        /// Who erased it.
        actor: String,
        /// When.
        at: Timestamp,
    },
}

impl Payload {
    pub(crate) fn pretty(&self) -> String {
        match self {
            Self::Json(value) => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
            Self::Erased { .. } => String::new(),
        }
    }
}

/// One event.
#[derive(Clone, Debug, Template)]
#[template(path = "event.html")]
pub struct EventPage {
    /// What all pages share.
    pub shell: Shell,
    /// The event in one line.
    pub event: EventLine,
    /// Whom the actor acted for.
    pub on_behalf_of: Option<String>,
    /// The policy's decision that allowed it.
    pub decision: Option<String>,
    /// The request that it came with.
    pub request: Option<String>,
    /// The hash of the leaf, hexadecimal; none before it has an index.
    pub leaf_hash: Option<String>,
    /// The salted hash of the payload, hexadecimal.
    pub payload_hash: String,
    /// Where the inclusion proof is downloaded, when there is a checkpoint that covers the event.
    pub proof_url: Option<String>,
    /// The size of the tree that the proof is for.
    pub proof_size: Option<u64>,
    /// What it carries.
    pub payload: Payload,
    /// The index of the event before.
    pub previous: Option<u64>,
    /// The index of the event after.
    pub next: Option<u64>,
}
