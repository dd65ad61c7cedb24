//! Webhooks: addresses outside that are told of what happens in a project. Here are the webhooks, who is to be told of
//! what, and what came of each telling. Which events of the ledger concern them, and the request that tells, are a flow's
//! matter.
//!
//! ```text
//! event in the ledger ─► tell: one delivery per webhook, one task each ─► delivery (body, signature) ─► attempts
//! ```

mod deliveries;
mod error;
pub mod export;
mod model;
mod rules;
mod schema;
mod secret;
mod signature;
mod webhooks;

pub use deliveries::{Attempt, DELIVERY_TASK, Delivery, Happening, ToldDelivery};
pub use error::WebhookError;
pub use model::{NewWebhook, Page, Status, Topic, Webhook, WebhookUpdate};
pub use rules::{Rules, Target, is_public};
pub use schema::MODULE;
pub use secret::SecretKey;
pub use signature::sign;

use trueline_ledger::{Ledger, Sources};

/// The domain of webhooks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    ledger: Ledger,
    key: SecretKey,
    rules: Rules,
}

impl Webhooks {
    /// Over a ledger, with the key that secrets are kept under and the rules for addresses.
    #[must_use]
    pub fn new(ledger: Ledger, key: SecretKey, rules: Rules) -> Self {
        Self { ledger, key, rules }
    }

    /// The clock and randomness of this server.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        self.ledger.sources()
    }

    /// The rules for addresses.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}
