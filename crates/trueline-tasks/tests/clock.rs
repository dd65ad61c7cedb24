//! A clock that is put back: the log's order and its verification do not depend on it, and no task waits for a time
//! that a wrong clock has set.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::sync::watch;
use trueline_db::{Config, Db, Durability, Limits, Tx};
use trueline_ledger::{
    Actor, Clock, Entropy, Ledger, LedgerError, LedgerFiles, LedgerKey, Millis, NewEvent, ProjectId, Report,
    Sources, events_after, verify_files, verify_rows,
};
use trueline_tasks::{NewTask, TaskError, Tasks, complete, enqueue, fail};

const HOUR: Millis = 3_600_000;
const NOON: Millis = 1_900_000_000_000;
const LEASE: Millis = 30_000;

/// A clock that shows what it is told to.
#[derive(Debug)]
struct Told(AtomicI64);

impl Clock for Told {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that never repeat.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let n = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&n[..chunk.len()]);
        }
    }
}

struct House {
    clock: Arc<Told>,
    ledger: Ledger,
    tasks: Tasks,
}

impl House {
    fn open(folder: &Path) -> Self {
        let path = folder.join("test.db");
        let config = Config::Sqlite { path, durability: Durability::Full, limits: Limits::default() };
        let db = Db::open(&config, &[trueline_ledger::MODULE, trueline_tasks::MODULE]).unwrap();
        let clock = Arc::new(Told(AtomicI64::new(NOON)));
        let sources = Sources::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::<Counted>::default());
        Self { clock, ledger: Ledger::new(db.clone(), sources.clone()), tasks: Tasks::new(db, sources) }
    }

    fn put_back(&self, by: Millis) {
        self.clock.0.fetch_sub(by, Ordering::Relaxed);
    }

    async fn enqueue(&self) -> String {
        let payload = serde_json::json!({});
        let task = NewTask { project: ProjectId::server(), kind: "test", payload, max_attempts: 3 };
        let made: Result<String, LedgerError> =
            self.ledger.write(&Actor::system("test"), move |tx| enqueue(tx, &task)).await;
        made.unwrap()
    }

    /// Writes an event that names `what`.
    async fn tell(&self, what: &'static str) {
        let event = move || NewEvent::new(&ProjectId::server(), "test.told", "test", what);
        let told: Result<String, LedgerError> =
            self.ledger.write(&Actor::system("test"), move |tx| tx.emit(event())).await;
        told.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_the_log_and_its_verification_do_not_depend_on_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key_path) = (folder.path().join("ledger"), folder.path().join("ledger.key"));
    let house = House::open(folder.path());
    let mut key = String::new();
    // Back, forth and back again; the files are opened anew each time, as after a restart.
    for (what, back) in [("first", 0), ("second", HOUR), ("third", -3 * HOUR), ("fourth", 3 * HOUR)] {
        house.put_back(back);
        house.tell(what).await;
        let signer = LedgerKey::open(&key_path, &path, house.ledger.sources()).unwrap();
        key = signer.public();
        let (_stop, stopping) = watch::channel(true);
        let files = LedgerFiles::open(&path, signer).unwrap();
        house.ledger.run_sequencer(files, stopping).await.unwrap();
    }
    let read = house.ledger.db().read(|tx: &mut Tx<'_>| events_after(tx, -1, 100));
    let events = read.await.unwrap();
    let told: Vec<&str> = events.iter().map(|e| e.resource.id.as_str()).collect();
    assert_eq!(told, ["first", "second", "third", "fourth"], "the order of the commits");
    assert!(events[1].at_ms < events[0].at_ms, "the times are those of the clock");
    let ids: BTreeSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids.len(), 4, "no id comes twice");

    let report: Report = verify_files(&path, &key, None).unwrap().unwrap();
    let read = house.ledger.db().read(move |tx: &mut Tx<'_>| verify_rows(tx, &path, 0, &mut report.clone()));
    assert_eq!(read.await.unwrap().unwrap(), 4);
}

#[tokio::test]
async fn a_task_whose_worker_was_lost_is_adopted_though_its_lease_ends_in_a_far_future() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path());
    let id = house.enqueue().await;
    let lost = house.tasks.claim(&["test"], "lost", LEASE).await.unwrap().unwrap();
    assert!(house.tasks.claim(&["test"], "next", LEASE).await.unwrap().is_none(), "it is leased");
    house.put_back(HOUR);
    let adopted = house.tasks.claim(&["test"], "next", LEASE).await.unwrap().expect("it is adopted");
    assert_eq!((&adopted.id, adopted.attempt), (&id, 2));
    let late: Result<(), TaskError> = house
        .ledger
        .write(&Actor::system("test"), move |tx| complete(tx, &lost, &serde_json::json!({})))
        .await;
    assert!(matches!(late, Err(TaskError::Fenced { .. })), "the lost worker changes nothing");
}

#[tokio::test]
async fn a_small_step_of_the_clock_takes_no_lease_away() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path());
    house.enqueue().await;
    let lease = house.tasks.claim(&["test"], "alive", LEASE).await.unwrap().unwrap();
    house.put_back(LEASE);
    assert!(house.tasks.claim(&["test"], "next", LEASE).await.unwrap().is_none());
    house.tasks.heartbeat(&lease, LEASE).await.unwrap();
}

#[tokio::test]
async fn a_task_that_was_put_off_by_a_wrong_clock_does_not_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path());
    house.enqueue().await;
    house.put_back(HOUR);
    let lease = house.tasks.claim(&["test"], "w", LEASE).await.unwrap().expect("a task made in the future");
    house.put_back(-HOUR);
    let failed: Result<(), TaskError> =
        house.ledger.write(&Actor::system("test"), move |tx| fail(tx, &lease, "no", 1_000)).await;
    failed.unwrap();
    assert!(house.tasks.claim(&["test"], "w", LEASE).await.unwrap().is_none(), "it waits for its second try");
    house.put_back(HOUR);
    assert!(house.tasks.claim(&["test"], "w", LEASE).await.unwrap().is_some());
}
