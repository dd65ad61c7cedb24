//! Puts the parts together, listens, and stops in order: no new requests, those at hand finished, the ledger
//! brought up to date.

use super::control::{self, Grounds};
use super::{MODULES, answering, data_dir, http, layout, lock, observe};
use anyhow::Context;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use trueline_blobs::Blobs;
use trueline_db::{Config, Db, DbError, Durability, Limits};
use trueline_features::OnlineStore;
use trueline_flows::{CommonThreads, OnlineFeatures, Predictor, RedactionKey};
use trueline_ledger::Sources;
use trueline_mlflow::Modes;
use trueline_predictions::{Options, PredictionLog};
use trueline_serving::{DataPlane, FrozenFiles, ModelLoader, ModelMemory, Runtimes};
use trueline_tracking::ArtifactPlaces;

/// How long requests that are under way may take to finish at a stop.
pub(super) const DRAIN: Duration = Duration::from_secs(20);
/// The test hook of the crash tests: set to 1, commits no longer wait for the disk, which the tests must find out.
const SYNCHRONOUS_OFF: &str = "TRUELINE_TEST_SYNCHRONOUS_OFF";
/// A test hook: segments of the prediction log are closed at this many bytes, so that tests need not write 32 MiB.
const SEGMENT_BYTES: &str = "TRUELINE_TEST_SEGMENT_BYTES";

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// The address to listen on.
    pub(crate) host: IpAddr,
    /// The port to listen on; 0 for any that is free.
    pub(crate) port: u16,
    /// A PostgreSQL URL; none for the embedded database.
    pub(crate) database: Option<String>,
    /// Where artifacts lie.
    pub(crate) places: ArtifactPlaces,
    /// What of MLflow's wire is answered.
    pub(crate) modes: Modes,
    /// What has to be found in the source of a new version.
    pub(crate) version_source_pattern: Option<regex::Regex>,
    /// What models are run by.
    pub(crate) runtimes: Runtimes,
    /// How much memory models may take.
    pub(crate) memory: ModelMemory,
    /// From where requests may come.
    pub(crate) origins: super::origin::OriginRules,
    /// How many requests at a time, and for how long.
    pub(crate) limits: super::limits::Limits,
    /// How long deleted things are kept.
    pub(crate) retention: trueline_flows::Retention,
    /// Where sealed predictions are archived, if they are.
    pub(crate) archive: Option<trueline_flows::PredictionArchive>,
    /// Whether users come in with passwords and have permissions on single resources.
    pub(crate) basic_auth: bool,
    /// Whether a request's header may choose a workspace, which is a project.
    pub(crate) workspaces: bool,
    /// When the process began.
    pub(crate) began: Instant,
}

impl ServerConfig {
    pub(super) fn database(&self) -> Config {
        Self::database_in(&self.data_dir, self.database.as_deref())
    }

    /// The PostgreSQL database of a URL, or the embedded one of a data directory.
    pub(super) fn database_in(data_dir: &Path, url: Option<&str>) -> Config {
        let limits = Limits::default();
        match url {
            Some(url) => Config::Postgres { url: url.to_owned(), limits },
            None => {
                let off = std::env::var_os(SYNCHRONOUS_OFF).is_some_and(|value| value == "1");
                let durability = if off { Durability::OffForCrashTests } else { Durability::Full };
                Config::Sqlite { path: data_dir.join(layout::DATABASE), durability, limits }
            }
        }
    }
}

fn log_options() -> Options {
    let usual = Options::default();
    let bytes = std::env::var(SEGMENT_BYTES).ok().and_then(|bytes| bytes.parse().ok());
    Options { segment_bytes: bytes.unwrap_or(usual.segment_bytes), ..usual }
}

/// Runs a server until it is told to stop.
pub(crate) fn run(config: ServerConfig) -> anyhow::Result<()> {
    data_dir::make(&config.data_dir)?;
    let _lock = lock::acquire(&config.data_dir.join(layout::LOCK))?;
    // The PostgreSQL driver blocks while it connects, which an async thread must not.
    let opened = Db::open(&config.database(), MODULES);
    let runtime = threads()?;
    let served = runtime.block_on(serve(config, opened));
    runtime.shutdown_timeout(Duration::from_secs(5));
    served
}

