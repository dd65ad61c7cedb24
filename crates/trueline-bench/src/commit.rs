//! Group commit: jobs of four statements from many callers, with the ledger's event and without it, beside the bare
//! fdatasync rate of the same disk; all in one run, since machines differ and so do their hours.

use crate::{Histogram, Table};
use anyhow::Context;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use trueline_db::{Config, Db, DbError, Durability, Limits, Migration, Module, Tx};
use trueline_ledger::{Actor, Ledger, LedgerError, LedgerFiles, LedgerKey, NewEvent, ProjectId, Sources};

const CALLERS: [usize; 4] = [8, 16, 32, 64];
const MEASURED: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);
const OPEN_LOOP: Duration = Duration::from_secs(10);
const COUNTERS: i64 = 1000;
const GROUP: &str = "group commit (jobs of four statements)";

const MODULE: Module = Module {
    name: "bench",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE bench_runs (id BIGINT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE bench_tags (run BIGINT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key));
CREATE TABLE bench_counters (id BIGINT PRIMARY KEY, n BIGINT NOT NULL);
",
    }],
};

/// Whether a job tells the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Ledger,
    Nothing,
}

/// Measures group commit.
///
/// # Errors
/// What the database or the disk says.
pub fn commit(table: &mut Table) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = fdatasync_rate()?;
    let mut rates = Vec::new();
    for callers in CALLERS {
        let bare = runtime.block_on(closed_loop(callers, With::Nothing))?;
        rates.push((callers, bare, runtime.block_on(closed_loop(callers, With::Ledger))?));
    }
    let fdatasync = f64::midpoint(before, fdatasync_rate()?);
    table.add(GROUP, "bare fdatasync of 4 KiB", fdatasync, "/s");
    let mut peak = 0_f64;
    for (callers, bare, ledger) in rates {
        table.add(GROUP, &format!("{callers} callers, without the ledger"), bare, "/s");
        table.add(GROUP, &format!("{callers} callers, with an event"), ledger, "/s");
        table.add(GROUP, &format!("{callers} callers, with ÷ without"), ledger / bare, "");
        table.add(
            GROUP,
            &format!("{callers} callers, jobs with an event per fdatasync"),
            ledger / fdatasync,
            "",
        );
        peak = peak.max(ledger);
    }
    let latency = runtime.block_on(open_loop(peak / 2.0))?;
    table.add(GROUP, "open loop at half the peak with an event, rate", peak / 2.0, "/s");
    table.add_latency(GROUP, "open loop at half the peak with an event", &latency);
    Ok(())
}

/// How often the disk can be told to keep 4 KiB, written round and round in a file as a database's log is.
pub(crate) fn fdatasync_rate() -> anyhow::Result<f64> {
    const BLOCK: [u8; 4096] = [7; 4096];
    const BLOCKS: u64 = 1000;
    let folder = tempfile::tempdir()?;
    let file = File::create(folder.path().join("log"))?;
    file.write_all_at(&vec![0; BLOCK.len() * usize::try_from(BLOCKS)?], 0)?;
    file.sync_all()?;
    let began = Instant::now();
    let mut n = 0_u64;
    while began.elapsed() < MEASURED {
        file.write_all_at(&BLOCK, n % BLOCKS * BLOCK.len() as u64)?;
        file.sync_data()?;
        n += 1;
    }
    Ok(per_second(n, began.elapsed()))
}

