//! Steps as local processes. The server writes what is to be run into the attempt's folder and starts a keeper; the keeper
//! claims the folder, runs the command and leaves the outcome there. Whoever claims a folder first has it: a keeper that
//! comes late, because its server died between the intent and the start, finds it fenced and ends.
//!
//! ```text
//! attempts/<id>/spec.json     what is to be run; no variables, they are in the keeper's environment alone
//!               claim         the keeper's pid, its start in ticks and the boot, or that the attempt is fenced
//!               log           what the command and its children wrote
//!               result.json   how it ended
//! ```

mod attempt;
mod keeper;
mod process;

pub use attempt::{AttemptFolder, ExecSpec, Found, Outcome};
pub use keeper::keep;
pub use process::ProcessId;

/// The variable by which every process of an attempt is known.
pub const ATTEMPT_VARIABLE: &str = "TRUELINE_ATTEMPT";
