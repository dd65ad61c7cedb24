//! Puts the parts together, listens, and stops in order: no new requests, those at hand finished, the ledger
//! brought up to date.

use super::{MODULES, http, layout, lock, observe};
use anyhow::{Context, bail};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use trueline_blobs::Blobs;
use trueline_data::{ADD_TASK, Data};
use trueline_db::{Config, Db, Durability, Limits};
use trueline_features::{Features, OnlineStore};
use trueline_flows::{
    Access, MATERIALISE_TASK, TRAINING_SET_TASK, VERIFY_TASK, materialise_task, training_set_task,
    verify_task,
};
use trueline_identity::{Authenticator, Identity, Policy};
use trueline_ledger::{Ledger, LedgerFiles, LedgerKey, Sources};
use trueline_mlflow::Mlflow;
use trueline_registry::Registry;
use trueline_rest::Rest;
use trueline_tasks::{Tasks, Worker};
use trueline_tracking::Tracking;
use trueline_web::Web;

/// How long requests that are under way may take to finish at a stop.
const DRAIN: Duration = Duration::from_secs(20);

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
    /// When the process began.
    pub(crate) began: Instant,
}

impl ServerConfig {
    fn database(&self) -> Config {
        let limits = Limits::default();
        match &self.database {
            Some(url) => Config::Postgres { url: url.clone(), limits },
            None => {
                // The crash tests use it to show that they would notice; nobody else should.
                let durability = match std::env::var_os("TRUELINE_TEST_SYNCHRONOUS_OFF") {
                    Some(_) => Durability::OffForCrashTests,
                    None => Durability::Full,
                };
                Config::Sqlite { path: self.data_dir.join(layout::DATABASE), durability, limits }
            }
        }
    }
}

/// Runs a server until it is told to stop.
pub(crate) fn run(config: ServerConfig) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("can't make the data directory {}", config.data_dir.display()))?;
    let _lock = lock::acquire(&config.data_dir.join(layout::LOCK))?;
    // The PostgreSQL driver blocks while it connects, which an async thread must not.
    let db = Db::open(&config.database(), MODULES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&config, db));
    runtime.shutdown_timeout(Duration::from_secs(5));
    served
}

/// The parts of a server that outlive a request.
struct Parts {
    ledger: Ledger,
    files: LedgerFiles,
    access: Access,
    tasks: Tasks,
    tracking: Tracking,
    registry: Registry,
    data: Data,
    features: Features,
}

async fn open(config: &ServerConfig, db: Db) -> anyhow::Result<Parts> {
    let sources = Sources::system();
    let ledger = Ledger::new(db, sources.clone());
    let key = LedgerKey::open(&config.data_dir.join(layout::KEY), &sources)?;
    let files = LedgerFiles::open(&config.data_dir.join(layout::LEDGER), key)?;
    ledger.check_not_behind(files.size()).await?;
    let blobs = Blobs::local(&config.data_dir.join(layout::BLOBS))?;
    let identity = Identity::new(ledger.clone());
    identity.ensure_default_project().await?;
    require_users_beyond_loopback(config, &identity).await?;
    let authenticator = Authenticator::new(identity.clone(), config.host.is_loopback());
    let access = Access::new(identity, authenticator, Policy::built_in()?);
    let tasks = Tasks::new(ledger.db().clone(), sources);
    let tracking = Tracking::new(ledger.clone(), blobs.clone());
    let data = Data::new(ledger.clone(), blobs);
    let registry = Registry::new(ledger.clone());
    let online = OnlineStore::open(&config.data_dir.join(layout::ONLINE))?;
    let features = Features::new(ledger.clone(), online);
    features.sync_online().await?;
    Ok(Parts { ledger, files, access, tasks, tracking, registry, data, features })
}

async fn require_users_beyond_loopback(config: &ServerConfig, identity: &Identity) -> anyhow::Result<()> {
    if config.host.is_loopback() || identity.has_users().await? {
        return Ok(());
    }
    bail!(
        "refusing to listen on {}: this server has no users yet, so anybody who reaches it would be its admin. Start it \
         on 127.0.0.1 first, run `trueline user add <name> --role admin`, which prints a token, then start it on {} \
         again",
        config.host,
        config.host
    )
}

async fn serve(config: &ServerConfig, db: Db) -> anyhow::Result<()> {
    // Before anybody is told that the server is there: a stop that comes at once must be orderly too.
    let asked_to_stop = StopSignals::listen()?;
    let handle = observe::start_metrics()?;
    let parts = open(config, db).await?;
    let address = SocketAddr::new(config.host, config.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("can't listen on {address}: is another server there? choose another port with --port")
    })?;
    let address = listener.local_addr()?;

    let (stop, stopping) = watch::channel(false);
    let ledger_key = parts.files.public_key();
    let folder = config.data_dir.join(layout::LEDGER);
    let mut sequencer = tokio::spawn({
        let (ledger, files, stopping) = (parts.ledger.clone(), parts.files, stopping.clone());
        async move { ledger.run_sequencer(files, stopping).await }
    });
    let worker =
        Worker::new(parts.ledger.clone(), parts.tasks.clone(), format!("server-{}", std::process::id()))
            .with(VERIFY_TASK, {
                let (ledger, folder, key) = (parts.ledger.clone(), folder.clone(), ledger_key.clone());
                move |lease| verify_task(ledger.clone(), folder.clone(), key.clone(), lease)
            })
            .with(ADD_TASK, {
                let data = parts.data.clone();
                move |lease| data.clone().add_task(lease)
            })
            .with(TRAINING_SET_TASK, {
                let (ledger, data, features) =
                    (parts.ledger.clone(), parts.data.clone(), parts.features.clone());
                move |lease| training_set_task(ledger.clone(), data.clone(), features.clone(), lease)
            })
            .with(MATERIALISE_TASK, {
                let (ledger, data, features) =
                    (parts.ledger.clone(), parts.data.clone(), parts.features.clone());
                move |lease| materialise_task(ledger.clone(), data.clone(), features.clone(), lease)
            });
    let worker = tokio::spawn(worker.run(stopping));

    let web = Web {
        access: parts.access.clone(),
        ledger: parts.ledger.clone(),
        ledger_folder: folder.clone(),
        ledger_key: ledger_key.clone(),
        tasks: parts.tasks.clone(),
        tracking: parts.tracking.clone(),
        registry: parts.registry.clone(),
        data: parts.data.clone(),
        features: parts.features.clone(),
    };
    let rest = Rest {
        access: parts.access.clone(),
        ledger: parts.ledger.clone(),
        ledger_folder: folder,
        ledger_key,
        tasks: parts.tasks,
        tracking: parts.tracking.clone(),
        data: parts.data,
        features: parts.features,
    };
    let mlflow = Mlflow::new(parts.tracking, parts.registry, trueline_mlflow::Limits::default());
    let app =
        http::app(parts.access, parts.ledger.clone(), rest, mlflow, web, handle, config.host.is_loopback());
    let ready_ms = config.began.elapsed().as_millis();
    tracing::info!(%address, data_dir = %config.data_dir.display(), ready_ms, "listening on http://{address}");

    let overdue = stop.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
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
        // It ends by itself only when the log and the database disagree: no more may be written then.
        ended = &mut sequencer => return ended?.context("the ledger can't go on"),
    }
    stop.send_replace(true);
    worker.await?;
    sequencer.await??;
    tracing::info!("stopped");
    Ok(())
}

/// The signals that ask the process to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on they no longer end the process by themselves.
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
