//! New runs without HTTP: the same job, handed to the same group commit by as many callers.

use super::requests::new_run;
use crate::commit::per_second;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use trueline_blobs::Blobs;
use trueline_db::{Config, Db, Durability, Limits};
use trueline_identity::{Caller, Identity, Policy, WriteTracking};
use trueline_ledger::{Ledger, LedgerFiles, LedgerKey, ProjectId, Sources};
use trueline_tracking::{ExperimentId, KeyValue, NewRun, Tracking};

const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(5);

/// Runs made per second by callers that each wait for their answer.
pub(super) fn create_rate(callers: usize) -> anyhow::Result<f64> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(callers))
}

async fn measure(callers: usize) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let config = Config::Sqlite {
        path: folder.path().join("bench.db"),
        durability: Durability::Full,
        limits: Limits::default(),
    };
    let modules = [trueline_ledger::MODULE, trueline_identity::MODULE, trueline_tracking::MODULE];
    let ledger = Ledger::new(Db::open(&config, &modules)?, Sources::system());
    let key = LedgerKey::open(&folder.path().join("key"), &folder.path().join("ledger"), ledger.sources())?;
    let files = LedgerFiles::open(&folder.path().join("ledger"), key)?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let sequencer = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.run_sequencer(files, stopping).await }
    });
    Identity::new(ledger.clone()).ensure_default_project().await?;
    let tracking = Tracking::new(ledger.clone(), Blobs::local(&folder.path().join("blobs"))?);
    let leave = Arc::new(
        Policy::built_in()?
            .authorize::<WriteTracking>(&Caller::system("bench"), &ProjectId::default_project())?,
    );
    tracking.ensure_default_experiment(&leave).await?;

    let next = Arc::new(AtomicU64::new(0));
    let counted_from = Instant::now() + WARM_UP;
    let until = counted_from + MEASURED;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (tracking, leave, next) = (tracking.clone(), leave.clone(), next.clone());
        tasks.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                tracking.create_run(&leave, run(next.fetch_add(1, Ordering::Relaxed))).await?;
                let now = Instant::now();
                done += u64::from(now >= counted_from && now < until);
            }
            Ok::<_, trueline_tracking::TrackingError>(done)
        });
    }
    let mut done = 0;
    while let Some(one) = tasks.join_next().await {
        done += one??;
    }
    drop(tracking);
    stop.send_replace(true);
    sequencer.await??;
    Ok(per_second(done, MEASURED))
}

/// The run that the request of this number asks for.
fn run(n: u64) -> NewRun {
    let asked = new_run("0", n);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let tags = asked["tags"].as_array().into_iter().flatten();
    NewRun {
        experiment: ExperimentId(0),
        name: Some(text(&asked["run_name"])),
        claimed_user: text(&asked["user_id"]),
        start_time: asked["start_time"].as_i64(),
        tags: tags.map(|t| KeyValue { key: text(&t["key"]), value: text(&t["value"]) }).collect(),
    }
}
