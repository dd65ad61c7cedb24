//! Monitors follow the prediction log: what was predicted and what came true is read on, counted, and windows that are over
//! are closed. And what is done to an endpoint is told to its incident.

use crate::labelled::{LabelBounds, LabelledPrediction, labels_since, number_of, version_of};
use crate::training_reference::{TrainingError, TrainingReferences};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use trueline_ledger::{Cursor as LedgerCursor, Ledger, LedgerError, ProjectId};
use trueline_monitoring::{
    Batch, FeatureValue, IncidentAction, Labelled, Monitor, Monitoring, MonitoringError, Observation,
    Progress,
};
use trueline_predictions::{Cursor, LogError, Outputs, PredictionLog, Record, Scalar, Scan, Status};

/// Items read at once.
const PAGE: usize = 2_000;
/// Labels read at once; what was counted of them is written down before more are read.
const LABELS: LabelBounds = LabelBounds { most: PAGE, longest: Duration::from_secs(2) };
/// How often the log is looked at.
const TICK: Duration = Duration::from_secs(1);
/// What is done to an endpoint, as the ledger calls it.
const ACTIONS: [&str; 6] = [
    "endpoint.allotted",
    "endpoint.deployed",
    "endpoint.followed",
    "endpoint.promoted",
    "endpoint.rolled_back",
    "endpoint.shifted",
];

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Monitoring failed.
    #[error(transparent)]
    Monitoring(#[from] MonitoringError),
    /// The prediction log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What a version was trained on can't be looked up.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The thread that read stopped.
    #[error("reading the prediction log stopped: {0}")]
    Thread(String),
}

/// What watching needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// Monitors.
    pub monitoring: Monitoring,
    /// What they read.
    pub log: Arc<PredictionLog>,
    /// What versions were trained on.
    pub training: TrainingReferences,
    /// What was done.
    pub ledger: Ledger,
}

fn value(scalar: &Scalar) -> FeatureValue {
    match scalar {
        Scalar::Null => FeatureValue::Missing,
        Scalar::Bool(on) => FeatureValue::Text(on.to_string()),
        #[allow(clippy::cast_precision_loss)]
        Scalar::Int(whole) => FeatureValue::Number(*whole as f64),
        Scalar::Float(float) => FeatureValue::Number(*float),
        Scalar::Text(text) => FeatureValue::Text(text.clone()),
    }
}

fn observation(record: &Record) -> Observation {
    let is_redacted = |name: &String| record.redacted.contains(name);
    let columns = record.inputs.iter().chain(&record.features).filter(|(name, _)| !is_redacted(name));
    let redacted = record.redacted.iter().map(|name| (name.clone(), FeatureValue::Redacted));
    Observation {
        event_time_ms: record.event_time_ms,
        received_at_ms: record.received_at_ms,
        variant: version_of(record),
        failed: record.status != Status::Ok,
        values: columns.map(|(name, scalar)| (name.clone(), value(scalar))).chain(redacted).collect(),
        share: record.share,
    }
}

/// The probability of "yes" that was answered: one number, or the second of two classes.
fn score(outputs: &Outputs) -> Option<f64> {
    number_of(outputs).filter(|score| (0.0..=1.0).contains(score))
}

fn truth(value: &Scalar) -> Option<bool> {
    match value {
        Scalar::Bool(on) => Some(*on),
        Scalar::Int(0) => Some(false),
        Scalar::Int(1) => Some(true),
        Scalar::Float(float) if *float == 0.0 => Some(false),
        Scalar::Float(float) if (*float - 1.0).abs() < f64::EPSILON => Some(true),
        _ => None,
    }
}

/// What a label says of which prediction, and what it corrects: the label that arrived before it for the same one.
fn joined(labelled: &LabelledPrediction) -> Option<Labelled> {
    Some(Labelled {
        event_time_ms: labelled.record.event_time_ms,
        variant: labelled.version(),
        score: score(&labelled.record.outputs)?,
        before: labelled.before.as_ref().and_then(truth),
        label: truth(&labelled.label.value),
    })
}

fn cursor_of(text: &str) -> Result<Cursor, LogError> {
    let from = if text.is_empty() { Some(Cursor::START) } else { Cursor::parse(text) };
    from.ok_or_else(|| LogError::Cursor(text.to_owned()))
}

