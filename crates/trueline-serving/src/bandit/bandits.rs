//! Bandits in the database: started, moved, ended, read. What they have seen so far is `trial`'s.

use super::course::BanditMove;
use super::plan::BanditPlan;
use super::record::{Bandit, BanditDecision, BanditState};
use super::report::BanditReport;
use super::store;
use crate::endpoints::get;
use crate::error::ServingError;
use crate::model::ModelSpec;
use crate::route::{Endpoint, EndpointName};
use crate::trial::rows::{self, LARGEST_PAGE, by_id};
use crate::trial::{Lease, parsed};
use std::collections::BTreeMap;
use trueline_db::Tx;
use trueline_identity::{Authorized, Deploy, ReadProject};
use trueline_ledger::{Actor, Ledger};
use trueline_stats::StatsError;
use trueline_stats::allotment::allot;

/// The largest number of arms: as many as an endpoint has variants.
const MOST_ARMS: usize = 16;

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

    /// Starts one: its arms answer with even shares.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] for a plan or arms that make no sense, [`ServingError::State`] while another bandit or a
    /// rollout is under way.
    pub async fn start(
        &self,
        leave: &Authorized<Deploy>,
        endpoint: &EndpointName,
        arms: Vec<ModelSpec>,
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

    /// Does what was decided on one that was read from here; nothing when somebody else was faster, or judges by now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn act(
        &self,
        lease: &Lease,
        seen: &Bandit,
        what: BanditMove,
        reason: String,
        numbers: BanditReport,
    ) -> Result<Option<BanditMoved>, ServingError> {
        let (lease, seen) = (lease.clone(), seen.clone());
        let actor = Actor { on_behalf_of: Some(seen.started_by.clone()), ..Actor::system("bandit") };
        self.ledger
            .write(&actor, move |tx| {
                if !lease.holds(tx)? {
                    return Ok(None);
                }
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
        self.ledger.db().read(rows::all_open).await
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
        self.ledger.db().read(move |tx| rows::newest(tx, &project, &endpoint, false)).await
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
        let read = move |tx: &mut Tx<'_>| rows::list(tx, &project, Some(&endpoint), None, limit);
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
            by_id::<Bandit>(tx, &project, &id)?;
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
            let of = |mut row: trueline_db::Row| {
                Ok((row.take(0)?, parsed(&row.take::<String>(1)?, "bandit", "shares")?))
            };
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
}

/// Does something to a bandit, and answers it with its endpoint.
fn moved(
    tx: &mut trueline_ledger::LedgerTx<'_, '_>,
    change: impl FnOnce(&mut trueline_ledger::LedgerTx<'_, '_>) -> Result<Bandit, ServingError>,
) -> Result<BanditMoved, ServingError> {
    let bandit = change(tx)?;
    Ok(BanditMoved { endpoint: get(tx, &bandit.project, &bandit.endpoint)?, bandit })
}
