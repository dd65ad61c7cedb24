//! Tracking on both databases, with runs that have something of everything.

use crate::model::{ExperimentId, KeyValue, Lifecycle, LoggedMetric, NewRun, RunId};
use crate::schema::MODULE;
use crate::{ArtifactPath, Batch, MetricPoint, Tracking, test_databases};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use trueline_blobs::Blobs;
use trueline_db::Db;
use trueline_identity::{Action, Authorized, Caller, Policy};
use trueline_ledger::{Clock, Entropy, Ledger, Millis, ProjectId, Sources};

pub(crate) const DAY: Millis = 24 * 60 * 60 * 1000;

#[derive(Debug, Default)]
pub(crate) struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// Different bytes each time.
#[derive(Debug, Default)]
struct Counted(AtomicI64);

impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        out.iter_mut()
            .rev()
            .zip(n.iter().rev().chain(std::iter::repeat(&7)))
            .for_each(|(to, from)| *to = *from);
    }
}

/// Tracking with a clock that is set.
pub(crate) struct House {
    pub(crate) tracking: Tracking,
    pub(crate) clock: Arc<Set>,
    policy: Policy,
    _blobs: tempfile::TempDir,
}

impl House {
    pub(crate) fn leave<A: Action>(&self) -> Authorized<A> {
        self.policy.authorize(&Caller::local(None), &ProjectId::default_project()).unwrap()
    }

    pub(crate) fn pass(&self, days: i64) {
        self.clock.0.fetch_add(days * DAY, Ordering::Relaxed);
    }

    pub(crate) async fn experiment(&self, name: &str) -> ExperimentId {
        self.tracking.create_experiment(&self.leave(), name.to_owned(), None, Vec::new()).await.unwrap()
    }

    /// A run with something of everything.
    pub(crate) async fn run(&self, experiment: ExperimentId) -> RunId {
        let new = NewRun {
            experiment,
            name: None,
            claimed_user: String::new(),
            start_time: Some(1),
            tags: vec![KeyValue::new("t", "1")],
        };
        let run = self.tracking.create_run(&self.leave(), new).await.unwrap().run;
        let metric = |step| LoggedMetric {
            key: "loss".to_owned(),
            point: MetricPoint { step, at_ms: step, value: 0.5 },
        };
        let batch = Batch {
            metrics: (0..300).map(metric).collect(),
            params: vec![KeyValue::new("p", "x".repeat(300))],
            ..Batch::default()
        };
        self.tracking.log_batch(&self.leave(), &run.id, batch).await.unwrap();
        self.put(&format!("{}/model/weights", run.artifact_uri.trim_start_matches("mlflow-artifacts:/")))
            .await;
        run.id
    }

    pub(crate) async fn put(&self, path: &str) {
        let bytes = futures::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(path.to_owned()))]);
        let path = ArtifactPath::parse(path).unwrap();
        self.tracking.put_artifact(&self.leave(), path, bytes, 1000).await.unwrap();
    }

    pub(crate) async fn delete_run(&self, id: &RunId) {
        self.tracking.set_run_lifecycle(&self.leave(), id, Lifecycle::Deleted).await.unwrap();
    }

    pub(crate) async fn fold(&self, experiment: ExperimentId) {
        self.tracking.fold_waiting(&ProjectId::default_project(), &[experiment]).await.unwrap();
    }

    pub(crate) async fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let count = self.tracking.ledger.db().read(move |tx| tx.scalar::<i64>(&sql, &[]));
        count.await.unwrap().unwrap()
    }
}

/// Runs a test on each kind of database.
pub(crate) fn on_both(name: &str, test: impl AsyncFn(House)) {
    let (_folder, configs) = test_databases::configs(name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for config in configs {
        let db = Db::open(&config, &[trueline_ledger::MODULE, MODULE]).unwrap();
        let clock = Arc::new(Set(AtomicI64::new(1000 * DAY)));
        let sources = Sources::new(clock.clone(), Arc::new(Counted::default()));
        let blobs = tempfile::tempdir().unwrap();
        let tracking = Tracking::new(Ledger::new(db, sources), Blobs::local(blobs.path()).unwrap());
        let house = House { tracking, clock, policy: Policy::built_in().unwrap(), _blobs: blobs };
        runtime.block_on(test(house));
    }
}
