//! The stories that span domains, one file each. Faces and the CLI call them; domains do not know of each other.

mod admission;
mod artifact_proxy;
mod authors;
mod deliver_alert;
mod deploy;
mod erase_event;
mod gate_facts;
mod predict;
mod record_segments;
mod register_version;
mod release;
mod session;
mod source;
mod texts;
mod trace;
mod verify_ledger;
mod verify_state;
mod watch;

pub use artifact_proxy::{check_changeable, find_file, frozen_uri, list_folder};
pub use deliver_alert::{Reach, deliver_alert};
pub use deploy::{
    DeployError, DeployLeave, Deployments, WantedVariant, WantedVersion, deploy, reconcile, roll_back,
};
pub use erase_event::erase_event;
pub use predict::{Knock, PredictError, Predicted, PredictionRequest, Predictor, scalar};
pub use record_segments::{record_segments, run_segment_recorder};
pub use register_version::{
    RegisterError, Registration, SourceState, download_uri, register_version, source_state,
};
pub use release::{ReleaseError, Releases, may_take};
pub use session::{Access, Entry, Session};
pub use texts::{NulCharacter, check_path_and_query, check_texts};
pub use trace::{Trace, TraceError, TracedRun, Tracer};
pub use verify_ledger::{VERIFY_TASK, last_verification, request_verification, verify_offline, verify_task};
pub use watch::{WatchError, Watcher};
