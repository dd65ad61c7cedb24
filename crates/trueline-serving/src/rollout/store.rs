//! What changes in the database when a rollout moves: its row, the decision with its numbers, the endpoint's route, all in
//! one transaction with their events.

use super::course::Move;
use super::record::{Rollout, RolloutDecision, RolloutState, shares};
use super::report::Report;
use crate::bandit;
use crate::endpoints::{Next, append, get};
use crate::error::ServingError;
use crate::route::{Endpoint, RouteChange, Variant};
use crate::trial::numbers;
use crate::trial::rows::{by_id, newest};
use serde_json::{Value as Json, json};
use trueline_db::Tx;
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};

/// The numbers of one by now.
pub(super) fn known(tx: &mut Tx<'_>, rollout: &Rollout) -> Result<Option<Report>, ServingError> {
    Ok(numbers(tx, &rollout.project, &rollout.id)?.map(|(known, _)| known))
}

/// Refuses what would change the shares under a rollout's hands.
pub(crate) fn refuse_while_open(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    endpoint: &Endpoint,
) -> Result<(), ServingError> {
    match newest::<Rollout>(tx, project, &endpoint.name, true)? {
        None => Ok(()),
        Some(open) => Err(ServingError::State(format!(
            "a rollout of {} is under way on endpoint `{}`: wait for its end, or end it with `trueline rollout cancel {}`",
            open.candidate.name(),
            endpoint.name,
            open.id
        ))),
    }
}

/// Marks the rollout that is under way as cancelled; the route is the caller's matter.
pub(crate) fn cancel_open(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    endpoint: &Endpoint,
    reason: &str,
) -> Result<(), ServingError> {
    let Some(mut open) = newest::<Rollout>(tx, project, &endpoint.name, true)? else { return Ok(()) };
    let known = known(tx, &open)?;
    open.state = RolloutState::Cancelled;
    record(tx, &mut open, "rollout.cancelled", reason, known.as_ref())
}

/// Writes a new rollout down and gives its candidate the first share.
pub(super) fn start(tx: &mut LedgerTx<'_, '_>, mut new: Rollout) -> Result<Rollout, ServingError> {
    let before = get(tx, &new.project, &new.endpoint)?;
    refuse_while_open(tx, &new.project, &before)?;
    bandit::store::refuse_while_open(tx, &new.project, &before)?;
    let route = before.route.as_ref().ok_or_else(|| {
        ServingError::State(format!(
            "nothing answers at endpoint `{}` yet that {} could be compared with: deploy a version to it first",
            new.endpoint,
            new.candidate.name()
        ))
    })?;
    new.baseline.clone_from(&route.variants);
    if let Some(same) = new.baseline.iter().find(|v| v.spec.name() == new.candidate.name()) {
        return Err(ServingError::State(format!(
            "{} answers at endpoint `{}` already: a rollout brings a version that does not",
            same.spec.name(),
            new.endpoint
        )));
    }
    (new.id, new.started_at_ms, new.step_since_ms) = (tx.derived_id("rollout"), tx.now(), tx.now());
    new.started_by.clone_from(&tx.actor().principal);
    let text = |value: Json| value.to_string();
    tx.execute(
        "INSERT INTO rollouts (id, project, endpoint, baseline, candidate, plan, state, step, step_since_ms, reason,
             started_by, started_at_ms, ended_at_ms, shadowing)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11, NULL, ?12)",
        &[
            new.id.as_str().into(),
            (&new.project).into(),
            new.endpoint.as_str().into(),
            text(json!(new.baseline)).into(),
            text(json!(new.candidate)).into(),
            text(json!(new.plan)).into(),
            new.state.as_str().into(),
            new.step_since_ms.into(),
            new.reason.as_str().into(),
            new.started_by.as_str().into(),
            new.started_at_ms.into(),
            i64::from(new.shadowing).into(),
        ],
    )?;
    let reason = new.reason.clone();
    record(tx, &mut new, "rollout.started", &reason, None)?;
    reroute(tx, &new, &before, RouteChange::Shifted, &reason)?;
    Ok(new)
}

/// Does a move; nothing when somebody else was faster. What a move is made of is in the plan, which is why the judge needs
/// no leave beyond the one that the rollout was started with.
pub(super) fn act(
    tx: &mut LedgerTx<'_, '_>,
    seen: &Rollout,
    what: Move,
    reason: &str,
    numbers: Option<&Report>,
) -> Result<Option<Rollout>, ServingError> {
    let mut now: Rollout = by_id(tx, &seen.project, &seen.id)?;
    let moved = (now.state, now.shadowing, now.step) != (seen.state, seen.shadowing, seen.step);
    if moved || !now.state.is_open() {
        return Ok(None);
    }
    let before = get(tx, &now.project, &now.endpoint)?;
    let (state, action, change) = match what {
        Move::Stay => return Ok(None),
        Move::Step(step) => {
            (now.shadowing, now.step, now.step_since_ms) = (false, step, tx.now());
            (RolloutState::Running, "rollout.stepped", Some(RouteChange::Shifted))
        }
        Move::Promote => (RolloutState::Promoted, "rollout.promoted", Some(RouteChange::Promoted)),
        Move::RollBack | Move::GiveUp => {
            (RolloutState::RolledBack, "rollout.rolled_back", Some(RouteChange::RolledBack))
        }
        Move::Hold => (RolloutState::Held, "rollout.held", None),
    };
    now.state = state;
    record(tx, &mut now, action, reason, numbers)?;
    if let Some(change) = change {
        reroute(tx, &now, &before, change, reason)?;
    }
    Ok(Some(now))
}

