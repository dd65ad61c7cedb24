//! The shadow: before a candidate gets any traffic of its own it is asked beside what answers, and its answers are compared.
//! Nobody is given them, nothing waits for them, and they are not logged.
//!
//! ```text
//! request ─► baseline ─► answer to the caller
//!               └─ drawn? room? ─► candidate, later ─► comparison ─► evidence ─► first step, rollback, hold
//! ```

mod beside;
mod evidence;
mod phase;

pub(crate) use beside::LiveShadow;
pub use beside::{Beside, ShadowDraw, ShadowObservation, ShadowOutcome};
pub(super) use evidence::{DIFFERING, FAILING, ShadowTest};
pub use evidence::{ShadowExample, ShadowFailure, ShadowReport, ShareReport};
pub use phase::{Shadow, ShadowPhase};