/// A fresh database with its ledger, and the sequencer at work as in a server.
struct Bench {
    ledger: Ledger,
    next: AtomicI64,
    stop: watch::Sender<bool>,
    sequencer: tokio::task::JoinHandle<Result<(), LedgerError>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> anyhow::Result<Arc<Self>> {
        let folder = tempfile::tempdir()?;
        let ledger = open(folder.path())?;
        ledger
            .db()
            .write(|tx: &mut Tx<'_>| {
                for id in 0..COUNTERS {
                    tx.execute("INSERT INTO bench_counters (id, n) VALUES (?1, 0)", &[id.into()])?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        let key =
            LedgerKey::open(&folder.path().join("key"), &folder.path().join("ledger"), ledger.sources())?;
        let files = LedgerFiles::open(&folder.path().join("ledger"), key)?;
        let (stop, stopping) = watch::channel(false);
        let sequenced = ledger.clone();
        let sequencer = tokio::spawn(async move { sequenced.run_sequencer(files, stopping).await });
        Ok(Arc::new(Self { ledger, next: AtomicI64::new(0), stop, sequencer, _folder: folder }))
    }

    async fn job(&self, with: With) -> Result<(), LedgerError> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        match with {
            With::Nothing => self.ledger.db().write(move |tx: &mut Tx<'_>| Ok(statements(tx, n)?)).await,
            With::Ledger => {
                let actor = Actor { principal: "user:bench".to_owned(), ..Actor::default() };
                let job = move |tx: &mut trueline_ledger::LedgerTx<'_, '_>| {
                    statements(tx, n)?;
                    let event =
                        NewEvent::new(&ProjectId::default_project(), "run.created", "run", n.to_string());
                    tx.emit(event.with(serde_json::json!({ "name": name(n), "tags": { "kind": "bench" } })))?;
                    Ok(())
                };
                self.ledger.write(&actor, job).await
            }
        }
    }

    async fn close(self: Arc<Self>) -> anyhow::Result<()> {
        let bench = Arc::into_inner(self).context("a caller is still at work")?;
        bench.stop.send_replace(true);
        Ok(bench.sequencer.await??)
    }
}

fn open(folder: &Path) -> anyhow::Result<Ledger> {
    let (path, limits) = (folder.join("bench.db"), Limits::default());
    let config = Config::Sqlite { path, durability: Durability::Full, limits };
    let db = Db::open(&config, &[trueline_ledger::MODULE, MODULE])?;
    Ok(Ledger::new(db, Sources::system()))
}

fn name(n: i64) -> String {
    format!("run-{n}")
}

/// A read, two inserts and an update.
fn statements(tx: &mut Tx<'_>, n: i64) -> Result<(), DbError> {
    let counter = n % COUNTERS;
    let count: i64 =
        tx.scalar("SELECT n FROM bench_counters WHERE id = ?1", &[counter.into()])?.unwrap_or_default();
    tx.execute("INSERT INTO bench_runs (id, name) VALUES (?1, ?2)", &[n.into(), name(n).into()])?;
    let tag = [n.into(), "kind".into(), "bench".into()];
    tx.execute("INSERT INTO bench_tags (run, key, value) VALUES (?1, ?2, ?3)", &tag)?;
    tx.execute("UPDATE bench_counters SET n = ?2 WHERE id = ?1", &[counter.into(), (count + 1).into()])?;
    Ok(())
}

/// Jobs per second of callers that each wait for their answer.
async fn closed_loop(callers: usize, with: With) -> anyhow::Result<f64> {
    let bench = Bench::new().await?;
    let counted_from = Instant::now() + WARM_UP;
    let until = counted_from + MEASURED;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let bench = bench.clone();
        tasks.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                bench.job(with).await?;
                let now = Instant::now();
                done += u64::from(now >= counted_from && now < until);
            }
            Ok::<_, LedgerError>(done)
        });
    }
    let mut done = 0;
    while let Some(one) = tasks.join_next().await {
        done += one??;
    }
    bench.close().await?;
    Ok(per_second(done, MEASURED))
}

/// Latencies of jobs that come at a rate, from the moment at which each was due to its answer.
async fn open_loop(rate_per_s: f64) -> anyhow::Result<Histogram> {
    let bench = Bench::new().await?;
    let (runtime, jobs) = (tokio::runtime::Handle::current(), bench.clone());
    let pace = move || {
        let (start, mut tasks) = (Instant::now(), JoinSet::new());
        for n in 0_u32.. {
            let after = Duration::from_secs_f64(f64::from(n) / rate_per_s);
            if after >= OPEN_LOOP {
                break;
            }
            let due = start + after;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let bench = jobs.clone();
            let job = async move { bench.job(With::Ledger).await.map(|()| due.elapsed()) };
            tasks.spawn_on(job, &runtime);
        }
        tasks
    };
    let mut tasks = tokio::task::spawn_blocking(pace).await?;
    let mut latency = Histogram::default();
    while let Some(one) = tasks.join_next().await {
        latency.record(one??);
    }
    bench.close().await?;
    Ok(latency)
}

pub(crate) fn per_second(n: u64, time: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let n = n as f64;
    n / time.as_secs_f64()
}