/// Ends it by a person's word.
pub(super) fn cancel(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    id: &str,
    reason: &str,
) -> Result<Rollout, ServingError> {
    let mut rollout = open(tx, project, id)?;
    let before = get(tx, project, &rollout.endpoint)?;
    let known = known(tx, &rollout)?;
    rollout.state = RolloutState::Cancelled;
    record(tx, &mut rollout, "rollout.cancelled", reason, known.as_ref())?;
    reroute(tx, &rollout, &before, RouteChange::RolledBack, reason)?;
    Ok(rollout)
}

/// One that has not ended.
pub(super) fn open(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Rollout, ServingError> {
    let rollout: Rollout = by_id(tx, project, id)?;
    match rollout.state.is_open() {
        true => Ok(rollout),
        false => {
            let state = rollout.state.as_str().replace('_', " ");
            Err(ServingError::State(format!("the rollout `{id}` has ended: it was {state}")))
        }
    }
}

/// The route that belongs to the rollout's state.
fn reroute(
    tx: &mut LedgerTx<'_, '_>,
    rollout: &Rollout,
    before: &Endpoint,
    change: RouteChange,
    reason: &str,
) -> Result<(), ServingError> {
    let alone = || vec![Variant::new(rollout.candidate.clone(), 1)];
    let share = rollout.plan.share(rollout.step).ok_or_else(|| {
        ServingError::State(format!("the rollout `{}` has no step {}", rollout.id, rollout.step + 1))
    })?;
    let (variants, under_way) = match rollout.state {
        RolloutState::Running | RolloutState::Held if rollout.shadowing => {
            (rollout.baseline.clone(), Some(rollout.id.as_str()))
        }
        RolloutState::Running | RolloutState::Held => {
            (shares(&rollout.baseline, &rollout.candidate, share)?, Some(rollout.id.as_str()))
        }
        RolloutState::Promoted => (alone(), None),
        // Evidence of harm speaks against where an alias has led to meanwhile: it is deployed by a person, or not at all.
        RolloutState::RolledBack => (rollout.baseline.iter().map(Variant::pinned).collect(), None),
        RolloutState::Cancelled => (rollout.baseline.clone(), None),
    };
    let shadow = under_way.filter(|_| rollout.shadowing).and(rollout.plan.shadow_of(&rollout.candidate));
    let next = Next {
        variants: &variants,
        change,
        rollout: under_way,
        bandit: None,
        shadow: shadow.as_ref(),
        reason,
    };
    append(tx, &rollout.project, before, &next)
}

/// Writes the rollout's state and the decision that led to it, with an event that carries the numbers.
fn record(
    tx: &mut LedgerTx<'_, '_>,
    rollout: &mut Rollout,
    action: &'static str,
    reason: &str,
    numbers: Option<&Report>,
) -> Result<(), ServingError> {
    let (now, by, key) = (tx.now(), tx.actor().principal.clone(), (&rollout.project, rollout.id.as_str()));
    let numbers = numbers.map(|n| json!(n));
    let decision = action.trim_start_matches("rollout.");
    rollout.ended_at_ms = (!rollout.state.is_open()).then_some(now);
    reason.clone_into(&mut rollout.reason);
    tx.execute(
        "UPDATE rollouts SET state = ?3, step = ?4, step_since_ms = ?5, reason = ?6, ended_at_ms = ?7, shadowing = ?8
         WHERE project = ?1 AND id = ?2",
        &[
            key.0.into(),
            key.1.into(),
            rollout.state.as_str().into(),
            i64::try_from(rollout.step).unwrap_or(i64::MAX).into(),
            rollout.step_since_ms.into(),
            reason.into(),
            rollout.ended_at_ms.into(),
            i64::from(rollout.shadowing).into(),
        ],
    )?;
    let share = rollout.share_percent();
    tx.execute(
        &format!(
            "INSERT INTO rollout_decisions (project, rollout, {})
             VALUES (?1, ?2, (SELECT COALESCE(MAX(number), 0) + 1 FROM rollout_decisions
                              WHERE project = ?1 AND rollout = ?2), ?3, ?4, ?5, ?6, ?7, ?8)",
            RolloutDecision::COLUMNS
        ),
        &[
            key.0.into(),
            key.1.into(),
            decision.into(),
            share.into(),
            reason.into(),
            numbers.as_ref().map(Json::to_string).into(),
            by.into(),
            now.into(),
        ],
    )?;
    let event = NewEvent::new(key.0, action, "rollout", key.1).with(json!({
        "endpoint": rollout.endpoint, "candidate": rollout.candidate.name(),
        "candidate_manifest_digest": rollout.candidate.manifest_digest,
        "baseline": rollout.baseline.iter().map(|v| v.spec.name()).collect::<Vec<_>>(),
        "state": rollout.state, "shadowing": rollout.shadowing, "step": rollout.step, "share_percent": share, "reason": reason,
        "plan": (decision == "started").then_some(&rollout.plan), "numbers": numbers,
    }));
    let event = tx.emit(event)?;
    let (own, version) = (Node::new("rollout", key.1), Node::new("version", &rollout.candidate.id));
    tx.link(&event, &Edge::new(key.0, own, "tried", version))?;
    Ok(())
}
