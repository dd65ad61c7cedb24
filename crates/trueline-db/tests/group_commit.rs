//! The law of the group commit: jobs of concurrent callers share one transaction, and yet it is as if each had run
//! alone, whatever becomes of the others or of the commit.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use trueline_db::{Config, Db, DbError, Dialect, Durability, Limits, Migration, Module, Tx};

const MODULE: Module = Module {
    name: "test",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE parents (id BIGINT PRIMARY KEY);
CREATE TABLE items (id BIGINT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE children (id BIGINT PRIMARY KEY,
    parent BIGINT NOT NULL REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
",
    }],
};

fn open(folder: &tempfile::TempDir, limits: Limits) -> Db {
    let path = folder.path().join("test.db");
    // However slow the machine is, what waits comes into one group.
    let limits = Limits { group_time: Duration::from_secs(60), ..limits };
    Db::open(&Config::Sqlite { path, durability: Durability::Full, limits }, &[MODULE]).unwrap()
}

/// A database of each kind, with one writer.
fn open_each(folder: &tempfile::TempDir, name: &str) -> Vec<Db> {
    let limits = Limits { postgres_writers: 1, readers: 1, ..Limits::default() };
    let mut all = vec![open(folder, limits)];
    // The driver waits by a runtime of its own.
    let make = || common::postgres(name, limits).map(|config| Db::open(&config, &[MODULE]).unwrap());
    all.extend(std::thread::scope(|scope| scope.spawn(make).join().unwrap()));
    all
}

/// Keeps the writer busy until it is opened, so that what is written meanwhile comes into its group.
struct Gate(Arc<(Mutex<bool>, Condvar)>, JoinHandle<Result<(), DbError>>);

impl Gate {
    async fn close(db: &Db) -> Self {
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (begun, running) = tokio::sync::oneshot::channel();
        let begun = Mutex::new(Some(begun));
        let job = {
            let (db, gate) = (db.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                db.write(move |_: &mut Tx<'_>| {
                    if let Some(begun) = begun.lock().unwrap().take() {
                        begun.send(()).unwrap();
                    }
                    let open = gate.0.lock().unwrap();
                    drop(gate.1.wait_while(open, |open| !*open).unwrap());
                    Ok(())
                })
                .await
            })
        };
        running.await.unwrap();
        Self(gate, job)
    }

    /// Lets the writer go on once `n` jobs wait for it.
    async fn open_for(self, db: &Db, n: usize) {
        while db.queued_writes() < n {
            tokio::task::yield_now().await;
        }
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
        self.1.await.unwrap().unwrap();
    }
}

/// A job that counts how often it ran.
fn spawn<F>(db: &Db, runs: &Arc<AtomicU32>, job: F) -> JoinHandle<Result<(), DbError>>
where
    F: Fn(&mut Tx<'_>) -> Result<(), DbError> + Send + 'static,
{
    let (db, runs) = (db.clone(), Arc::clone(runs));
    tokio::spawn(async move {
        db.write(move |tx: &mut Tx<'_>| {
            runs.fetch_add(1, Ordering::Relaxed);
            job(tx)
        })
        .await
    })
}

fn insert(tx: &mut Tx<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("INSERT INTO items (id, body) VALUES (?1, 'x')", &[id.into()]).map(drop)
}

fn has(tx: &mut Tx<'_>, id: i64) -> Result<bool, DbError> {
    Ok(tx.query_opt("SELECT id FROM items WHERE id = ?1", &[id.into()])?.is_some())
}

