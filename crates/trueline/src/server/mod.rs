//! The server: its parts put together, its HTTP layer, its life from start to drained stop.

mod access;
mod alone;
mod answering;
mod apart;
mod assemble;
mod collections;
mod compressed;
mod control;
mod data_dir;
mod exposition;
mod heads;
mod http;
mod limits;
mod linger;
mod lock;
mod meters;
mod name;
mod observe;
mod offline;
mod origin;
mod patience;
mod ready;
mod requests;
mod sittings;
mod webhooks;

pub(crate) use alone::{Alone, serve_alone};
pub(crate) use assemble::{ServerConfig, run};
pub(crate) use limits::Limits;
pub(crate) use observe::{LogFormat, start_logging};
pub(crate) use offline::Offline;
pub(crate) use origin::{OriginArgs, OriginRules};

use trueline_db::Module;

/// The schema of every crate that owns tables, lowest floor first.
pub(crate) const MODULES: &[Module] = &[
    trueline_ledger::MODULE,
    trueline_tasks::MODULE,
    trueline_identity::MODULE,
    trueline_tracking::MODULE,
    trueline_traces::MODULE,
    trueline_registry::MODULE,
    trueline_data::MODULE,
    trueline_features::MODULE,
    trueline_serving::MODULE,
    trueline_pipelines::MODULE,
    trueline_monitoring::MODULE,
    trueline_webhooks::MODULE,
];

/// Names of what lies in a data directory.
pub(crate) mod layout {
    use std::path::Path;
    use trueline_flows::CheckedFolders;

    /// The embedded database.
    pub(crate) const DATABASE: &str = "trueline.db";
    /// The ledger's tiles and checkpoint.
    pub(crate) const LEDGER: &str = "ledger";
    /// The key that signs checkpoints.
    pub(crate) const KEY: &str = "ledger.key";
    /// The key that webhooks' secrets are kept under.
    pub(crate) const SECRETS: &str = "secrets.key";
    /// The key that redacted values of predictions are hashed under.
    pub(crate) const REDACTION: &str = "redaction.key";
    /// Content-addressed bytes.
    pub(crate) const BLOBS: &str = "blobs";
    /// The online store of features.
    pub(crate) const ONLINE: &str = "online.redb";
    /// What the data plane answers by, for a start without a database.
    pub(crate) const SERVING: &str = "serving.json";
    /// Folders of models whose runtimes open files by themselves.
    pub(crate) const MODELS: &str = "models";
    /// Working copies and attempts of pipelines.
    pub(crate) const PIPELINES: &str = "pipelines";
    /// The log of predictions.
    pub(crate) const PREDICTIONS: &str = "predictions";
    /// Held by the server that uses the directory.
    pub(crate) const LOCK: &str = "trueline.pid";

    /// What a check of the ledger reads of a data directory, or of a copy of it.
    pub(crate) fn checked_folders(data_dir: &Path) -> CheckedFolders {
        CheckedFolders {
            ledger: data_dir.join(LEDGER),
            predictions: data_dir.join(PREDICTIONS),
            server: String::new(),
            blobs: data_dir.join(BLOBS),
        }
    }
}
