//! Webhooks in a running server: their rules from the environment, by MLflow's names, and their part of the background.

use super::layout;
use anyhow::Context;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use trueline_flows::{deliver_webhook, tell_webhooks};
use trueline_ledger::Ledger;
use trueline_tasks::{Tasks, Worker};
use trueline_webhooks::{DELIVERY_TASK, Rules, SecretKey, Webhooks};

/// Requests to webhooks that are under way at once: one that does not answer must not hold up the others.
const AT_ONCE: usize = 4;

fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

fn number(name: &str) -> anyhow::Result<Option<u32>> {
    told(name)
        .map(|v| v.parse().with_context(|| format!("{name} is `{v}`, which is no whole number")))
        .transpose()
}

fn rules() -> anyhow::Result<Rules> {
    let usual = Rules::default();
    let schemes = told("MLFLOW_WEBHOOK_ALLOWED_SCHEMES")
        .map(|list| list.split(',').map(|s| s.trim().to_lowercase()).filter(|s| !s.is_empty()).collect());
    // Its name was without the underscore once.
    let private =
        ["_MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"].into_iter().find_map(told);
    let patience =
        number("MLFLOW_WEBHOOK_REQUEST_TIMEOUT")?.map(|s| Duration::from_secs(s.clamp(1, 600).into()));
    Ok(Rules {
        schemes: schemes.unwrap_or(usual.schemes),
        private: private.is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true")),
        patience: patience.unwrap_or(usual.patience),
        retries: number("MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES")?.map_or(usual.retries, |n| n.min(100)),
    })
}

/// The domain of webhooks of this server.
pub(super) fn open(data_dir: &Path, ledger: &Ledger) -> anyhow::Result<Webhooks> {
    let key = match told("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY") {
        Some(text) => SecretKey::from_text(&text)?,
        None => SecretKey::open(&data_dir.join(layout::SECRETS), ledger.sources())?,
    };
    Ok(Webhooks::new(ledger.clone(), key, rules()?))
}

/// Follows what happens and tells webhooks of it, until `stopping`.
pub(super) async fn run(ledger: Ledger, webhooks: Webhooks, tasks: Tasks, stopping: watch::Receiver<bool>) {
    let mut running = tokio::task::JoinSet::new();
    for n in 0..AT_ONCE {
        let name = format!("webhooks-{}-{n}", std::process::id());
        let (webhooks, telling) = (webhooks.clone(), ledger.clone());
        let worker = Worker::new(ledger.clone(), tasks.clone(), name)
            .with(DELIVERY_TASK, move |lease| deliver_webhook(webhooks.clone(), telling.clone(), lease));
        running.spawn(worker.run(stopping.clone()));
    }
    running.spawn(tell_webhooks(ledger, webhooks, tasks, stopping));
    while running.join_next().await.is_some() {}
}
