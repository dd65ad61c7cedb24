//! Real deletion and collection in a running server: its part of the background.

use tokio::sync::watch;
use trueline_flows::{COLLECT_TASK, Collector, Retention, collect_task, run_collections};
use trueline_tasks::{Tasks, Worker};

/// Collects when it is time or somebody asks, until `stopping`. A worker of its own: a long collection must not hold up other
/// tasks.
pub(super) async fn run(
    collector: Collector,
    tasks: Tasks,
    retention: Retention,
    stopping: watch::Receiver<bool>,
) {
    let ledger = collector.ledger.clone();
    let clock = run_collections(
        collector.identity.clone(),
        ledger.clone(),
        tasks.clone(),
        retention,
        stopping.clone(),
    );
    let worker = Worker::new(ledger, tasks, format!("collector-{}", std::process::id()))
        .with(COLLECT_TASK, move |lease| collect_task(collector.clone(), lease));
    tokio::join!(clock, worker.run(stopping));
}
