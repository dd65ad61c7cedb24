//! The one door for change: rows, lineage edges and at least one event commit together, or nothing does; the
//! events are the leaves of a Merkle log that anybody can check offline. What the events mean is the domains'
//! matter.
//!
//! ```text
//! ledger.write(actor, |tx| …)        one transaction: rows + edges + events (no index yet)
//!      └─► sequencer                 gives indexes in batches, in the order of commit
//!           └─► files                entry bundles and hash tiles under <data-dir>/ledger, fsynced
//!                └─► checkpoint      signed last
//! ```

mod erase;
mod error;
mod event;
mod export;
mod files;
mod heartbeat;
mod ids;
mod key;
mod lineage;
mod query;
mod reactor;
mod schema;
mod sequencer;
mod source;
mod verify;
mod verify_export;
mod write;

pub use erase::erase;
pub use error::LedgerError;
pub use event::{Actor, Entry, EventId, NewEvent, Resource, payload_digest};
pub use export::{Export, ExportedEvent, exported_events};
pub use files::{LedgerFiles, LedgerHead};
pub use ids::{BlobDigest, ProjectId};
pub use key::{LedgerKey, write_private};
pub use lineage::{Edge, Node, neighbours};
pub use query::{
    EventFilter, EventPage, EventRow, event, events_after, events_of, happened_after, leaf, leaf_hash,
    newest_index, unsequenced_events_of,
};
pub use reactor::{Cursor, Tail};
pub use schema::MODULE;
pub use source::{Clock, Entropy, Millis, Sources};
pub use verify::{Finding, Report, Verification, verify_files, verify_rows, waiting_events};
pub use verify_export::verify_export;
pub use write::{Ledger, LedgerTx};
