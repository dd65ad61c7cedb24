//! The part of a server that stands on the database: it opens it, furnishes the faces, and keeps the ledger, the tasks
//! and the data plane going until the server stops. Predictions are answered without it.

use super::http::{Control, ControlPlace};
use super::{MODULES, ServerConfig, access, collections, layout, sittings, webhooks};
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use trueline_data::{ADD_TASK, Data};
use trueline_db::{Db, Dialect};
use trueline_features::{Features, OnlineStore};
use trueline_flows::{
    Access, AliasFollower, ArchiveReader, BanditAllotter, CheckedFolders, Collector, Deployments, LogQueries,
    MATERIALISE_TASK, PredictionArchive, PredictionArchiver, PredictionSweeper, Reach, Rehearsals, Releases,
    Retention, RolloutJudge, Sits, StepRunner, TRAINING_SET_TASK, Tracer, TrainingReferences, Undone,
    VERIFY_TASK, Watcher, deliver_alert, materialise_task, react_triggers, reconcile, run_segment_recorder,
    training_set_task, verify_task,
};
use trueline_identity::{Identity, Policy};
use trueline_ledger::{Ledger, LedgerFiles, LedgerKey, Sources};
use trueline_mlflow::Mlflow;
use trueline_monitoring::{DELIVERY_TASK, Monitoring};
use trueline_pipelines::STEP_TASK;
use trueline_predictions::PredictionLog;
use trueline_registry::Registry;
use trueline_rest::Rest;
use trueline_serving::bandit::Bandits;
use trueline_serving::rollout::Rollouts;
use trueline_serving::trial::TrialEvidence;
use trueline_serving::{DataPlane, Endpoints, ModelLoader, SealedSegments};
use trueline_tasks::{Tasks, Worker};
use trueline_traces::Traces;
use trueline_tracking::Tracking;
use trueline_web::Web;
use trueline_webhooks::Webhooks;

/// How often a database that can't be reached is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How long the work in the background may take to finish at a stop. A task that is cut off is taken up again.
const WORK_DRAIN: Duration = Duration::from_secs(10);
/// How often the data plane is compared with the database.
const RECONCILE: Duration = Duration::from_secs(1);
/// Steps of pipelines that run at once on this server, at least and at most; between them, as many as it has processors.
const STEPS: (usize, usize) = (2, 16);

/// What the part is made from.
pub(crate) struct Grounds {
    pub(crate) config: ServerConfig,
    pub(crate) sources: Sources,
    pub(crate) blobs: trueline_blobs::Blobs,
    pub(crate) plane: DataPlane,
    /// What loads models.
    pub(crate) loader: ModelLoader,
    /// Where the server answers, once it does.
    pub(crate) address: watch::Receiver<Option<String>>,
    pub(crate) online: OnlineStore,
    pub(crate) log: Arc<PredictionLog>,
    /// Where the faces are put once they can answer.
    pub(crate) place: ControlPlace,
}

/// The parts that outlive a request.
struct Parts {
    /// This server's, among those that share its database.
    name: String,
    ledger: Ledger,
    files: LedgerFiles,
    access: Access,
    tasks: Tasks,
    tracking: Tracking,
    deployments: Deployments,
    steps: StepRunner,
    data: Data,
    features: Features,
    log: Arc<PredictionLog>,
    releases: Releases,
    monitoring: Monitoring,
    webhooks: Webhooks,
    workspaces: bool,
    reach: Reach,
    collector: Collector,
    retention: Retention,
    archive: Option<PredictionArchive>,
}

impl Parts {
    fn segments(&self) -> SealedSegments {
        // Whoever has a database for itself needs no name in it.
        let name = match self.ledger.db().dialect() {
            Dialect::Sqlite => String::new(),
            Dialect::Postgres => self.name.clone(),
        };
        SealedSegments::new(self.ledger.clone(), name)
    }
}

