//! Rollouts in the database: started, moved, ended, read. What they have seen so far is `trial`'s.

use super::course::Move;
use super::plan::Plan;
use super::record::{Rollout, RolloutDecision, RolloutState};
use super::report::Report;
use super::store;
use crate::endpoints::get;
use crate::error::ServingError;
use crate::model::ModelSpec;
use crate::route::{Endpoint, EndpointName};
use crate::trial::rows::{self, by_id};
use crate::trial::{self, Lease};
use trueline_identity::{Authorized, Deploy, ReadProject};
use trueline_ledger::{Actor, Ledger, Millis};

/// Rollouts of all endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rollouts {
    ledger: Ledger,
}

/// A rollout with the endpoint as it is after a change.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The rollout.
    pub rollout: Rollout,
    /// Its endpoint.
    pub endpoint: Endpoint,
}

impl Rollouts {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Starts one: the candidate gets the share of the first step beside what answers now, or is asked in shadow, if the plan
    /// begins with that.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] for a plan that makes no sense, [`ServingError::State`] when another is under way, when
    /// nothing answers yet, or when the candidate does already.
    pub async fn start(
        &self,
        leave: &Authorized<Deploy>,
        endpoint: &EndpointName,
        candidate: ModelSpec,
        plan: Plan,
        reason: String,
    ) -> Result<Moved, ServingError> {
        plan.check()?;
        let new = Rollout {
            id: String::new(),
            project: leave.project().clone(),
            endpoint: endpoint.clone(),
            baseline: Vec::new(),
            candidate,
            shadowing: plan.shadow.is_some(),
            plan,
            state: RolloutState::Running,
            step: 0,
            step_since_ms: 0,
            reason,
            started_by: String::new(),
            started_at_ms: 0,
            ended_at_ms: None,
        };
        self.ledger
            .write(leave.actor(), move |tx| {
                let rollout = store::start(tx, new.clone())?;
                Ok(Moved { endpoint: get(tx, &rollout.project, &rollout.endpoint)?, rollout })
            })
            .await
    }

    /// Ends one by a person's word: the baseline answers alone again.
    ///
    /// # Errors
    /// [`ServingError::NotFound`], [`ServingError::State`] when it has ended.
    pub async fn cancel(
        &self,
        leave: &Authorized<Deploy>,
        id: &str,
        reason: String,
    ) -> Result<Moved, ServingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let rollout = store::cancel(tx, &project, &id, &reason)?;
                Ok(Moved { endpoint: get(tx, &project, &rollout.endpoint)?, rollout })
            })
            .await
    }

    /// Promotes one by a person's word, whatever the numbers say; they are written down with it.
    ///
    /// # Errors
    /// [`ServingError::NotFound`], [`ServingError::State`] when it has ended.
    pub async fn promote(
        &self,
        leave: &Authorized<Deploy>,
        id: &str,
        reason: String,
    ) -> Result<Moved, ServingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let seen = store::open(tx, &project, &id)?;
                let numbers = store::known(tx, &seen)?;
                let moved = store::act(tx, &seen, Move::Promote, &reason, numbers.as_ref())?;
                let rollout = moved.unwrap_or(seen);
                Ok(Moved { endpoint: get(tx, &project, &rollout.endpoint)?, rollout })
            })
            .await
    }

    /// Does what the judge decided on one that it read from here; nothing when somebody else was faster, or judges by now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn act(
        &self,
        lease: &Lease,
        seen: &Rollout,
        what: Move,
        reason: String,
        numbers: Report,
    ) -> Result<Option<Moved>, ServingError> {
        let (lease, seen) = (lease.clone(), seen.clone());
        let actor = Actor { on_behalf_of: Some(seen.started_by.clone()), ..Actor::system("rollout") };
        self.ledger
            .write(&actor, move |tx| {
                if !lease.holds(tx)? {
                    return Ok(None);
                }
                let moved = store::act(tx, &seen, what, &reason, Some(&numbers))?;
                moved
                    .map(|rollout| Ok(Moved { endpoint: get(tx, &seen.project, &seen.endpoint)?, rollout }))
                    .transpose()
            })
            .await
    }

    /// All of all projects that have not ended.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(&self) -> Result<Vec<Rollout>, ServingError> {
        self.ledger.db().read(rows::all_open).await
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ServingError::NotFound`].
    pub async fn get(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<Rollout, ServingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger.db().read(move |tx| by_id(tx, &project, &id)).await
    }

    /// The newest of an endpoint, under way or ended.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest(
        &self,
        leave: &Authorized<ReadProject>,
        endpoint: &EndpointName,
    ) -> Result<Option<Rollout>, ServingError> {
        let (project, endpoint) = (leave.project().clone(), endpoint.clone());
        self.ledger.db().read(move |tx| rows::newest(tx, &project, &endpoint, false)).await
    }

    /// Those of an endpoint, or of all, newest first; those behind one (by its start and id), when it is given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(
        &self,
        leave: &Authorized<ReadProject>,
        endpoint: Option<&EndpointName>,
        behind: Option<(Millis, String)>,
        limit: u32,
    ) -> Result<Vec<Rollout>, ServingError> {
        let (project, endpoint) = (leave.project().clone(), endpoint.cloned());
        let read = move |tx: &mut trueline_db::Tx<'_>| {
            rows::list(tx, &project, endpoint.as_ref(), behind.as_ref(), limit)
        };
        self.ledger.db().read(read).await
    }

    /// The decisions on one, oldest first. There is one for its start, for each step and for its end.
    ///
    /// # Errors
    /// [`ServingError::NotFound`].
    pub async fn decisions(
        &self,
        leave: &Authorized<ReadProject>,
        id: &str,
    ) -> Result<Vec<RolloutDecision>, ServingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        let read = move |tx: &mut trueline_db::Tx<'_>| {
            by_id::<Rollout>(tx, &project, &id)?;
            let sql = format!(
                "SELECT {} FROM rollout_decisions WHERE project = ?1 AND rollout = ?2 ORDER BY number",
                RolloutDecision::COLUMNS
            );
            let params = [(&project).into(), id.as_str().into()];
            tx.query(&sql, &params)?.iter_mut().map(RolloutDecision::from_row).collect()
        };
        self.ledger.db().read(read).await
    }

    /// What is known of one by now, and as of when; none before it was first written down.
    ///
    /// # Errors
    /// What the database says.
    pub async fn numbers(&self, rollout: &Rollout) -> Result<Option<(Report, Millis)>, ServingError> {
        let key = rollout.key();
        self.ledger.db().read(move |tx| trial::numbers(tx, &key.project, &key.id)).await
    }
}
