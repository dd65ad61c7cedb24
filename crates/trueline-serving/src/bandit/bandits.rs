//! Bandits in the database: started, moved, ended, read; and what they have seen so far, for the next start.

use super::course::BanditMove;
use super::evidence::BanditEvidence;
use super::plan::BanditPlan;
use super::record::{Bandit, BanditDecision, BanditState, COLUMNS, json as parsed};
use super::report::BanditReport;
use super::store;
use crate::endpoints::get;
use crate::error::ServingError;
use crate::model::ModelSpec;
use crate::route::{Endpoint, EndpointName};
use std::collections::BTreeMap;
use trueline_db::Tx;
use trueline_identity::{Authorized, Deploy, ReadProject};
use trueline_ledger::{Actor, Ledger};
use trueline_stats::StatsError;
use trueline_stats::allotment::allot;

/// The largest number of arms: as many as an endpoint has variants.
const MOST_ARMS: usize = 16;
/// The largest page of a list, and of decisions, newest first.
const LARGEST_PAGE: u32 = 500;

/// Bandits of all endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bandits {
    ledger: Ledger,
}

/// A bandit with the endpoint as it is after a change.
#[derive(Clone, Debug)]
pub struct BanditMoved {
    /// The bandit.
    pub bandit: Bandit,
    /// Its endpoint.
    pub endpoint: Endpoint,
}

fn broken(error: StatsError) -> ServingError {
    ServingError::State(format!("a bandit can't allot: {error}"))
}