/// The fewest threads that answer requests. The scheduler takes one of two off its core for milliseconds when others want to
/// run, with all that waits behind it; with more of them than cores, others take that over.
const FEWEST_THREADS: usize = 8;

/// The threads that answer requests.
pub(super) fn threads() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cores.max(FEWEST_THREADS)).enable_all().build()
}

async fn serve(config: ServerConfig, opened: Result<Db, DbError>) -> anyhow::Result<()> {
    // Before anybody is told that the server is there: a stop that comes at once must be orderly too.
    let asked_to_stop = StopSignals::listen()?;
    let handle = observe::start_metrics()?;
    let sources = Sources::system();
    let blobs = Blobs::local(&config.data_dir.join(layout::BLOBS))?;
    let online = OnlineStore::open(&config.data_dir.join(layout::ONLINE))?;
    let files = FrozenFiles::new(blobs.clone(), config.data_dir.join(layout::MODELS));
    let loader = ModelLoader::new(Arc::new(files), config.runtimes.clone());
    let file = config.data_dir.join(layout::SERVING);
    let plane = DataPlane::within(config.memory, loader.clone(), Some(file));
    let restored = plane.restore().await?;
    let log = PredictionLog::open(&config.data_dir.join(layout::PREDICTIONS), log_options())?;
    let log = Arc::new(log);
    let predictor = Predictor {
        plane: plane.clone(),
        log: Some(Arc::clone(&log)),
        features: Arc::new(OnlineFeatures(online.clone())),
        redaction: RedactionKey::open(&config.data_dir.join(layout::REDACTION), &sources)
            .context("the key of redacted values can't be had")?,
        sources: sources.clone(),
        common: CommonThreads::these(),
    };
    let db = match opened {
        Ok(db) => Some(db),
        Err(error @ DbError::Unreachable(_)) if restored > 0 => {
            tracing::warn!(%error, endpoints = restored, "serving from the snapshot until the database is back");
            None
        }
        Err(error) => return Err(error.into()),
    };

    let address = SocketAddr::new(config.host, config.port);
    let (began, data_dir) = (config.began, config.data_dir.clone());
    let head = config.limits.head;
    let guard = http::Guard { origins: config.origins.clone(), limits: config.limits };
    let (stop, stopping) = watch::channel(false);
    tokio::spawn({
        let (plane, stopping) = (plane.clone(), stopping.clone());
        async move { plane.tend(stopping).await }
    });
    let (ready, is_ready) = oneshot::channel();
    let place = http::ControlPlace::default();
    let wait_for_control = db.is_some();
    let (answering, answers_at) = watch::channel(None);
    let grounds = Grounds {
        config,
        sources,
        blobs,
        loader,
        plane,
        address: answers_at,
        online,
        log,
        place: Arc::clone(&place),
    };
    let mut control = tokio::spawn(control::live(grounds, db, ready, stopping));
    if wait_for_control && is_ready.await.is_err() {
        return control.await?;
    }

    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("can't listen on {address}: is another server there? choose another port with --port")
    })?;
    let address = listener.local_addr()?;
    answering.send_replace(Some(reached_at(address)));
    let app = http::app(place, predictor, handle, guard);
    let ready_ms = began.elapsed().as_millis();
    tracing::info!(%address, data_dir = %data_dir.display(), ready_ms, "listening on http://{address}");

    let overdue = stop.clone();
    let server = answering::answer(listener, app, head, async move {
        asked_to_stop.wait().await;
        tracing::info!("stopping: finishing the requests at hand");
        // After this long, requests that still run are cut off.
        tokio::spawn(async move {
            tokio::time::sleep(DRAIN).await;
            overdue.send_replace(true);
        });
    });
    let mut late = stop.subscribe();
    let cut_off = async move { drop(late.wait_for(|late| *late).await) };
    tokio::select! {
        done = server => done?,
        () = cut_off => tracing::warn!("some requests did not finish in time and were cut off"),
        ended = &mut control => return ended?,
    }
    stop.send_replace(true);
    control.await??;
    tracing::info!("stopped");
    Ok(())
}

/// How a process on this machine reaches the server.
fn reached_at(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("http://{address}")
}

/// The signals that ask the process to stop.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on they no longer end the process by themselves.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
