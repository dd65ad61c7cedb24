//! The candidate is asked beside what answers: drawn by lot, within bounds of its own, after the answer is made. What comes
//! of it is a note for the judge and nothing else.

use super::phase::Shadow;
use crate::cache::Slot;
use crate::comparison::{Comparison, Difference};
use crate::error::ServingError;
use crate::features::FeatureSource;
use crate::frame::Frame;
use crate::model::LoadedModel;
use crate::predictions::Predictions;
use crate::rollout::watch::Watch;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trueline_ledger::{Millis, ProjectId};
use trueline_tensors::Tensor;

/// What all requests that wait for one candidate may take of memory, in KiB; what comes beyond is not asked.
const MOST_WAITING_KIB: u32 = 64 << 10;
/// What a request takes of that at the least, so that at most 256 wait.
const LEAST_KIB: u32 = 256;
/// Requests that a candidate works on at once.
const AT_ONCE: usize = 8;
/// A candidate that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(10);
/// A reason for a failure is cut off after so many characters.
const LONGEST_REASON: usize = 300;

/// What came of asking the candidate of a shadow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowObservation {
    /// The hash of the caller's key; none without one.
    pub key: Option<u64>,
    /// How long the variant that answered took, in milliseconds.
    pub baseline_ms: f64,
    /// How long the candidate took, without waiting for its turn, in milliseconds.
    pub candidate_ms: f64,
    /// What came of it.
    pub outcome: ShadowOutcome,
}

/// An answer of a candidate that nobody was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowOutcome {
    /// It failed or refused what had been answered.
    Failed {
        /// The first row of the request.
        prediction_id: String,
        /// Why.
        reason: String,
    },
    /// It answered.
    Compared {
        /// Rows of the request.
        rows: u64,
        /// Rows that it answers differently.
        differing: u64,
        /// The largest distance between two numbers of one row.
        largest: f64,
        /// The row that differs most, if one does.
        worst: Option<(String, Difference)>,
    },
}

/// A candidate that is asked beside what answers.
#[derive(Debug)]
pub(crate) struct LiveShadow {
    shadow: Shadow,
    slot: Arc<Slot>,
    /// Its model, once it is loaded. It is held here, so it is not unloaded.
    model: OnceLock<Arc<LoadedModel>>,
    waiting: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    seen: Watch<ShadowObservation>,
}

/// A request that the candidate is to be asked as well, once it has its answer.
#[derive(Debug)]
pub struct ShadowDraw {
    live: Arc<LiveShadow>,
    model: Arc<LoadedModel>,
    key: Option<u64>,
    answered_by: Arc<LoadedModel>,
    took: Duration,
}

/// What the candidate is asked, and what was answered to it.
pub struct Beside<'a, I> {
    /// The input.
    pub frame: &'a Frame,
    /// The features that were read for the answer.
    pub features: &'a [Tensor],
    /// What was answered.
    pub predictions: &'a Predictions,
    /// The project's id.
    pub project: &'a ProjectId,
    /// Where features come from, for a candidate that reads others.
    pub source: &'a Arc<dyn FeatureSource>,
    /// As of when they are read, in milliseconds since 1970.
    pub at_ms: Millis,
    /// The prediction's id by row.
    pub id_of: I,
}

/// The same, kept until it is the candidate's turn.
struct Question<I> {
    frame: Frame,
    before: Predictions,
    project: ProjectId,
    source: Arc<dyn FeatureSource>,
    at_ms: Millis,
    /// Whether the candidate's features are in the frame already.
    complete: bool,
    id_of: I,
}

