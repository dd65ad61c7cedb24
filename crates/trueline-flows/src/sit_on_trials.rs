//! Rollouts and bandits sit once a second: what came since the last time is taken in, looked at, and acted on. Of several servers
//! on one database one judges a trial at a time; the others hand it what they have seen. What is seen and what is done is each
//! kind's own (`judge_rollouts`, `allot_bandits`).
//!
//! It needs the database, requests do not: what they showed waits in memory, or in the log, until the next sitting.

mod desk;

use crate::deploy::Deployments;
use desk::Desk;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use trueline_identity::Project;
use trueline_ledger::{Millis, Sources};
use trueline_predictions::PredictionLog;
use trueline_serving::trial::{Lease, Position, TrialKey};
use trueline_serving::{Endpoint, ServingError};

/// What this server saw since a position.
#[derive(Debug)]
pub struct Gathered<S> {
    /// What it is; none where nothing came, and the position is what it was.
    pub seen: Option<S>,
    /// Whether there is more already.
    pub more: bool,
}

/// What sitting needs.
#[derive(Clone, Debug)]
pub struct Sits {
    /// Endpoints, trials and their evidence.
    pub parts: Deployments,
    /// Where predictions and labels are read.
    pub log: Arc<PredictionLog>,
    /// The time.
    pub sources: Sources,
}

/// A kind of trial: rollouts, or bandits.
pub trait TrialKind: Clone + PartialEq + fmt::Debug + Send + Sync + Sized + 'static {
    /// What is told when sitting begins to fail.
    const FAILS: &'static str;
    /// What is told when it does no longer.
    const IS_BACK: &'static str;
    /// What is told when one of them moves.
    const MOVED: &'static str;

    /// What was seen by all servers so far.
    type Evidence: Clone + Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static;
    /// What that says.
    type Numbers: Clone + Serialize + fmt::Debug + Send + Sync;
    /// What one server saw at one time.
    type Seen: Serialize + DeserializeOwned + Send + 'static;
    /// What a server knows of one between two sittings, beside its evidence.
    type Memory: Default + fmt::Debug + Send + Sync;
    /// What may be done.
    type Move: Send;

    /// What its evidence is found by.
    fn key(&self) -> TrialKey;

    /// Its state, and why it is there.
    fn state(&self) -> (&'static str, &str);

    /// All of all projects that have not ended.
    fn all_open(parts: &Deployments) -> impl Future<Output = Result<Vec<Self>, ServingError>> + Send;

    /// Reads what has to be known of it as it is now.
    fn remember(
        &self,
        parts: &Deployments,
        memory: &mut Self::Memory,
    ) -> impl Future<Output = Result<(), ServingError>> + Send;

    /// The evidence that it begins with.
    ///
    /// # Errors
    /// A plan that was not checked.
    fn nothing_seen(&self) -> Result<Self::Evidence, ServingError>;

    /// Drops how far a log was read, of evidence that was written down before that was kept by server: nobody knows any more
    /// which server's it was.
    fn forget_cursor(evidence: &mut Self::Evidence);

    /// Whether keys are remembered, which takes some hundred kilobytes.
    fn has_keys(evidence: &Self::Evidence) -> bool;

    /// What came at this server since the position, which is moved on. It reads files.
    ///
    /// # Errors
    /// What can't be read; the position stays then.
    fn gather(
        &self,
        with: &Sits,
        memory: &mut Self::Memory,
        at: &mut Position,
    ) -> Result<Gathered<Self::Seen>, ServingError>;

    /// Takes in what a server, by its name, saw.
    ///
    /// # Errors
    /// A value that the tests do not take; the evidence is not to be used then.
    fn take_in(
        &self,
        evidence: &mut Self::Evidence,
        server: &str,
        seen: Self::Seen,
    ) -> Result<(), ServingError>;

    /// Says in the evidence that a batch of a server is no part of it, since it could not be read.
    fn lose_batch(evidence: &mut Self::Evidence);

    /// What all of it says.
    ///
    /// # Errors
    /// As for [`TrialKind::take_in`].
    fn look(&self, evidence: &mut Self::Evidence) -> Result<Self::Numbers, ServingError>;

    /// What is to be done now; none while it stays as it is.
    fn decide(&self, evidence: &Self::Evidence, numbers: &Self::Numbers, now: Millis) -> Option<Self::Move>;

    /// Does it; nothing when somebody else was faster, or judges by now.
    fn act(
        &self,
        parts: &Deployments,
        lease: &Lease,
        what: Self::Move,
        numbers: Self::Numbers,
    ) -> impl Future<Output = Result<Option<(Self, Endpoint)>, ServingError>> + Send;

    /// Has the evidence know where the trial is, which was at `before` until now.
    fn follow(&self, before: Option<&Self>, evidence: &mut Self::Evidence);
}

/// All trials of a kind, as one server sits on them.
#[derive(Debug)]
pub struct Sitting<T: TrialKind> {
    with: Sits,
    desks: HashMap<String, Desk<T>>,
    swept: bool,
}

impl<T: TrialKind> Sitting<T> {
    /// With nothing seen yet; what was written down is read when a trial has its first turn.
    #[must_use]
    pub fn new(with: Sits) -> Self {
        Self { with, desks: HashMap::new(), swept: false }
    }

    /// Gives every trial that is under way its turn, once.
    ///
    /// # Errors
    /// The first failure; the others have their turn all the same, and what failed is tried again at the next sitting.
    pub async fn sit(&mut self, projects: &[Project]) -> Result<(), ServingError> {
        let open = T::all_open(&self.with.parts).await?;
        let keys: Vec<TrialKey> = open.iter().map(TrialKind::key).collect();
        let before = self.desks.len();
        self.desks.retain(|id, _| keys.iter().any(|key| key.id == *id));
        self.swept &= self.desks.len() == before;
        let mut failed = None;
        if !self.swept {
            // What could not be swept is tried again, and keeps nobody from being judged.
            failed = self.with.parts.evidence.sweep().await.err();
            self.swept = failed.is_none();
        }
        for (trial, key) in open.into_iter().zip(keys) {
            let Some(project) = projects.iter().find(|p| p.id == key.project) else { continue };
            let desk = self.desks.entry(key.id).or_insert_with(|| Desk::new(trial.clone()));
            if let Err(error) = desk.turn(&self.with, project, trial).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Writes down or hands over what was seen since the last time, at a stop, and lets others judge.
    pub async fn adjourn(&mut self) {
        for (id, desk) in &mut self.desks {
            if let Err(error) = desk.close(&self.with).await {
                tracing::warn!(%error, trial = id, "what a rollout or a bandit saw last is not written down");
            }
        }
    }
}
