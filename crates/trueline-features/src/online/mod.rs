//! The online store: the newest row of every key of every view, on disk in an embedded key-value store, hot rows in
//! memory. It knows nothing of the relational database, so that a prediction can read it when that is gone.
//!
//! ```text
//! push ─► queue ─► writer: one transaction and one fsync for all that waits ─► hot rows
//! get  ─► hot rows ─► (missed) the store, read from a snapshot
//! ```
//!
//! A row never gives way to an older one: first event time counts, then when it was created; of rows that are equal in
//! both the last to come stays, as the last of a table does in a join. So pushes and loads may come in any order.

mod cell;
mod error;
mod store;
mod view;
mod writer;

pub use cell::{Cell, KeyPart, Keys};
pub use error::OnlineError;
pub use store::{Found, OnlineStore, Status};
pub use view::OnlineView;
pub use writer::Pushed;

/// The features of one key, as they were last told.
#[derive(Clone, Debug, PartialEq)]
pub struct OnlineRow {
    /// When they were true, in microseconds since 1970.
    pub event_us: i64,
    /// When they were written, where that is known.
    pub created_us: Option<i64>,
    /// Their values, in the order of the view's features.
    pub values: Vec<Cell>,
}

impl OnlineRow {
    /// Event time, then created: what a row must reach to replace another.
    fn age(&self) -> (i64, i64) {
        (self.event_us, self.created_us.unwrap_or(i64::MIN))
    }

    /// Whether this row stays when `other` comes for its key: it is newer, or the same.
    fn keeps_place_of(&self, other: &Self) -> bool {
        self.age() > other.age() || self == other
    }
}