/// Lives until `stopping`. Without a database it tries to open one for as long as it takes, while endpoints answer.
pub(crate) async fn live(
    grounds: Grounds,
    db: Option<Db>,
    ready: oneshot::Sender<()>,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let late = db.is_none();
    let parts = match db {
        Some(db) => open(&grounds, db, &stopping).await?,
        None => match open_at_last(&grounds, stopping.clone()).await {
            Some(parts) => parts,
            None => return Ok(()),
        },
    };
    let keeper = Keeper { access: parts.access.clone(), deployments: parts.deployments.clone() };
    if let Err(error) = keeper.bring_up().await {
        tracing::warn!(error = format!("{error:#}"), "some endpoints are not as the database has them");
    }
    let mut folders = layout::checked_folders(&grounds.config.data_dir);
    parts.segments().server().clone_into(&mut folders.server);
    let ledger_key = parts.files.public_key();
    grounds.place.store(Some(Arc::new(faces(
        &parts,
        folders.ledger.clone(),
        ledger_key.clone(),
        &grounds.config,
    ))));
    let _ = ready.send(());
    if late {
        tracing::info!("the database is back: everything answers again");
    }
    run(parts, keeper, folders, ledger_key, stopping).await
}

async fn run(
    parts: Parts,
    keeper: Keeper,
    folders: CheckedFolders,
    ledger_key: String,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let (archiver, segments) = (archiver(&parts), parts.segments());
    // The sequencer takes in what the others write, so it stops when they have.
    let (stop_sequencer, sequencer_stopping) = watch::channel(false);
    let mut sequencer = tokio::spawn({
        let (ledger, files) = (parts.ledger.clone(), parts.files);
        async move { ledger.run_sequencer(files, sequencer_stopping).await }
    });
    let worker =
        Worker::new(parts.ledger.clone(), parts.tasks.clone(), format!("server-{}", std::process::id()))
            .with(VERIFY_TASK, {
                let (ledger, blobs) = (parts.ledger.clone(), parts.collector.blobs.clone());
                move |lease| {
                    verify_task(ledger.clone(), folders.clone(), blobs.clone(), ledger_key.clone(), lease)
                }
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
    let worker = tokio::spawn(worker.run(stopping.clone()));
    let steps =
        tokio::spawn(run_steps(parts.ledger.clone(), parts.tasks.clone(), parts.steps, stopping.clone()));
    let keeper = tokio::spawn(keeper.run(stopping.clone()));
    let sits = Sits {
        parts: parts.deployments.clone(),
        log: Arc::clone(&parts.log),
        sources: parts.ledger.sources().clone(),
    };
    let judge = RolloutJudge::new(sits.clone());
    let judge = tokio::spawn(sittings::run(judge, parts.access.clone(), stopping.clone()));
    let allotter = BanditAllotter::new(sits);
    let allotter = tokio::spawn(sittings::run(allotter, parts.access.clone(), stopping.clone()));
    let follower = AliasFollower {
        parts: parts.deployments.clone(),
        ledger: parts.ledger.clone(),
        identity: parts.access.identity().clone(),
        policy: parts.access.policy().clone(),
    };
    let follower = tokio::spawn(follower.run(stopping.clone()));
    let sealer = tokio::spawn({
        let (tracking, stopping) = (parts.tracking.clone(), stopping.clone());
        async move { tracking.run_sealer(stopping).await }
    });
    let sweeper = tokio::spawn({
        let (tracking, stopping) = (parts.tracking.clone(), stopping.clone());
        async move { tracking.run_upload_sweeper(stopping).await }
    });
    let recorder = tokio::spawn({
        let (log, segments) = (Arc::clone(&parts.log), segments.clone());
        let stopping = stopping.clone();
        async move { run_segment_recorder(&log, &segments, stopping).await }
    });
    let expirer = PredictionSweeper {
        log: Arc::clone(&parts.log),
        segments,
        endpoints: parts.deployments.endpoints.clone(),
        monitoring: parts.monitoring.clone(),
        bandits: parts.deployments.bandits.clone(),
        rollouts: parts.deployments.rollouts.clone(),
        evidence: parts.deployments.evidence.clone(),
        ledger: parts.ledger.clone(),
        archived: parts.archive.is_some(),
        usual_ms: parts.retention.predictions_ms,
    };
    let expirer = tokio::spawn(expirer.run(stopping.clone()));
    let archiver = tokio::spawn({
        let stopping = stopping.clone();
        async move {
            if let Some(archiver) = archiver {
                archiver.run(stopping).await;
            }
        }
    });
    // A worker of their own: a webhook that does not answer must not hold up other tasks.
    let deliveries =
        Worker::new(parts.ledger.clone(), parts.tasks.clone(), format!("alerts-{}", std::process::id()))
            .with(DELIVERY_TASK, {
                let (monitoring, ledger) = (parts.monitoring.clone(), parts.ledger.clone());
                let reach = parts.reach;
                move |lease| deliver_alert(monitoring.clone(), ledger.clone(), reach, lease)
            });
    let deliveries = tokio::spawn(deliveries.run(stopping.clone()));
    let collections = tokio::spawn(collections::run(
        parts.collector,
        parts.tasks.clone(),
        parts.retention,
        stopping.clone(),
    ));
    let hooks = tokio::spawn(webhooks::run(
        parts.ledger.clone(),
        parts.webhooks.clone(),
        parts.tasks.clone(),
        stopping.clone(),
    ));
    let watcher = Watcher {
        monitoring: parts.monitoring.clone(),
        log: Arc::clone(&parts.log),
        training: TrainingReferences {
            policy: parts.access.policy().clone(),
            registry: parts.deployments.registry.clone(),
            tracking: parts.tracking.clone(),
            data: parts.data.clone(),
        },
        ledger: parts.ledger.clone(),
    };
    let watcher = tokio::spawn(watcher.run(stopping.clone()));
    let mut stopping = stopping;
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        // It ends by itself only when the log and the database disagree: no more may be written then.
        ended = &mut sequencer => return ended?.context("the ledger can't go on"),
    }
    for (part, running) in [
        ("task worker", worker),
        ("steps of pipelines", steps),
        ("keeper of endpoints", keeper),
        ("recorder of sealed predictions", recorder),
        ("sweeper of old predictions", expirer),
        ("archiver of predictions", archiver),
        ("judge of rollouts", judge),
        ("allotter of bandits", allotter),
        ("follower of aliases", follower),
        ("sealer of points", sealer),
        ("sweeper of uploads", sweeper),
        ("follower of predictions", watcher),
        ("teller of alerts", deliveries),
        ("teller of webhooks", hooks),
        ("collector", collections),
    ] {
        finish(part, running).await;
    }
    stop_sequencer.send_replace(true);
    Ok(sequencer.await??)
}

/// What writes the archive of predictions, where there is one.
fn archiver(parts: &Parts) -> Option<PredictionArchiver> {
    Some(PredictionArchiver {
        log: Arc::clone(&parts.log),
        segments: parts.segments(),
        identity: parts.access.identity().clone(),
        blobs: parts.collector.blobs.clone(),
        ledger: parts.ledger.clone(),
        archive: parts.archive.clone()?,
    })
}

/// What reads the archive of predictions, where there is one.
fn archive_reader(parts: &Parts) -> Option<ArchiveReader> {
    let (segments, blobs) = (parts.segments(), parts.collector.blobs.clone());
    Some(ArchiveReader { archive: parts.archive.clone()?, segments, blobs })
}

/// Runs the steps of pipelines, and starts pipelines whose triggers see their event.
async fn run_steps(ledger: Ledger, tasks: Tasks, steps: StepRunner, stopping: watch::Receiver<bool>) {
    while let Err(error) = steps.recover().await {
        tracing::warn!(error, "what is left of pipelines can't be taken up yet");
        tokio::time::sleep(TRY_AGAIN).await;
        if *stopping.borrow() {
            return;
        }
    }
    let processors = std::thread::available_parallelism().map_or(STEPS.0, std::num::NonZero::get);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..processors.clamp(STEPS.0, STEPS.1) {
        let steps = steps.clone();
        let worker = Worker::new(ledger.clone(), tasks.clone(), steps.worker());
        let worker = worker.with(STEP_TASK, move |lease| steps.clone().work(lease));
        running.spawn(worker.run(stopping.clone()));
    }
    running.spawn(react_triggers(ledger, steps.pipelines().clone(), stopping));
    while running.join_next().await.is_some() {}
}

/// Lets a part of the background come to its end, and cuts it off when that takes too long.
async fn finish(part: &str, mut running: JoinHandle<()>) {
    match tokio::time::timeout(WORK_DRAIN, &mut running).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(part, %error, "stopped with an error"),
        Err(_) => {
            running.abort();
            tracing::warn!(part, "did not finish in time and was cut off");
        }
    }
}

