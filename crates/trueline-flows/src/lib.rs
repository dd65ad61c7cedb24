//! The stories that span domains, one file each. Faces and the CLI call them; domains do not know of each other.

mod admission;
mod allot_bandits;
mod archive;
mod artifact_proxy;
mod authors;
mod bandit;
mod blob_references;
mod capture_source;
mod collect;
mod collect_task;
mod common_threads;
mod declare_features;
mod deliver_alert;
mod deliver_webhook;
mod deploy;
mod erase_event;
mod expire_predictions;
mod fault;
mod follow_aliases;
mod gate_facts;
mod import_model;
mod judge_labels;
mod judge_rollouts;
mod keep_traces;
mod labelled;
mod log_as_declared;
mod look_at_predictions;
mod look_up_features;
mod materialise;
mod outgoing;
mod permissions;
mod predict;
mod promptlab_run;
mod query_log;
mod react_triggers;
mod read_rewards;
mod record_segments;
mod register_version;
mod rehearse;
mod release;
mod rollout;
mod run_datasets;
mod run_step;
mod session;
mod sit_on_trials;
mod source;
mod source_rules;
mod tell_webhooks;
mod texts;
mod trace;
mod training_reference;
mod training_set;
mod verify_ledger;
mod verify_segments;
mod verify_state;
mod watch;

pub use allot_bandits::BanditAllotter;
pub use archive::{ArchiveError, ArchiveReader, PredictionArchive, PredictionArchiver};
pub use artifact_proxy::{check_changeable, find_file, frozen_uri, is_frozen, list_folder};
pub use bandit::{start_bandit, stop_bandit};
pub use capture_source::{
    Keep, capture_code, capture_environment, interpreter_of, packages, seeds, was_kept,
};
pub use collect::{BlobCount, CollectError, CollectOrder, Collection, Collector, ProjectCollection};
pub use collect_task::{
    COLLECT_TASK, Retention, collect_task, last_collection, request_collection, run_collections,
};
pub use common_threads::{CommonThreads, STOPPING};
pub use declare_features::declare_features;
pub use deliver_alert::{Reach, deliver_alert};
pub use deliver_webhook::{Trial, check_webhook_address, deliver_webhook, try_webhook};
pub use deploy::{
    DeployError, DeployLeave, Deployments, WantedVariant, WantedVersion, declare_log, deploy, reconcile,
    roll_back,
};
pub use erase_event::erase_event;
pub use expire_predictions::{ExpireError, PredictionSweeper};
pub use fault::{Fault, FaultKind};
pub use follow_aliases::{AliasFollower, NotFollowed, Undone};
pub use import_model::import_model;
pub use judge_rollouts::RolloutJudge;
pub use keep_traces::{KeepError, KeepLeave, TraceKeeper};
pub use labelled::{LabelBounds, LabelledPrediction, LabelsSeen, labels_since};
pub use log_as_declared::RedactionKey;
pub use look_at_predictions::{MOST_LOOKED_AT, PredictionQuery};
pub use look_up_features::OnlineFeatures;
pub use materialise::{MATERIALISE_TASK, Materialise, materialise_task, request_materialisation};
pub use permissions::{DEFAULT_WORKSPACE, Holdings, PermissionRules, Readable};
pub use predict::{Knock, PredictError, Predicted, PredictionRequest, Predictor, scalar};
pub use promptlab_run::{PromptlabRun, create_promptlab_run};
pub use query_log::{LogAnswer, LogQueries, LogQueryError, LogQuestion};
pub use react_triggers::react_triggers;
pub use record_segments::{record_segments, run_segment_recorder};
pub use register_version::{
    RegisterError, Registration, SourceState, download_uri, register_version, source_state,
};
pub use rehearse::{MOST_REHEARSED, Rehearsal, RehearsalOrder, Rehearsals, RehearseError};
pub use release::{ReleaseError, Releases, may_take};
pub use rollout::{cancel_rollout, promote_rollout, start_rollout};
pub use run_step::{LogPiece, StepRunner};
pub use session::{Access, Entry, Session};
pub use sit_on_trials::{Sits, Sitting, TrialKind};
pub use tell_webhooks::tell_webhooks;
pub use texts::{NulCharacter, check_path_and_query, check_texts};
pub use trace::{Trace, TraceError, TracedDataset, TracedRun, Tracer};
pub use training_reference::{TrainingError, TrainingReferences};
pub use training_set::{
    FeatureFlowError, TRAINING_SET_TASK, TrainingSet, ViewChoice, request_training_set, training_set_task,
};
pub use verify_ledger::{
    CheckedFolders, VERIFY_TASK, last_verification, request_verification, verify_offline, verify_task,
};
pub use watch::{WatchError, Watcher};
