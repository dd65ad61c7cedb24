//! Bandits: several versions answer at an endpoint, each with the share of the traffic that its rewards have earned it so far.
//! A reward is what a label that came later says of a prediction. For when what is lost while one tries matters more than how
//! soon one knows.
//!
//! ```text
//! plane ─ draw ─► log of predictions, labels      who answered, by which lot
//!            flow ─ UnitReward ─► evidence ─ look ─► report ─► course     pure: stay, allot, propose, finish, expire
//!                                                                └─► store     one write: route, decision, numbers
//! ```

mod bandits;
mod course;
mod draw;
mod evidence;
mod plan;
mod record;
mod replay;
mod report;
mod reward;
pub(crate) mod store;

pub use bandits::{BanditMoved, Bandits};
pub use course::{BanditMove, BanditProgress, decide};
pub(crate) use draw::race;
pub use evidence::{BanditEvidence, UnitOutcome, UnitReward};
pub use plan::{BanditPlan, Finish, Then, WithoutLabel};
pub use record::{Bandit, BanditDecision, BanditState};
pub use replay::BanditReplay;
pub use report::{ArmReport, BanditReport, Tally};
pub use reward::{Goal, Measure, Reward, Told};