/// Tries until the database can be opened; none when the server stops before.
async fn open_at_last(grounds: &Grounds, mut stopping: watch::Receiver<bool>) -> Option<Parts> {
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return None,
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
        let config = grounds.config.database();
        // The PostgreSQL driver blocks while it connects, which an async thread must not.
        let opened = tokio::task::spawn_blocking(move || Db::open(&config, MODULES)).await;
        let opened = match opened {
            Ok(Ok(db)) => open(grounds, db, &stopping).await,
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(parts) => return Some(parts),
            Err(error) => tracing::debug!(error = format!("{error:#}"), "the database is not back yet"),
        }
    }
}

async fn open(grounds: &Grounds, db: Db, stopping: &watch::Receiver<bool>) -> anyhow::Result<Parts> {
    let Grounds { config, sources, blobs, plane, loader, address, online, log, .. } = grounds;
    let ledger = Ledger::new(db, sources.clone());
    let folder = config.data_dir.join(layout::LEDGER);
    let key = LedgerKey::open(&config.data_dir.join(layout::KEY), &folder, sources)?;
    let files = LedgerFiles::open(&folder, key)?;
    ledger.check_not_behind(files.size()).await?;
    let identity = Identity::new(ledger.clone());
    identity.ensure_default_project().await?;
    let policy = Policy::built_in()?;
    let access = access::open(config, &identity, policy.clone()).await?;
    require_users_beyond_loopback(config, &identity).await?;
    let tasks = Tasks::new(ledger.db().clone(), sources.clone());
    let tracking = Tracking::new(ledger.clone(), blobs.clone()).with_places(config.places.clone());
    tracking.adopt_old_points().await?;
    let steps = StepRunner::new(
        &ledger,
        tasks.clone(),
        tracking.clone(),
        blobs.clone(),
        identity.clone(),
        policy,
        config.data_dir.join(layout::PIPELINES),
        std::env::current_exe()?,
        address.clone(),
        stopping.clone(),
    )?;
    let name = super::name::of_log(&config.data_dir.join(layout::PREDICTIONS), &steps.worker(), || {
        ledger.sources().id()
    })?;
    let deployments = Deployments {
        registry: Registry::new(ledger.clone()),
        endpoints: Endpoints::new(ledger.clone()),
        rollouts: Rollouts::new(ledger.clone()),
        bandits: Bandits::new(ledger.clone()),
        evidence: TrialEvidence::new(ledger.clone(), name.clone()),
        plane: plane.clone(),
        undone: Undone::default(),
    };
    let collector = Collector {
        ledger: ledger.clone(),
        identity,
        tracking: tracking.clone(),
        traces: Traces::new(ledger.clone()),
        registry: deployments.registry.clone(),
        blobs: blobs.clone(),
    };
    let data = Data::new(ledger.clone(), blobs.clone());
    let features = Features::new(ledger.clone(), online.clone());
    features.sync_online().await?;
    let releases = Releases::new(tracking.clone(), deployments.registry.clone(), loader.clone());
    Ok(Parts {
        name,
        monitoring: Monitoring::new(ledger.clone()),
        webhooks: webhooks::open(&config.data_dir, &ledger)?,
        workspaces: config.workspaces,
        reach: Reach { loopback: config.host.is_loopback() },
        ledger,
        files,
        access,
        tasks,
        tracking,
        deployments,
        log: Arc::clone(log),
        releases,
        data,
        features,
        steps,
        collector,
        retention: config.retention,
        archive: config.archive.clone(),
    })
}