impl LiveShadow {
    /// One whose model may still have to be loaded.
    pub(crate) fn new(shadow: Shadow, slot: Arc<Slot>) -> Self {
        Self {
            shadow,
            slot,
            model: OnceLock::new(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING_KIB as usize)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            seen: Watch::default(),
        }
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Whether this is what a route declares.
    pub(crate) fn is(&self, shadow: &Shadow) -> bool {
        self.shadow == *shadow
    }

    /// Has it asked from now on.
    pub(crate) fn load(&self, model: Arc<LoadedModel>) {
        // Whoever came first has the same.
        let _ = self.model.set(model);
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.model.get().is_some()
    }

    /// The share of the requests that it is asked.
    pub(crate) fn share(&self) -> u64 {
        u64::from(self.shadow.share.0)
    }

    /// A request that `answered_by` has answered in so much time; none while the candidate is not loaded, which is counted.
    pub(crate) fn draw(
        self: &Arc<Self>,
        key: Option<u64>,
        answered_by: &Arc<LoadedModel>,
        took: Duration,
    ) -> Option<ShadowDraw> {
        let Some(model) = self.model.get() else {
            self.seen.overlook();
            return None;
        };
        let (live, model, answered_by) = (Arc::clone(self), Arc::clone(model), Arc::clone(answered_by));
        Some(ShadowDraw { live, model, key, answered_by, took })
    }

    /// What came of it since the last time, as much as `most` of it, and how many requests were not asked because too many waited.
    pub(crate) fn take(&self, most: usize) -> (Vec<ShadowObservation>, u64) {
        self.seen.take(most)
    }
}

/// The candidate's answer, with its features where they are its own.
async fn answer<I>(model: &LoadedModel, question: &Question<I>) -> Result<Predictions, ServingError> {
    let views = model.feature_views();
    let deadline = Some(Instant::now() + LONGEST);
    if views.is_empty() || question.complete {
        return model.predict_until(&question.frame, deadline).await.0;
    }
    let features = question.source.features(&question.project, views, &question.frame, question.at_ms)?;
    model.predict_until(&question.frame.with(&features), deadline).await.0
}

impl ShadowDraw {
    /// Has the candidate asked when it is its turn, if there is room for one more to wait. Nothing of it is waited for here.
    pub fn ask<I>(self, beside: Beside<'_, I>)
    where
        I: Fn(usize) -> String + Send + Sync + 'static,
    {
        let weight = weight(beside.frame, beside.predictions);
        let Ok(room) = Arc::clone(&self.live.waiting).try_acquire_many_owned(weight) else {
            self.live.seen.overlook();
            return;
        };
        let complete = self.model.feature_views() == self.answered_by.feature_views();
        let question = Question {
            frame: if complete { beside.frame.with(beside.features) } else { beside.frame.clone() },
            before: beside.predictions.clone(),
            project: beside.project.clone(),
            source: Arc::clone(beside.source),
            at_ms: beside.at_ms,
            complete,
            id_of: beside.id_of,
        };
        tokio::spawn(self.in_turn(question, room));
    }

    async fn in_turn<I>(self, question: Question<I>, room: OwnedSemaphorePermit)
    where
        I: Fn(usize) -> String + Send + Sync + 'static,
    {
        // It is never closed; were it, the request would be one that was not asked.
        let Ok(turn) = Arc::clone(&self.live.turns).acquire_owned().await else { return };
        let live = Arc::clone(&self.live);
        let first = (question.id_of)(0);
        let asked = match self.model.is_waited_for() {
            true => Ok(self.note(question).await),
            // What computes does so apart from the threads that answer requests.
            false => {
                let handle = Handle::current();
                tokio::task::spawn_blocking(move || handle.block_on(self.note(question))).await
            }
        };
        live.seen.put(asked.unwrap_or_else(|stopped| ShadowObservation {
            key: None,
            baseline_ms: 0.0,
            candidate_ms: 0.0,
            outcome: ShadowOutcome::Failed {
                prediction_id: first,
                reason: cut(if stopped.is_panic() { "it panicked" } else { "it was stopped" }),
            },
        }));
        drop((turn, room));
    }

    /// Asks, and compares.
    async fn note<I: Fn(usize) -> String>(self, question: Question<I>) -> ShadowObservation {
        let Self { live, model, key, took, .. } = self;
        let began = Instant::now();
        let answer = answer(&model, &question).await;
        let candidate_ms = began.elapsed().as_secs_f64() * 1e3;
        let outcome = match answer {
            Ok(after) => {
                let rows = question.frame.rows();
                let found = Comparison::of(&question.before, &after, rows, live.shadow.tolerance);
                let id = |(row, difference)| ((question.id_of)(row), difference);
                let Comparison { rows, differing, largest, worst } = found;
                ShadowOutcome::Compared { rows, differing, largest, worst: worst.map(id) }
            }
            Err(error) => {
                // What a rollout says is kept for good, where no rule of the log can take a value out again.
                tracing::debug!(%error, "a candidate in shadow failed");
                let reason = cut(&error.without_values());
                ShadowOutcome::Failed { prediction_id: (question.id_of)(0), reason }
            }
        };
        ShadowObservation { key, baseline_ms: took.as_secs_f64() * 1e3, candidate_ms, outcome }
    }
}

/// What a request takes while it waits, in KiB.
fn weight(frame: &Frame, predictions: &Predictions) -> u32 {
    let tensors = frame.columns().iter().chain(predictions.tensors());
    let bytes: usize = tensors.map(|t| t.values().heap_bytes()).sum();
    u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(LEAST_KIB)
}

fn cut(reason: &str) -> String {
    reason.chars().take(LONGEST_REASON).collect()
}
