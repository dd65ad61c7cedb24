//! How traffic is allotted to arms while it is being learnt which is best: Thompson sampling by batches, and intervals for
//! the arms' means that hold although the shares follow what was seen. Rewards are scaled to [0, 1], more being better.
//!
//! ```text
//! reward of a unit ─► RewardCounts   discounted sums ─► probability_best (quadrature) ─► allot (floor) ─► shares
//!                 └─► ArmMeans       inverse-probability weighted confidence sequences, one for each arm
//! ```
//!
//! The batches are what makes this cheap: the share of an arm is the probability that it is the best, given what was seen
//! up to the last allotment, so that drawing arms by these shares is drawing each unit's arm from the posterior (Thompson
//! 1933; probability matching). Nothing here is random: the probabilities are integrals, not counts of draws.

mod best;
mod counts;
mod means;
mod shares;

pub use best::probability_best;
pub use counts::RewardCounts;
pub use means::ArmMeans;
pub use shares::{WHOLE, allot};
