//! The stories that span domains, one file each. Faces and the CLI call them; domains do not know of each other.

mod declare_features;
mod materialise;
mod register_version;
mod session;
mod training_set;
mod verify_ledger;

pub use declare_features::declare_features;
pub use materialise::{MATERIALISE_TASK, Materialise, materialise_task, request_materialisation};
pub use register_version::{
    RegisterError, Registration, SourceState, download_uri, register_version, source_state,
};
pub use session::{Access, Entry, Session};
pub use training_set::{
    FeatureFlowError, TRAINING_SET_TASK, TrainingSet, ViewChoice, request_training_set, training_set_task,
};
pub use verify_ledger::{VERIFY_TASK, request_verification, verify_offline, verify_state, verify_task};
