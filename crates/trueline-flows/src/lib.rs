//! The stories that span domains, one file each. Faces and the CLI call them; domains do not know of each other.

mod admission;
mod capture_source;
mod deploy;
mod erase_event;
mod predict;
mod react_triggers;
mod register_version;
mod run_step;
mod session;
mod verify_ledger;
mod verify_state;

pub use capture_source::{
    Keep, capture_code, capture_environment, interpreter_of, packages, seeds, was_kept,
};
pub use deploy::{
    DeployError, DeployLeave, Deployments, WantedVariant, WantedVersion, deploy, reconcile, roll_back,
};
pub use erase_event::erase_event;
pub use predict::{Knock, PredictError, Predicted, PredictionRequest, Predictor, scalar};
pub use react_triggers::react_triggers;
pub use register_version::{
    RegisterError, Registration, SourceState, download_uri, register_version, source_state,
};
pub use run_step::{LogPiece, StepRunner};
pub use session::{Access, Entry, Session};
pub use verify_ledger::{VERIFY_TASK, last_verification, request_verification, verify_offline, verify_task};
