//! Serving: what an endpoint is and how it changes (control plane, in the database), and the snapshot of it that
//! answers predictions (data plane, in memory and in a file), which never waits for the former.
//!
//! ```text
//! control   endpoints, routes by generation          database, through the ledger
//!    └─► publish: load models, self-test, swap       one atomic pointer
//! data      snapshot ─ endpoint ─ variants ─ model   memory; persisted beside, for a start without a database
//! ```

mod archived_segments;
pub mod bandit;
mod batching;
mod blob_references;
mod cache;
mod card;
mod cause;
mod comparison;
mod endpoints;
mod enforce;
mod error;
mod features;
mod files;
mod following;
mod frame;
mod hosted;
mod json;
mod live;
mod log_rules;
mod meters;
mod mlmodel;
mod model;
mod plane;
mod predictions;
mod recent;
mod rehearsal;
pub mod rollout;
mod route;
mod runtime;
mod sanity;
mod schema;
mod segments;
mod selftest;
mod served;
mod signature;
mod snapshot;
mod status;
pub mod trial;

pub use archived_segments::{Archived, ArchivedObject, ArchivedSegment, SegmentDigest};
pub use batching::Batched;
pub use blob_references::routed_blobs;
pub use cache::{MemoryUse, ModelMemory};
pub use card::{ModelCard, TensorCard};
pub use cause::Cause;
pub use comparison::{Comparison, Difference, Tolerance, Worst};
pub use endpoints::Endpoints;
pub use error::{InputError, ServingError};
pub use features::{FeatureSource, NoFeatures};
pub use files::{Folders, FrozenFiles, ModelFiles, ModelFolder};
pub use following::{AliasMoved, NOT_FOLLOWED};
pub use frame::{Cells, Frame, Origin};
pub use hosted::{HostError, HostedModel, HostedModels};
pub use json::{parse_json, strict_json};
pub use log_rules::{KeepLog, LogRules, LogShare, Redaction, SampleBy};
pub use meters::{BOUNDS_US, Metered, Meters, Times};
pub use mlmodel::{Flavor, InputExample, MlModel, RawSignature};
pub use model::{LoadedModel, ModelFile, ModelLoader, ModelSpec, QUICK_ROWS};
pub use plane::{Admission, Answer, Ask, DataPlane, FoundEndpoint};
pub use predictions::Predictions;
pub use recent::{Errors, Lately, Quantiles, Stretch};
pub use rehearsal::{RehearsalFailure, RehearsalReport, Rehearsed, RehearsedRow};
pub use route::{Endpoint, EndpointName, LogMode, NewEndpoint, Route, RouteChange, Variant};
pub use runtime::{PythonWorkers, Runtimes};
pub use schema::MODULE;
pub use segments::{Deletion, SealedSegment, SealedSegments, SegmentReplay, ToldSegment};
pub use served::{Cost, Served};
pub use signature::{ColumnType, InputColumn, InputTensor, Signature};
pub use snapshot::{Access, EndpointSnapshot, Grant, KnownModel, Snapshot};
pub use status::{EndpointStatus, Readiness, VariantStatus};
pub use trueline_onnx::Search as OnnxSearch;
