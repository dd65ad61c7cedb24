//! Features: entities, feature views over datasets, and the online store that a prediction reads by key. The tables behind
//! a view are the data domain's; joining them into training sets and loading them online are flows.

mod error;
mod materialisations;
mod online;
mod schema;
mod spec;
mod ttl;
mod views;

pub use error::FeatureError;
pub use materialisations::{Materialisation, record_materialisation};
pub use online::{
    Cell, Found, KeyPart, Keys, OnlineError, OnlineRow, OnlineStore, OnlineView, Pushed, Status,
};
pub use schema::MODULE;
pub use spec::{Declaration, Entity, FeatureView, ViewRef, ViewSpec};
pub use ttl::Ttl;
pub use views::Applied;

use trueline_ledger::Ledger;

/// The domain of features. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Features {
    ledger: Ledger,
    online: OnlineStore,
}

impl Features {
    /// Over a ledger and an online store.
    #[must_use]
    pub fn new(ledger: Ledger, online: OnlineStore) -> Self {
        Self { ledger, online }
    }

    /// The online store, for the data plane.
    #[must_use]
    pub fn online(&self) -> &OnlineStore {
        &self.online
    }
}
