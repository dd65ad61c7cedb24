//! What changes in the database when a bandit moves: its row, the decision with its numbers, the endpoint's route, all in one
//! transaction with their events.

use super::course::BanditMove;
use super::record::{Bandit, BanditDecision, BanditState};
use super::report::BanditReport;
use crate::endpoints::{Next, append, get};
use crate::error::ServingError;
use crate::log_rules::LogShare;
use crate::rollout;
use crate::route::{Endpoint, EndpointName, RouteChange, check_variants};
use crate::trial;
use crate::trial::rows::{by_id, newest};
use serde_json::{Value as Json, json};
use trueline_db::Tx;
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};
use trueline_stats::allotment::WHOLE;

/// Refuses what would change the shares under a bandit's hands.
pub(crate) fn refuse_while_open(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    endpoint: &Endpoint,
) -> Result<(), ServingError> {
    match newest::<Bandit>(tx, project, &endpoint.name, true)? {
        None => Ok(()),
        Some(_) => Err(ServingError::State(format!(
            "a bandit allots the traffic of endpoint `{0}`: end it first with `trueline bandit stop {0}`",
            endpoint.name
        ))),
    }
}

/// Ends the bandit that is under way, because a person has changed the route; the route is the caller's matter.
pub(crate) fn overrule(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    endpoint: &Endpoint,
    what: &str,
    reason: &str,
) -> Result<(), ServingError> {
    let Some(mut open) = newest::<Bandit>(tx, project, &endpoint.name, true)? else { return Ok(()) };
    let known = numbers(tx, &open)?;
    open.state = BanditState::Overruled;
    let why = if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") };
    record(tx, &mut open, &why, known.as_ref())
}

/// Writes a new bandit down and has its arms answer with even shares.
pub(super) fn start(tx: &mut LedgerTx<'_, '_>, mut new: Bandit) -> Result<Bandit, ServingError> {
    let before = get(tx, &new.project, &new.endpoint)?;
    rollout::store::refuse_while_open(tx, &new.project, &before)?;
    refuse_while_open(tx, &new.project, &before)?;
    if before.log_rules.sample_failures && before.log_rules.sample != LogShare::EVERY {
        return Err(ServingError::State(format!(
            "endpoint `{}` logs failures more often than answers, which a bandit would take for bad arms: declare its log \
             without sample_failures first",
            new.endpoint
        )));
    }
    check_variants(&new.variants())?;
    (new.id, new.started_at_ms, new.allotted_at_ms) = (tx.derived_id("bandit"), tx.now(), tx.now());
    new.started_by.clone_from(&tx.actor().principal);
    new.generation = before.route.as_ref().map_or(0, |r| r.generation) + 1;
    let text = |value: Json| value.to_string();
    tx.execute(
        "INSERT INTO bandits (id, project, endpoint, arms, plan, state, shares, generation, allotted_at_ms, log_cursor,
             reason, started_by, started_at_ms, ended_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, NULL)",
        &[
            new.id.as_str().into(),
            (&new.project).into(),
            new.endpoint.as_str().into(),
            text(json!(new.arms)).into(),
            text(json!(new.plan)).into(),
            new.state.as_str().into(),
            text(json!(new.shares)).into(),
            new.generation.into(),
            new.allotted_at_ms.into(),
            // Where the log is read on is kept by server, with the evidence.
            "".into(),
            new.reason.as_str().into(),
            new.started_by.as_str().into(),
            new.started_at_ms.into(),
        ],
    )?;
    let reason = new.reason.clone();
    decided(tx, &mut new, "started", &reason, None)?;
    reroute(tx, &new, &before, RouteChange::Allotted)?;
    Ok(new)
}

