//! What the prediction log has kept for long enough is deleted: the ledger is told of each segment first, then it goes. What a
//! monitor or a bandit has still to read, and what they and rollouts still wait for labels of, stays.

use crate::record_segments::{name_of, segment_of};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use trueline_ledger::{Ledger, Millis};
use trueline_monitoring::{Monitoring, MonitoringError};
use trueline_predictions::{Cursor, LogError, PredictionLog, Sealed, StreamName};
use trueline_serving::bandit::Bandits;
use trueline_serving::rollout::Rollouts;
use trueline_serving::trial::TrialEvidence;
use trueline_serving::{Deletion, Endpoints, LogRules, SealedSegments, ServingError};

/// The log is swept no more often than this, and no less often than that.
const SWEEPS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// The ledger or the endpoints can't be had.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// Monitors can't be had.
    #[error(transparent)]
    Monitoring(#[from] MonitoringError),
    /// The files can't be removed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The thread that removed stopped.
    #[error("deleting segments stopped: {0}")]
    Thread(String),
}

/// What deleting needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PredictionSweeper {
    /// What is swept.
    pub log: Arc<PredictionLog>,
    /// What the ledger knows of it.
    pub segments: SealedSegments,
    /// What is declared.
    pub endpoints: Endpoints,
    /// Who reads it.
    pub monitoring: Monitoring,
    /// Who reads it, too.
    pub bandits: Bandits,
    /// Who waits for labels of it.
    pub rollouts: Rollouts,
    /// How far those have read it here.
    pub evidence: TrialEvidence,
    /// The clock.
    pub ledger: Ledger,
    /// Whether there is an archive, which has what goes first.
    pub archived: bool,
    /// How long predictions are kept where nothing is declared; none is for ever.
    pub usual_ms: Option<Millis>,
}

/// Who follows a stream, and how long it is needed.
#[derive(Clone, Debug, Default)]
struct Followed {
    cursors: Vec<Cursor>,
    waits_ms: Millis,
}

impl Followed {
    fn take_in(&mut self, at: &str, waits_ms: Millis) {
        self.cursors.push(Cursor::parse(at).unwrap_or(Cursor::START));
        self.wait(waits_ms);
    }

    fn wait(&mut self, ms: Millis) {
        self.waits_ms = self.waits_ms.max(ms);
    }
}

impl PredictionSweeper {
    /// Deletes what was kept for long enough; how many segments these were.
    ///
    /// # Errors
    /// What the database or the disk says; the next sweep goes on from there.
    pub async fn sweep(&self) -> Result<u64, ExpireError> {
        let rules = self.rules().await?;
        let streams = self.log.streams();
        let declared =
            |stream: &StreamName| rules.get(stream).map_or(self.usual_ms, |r| r.keep.millis(self.usual_ms));
        if streams.iter().all(|stream| stream.endpoint().is_some() && declared(stream).is_none()) {
            return Ok(0);
        }
        let followed = self.followed().await?;
        let (mut deleted, mut failed) = (0, None);
        for stream in &streams {
            let keep_ms = match stream {
                StreamName::Predictions { .. } => declared(stream),
                // Labels are of all endpoints: they stay as long as predictions of any.
                StreamName::Labels { project } => {
                    let of_project =
                        streams.iter().filter(|s| s.project() == project && s.endpoint().is_some());
                    longest(of_project.map(declared))
                }
            };
            if let Some(keep_ms) = keep_ms {
                match self.sweep_stream(stream, keep_ms, followed.get(stream)).await {
                    Ok(swept) => deleted += swept,
                    // The others' predictions are to go all the same.
                    Err(error) => drop(failed.get_or_insert(error)),
                }
            }
        }
        failed.map_or(Ok(deleted), Err)
    }

