//! `trueline server`.

use super::gc::span;
use super::runtimes::RuntimeArgs;
use crate::server::{Limits, LogFormat, OriginArgs, OriginRules, ServerConfig, start_logging};
use clap::Args;
use regex::Regex;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use trueline_blobs::{Bucket, Objects, is_bucket};
use trueline_flows::{PredictionArchive, Retention};
use trueline_mlflow::Modes;
use trueline_pipelines::Span;
use trueline_tracking::ArtifactPlaces;

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Folder that holds everything: database, blobs, ledger
    #[arg(long, env = "TRUELINE_DATA_DIR", default_value = "trueline-data")]
    data_dir: PathBuf,
    /// Address to listen on; other than loopback only once there are users
    #[arg(long, env = "TRUELINE_HOST", default_value = "127.0.0.1", value_parser = host)]
    host: IpAddr,
    /// Port to listen on; 0 for any that is free
    #[arg(long, env = "TRUELINE_PORT", default_value_t = 5700)]
    port: u16,
    /// PostgreSQL to use instead of the embedded database: postgres://user:password@host:port/name
    #[arg(long, env = "TRUELINE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    origins: OriginArgs,
    /// Register only versions in whose source this pattern is found
    #[arg(long, env = "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX", value_name = "REGEX")]
    version_source_pattern: Option<Regex>,
    /// Requests that are worked on at a time; one more is answered 503
    #[arg(long, env = "TRUELINE_MAX_REQUESTS", default_value_t = 512, value_parser = positive)]
    max_requests: u32,
    /// Seconds that a request may take, uploads of files apart
    #[arg(long, env = "TRUELINE_REQUEST_TIMEOUT", default_value_t = 60, value_parser = positive)]
    request_timeout: u32,
    /// Seconds within which the head of a request must come; a connection that brings half of one is closed then
    #[arg(long, env = "TRUELINE_HEAD_TIMEOUT", default_value_t = 30, value_parser = positive)]
    head_timeout: u32,
    /// Let users in with passwords, with permissions on single resources as MLflow has them
    #[arg(long, env = "TRUELINE_APP_NAME", value_parser = ["basic-auth"])]
    app_name: Option<String>,
    /// Let MLflow's clients choose a workspace, which is a project
    #[arg(long, env = "MLFLOW_ENABLE_WORKSPACES", value_parser = clap::builder::BoolishValueParser::new())]
    enable_workspaces: bool,
    #[command(flatten)]
    runtimes: RuntimeArgs,
    #[command(flatten)]
    retention: RetentionArgs,
    /// How log lines are written
    #[arg(long, env = "TRUELINE_LOG", value_enum, default_value = "text")]
    log: LogFormat,
}

/// How long deleted things are kept, and how often the server collects.
#[derive(Args)]
struct RetentionArgs {
    /// Delete for good what was deleted so long ago, `off` for never
    #[arg(long, env = "TRUELINE_RETENTION", default_value = "30d", value_name = "TIME", value_parser = span_or_off)]
    retention: Cadence,
    /// Leave bytes that nothing refers to for so long, because an upload may be about to say what they are for
    #[arg(long, env = "TRUELINE_BLOB_GRACE", default_value = "24h", value_name = "TIME", value_parser = span)]
    blob_grace: Span,
    /// Delete and collect by itself so often, `off` for only when asked
    #[arg(long, env = "TRUELINE_COLLECT_EVERY", default_value = "24h", value_name = "TIME", value_parser = span_or_off)]
    collect_every: Cadence,
    /// Delete predictions and labels from the log so long after they came, where their endpoint declares nothing else, `off`
    /// for never
    #[arg(long, env = "TRUELINE_PREDICTION_RETENTION", default_value = "off", value_name = "TIME", value_parser = span_or_off)]
    prediction_retention: Cadence,
    /// Folder (file:///folder) or bucket (s3://bucket/folder) to which sealed predictions and labels are written as Parquet
    #[arg(long, env = "TRUELINE_PREDICTION_ARCHIVE", value_name = "URI")]
    prediction_archive: Option<String>,
    /// Delete from the archive so long after they came, `off` for never
    #[arg(long, env = "TRUELINE_PREDICTION_ARCHIVE_RETENTION", default_value = "off", value_name = "TIME", value_parser = span_or_off)]
    prediction_archive_retention: Cadence,
}

impl RetentionArgs {
    fn rules(&self) -> Retention {
        Retention {
            keep_ms: self.retention.0.map(Span::millis),
            grace_ms: self.blob_grace.millis(),
            every_ms: self.collect_every.0.map(Span::millis),
            predictions_ms: self.prediction_retention.0.map(Span::millis),
        }
    }
}