/// What comes next for a monitor; reads files.
fn read_on(log: &PredictionLog, monitor: &Monitor, seen: &Progress) -> Result<Batch, LogError> {
    let (project, endpoint) = (monitor.project.as_str(), monitor.endpoint.as_str());
    let records = log.scan(
        project,
        endpoint,
        &Scan { from: cursor_of(&seen.records)?, event_time_ms: None, limit: PAGE, until: None },
    )?;
    let mut batch = Batch {
        records: records.items.iter().map(observation).collect(),
        records_next: records.next.to_string(),
        labels: Vec::new(),
        labels_next: seen.labels.clone(),
    };
    // While a reference is learnt, nothing is counted, so no label has a place yet.
    if monitor.is_counting() {
        let labels = labels_since(log, project, endpoint, cursor_of(&seen.labels)?, LABELS)?;
        batch.labels = labels.labelled.iter().filter_map(joined).collect();
        batch.labels_next = labels.next.to_string();
    }
    Ok(batch)
}

impl Watcher {
    /// Tells a monitor what the versions in a batch were trained on, when it asks for that and was not told; whether it was.
    async fn look_up_training(&self, monitor: &Monitor, batch: &Batch) -> Result<bool, WatchError> {
        let variants: BTreeSet<&str> = batch.records.iter().map(|r| r.variant.as_str()).collect();
        let asked: Vec<&str> = variants.into_iter().filter(|v| monitor.asks_for_training(v)).collect();
        for variant in &asked {
            let found = self.training.look_up(&monitor.project, variant).await?;
            self.monitoring.set_training(monitor, variant, found).await?;
        }
        Ok(!asked.is_empty())
    }

    /// Brings one monitor up to what the log has; whether there was anything new.
    async fn follow(&self, id: &str) -> Result<bool, WatchError> {
        let mut moved = false;
        loop {
            let (monitor, seen) = self.monitoring.follow(id).await?;
            let (log, asks, from) = (Arc::clone(&self.log), monitor.clone(), seen.clone());
            let batch = tokio::task::spawn_blocking(move || read_on(&log, &asks, &from))
                .await
                .map_err(|e| WatchError::Thread(e.to_string()))??;
            let at_end = |seen: &str, next: &str| {
                seen == next || (seen.is_empty() && next == Cursor::START.to_string())
            };
            if at_end(&seen.records, &batch.records_next) && at_end(&seen.labels, &batch.labels_next) {
                return Ok(moved);
            }
            if self.look_up_training(&monitor, &batch).await? {
                continue;
            }
            self.monitoring.absorb(&monitor, &seen, batch).await?;
            moved = true;
        }
    }

    /// Follows the log with all monitors once. One that fails does not hold up the others.
    async fn round(&self, known: &mut BTreeSet<String>) -> Result<(), WatchError> {
        let mut failed = None;
        for monitor in self.monitoring.all().await? {
            let done = async {
                let moved = self.follow(&monitor.id).await?;
                // At a start there may be windows that a crash left open.
                if moved || !known.contains(&monitor.id) {
                    while self.monitoring.close(&monitor.id).await?.more {}
                    known.insert(monitor.id.clone());
                }
                Ok::<_, WatchError>(())
            };
            if let Err(error) = done.await {
                known.remove(&monitor.id);
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Tells incidents what was done to their endpoints.
    async fn tell_actions(&self, cursor: &LedgerCursor) -> Result<(), WatchError> {
        loop {
            let events = cursor.next(500).await?;
            let Some(last) = events.last().and_then(|e| e.index) else { return Ok(()) };
            for event in events {
                if !ACTIONS.contains(&event.action.as_str()) {
                    continue;
                }
                let action = IncidentAction {
                    project: ProjectId::new(&event.project),
                    endpoint: event.resource.id,
                    event: event.id,
                    at_ms: event.at_ms,
                    actor: event.actor,
                    action: event.action,
                    details: event.payload.unwrap_or_default(),
                };
                self.monitoring.record_action(action).await?;
            }
            cursor.advance(last).await?;
        }
    }

    /// Watches until the server stops. What fails is tried again a second later, from where it stood.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let cursor = LedgerCursor::new(self.ledger.db().clone(), "incident-actions");
        let mut known = BTreeSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                _ = tick.tick() => {}
            }
            let done = async {
                self.round(&mut known).await?;
                self.tell_actions(&cursor).await
            };
            let done = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                done = done => done,
            };
            if let (Err(error), false) = (&done, failing) {
                tracing::warn!(%error, "monitors can't follow; it is tried again every second");
            }
            failing = done.is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_probabilities_and_truths_are_yes_or_no() {
        assert_eq!(score(&Outputs::One(Scalar::Float(0.25))), Some(0.25));
        assert_eq!(score(&Outputs::Many(vec![0.25, 0.75])), Some(0.75));
        assert_eq!(score(&Outputs::One(Scalar::Float(12.5))), None, "a regression's answer is none");
        assert_eq!(score(&Outputs::Many(vec![0.2, 0.3, 0.5])), None);
        assert_eq!(
            [Scalar::Int(1), Scalar::Float(0.0), Scalar::Int(2)].map(|s| truth(&s)),
            [Some(true), Some(false), None]
        );
    }
}