fn faces(parts: &Parts, ledger_folder: PathBuf, ledger_key: String, config: &ServerConfig) -> Control {
    let registry = &parts.deployments.registry;
    let tracer = Tracer {
        log: Arc::clone(&parts.log),
        deployments: parts.deployments.clone(),
        tracking: parts.tracking.clone(),
        data: parts.data.clone(),
        ledger: parts.ledger.clone(),
    };
    let traces = Traces::new(parts.ledger.clone());
    let web = Web {
        traces: traces.clone(),
        access: parts.access.clone(),
        ledger: parts.ledger.clone(),
        ledger_folder: ledger_folder.clone(),
        ledger_key: ledger_key.clone(),
        tasks: parts.tasks.clone(),
        tracking: parts.tracking.clone(),
        registry: registry.clone(),
        steps: parts.steps.clone(),
        data: parts.data.clone(),
        features: parts.features.clone(),
        releases: parts.releases.clone(),
        monitoring: parts.monitoring.clone(),
        deployments: parts.deployments.clone(),
        tracer: tracer.clone(),
        retention: parts.retention,
    };
    let rehearsals = Rehearsals::new(Arc::clone(&parts.log), parts.deployments.clone());
    let rest = Rest {
        rehearsals,
        access: parts.access.clone(),
        ledger: parts.ledger.clone(),
        ledger_folder,
        ledger_key,
        tasks: parts.tasks.clone(),
        tracking: parts.tracking.clone(),
        registry: registry.clone(),
        deployments: parts.deployments.clone(),
        steps: parts.steps.clone(),
        data: parts.data.clone(),
        features: parts.features.clone(),
        tracer,
        queries: LogQueries::new(Arc::clone(&parts.log)).with_archive(archive_reader(parts)),
        releases: parts.releases.clone(),
        monitoring: parts.monitoring.clone(),
        reach: parts.reach,
        webhooks: parts.webhooks.clone(),
        retention: parts.retention,
    };
    let mlflow = Mlflow::new(
        parts.access.clone(),
        parts.tracking.clone(),
        registry.clone(),
        parts.webhooks.clone(),
        traces,
        trueline_mlflow::Limits::default(),
    )
    .with_workspaces(parts.workspaces)
    .with_modes(config.modes)
    .with_source_pattern(config.version_source_pattern.clone());
    Control::new(parts.access.clone(), parts.ledger.clone(), rest, mlflow, web, config.limits)
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

/// Keeps the data plane as the database has it.
struct Keeper {
    access: Access,
    deployments: Deployments,
}

impl Keeper {
    async fn bring_up(&self) -> anyhow::Result<()> {
        self.deployments.plane.set_access(self.access.admissions().await?);
        let projects = self.access.identity().projects().await?;
        Ok(reconcile(&self.deployments, &projects).await?)
    }

    async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(RECONCILE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                _ = tick.tick() => {}
            }
            self.deployments.plane.let_go_of_meters();
            let done = self.bring_up().await;
            // Once for each time that it begins to fail: the database may be gone for hours.
            match (&done, failing) {
                (Err(error), false) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "endpoints answer, but can't be compared with the database"
                    );
                }
                (Ok(()), true) => tracing::info!("endpoints are as the database has them again"),
                _ => {}
            }
            failing = done.is_err();
        }
    }
}