    async fn sweep_stream(
        &self,
        stream: &StreamName,
        keep_ms: Millis,
        followed: Option<&Followed>,
    ) -> Result<u64, ExpireError> {
        let followed = followed.cloned().unwrap_or_default();
        let keep_ms = keep_ms.max(followed.waits_ms);
        let before_ms = self.ledger.sources().now().saturating_sub(keep_ms);
        let mut deleted = 0;
        for sealed in self.log.expired(stream, before_ms, &followed.cursors) {
            if !self.tell(&sealed, keep_ms).await? {
                break;
            }
            let (log, stream, number) = (Arc::clone(&self.log), stream.clone(), sealed.segment);
            let remove = move || log.remove_through(&stream, number);
            tokio::task::spawn_blocking(remove).await.map_err(|e| ExpireError::Thread(e.to_string()))??;
            tracing::info!(
                stream = name_of(&sealed.stream),
                segment = sealed.segment,
                "deleted old predictions"
            );
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Has the ledger know first. `false` while it does not know the segment at all.
    async fn tell(&self, sealed: &Sealed, kept_ms: Millis) -> Result<bool, ServingError> {
        let why = Deletion { received_until_ms: sealed.received_at_ms.1, kept_ms };
        self.segments.delete(segment_of(sealed, self.segments.server()), why, self.archived).await
    }

    async fn rules(&self) -> Result<HashMap<StreamName, LogRules>, ServingError> {
        let all = self.endpoints.log_rules().await?;
        let of =
            |(project, endpoint, rules): (trueline_ledger::ProjectId, trueline_serving::EndpointName, _)| {
                let (project, endpoint) = (project.to_string(), endpoint.to_string());
                (StreamName::Predictions { project, endpoint }, rules)
            };
        Ok(all.into_iter().map(of).collect())
    }

    async fn followed(&self) -> Result<HashMap<StreamName, Followed>, ExpireError> {
        let mut followed: HashMap<StreamName, Followed> = HashMap::new();
        for key in self.monitoring.all().await? {
            let (monitor, seen) = match self.monitoring.follow(&key.id).await {
                // Somebody has deleted it meanwhile.
                Err(MonitoringError::NotFound(_)) => continue,
                found => found?,
            };
            let (project, waits_ms) = (monitor.project.to_string(), monitor.spec.waits_for());
            let labels = StreamName::Labels { project: project.clone() };
            followed.entry(labels).or_default().take_in(&seen.labels, waits_ms);
            let predictions = StreamName::Predictions { project, endpoint: monitor.endpoint };
            followed.entry(predictions).or_default().take_in(&seen.records, waits_ms);
        }
        self.followed_by_bandits(&mut followed).await?;
        self.followed_by_rollouts(&mut followed).await?;
        Ok(followed)
    }

    /// Adds what rollouts that are judged by quality may still get labels for. Of labels they need those that they have read,
    /// too: by these a correction is known.
    async fn followed_by_rollouts(
        &self,
        followed: &mut HashMap<StreamName, Followed>,
    ) -> Result<(), ServingError> {
        let now = self.ledger.sources().now();
        for rollout in self.rollouts.open().await? {
            let Some(needed_ms) = rollout.needs_labels_of_ms(now) else { continue };
            let (project, endpoint) = (rollout.project.to_string(), rollout.endpoint.to_string());
            followed.entry(StreamName::Labels { project: project.clone() }).or_default().wait(needed_ms);
            followed.entry(StreamName::Predictions { project, endpoint }).or_default().wait(needed_ms);
        }
        Ok(())
    }

    /// Adds what bandits that are under way have still to read, and the labels that they wait for.
    async fn followed_by_bandits(
        &self,
        followed: &mut HashMap<StreamName, Followed>,
    ) -> Result<(), ServingError> {
        for bandit in self.bandits.open().await? {
            let seen = self.evidence.own_position(&bandit.key()).await?.unwrap_or_default();
            let read_to_ms = seen.read_to_ms.unwrap_or(bandit.started_at_ms);
            let (project, waits_ms) = (bandit.project.to_string(), bandit.plan.label_due(0));
            let labels = followed.entry(StreamName::Labels { project: project.clone() }).or_default();
            // Labels of what it has still to read came since then.
            let behind_ms = self.ledger.sources().now().saturating_sub(read_to_ms);
            labels.wait(waits_ms.max(behind_ms));
            let predictions = StreamName::Predictions { project, endpoint: bandit.endpoint.to_string() };
            followed.entry(predictions).or_default().take_in(&seen.cursor, waits_ms);
        }
        Ok(())
    }

    /// Sweeps until the server stops.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let tenth = self.usual_ms.and_then(|ms| u64::try_from(ms / 10).ok()).map(Duration::from_millis);
        let every = tenth.map_or(SWEEPS.1, |tenth| tenth.clamp(SWEEPS.0, SWEEPS.1));
        let mut told = BTreeSet::new();
        loop {
            if let Err(error) = self.sweep().await
                && told.insert(error.to_string())
            {
                tracing::warn!(%error, "old predictions can't be deleted; it is tried again");
            }
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }
}

/// The longest of these times; none, which is for ever, is the longest of all, and is so of nothing.
fn longest(times: impl Iterator<Item = Option<Millis>>) -> Option<Millis> {
    times.reduce(|a, b| Some(a?.max(b?))).flatten()
}

#[cfg(test)]
mod tests {
    use super::longest;

    #[test]
    fn what_is_kept_for_ever_is_kept_longest() {
        assert_eq!(longest([Some(3), Some(7)].into_iter()), Some(7));
        assert_eq!(longest([Some(3), None, Some(7)].into_iter()), None);
        assert_eq!(longest(std::iter::empty()), None, "labels without a prediction stay");
    }
}