/// Does a move; nothing when somebody else was faster. What a move is made of is in the plan, which is why no leave is needed
/// beyond the one that the bandit was started with.
pub(super) fn act(
    tx: &mut LedgerTx<'_, '_>,
    seen: &Bandit,
    what: &BanditMove,
    reason: &str,
    numbers: Option<&BanditReport>,
) -> Result<Option<Bandit>, ServingError> {
    let mut now: Bandit = by_id(tx, &seen.project, &seen.id)?;
    let before = get(tx, &now.project, &now.endpoint)?;
    let routed = before.route.as_ref().map(|r| r.generation);
    if (now.state, now.generation) != (seen.state, seen.generation) || routed != Some(now.generation) {
        return Ok(None);
    }
    match what {
        BanditMove::Stay => return Ok(None),
        BanditMove::Allot(shares) => {
            now.shares.clone_from(shares);
            (now.generation, now.allotted_at_ms) = (now.generation + 1, tx.now());
            decided(tx, &mut now, "allotted", reason, numbers)?;
            reroute(tx, &now, &before, RouteChange::Allotted)?;
        }
        BanditMove::Propose(_) => {
            now.state = BanditState::Proposed;
            record(tx, &mut now, reason, numbers)?;
        }
        BanditMove::Finish(arm) => {
            finish(tx, &mut now, &before, *arm, BanditState::Finished, (reason, numbers))?;
        }
        BanditMove::Expire => {
            now.state = BanditState::Expired;
            record(tx, &mut now, reason, numbers)?;
        }
    }
    Ok(Some(now))
}

/// Ends it by a person's word: the shares stay as they are, or one arm answers alone.
pub(super) fn stop(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    endpoint: &EndpointName,
    to: Option<&str>,
    reason: &str,
) -> Result<Bandit, ServingError> {
    let before = get(tx, project, endpoint)?;
    let mut open: Bandit = newest(tx, project, endpoint, true)?.ok_or_else(|| {
        ServingError::State(format!("no bandit allots the traffic of endpoint `{endpoint}`"))
    })?;
    let known = numbers(tx, &open)?;
    let Some(to) = to else {
        open.state = BanditState::Stopped;
        record(tx, &mut open, reason, known.as_ref())?;
        return Ok(open);
    };
    let arm = open.arm(to).ok_or_else(|| {
        let arms: Vec<String> = open.arms.iter().map(crate::ModelSpec::name).collect();
        ServingError::Invalid(format!("`{to}` is no arm of this bandit: name one of {}", arms.join(", ")))
    })?;
    finish(tx, &mut open, &before, arm, BanditState::Stopped, (reason, known.as_ref()))?;
    Ok(open)
}

/// One arm answers alone from now on.
fn finish(
    tx: &mut LedgerTx<'_, '_>,
    bandit: &mut Bandit,
    before: &Endpoint,
    arm: usize,
    state: BanditState,
    (reason, numbers): (&str, Option<&BanditReport>),
) -> Result<(), ServingError> {
    bandit.shares = (0..bandit.arms.len()).map(|i| if i == arm { WHOLE } else { 0 }).collect();
    (bandit.state, bandit.generation, bandit.allotted_at_ms) = (state, bandit.generation + 1, tx.now());
    record(tx, bandit, reason, numbers)?;
    reroute(tx, bandit, before, RouteChange::Promoted)
}

/// What is known of one by now: while it is under way by its evidence, afterwards by the last decision that has numbers.
pub(super) fn numbers(tx: &mut Tx<'_>, bandit: &Bandit) -> Result<Option<BanditReport>, ServingError> {
    if bandit.state.is_open() {
        return Ok(trial::numbers(tx, &bandit.project, &bandit.id)?.map(|(known, _)| known));
    }
    let sql = "SELECT numbers FROM bandit_decisions
               WHERE project = ?1 AND bandit = ?2 AND numbers IS NOT NULL ORDER BY number DESC LIMIT 1";
    let row = tx.query_opt(sql, &[(&bandit.project).into(), bandit.id.as_str().into()])?;
    row.map(|mut row| trial::parsed(&row.take::<String>(0)?, "bandit", "numbers")).transpose()
}