impl Bandits {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Starts one: its arms answer with even shares. The log of predictions is read from `cursor` on.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] for a plan or arms that make no sense, [`ServingError::State`] while another bandit or a
    /// rollout is under way.
    pub async fn start(
        &self,
        leave: &Authorized<Deploy>,
        endpoint: &EndpointName,
        (arms, cursor): (Vec<ModelSpec>, String),
        plan: BanditPlan,
        reason: String,
    ) -> Result<BanditMoved, ServingError> {
        if !(2..=MOST_ARMS).contains(&arms.len()) {
            let told = format!("a bandit takes 2 to {MOST_ARMS} versions, not {}", arms.len());
            return Err(ServingError::Invalid(told));
        }
        plan.check(arms.len())?;
        let shares = allot(&vec![1.0; arms.len()], 1).map_err(broken)?;
        let new = Bandit {
            id: String::new(),
            project: leave.project().clone(),
            endpoint: endpoint.clone(),
            arms,
            plan,
            state: BanditState::Running,
            shares,
            generation: 0,
            allotted_at_ms: 0,
            cursor,
            reason,
            started_by: String::new(),
            started_at_ms: 0,
            ended_at_ms: None,
        };
        self.ledger.write(leave.actor(), move |tx| moved(tx, |tx| store::start(tx, new.clone()))).await
    }

    /// Ends the one that is under way at an endpoint, by a person's word: the shares stay as they are, or the arm `to` answers
    /// alone.
    ///
    /// # Errors
    /// [`ServingError::NotFound`], [`ServingError::State`] when none is under way, [`ServingError::Invalid`] for what is no
    /// arm.
    pub async fn stop(
        &self,
        leave: &Authorized<Deploy>,
        endpoint: &EndpointName,
        to: Option<String>,
        reason: String,
    ) -> Result<BanditMoved, ServingError> {
        let (project, endpoint) = (leave.project().clone(), endpoint.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                moved(tx, |tx| store::stop(tx, &project, &endpoint, to.as_deref(), &reason))
            })
            .await
    }

    /// Does what was decided on one that was read from here; nothing when somebody else was faster.
    ///
    /// # Errors
    /// What the database says.
    pub async fn act(
        &self,
        seen: &Bandit,
        what: BanditMove,
        reason: String,
        numbers: BanditReport,
    ) -> Result<Option<BanditMoved>, ServingError> {
        let seen = seen.clone();
        let actor = Actor { on_behalf_of: Some(seen.started_by.clone()), ..Actor::system("bandit") };
        self.ledger
            .write(&actor, move |tx| {
                let done = store::act(tx, &seen, &what, &reason, Some(&numbers))?;
                let Some(bandit) = done else { return Ok(None) };
                let endpoint = get(tx, &bandit.project, &bandit.endpoint)?;
                Ok(Some(BanditMoved { bandit, endpoint }))
            })
            .await
    }

    /// All of all projects that still allot.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(&self) -> Result<Vec<Bandit>, ServingError> {
        self.ledger.db().read(store::open).await
    }

    /// The newest of an endpoint, under way or ended.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest(
        &self,
        leave: &Authorized<ReadProject>,
        endpoint: &EndpointName,
    ) -> Result<Option<Bandit>, ServingError> {
        let (project, endpoint) = (leave.project().clone(), endpoint.clone());
        self.ledger.db().read(move |tx| store::newest(tx, &project, &endpoint, false)).await
    }

    /// Those of an endpoint, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(
        &self,
        leave: &Authorized<ReadProject>,
        endpoint: &EndpointName,
        limit: u32,
    ) -> Result<Vec<Bandit>, ServingError> {
        let (project, endpoint) = (leave.project().clone(), endpoint.clone());
        let read = move |tx: &mut Tx<'_>| {
            let sql = format!(
                "SELECT {COLUMNS} FROM bandits WHERE project = ?1 AND endpoint = ?2
                 ORDER BY started_at_ms DESC, id DESC LIMIT ?3"
            );
            let params = [(&project).into(), endpoint.as_str().into(), limit.min(LARGEST_PAGE).into()];
            tx.query(&sql, &params)?.iter_mut().map(Bandit::from_row).collect()
        };
        self.ledger.db().read(read).await
    }

    /// The decisions on one, newest first, as many as a page has.
    ///
    /// # Errors
    /// What the database says.
    pub async fn decisions(
        &self,
        leave: &Authorized<ReadProject>,
        id: &str,
    ) -> Result<Vec<BanditDecision>, ServingError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        let read = move |tx: &mut Tx<'_>| {
            store::by_id(tx, &project, &id)?;
            let sql = format!(
                "SELECT {} FROM bandit_decisions WHERE project = ?1 AND bandit = ?2 ORDER BY number DESC LIMIT ?3",
                BanditDecision::COLUMNS
            );
            let params = [(&project).into(), id.as_str().into(), LARGEST_PAGE.into()];
            tx.query(&sql, &params)?.iter_mut().map(BanditDecision::from_row).collect()
        };
        self.ledger.db().read(read).await
    }

    /// The shares that a bandit's arms had, by the generation of the route.
    ///
    /// # Errors
    /// What the database says.
    pub async fn allotments(&self, bandit: &Bandit) -> Result<BTreeMap<i64, Vec<u32>>, ServingError> {
        let (project, id) = (bandit.project.clone(), bandit.id.clone());
        let read = move |tx: &mut Tx<'_>| {
            let sql = "SELECT generation, shares FROM bandit_decisions
                       WHERE project = ?1 AND bandit = ?2 AND decision IN ('started', 'allotted')";
            let rows = tx.query(sql, &[(&project).into(), id.as_str().into()])?;
            let of =
                |mut row: trueline_db::Row| Ok((row.take(0)?, parsed(&row.take::<String>(1)?, "shares")?));
            rows.into_iter().map(of).collect()
        };
        self.ledger.db().read(read).await
    }

    /// What is known of one by now: while it is under way as of the last look, afterwards as of its end.
    ///
    /// # Errors
    /// What the database says.
    pub async fn numbers(&self, bandit: &Bandit) -> Result<Option<BanditReport>, ServingError> {
        let bandit = bandit.clone();
        self.ledger.db().read(move |tx| store::numbers(tx, &bandit)).await
    }

    /// Writes down what was seen, so that a restart goes on from it. What is kept is one row, with how far the log was read.
    ///
    /// # Errors
    /// What the database says; the next time tries again.
    pub async fn save(
        &self,
        bandit: &Bandit,
        evidence: &BanditEvidence,
        numbers: &BanditReport,
    ) -> Result<(), ServingError> {
        let text = |done: Result<String, serde_json::Error>| {
            done.map_err(|e| {
                ServingError::State(format!("what a bandit has seen can't be written down: {e}"))
            })
        };
        let (state, numbers) =
            (text(serde_json::to_string(evidence))?, text(serde_json::to_string(numbers))?);
        let (project, id, now) = (bandit.project.clone(), bandit.id.clone(), self.ledger.sources().now());
        self.ledger
            .db()
            .bookkeep(move |tx| {
                tx.execute(
                    "INSERT INTO bandit_evidence (project, bandit, state, numbers, saved_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (project, bandit) DO UPDATE
                     SET state = excluded.state, numbers = excluded.numbers, saved_at_ms = excluded.saved_at_ms",
                    &[(&project).into(), id.as_str().into(), state.as_str().into(), numbers.as_str().into(), now.into()],
                )?;
                Ok(())
            })
            .await
    }

    /// What was written down last.
    ///
    /// # Errors
    /// What the database says.
    pub async fn saved(&self, bandit: &Bandit) -> Result<Option<BanditEvidence>, ServingError> {
        let (project, id) = (bandit.project.clone(), bandit.id.clone());
        let read = move |tx: &mut Tx<'_>| {
            let sql = "SELECT state FROM bandit_evidence WHERE project = ?1 AND bandit = ?2";
            let row = tx.query_opt(sql, &[(&project).into(), id.as_str().into()])?;
            row.map(|mut row| parsed(&row.take::<String>(0)?, "evidence")).transpose()
        };
        self.ledger.db().read(read).await
    }
}

/// Does something to a bandit, and answers it with its endpoint.
fn moved(
    tx: &mut trueline_ledger::LedgerTx<'_, '_>,
    change: impl FnOnce(&mut trueline_ledger::LedgerTx<'_, '_>) -> Result<Bandit, ServingError>,
) -> Result<BanditMoved, ServingError> {
    let bandit = change(tx)?;
    Ok(BanditMoved { endpoint: get(tx, &bandit.project, &bandit.endpoint)?, bandit })
}
