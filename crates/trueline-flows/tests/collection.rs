//! Whatever is uploaded, deleted, restored and collected in whatever order: nothing that is referred to is lost, and in the end
//! nothing else is left.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use bytes::Bytes;
use futures::TryStreamExt;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use trueline_blobs::{Blobs, Namespace};
use trueline_db::{Config, Db, Durability, Limits};
use trueline_flows::{CollectOrder, Collector};
use trueline_identity::{Action, Authorized, Caller, Identity, Policy};
use trueline_ledger::{Actor, Ledger, ProjectId, Sources};
use trueline_registry::Registry;
use trueline_traces::Traces;
use trueline_tracking::{ArtifactPath, ExperimentId, Lifecycle, NewRun, RunId, Tracking};

const MODULES: [trueline_db::Module; 9] = [
    trueline_ledger::MODULE,
    trueline_tasks::MODULE,
    trueline_identity::MODULE,
    trueline_tracking::MODULE,
    trueline_traces::MODULE,
    trueline_registry::MODULE,
    trueline_data::MODULE,
    trueline_serving::MODULE,
    trueline_pipelines::MODULE,
];
const RUNS: usize = 4;
const CONTENTS: u8 = 6;

#[derive(Clone, Debug)]
enum Step {
    Upload { run: usize, file: u8, content: u8 },
    Remove { run: usize, file: u8 },
    Delete { run: usize },
    Restore { run: usize },
    Collect { purge: bool, dry_run: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..RUNS, 0..3u8, 0..CONTENTS).prop_map(|(run, file, content)| Step::Upload { run, file, content }),
        1 => (0..RUNS, 0..3u8).prop_map(|(run, file)| Step::Remove { run, file }),
        1 => (0..RUNS).prop_map(|run| Step::Delete { run }),
        1 => (0..RUNS).prop_map(|run| Step::Restore { run }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(purge, dry_run)| Step::Collect { purge, dry_run }),
    ]
}

struct House {
    collector: Collector,
    policy: Policy,
    runs: Vec<RunId>,
    _folder: tempfile::TempDir,
}

/// A run as it must be: its files by name, and whether it is deleted; none when it was purged.
type Expected = Option<(BTreeMap<u8, u8>, bool)>;

fn forget_deleted(expected: &mut [Expected]) {
    for run in expected {
        if run.as_ref().is_some_and(|(_, deleted)| *deleted) {
            *run = None;
        }
    }
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::Sqlite {
            path: folder.path().join("test.db"),
            durability: Durability::OffForCrashTests,
            limits: Limits { readers: 1, ..Limits::default() },
        };
        let ledger = Ledger::new(Db::open(&config, &MODULES).unwrap(), Sources::system());
        let blobs = Blobs::local(&folder.path().join("blobs")).unwrap();
        let collector = Collector {
            identity: Identity::new(ledger.clone()),
            tracking: Tracking::new(ledger.clone(), blobs.clone()),
            traces: Traces::new(ledger.clone()),
            registry: Registry::new(ledger.clone()),
            ledger,
            blobs,
        };
        collector.identity.ensure_default_project().await.unwrap();
        let policy = Policy::built_in().unwrap();
        let mut house = Self { collector, policy, runs: Vec::new(), _folder: folder };
        for _ in 0..RUNS {
            let new = NewRun {
                experiment: ExperimentId(0),
                name: None,
                claimed_user: String::new(),
                start_time: None,
                tags: Vec::new(),
            };
            let made = house.collector.tracking.create_run(&house.leave(), new).await.unwrap();
            house.runs.push(made.run.id);
        }
        house
    }

    fn leave<A: Action>(&self) -> Authorized<A> {
        self.policy.authorize(&Caller::local(None), &ProjectId::default_project()).unwrap()
    }

    fn path(&self, run: usize, file: u8) -> ArtifactPath {
        ArtifactPath::parse(&format!("0/{}/artifacts/{file}", self.runs[run])).unwrap()
    }

    /// Collects what was put before this millisecond; answers how many blobs went.
    async fn collect(&self, purge: bool, dry_run: bool) -> u64 {
        let order = CollectOrder { keep_ms: purge.then_some(-1), grace_ms: 0, dry_run };
        let done = self.collector.collect(order, &Actor::system("test")).await.unwrap();
        done.projects[0].removed.count
    }

    async fn take(&self, step: &Step, expected: &mut [Expected]) {
        let tracking = &self.collector.tracking;
        match step {
            Step::Upload { run, file, content } => {
                let Some((files, _)) = &mut expected[*run] else { return };
                let bytes = Ok::<_, std::convert::Infallible>(Bytes::from(vec![*content; 9]));
                let stream = futures::stream::iter([bytes]);
                tracking.put_artifact(&self.leave(), self.path(*run, *file), stream, 100).await.unwrap();
                files.insert(*file, *content);
            }
            Step::Remove { run, file } => {
                let Some((files, _)) = &mut expected[*run] else { return };
                let there = files.remove(file).is_some();
                let done = tracking.delete_artifacts(&self.leave(), &self.path(*run, *file)).await;
                assert_eq!(done.is_ok(), there);
            }
            Step::Delete { run } | Step::Restore { run } => {
                let to =
                    if matches!(step, Step::Delete { .. }) { Lifecycle::Deleted } else { Lifecycle::Active };
                let done = tracking.set_run_lifecycle(&self.leave(), &self.runs[*run], to).await;
                assert_eq!(done.is_ok(), expected[*run].is_some());
                if let Some((_, deleted)) = &mut expected[*run] {
                    *deleted = to == Lifecycle::Deleted;
                }
            }
            Step::Collect { purge, dry_run } => {
                let foreseen = self.collect(*purge, true).await;
                if *dry_run {
                    return;
                }
                assert_eq!(self.collect(*purge, false).await, foreseen, "a dry run tells what comes");
                if *purge {
                    forget_deleted(expected);
                }
            }
        }
    }

    /// That every file which must be there can be read.
    async fn check(&self, expected: &[Expected]) {
        for (run, known) in expected.iter().enumerate() {
            for (file, content) in known.iter().flat_map(|(files, _)| files) {
                let tracking = &self.collector.tracking;
                let found = tracking.artifact(&self.leave(), &self.path(run, *file)).await.unwrap();
                let bytes = tracking.artifact_bytes(&self.leave(), found, None).await.unwrap();
                let bytes: Vec<Bytes> = bytes.try_collect().await.unwrap();
                assert_eq!(bytes.concat(), vec![*content; 9]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_referred_to_is_lost_and_in_the_end_nothing_else_is_left(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let house = House::new().await;
            let mut expected = vec![Some((BTreeMap::new(), false)); RUNS];
            for step in &steps {
                house.take(step, &mut expected).await;
                house.check(&expected).await;
            }
            house.collect(true, false).await;
            forget_deleted(&mut expected);
            house.check(&expected).await;
            let namespace = Namespace::new(ProjectId::default_project().as_str());
            let left: Vec<_> = house.collector.blobs.list(&namespace).try_collect().await.unwrap();
            let files = expected.iter().flatten().flat_map(|(files, _)| files.values());
            let contents: BTreeSet<u8> = files.copied().collect();
            assert_eq!(left.len(), contents.len());
        });
    }
}