/// The route that has the bandit's shares. One that an arm has alone is no bandit's any more: a rollback may return to it.
fn reroute(
    tx: &mut LedgerTx<'_, '_>,
    bandit: &Bandit,
    before: &Endpoint,
    change: RouteChange,
) -> Result<(), ServingError> {
    let by = (change == RouteChange::Allotted).then_some(bandit.id.as_str());
    let (variants, reason) = (bandit.variants(), bandit.reason.as_str());
    let next = Next { variants: &variants, change, rollout: None, bandit: by, shadow: None, reason };
    append(tx, &bandit.project, before, &next)
}

/// Writes the state that the bandit came to, as a decision.
fn record(
    tx: &mut LedgerTx<'_, '_>,
    bandit: &mut Bandit,
    reason: &str,
    numbers: Option<&BanditReport>,
) -> Result<(), ServingError> {
    decided(tx, bandit, bandit.state.as_str(), reason, numbers)
}

/// Writes the bandit down and the decision that led to it, with an event that carries the numbers.
fn decided(
    tx: &mut LedgerTx<'_, '_>,
    bandit: &mut Bandit,
    decision: &'static str,
    reason: &str,
    numbers: Option<&BanditReport>,
) -> Result<(), ServingError> {
    let (now, by, key) = (tx.now(), tx.actor().principal.clone(), (&bandit.project, bandit.id.as_str()));
    let shares = json!(bandit.shares).to_string();
    bandit.ended_at_ms = (!bandit.state.is_open()).then_some(now);
    reason.clone_into(&mut bandit.reason);
    tx.execute(
        "UPDATE bandits SET state = ?3, shares = ?4, generation = ?5, allotted_at_ms = ?6, reason = ?7, ended_at_ms = ?8
         WHERE project = ?1 AND id = ?2",
        &[
            key.0.into(),
            key.1.into(),
            bandit.state.as_str().into(),
            shares.as_str().into(),
            bandit.generation.into(),
            bandit.allotted_at_ms.into(),
            reason.into(),
            bandit.ended_at_ms.into(),
        ],
    )?;
    tx.execute(
        &format!(
            "INSERT INTO bandit_decisions (project, bandit, {})
             VALUES (?1, ?2, (SELECT COALESCE(MAX(number), 0) + 1 FROM bandit_decisions
                              WHERE project = ?1 AND bandit = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            BanditDecision::COLUMNS
        ),
        &[
            key.0.into(),
            key.1.into(),
            decision.into(),
            bandit.generation.into(),
            shares.into(),
            reason.into(),
            numbers.map(|n| json!(n).to_string()).into(),
            by.into(),
            now.into(),
        ],
    )?;
    tell(tx, bandit, decision, numbers)
}

/// The event of a decision, and the edges to the versions that it is about.
fn tell(
    tx: &mut LedgerTx<'_, '_>,
    bandit: &Bandit,
    decision: &'static str,
    numbers: Option<&BanditReport>,
) -> Result<(), ServingError> {
    let action = match decision {
        "started" => "bandit.started",
        "allotted" => "bandit.allotted",
        "proposed" => "bandit.proposed",
        "finished" => "bandit.finished",
        "stopped" => "bandit.stopped",
        "expired" => "bandit.expired",
        _ => "bandit.overruled",
    };
    let arm = |(arm, share): (&crate::ModelSpec, &u32)| json!({ "version": arm.name(), "share": share, "manifest_digest": arm.manifest_digest });
    let event = NewEvent::new(&bandit.project, action, "bandit", &bandit.id).with(json!({
        "endpoint": bandit.endpoint, "state": bandit.state, "generation": bandit.generation,
        "arms": bandit.arms.iter().zip(&bandit.shares).map(arm).collect::<Vec<_>>(), "reason": bandit.reason,
        "plan": (decision == "started").then_some(&bandit.plan), "numbers": numbers,
    }));
    let event = tx.emit(event)?;
    for arm in &bandit.arms {
        let (own, version) = (Node::new("bandit", bandit.id.as_str()), Node::new("version", &arm.id));
        tx.link(&event, &Edge::new(&bandit.project, own, "tried", version))?;
    }
    Ok(())
}
