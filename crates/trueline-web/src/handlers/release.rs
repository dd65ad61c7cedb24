//! What stands between a version and its release, and what a visitor does about it: runs its gates, approves, rejects.

use super::settings::field;
use super::{Answer, App, Failure, FaultKind, Form, Visitor, Web, timestamp};
use crate::Links;
use crate::pages::{DecisionForm, DecisionRow, GateLine, PolicyCard, Release, Waiting};
use crate::parts::{Badge, Tone};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_identity::{Approve, JudgeVersion};
use trueline_registry::{
    CountedApproval, Decision, DeclaredPolicy, GateStanding, GateState, ReleaseState, Version, VersionKey,
};

/// A policy as the page of its model tells it.
pub(super) fn policy(declared: &DeclaredPolicy) -> PolicyCard {
    let policy = &declared.policy;
    let rule = &policy.approvals;
    let approvals = match rule.required {
        0 => "none".to_owned(),
        n => format!(
            "{} who did not make the version, for {}",
            crate::format::counted(u64::from(n), "reviewer"),
            crate::format::counted(u64::from(rule.valid_days), "day")
        ),
    };
    PolicyCard {
        aliases: policy.protected_aliases.clone(),
        approvals,
        gates: policy.gates.iter().map(|g| (g.name.clone(), g.rule.asks())).collect(),
        declared_by: declared.declared_by.clone(),
        declared_at: timestamp(declared.declared_at_ms),
    }
}

/// Where a version stands; nothing when its model has no policy.
pub(super) async fn standing(
    app: &Web,
    visitor: &Visitor,
    version: &Version,
) -> Result<Option<Release>, Failure> {
    let state = app.registry.release_state(&visitor.session.leave()?, &version.key).await?;
    if state.policy.is_none() {
        return Ok(None);
    }
    Ok(Some(Release {
        state: verdict(&state),
        missing: state.missing.clone(),
        gates: state.gates.iter().map(gate).collect(),
        judged: state
            .last_run
            .as_ref()
            .map(|run| (timestamp(run.judged_at_ms), crate::words::person(&run.judged_by).to_owned())),
        may_judge: visitor.session.leave::<JudgeVersion>().is_ok(),
        approved: state.approved,
        required: state.required,
        decisions: state.approvals.iter().map(decision).collect(),
        form: decision_form(app, visitor, version, &state).await?,
    }))
}

/// Whether gates and approvals let a version go.
pub(super) fn verdict(state: &ReleaseState) -> Badge {
    match state.releasable {
        true => Badge::new(Tone::Good, "Releasable"),
        false => Badge::new(Tone::Wait, "Not releasable"),
    }
}

pub(super) fn gate(standing: &GateStanding) -> GateLine {
    let tone = match standing.state {
        GateState::Passed => Tone::Good,
        GateState::Failed => Tone::Bad,
        GateState::Undecided | GateState::Stale => Tone::Warn,
        GateState::NotRun => Tone::Wait,
    };
    let mut word = standing.state.as_str().to_owned();
    word[..1].make_ascii_uppercase();
    let last = standing.last.as_ref().map(|r| &r.judgement);
    GateLine {
        name: standing.gate.name.clone(),
        asks: standing.gate.rule.asks(),
        state: Badge::new(tone, word),
        value: last.and_then(|j| j.value),
        bound: last.and_then(|j| j.bound),
        unit: if last.is_some_and(|j| j.unit == "ms") { "ms" } else { "" },
        champion: last.and_then(|j| j.champion.as_ref()).map(|c| c.version.to_string()),
        reason: standing.reason.clone(),
    }
}

pub(super) fn decision(counted: &CountedApproval) -> DecisionRow {
    let made = &counted.approval;
    let badge = match made.decision {
        Decision::Approved if counted.counts => Badge::new(Tone::Good, "Approved"),
        Decision::Approved => Badge::new(Tone::Quiet, "Approved"),
        Decision::Rejected => Badge::new(Tone::Bad, "Rejected"),
    };
    DecisionRow {
        by: crate::words::person(&made.approver).to_owned(),
        decision: badge,
        at: timestamp(made.decided_at_ms),
        until: timestamp(counted.expires_at_ms),
        lapsed: counted.because.clone(),
        comment: made.comment.clone(),
    }
}

async fn decision_form(
    app: &Web,
    visitor: &Visitor,
    version: &Version,
    state: &ReleaseState,
) -> Result<DecisionForm, Failure> {
    if let Err(why) = visitor.session.leave::<Approve>() {
        return Ok(DecisionForm::Closed(format!("{why}.")));
    }
    if app.releases.is_author(&visitor.session.leave()?, version).await? {
        let why = "You are an author of this version, and nobody decides on their own work.";
        return Ok(DecisionForm::Closed(why.to_owned()));
    }
    let me = visitor.session.caller().principal();
    Ok(DecisionForm::Open { decided: state.approvals.iter().any(|a| a.approval.approver == me) })
}

/// The versions that the visitor may approve and has not decided on.
pub(super) async fn waiting(app: &Web, visitor: &Visitor, to: &Links) -> Result<Vec<Waiting>, Failure> {
    if visitor.session.leave::<Approve>().is_err() {
        return Ok(Vec::new());
    }
    let read = visitor.session.leave()?;
    let me = visitor.session.caller().principal();
    let mut out = Vec::new();
    for (version, state) in app.registry.awaiting_approval(&read).await? {
        if state.is_decided_by(&me) || app.releases.is_author(&read, &version).await? {
            continue;
        }
        let (model, number) = (&version.key.model, version.key.version);
        out.push(Waiting {
            state: Badge::new(Tone::Wait, "Approval"),
            what: format!("Approve or reject version {number} of {model}"),
            href: to.version(model, &number.to_string()),
            since: timestamp(state.last_run.map_or(version.created_at_ms, |run| run.judged_at_ms)),
        });
    }
    Ok(out)
}

type VersionPath = Path<(String, String, String)>;

/// Back to the page of the version.
fn back(visitor: &Visitor, key: &VersionKey) -> Answer {
    let to = Links::new(Some(visitor.project())).version(&key.model, &key.version.to_string());
    Ok(Redirect::to(&format!("{to}#release")).into_response())
}

pub(super) async fn run_gates(
    State(app): App,
    visitor: Visitor,
    Path((_, model, number)): VersionPath,
) -> Answer {
    let key = VersionKey::parse(&model, &number)?;
    let (read, judge) = (visitor.session.leave()?, visitor.session.leave()?);
    app.releases.judge(&read, &judge, &key).await?;
    back(&visitor, &key)
}

pub(super) async fn decide(
    State(app): App,
    visitor: Visitor,
    Path((_, model, number)): VersionPath,
    Form(form): Form,
) -> Answer {
    let key = VersionKey::parse(&model, &number)?;
    let (read, approve) = (visitor.session.leave()?, visitor.session.leave()?);
    let decision = match field(&form, "decision").as_str() {
        "approved" => Decision::Approved,
        "rejected" => Decision::Rejected,
        "withdrawn" => {
            app.registry.withdraw(&approve, &key).await?;
            return back(&visitor, &key);
        }
        other => {
            let told = format!("`{other}` is no decision: it is `approved`, `rejected` or `withdrawn`");
            return Err(Failure::new(FaultKind::Invalid, told));
        }
    };
    app.releases.decide(&read, &approve, &key, decision, field(&form, "comment")).await?;
    back(&visitor, &key)
}
