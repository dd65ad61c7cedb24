//! Rollouts in the database: started, moved, ended, read; and what they have seen so far, for the next start.

use super::course::Move;
use super::evidence::Evidence;
use super::plan::Plan;
use super::record::{COLUMNS, Rollout, RolloutDecision, RolloutState, json as parsed};
use super::report::Report;
use super::store;
use crate::endpoints::get;
use crate::error::ServingError;
use crate::model::ModelSpec;
use crate::route::{Endpoint, EndpointName};
use trueline_identity::{Authorized, Deploy, ReadProject};
use trueline_ledger::{Actor, Ledger, Millis};

/// The largest page of a list.
const LARGEST_PAGE: u32 = 500;

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
                let numbers = store::numbers(tx, &seen)?.map(|(numbers, _)| numbers);
                let moved = store::act(tx, &seen, Move::Promote, &reason, numbers.as_ref())?;
                let rollout = moved.unwrap_or(seen);
                Ok(Moved { endpoint: get(tx, &project, &rollout.endpoint)?, rollout })
            })
            .await
    }

    /// Does what the judge decided on one that it read from here; nothing when somebody else was faster.
    ///
    /// # Errors
    /// What the database says.
    pub async fn act(
        &self,
        seen: &Rollout,
        what: Move,
        reason: String,
        numbers: Report,
    ) -> Result<Option<Moved>, ServingError> {
        let seen = seen.clone();
        let actor = Actor { on_behalf_of: Some(seen.started_by.clone()), ..Actor::system("rollout") };
        self.ledger
            .write(&actor, move |tx| {
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
        let read = |tx: &mut trueline_db::Tx<'_>| {
            let sql =
                format!("SELECT {COLUMNS} FROM rollouts WHERE state IN ('running', 'held') ORDER BY id");
            tx.query(&sql, &[])?.iter_mut().map(Rollout::from_row).collect()
        };
        self.ledger.db().read(read).await
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ServingError::NotFound`].
    pub async fn get(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<Rollout, ServingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger.db().read(move |tx| store::by_id(tx, &project, &id)).await
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
        self.ledger.db().read(move |tx| store::newest(tx, &project, &endpoint, false)).await
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
            let sql = format!(
                "SELECT {COLUMNS} FROM rollouts
                 WHERE project = ?1 AND (?2 = '' OR endpoint = ?2) AND (started_at_ms < ?3 OR (started_at_ms = ?3 AND id < ?4))
                 ORDER BY started_at_ms DESC, id DESC LIMIT ?5"
            );
            let name = endpoint.as_ref().map_or("", EndpointName::as_str);
            let (at, id) = behind.clone().unwrap_or((i64::MAX, String::new()));
            let limit = limit.min(LARGEST_PAGE);
            let params = [(&project).into(), name.into(), at.into(), id.into(), limit.into()];
            tx.query(&sql, &params)?.iter_mut().map(Rollout::from_row).collect()
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
            store::by_id(tx, &project, &id)?;
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
        let rollout = rollout.clone();
        self.ledger.db().read(move |tx| store::numbers(tx, &rollout)).await
    }

    /// Writes down what was seen, so that a restart goes on from it.
    ///
    /// # Errors
    /// What the database says; the next time tries again.
    pub async fn save(
        &self,
        rollout: &Rollout,
        evidence: &Evidence,
        numbers: &Report,
    ) -> Result<(), ServingError> {
        let text = |done: Result<String, serde_json::Error>| {
            done.map_err(|e| {
                ServingError::State(format!("what a rollout has seen can't be written down: {e}"))
            })
        };
        let (state, numbers) =
            (text(serde_json::to_string(evidence))?, text(serde_json::to_string(numbers))?);
        let (project, id, now) = (rollout.project.clone(), rollout.id.clone(), self.ledger.sources().now());
        self.ledger
            .db()
            .bookkeep(move |tx| {
                tx.execute(
                    "INSERT INTO rollout_evidence (project, rollout, state, numbers, saved_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (project, rollout) DO UPDATE
                     SET state = excluded.state, numbers = excluded.numbers, saved_at_ms = excluded.saved_at_ms",
                    &[(&project).into(), id.as_str().into(), state.as_str().into(), numbers.as_str().into(), now.into()],
                )?;
                Ok(())
            })
            .await
    }

    /// Drops what was written down of rollouts that have ended; the decisions keep their numbers.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sweep(&self) -> Result<(), ServingError> {
        self.ledger
            .db()
            .bookkeep(|tx| {
                tx.execute(
                    "DELETE FROM rollout_evidence WHERE NOT EXISTS (
                         SELECT 1 FROM rollouts r WHERE r.project = rollout_evidence.project
                         AND r.id = rollout_evidence.rollout AND r.state IN ('running', 'held'))",
                    &[],
                )?;
                Ok(())
            })
            .await
    }

    /// What was written down last.
    ///
    /// # Errors
    /// What the database says.
    pub async fn saved(&self, rollout: &Rollout) -> Result<Option<Evidence>, ServingError> {
        let (project, id) = (rollout.project.clone(), rollout.id.clone());
        let read = move |tx: &mut trueline_db::Tx<'_>| {
            let sql = "SELECT state FROM rollout_evidence WHERE project = ?1 AND rollout = ?2";
            let row = tx.query_opt(sql, &[(&project).into(), id.as_str().into()])?;
            row.map(|mut row| parsed(&row.take::<String>(0)?, "evidence")).transpose()
        };
        self.ledger.db().read(read).await
    }
}