async fn ids(db: &Db) -> Vec<i64> {
    db.read(|tx: &mut Tx<'_>| {
        let rows = tx.query("SELECT id FROM items ORDER BY id", &[])?;
        rows.into_iter().map(|mut row| row.take(0)).collect::<Result<_, DbError>>()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_job_that_refuses_or_fails_or_panics_leaves_the_rest_of_its_group_alone() {
    let folder = tempfile::tempdir().unwrap();
    for db in open_each(&folder, "group_alone") {
        let runs: Arc<AtomicU32> = Arc::default();
        let gate = Gate::close(&db).await;
        let first = spawn(&db, &runs, |tx| insert(tx, 1));
        let refuses = spawn(&db, &runs, |tx| {
            insert(tx, 2)?;
            Err(DbError::Other("against the rules".to_owned()))
        });
        let fails = spawn(&db, &runs, |tx| {
            insert(tx, 3)?;
            // The job swallows the error, and is doomed all the same.
            drop(tx.execute("INSERT INTO nowhere VALUES (1)", &[]));
            Ok(())
        });
        let panics = spawn(&db, &runs, |tx| {
            insert(tx, 4)?;
            panic!("a bug");
        });
        let last = spawn(&db, &runs, |tx| insert(tx, 5));
        gate.open_for(&db, 5).await;
        first.await.unwrap().unwrap();
        assert!(matches!(refuses.await.unwrap(), Err(DbError::Other(m)) if m == "against the rules"));
        assert!(fails.await.unwrap().unwrap_err().to_string().contains("nowhere"));
        assert!(matches!(panics.await.unwrap(), Err(DbError::Panicked(m)) if m == "a bug"));
        last.await.unwrap().unwrap();
        assert_eq!(ids(&db).await, [1, 5]);
        let ran = runs.load(Ordering::Relaxed);
        match db.dialect() {
            Dialect::Sqlite => assert_eq!(ran, 5, "nobody had to run twice"),
            Dialect::Postgres => {
                assert_eq!(ran, 7, "two together up to the one that refused, then each alone");
            }
        }
    }
}

#[tokio::test]
async fn when_the_commit_of_a_group_fails_each_of_its_jobs_is_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    for db in open_each(&folder, "group_commit") {
        let runs: Arc<AtomicU32> = Arc::default();
        let gate = Gate::close(&db).await;
        let first = spawn(&db, &runs, |tx| insert(tx, 1));
        // Its statements all succeed; the missing parent is only noticed by the commit.
        let orphan = spawn(&db, &runs, |tx| {
            insert(tx, 2)?;
            tx.execute("INSERT INTO children (id, parent) VALUES (1, 99)", &[]).map(drop)
        });
        // Refuses because of what the orphan wrote, which is not kept in the end.
        let after = spawn(&db, &runs, |tx| {
            if has(tx, 2)? {
                return Err(DbError::Other("2 is there".to_owned()));
            }
            insert(tx, 3)
        });
        gate.open_for(&db, 3).await;
        first.await.unwrap().unwrap();
        let refused = orphan.await.unwrap().unwrap_err().to_string().to_lowercase();
        assert!(refused.contains("foreign key"), "{refused}");
        after.await.unwrap().unwrap();
        assert_eq!(ids(&db).await, [1, 3]);
        assert_eq!(runs.load(Ordering::Relaxed), 6, "all three ran in the group, then alone");
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_in_the_middle_of_a_group_loses_nothing_and_nothing_is_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let all = open_each(&folder, "group_lost");
    let Some(db) = all.iter().find(|db| db.dialect() == Dialect::Postgres) else { return };
    let runs: Arc<AtomicU32> = Arc::default();
    let gate = Gate::close(db).await;
    let first = spawn(db, &runs, |tx| insert(tx, 1));
    let ends =
        spawn(db, &runs, |tx| tx.query("SELECT pg_terminate_backend(pg_backend_pid())", &[]).map(drop));
    let last = spawn(db, &runs, |tx| insert(tx, 2));
    gate.open_for(db, 3).await;
    first.await.unwrap().unwrap();
    assert!(matches!(ends.await.unwrap(), Err(DbError::Unreachable(_))));
    last.await.unwrap().unwrap();
    assert_eq!(ids(db).await, [1, 2]);
}

#[tokio::test]
async fn a_full_disk_in_the_middle_of_a_group_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder, Limits { largest_sqlite_bytes: Some(256 << 10), ..Limits::default() });
    let runs: Arc<AtomicU32> = Arc::default();
    let gate = Gate::close(&db).await;
    let write = |id: i64, bytes: usize| {
        spawn(&db, &runs, move |tx| {
            tx.execute("INSERT INTO items (id, body) VALUES (?1, ?2)", &[id.into(), "x".repeat(bytes).into()])
                .map(drop)
        })
    };
    let jobs = [write(1, 10), write(2, 1 << 20), write(3, 10), write(4, 1 << 20), write(5, 10)];
    gate.open_for(&db, 5).await;
    let mut kept = Vec::new();
    for (id, job) in (1..).zip(jobs) {
        match job.await.unwrap() {
            Ok(()) => kept.push(id),
            Err(error) => assert!(matches!(error, DbError::DiskFull(_)), "{error}"),
        }
    }
    assert_eq!(kept, [1, 3, 5], "the small ones fit");
    assert_eq!(ids(&db).await, kept);
    assert!(runs.load(Ordering::Relaxed) > 5, "the group was run again");

    drop(db);
    let db = open(&folder, Limits::default());
    assert_eq!(ids(&db).await, kept, "and they are there after a restart");
}

#[tokio::test]
async fn a_write_that_returns_rows_counts_as_a_change_and_keeps_to_its_tables() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder, Limits::default());
    let changed = db
        .write(|tx: &mut Tx<'_>| {
            tx.query("INSERT INTO items (id, body) VALUES (1, 'x'), (2, 'y') RETURNING id", &[])?;
            Ok::<_, DbError>(tx.changed())
        })
        .await
        .unwrap();
    assert_eq!(changed, 2);
    let elsewhere = db
        .write_only(&["parents"], |tx: &mut Tx<'_>| {
            tx.query("UPDATE items SET body = 'z' RETURNING id", &[]).map(drop)
        })
        .await;
    assert!(elsewhere.unwrap_err().to_string().contains("`items`"));
    let hidden = db
        .write_only(&["parents"], |tx: &mut Tx<'_>| {
            tx.query("WITH a AS (SELECT 1) DELETE FROM items RETURNING id", &[]).map(drop)
        })
        .await;
    assert!(hidden.unwrap_err().to_string().contains("neither a read nor a plain write"));
    assert_eq!(ids(&db).await, [1, 2]);
}