impl RetentionArgs {
    fn archive(&self) -> anyhow::Result<Option<PredictionArchive>> {
        let Some(uri) = &self.prediction_archive else { return Ok(None) };
        let objects = Objects::open(uri, |name| std::env::var(name).ok())?;
        Ok(Some(PredictionArchive {
            objects,
            keep_ms: self.prediction_archive_retention.0.map(Span::millis),
        }))
    }
}

/// A span of time, or never.
#[derive(Clone, Copy, Debug)]
struct Cadence(Option<Span>);

fn span_or_off(text: &str) -> Result<Cadence, String> {
    if text == "off" { Ok(Cadence(None)) } else { span(text).map(|span| Cadence(Some(span))) }
}

/// Where artifacts go, and whether they pass through this server. The flags are those of `mlflow server`.
#[derive(Args)]
struct ArtifactArgs {
    /// Where the artifacts of new experiments go: `mlflow-artifacts:/` through this server, or a folder or URI that
    /// clients write to themselves
    #[arg(long, env = "MLFLOW_DEFAULT_ARTIFACT_ROOT", value_name = "URI")]
    default_artifact_root: Option<String>,
    /// Folder or bucket (s3://bucket/folder) that keeps artifacts that pass through this server as plain files, instead of
    /// the data directory
    #[arg(long, env = "MLFLOW_ARTIFACTS_DESTINATION", value_name = "FOLDER|BUCKET")]
    artifacts_destination: Option<String>,
    /// Let artifacts pass through this server, as it does anyway
    #[arg(long, overrides_with = "no_serve_artifacts")]
    serve_artifacts: bool,
    /// Let no artifacts pass through this server; needs --default-artifact-root
    #[arg(long, requires = "default_artifact_root", overrides_with = "serve_artifacts")]
    no_serve_artifacts: bool,
    /// Answer nothing of MLflow's wire but the artifact proxy
    #[arg(long, env = "MLFLOW_ARTIFACTS_ONLY", conflicts_with = "no_serve_artifacts")]
    artifacts_only: bool,
}

impl ArtifactArgs {
    fn modes(&self) -> Modes {
        match (self.artifacts_only, self.no_serve_artifacts) {
            (true, _) => Modes::ArtifactsOnly,
            (false, true) => Modes::NoArtifacts,
            (false, false) => Modes::All,
        }
    }
}

pub(super) fn positive(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is no number above 0"))
}

pub(super) fn host(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.parse().map_err(|_| format!("`{text}` is no IP address; use 127.0.0.1, ::1 or 0.0.0.0"))
}

/// Where artifacts lie: below a folder, or in a bucket that the environment tells how to reach.
pub(crate) fn artifact_places(
    root: Option<&str>,
    destination: Option<&str>,
) -> anyhow::Result<ArtifactPlaces> {
    match destination.filter(|place| is_bucket(place)) {
        Some(uri) => {
            let bucket = Bucket::open(uri, |name| std::env::var(name).ok())?;
            Ok(ArtifactPlaces::new(root, None)?.in_bucket(bucket))
        }
        None => Ok(ArtifactPlaces::new(root, destination)?),
    }
}

pub(crate) fn run(args: ServerArgs, began: Instant) -> anyhow::Result<()> {
    start_logging(args.log);
    let limits = Limits {
        requests: usize::try_from(args.max_requests)?,
        timeout: Duration::from_secs(args.request_timeout.into()),
        head: Duration::from_secs(args.head_timeout.into()),
    };
    let (runtimes, memory) = (args.runtimes.runtimes(&args.data_dir), args.runtimes.memory());
    let (basic_auth, workspaces) = (args.app_name.is_some(), args.enable_workspaces);
    let (retention, archive) = (args.retention.rules(), args.retention.archive()?);
    let ServerArgs { data_dir, host, port, database, artifacts, origins, version_source_pattern, .. } = args;
    let origins = OriginRules::new(origins, host.is_loopback());
    let modes = artifacts.modes();
    let (root, destination) = (&artifacts.default_artifact_root, &artifacts.artifacts_destination);
    let places = artifact_places(root.as_deref(), destination.as_deref())?;
    crate::server::run(ServerConfig {
        data_dir,
        host,
        port,
        database,
        places,
        modes,
        version_source_pattern,
        runtimes,
        memory,
        origins,
        limits,
        retention,
        archive,
        basic_auth,
        workspaces,
        began,
    })
}
