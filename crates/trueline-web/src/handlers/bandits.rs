//! The newest bandit of an endpoint, with what is known of its versions, and a person's word that ends it.

use super::settings::field;
use super::{Answer, App, Failure, Form, Visitor, Web, endpoints, timestamp};
use crate::format::{counted, number};
use crate::links::Links;
use crate::pages::{BanditArm, BanditDecisionRow, BanditPart};
use crate::parts::{Badge, Reference, Tone};
use crate::shell::Shell;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_flows::stop_bandit;
use trueline_identity::Deploy;
use trueline_serving::EndpointName;
use trueline_serving::bandit::{Bandit, BanditDecision, BanditReport, BanditState, Goal, Measure, Tally};

/// Decisions that are shown.
const SHOWN: usize = 20;

/// The newest bandit of an endpoint; none when there never was one.
pub(super) async fn part(
    app: &Web,
    visitor: &Visitor,
    shell: &Shell,
    endpoint: &EndpointName,
) -> Result<Option<BanditPart>, Failure> {
    let (bandits, read) = (&app.deployments.bandits, visitor.session.leave()?);
    let Some(newest) = bandits.newest(&read, endpoint).await? else { return Ok(None) };
    let decisions = bandits.decisions(&read, &newest.id).await?;
    let numbers = bandits.numbers(&newest).await?;
    Ok(Some(BanditPart {
        endpoint: endpoint.to_string(),
        state: state(newest.state),
        open: newest.state.is_open(),
        can_stop: newest.state.is_open() && visitor.session.leave::<Deploy>().is_ok(),
        rewarded: rewarded(&newest),
        arms: arms(shell, &newest, numbers.as_ref()),
        started_by: crate::words::person(&newest.started_by).to_owned(),
        started_at: timestamp(newest.started_at_ms),
        ends_at: timestamp(newest.ended_at_ms.unwrap_or_else(|| newest.plan.deadline(newest.started_at_ms))),
        read_to: numbers.as_ref().and_then(|n| n.read_to_ms).map(timestamp),
        not_counted: not_counted(numbers.as_ref().map(|n| n.tally).unwrap_or_default()),
        confidence: number((1.0 - newest.plan.alpha) * 100.0),
        decisions: decisions.iter().take(SHOWN).map(decision).collect(),
        id: newest.id,
        shell: shell.clone(),
    }))
}

/// A person ends it: the shares stay as they are, or one version answers alone.
pub(super) async fn stop(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
    Form(form): Form,
) -> Answer {
    let (reason, leave) = (endpoints::reason(&form)?, endpoints::deploy_leave(&visitor)?);
    let (name, to) = (EndpointName::parse(&name)?, Some(field(&form, "to")).filter(|to| !to.is_empty()));
    stop_bandit(&app.deployments, &leave, &name, to, reason).await?;
    let to = Links::new(Some(visitor.project())).endpoint(name.as_str());
    Ok(Redirect::to(&format!("{to}#bandit")).into_response())
}

fn state(state: BanditState) -> Badge {
    match state {
        BanditState::Running => Badge::new(Tone::Busy, "Running"),
        BanditState::Proposed => Badge::new(Tone::Warn, "Proposes an end"),
        BanditState::Finished => Badge::new(Tone::Good, "Finished"),
        BanditState::Stopped => Badge::new(Tone::Quiet, "Stopped"),
        BanditState::Expired => Badge::new(Tone::Quiet, "Its time is over"),
        BanditState::Overruled => Badge::new(Tone::Quiet, "Overruled"),
    }
}

/// What is rewarded, in words.
fn rewarded(bandit: &Bandit) -> String {
    let what = match bandit.plan.reward.measure {
        Measure::Label => "labels",
        Measure::Accuracy => "right predictions",
        Measure::AbsoluteError => "errors",
    };
    let which = if bandit.plan.reward.goal() == Goal::Maximise { "for more" } else { "for less" };
    match bandit.plan.reward.measure {
        Measure::Accuracy => format!("for {what}"),
        _ => format!("{which} in {what}"),
    }
}

fn arms(shell: &Shell, bandit: &Bandit, numbers: Option<&BanditReport>) -> Vec<BanditArm> {
    let or_none = |told: Option<f64>| told.map_or_else(|| "–".to_owned(), number);
    let arm = |(i, spec): (usize, &trueline_serving::ModelSpec)| {
        let (version, known) = (spec.version.to_string(), numbers.and_then(|n| n.arms.get(i)));
        let share = bandit.shares.get(i).map_or(0.0, |share| f64::from(*share) / 100.0);
        BanditArm {
            version: Reference::to(
                "version",
                format!("{} {version}", spec.model),
                shell.to.version(&spec.model, &version),
            ),
            name: spec.name(),
            share: format!("{} %", number(share)),
            rewards: known.map_or(0, |k| k.rewards),
            mean: or_none(known.and_then(|k| k.mean)),
            interval: known.map_or_else(String::new, |k| {
                format!("{} to {}", or_none(k.interval.lower), or_none(k.interval.upper))
            }),
            best: known.map_or_else(String::new, |k| format!("{:.1} %", k.probability_best * 100.0)),
        }
    };
    bandit.arms.iter().enumerate().map(arm).collect()
}

/// What was read and is no reward.
fn not_counted(tally: Tally) -> String {
    let late = counted(tally.without_label, "prediction");
    let again = counted(tally.repeated, "prediction");
    let unusable = counted(tally.unusable, "prediction");
    let lost = match tally.unreadable_batches {
        0 => String::new(),
        many => format!(", and what {} of other servers held that can't be read", counted(many, "batch")),
    };
    format!(
        "{late} without a label in time, {again} of keys or requests that counted before, {unusable} that can't be used{lost}"
    )
}

fn decision(decision: &BanditDecision) -> BanditDecisionRow {
    let (tone, word) = match decision.decision.as_str() {
        "started" => (Tone::Busy, "Started"),
        "allotted" => (Tone::Busy, "Allotted"),
        "proposed" => (Tone::Warn, "Proposed an end"),
        "finished" => (Tone::Good, "Finished"),
        "stopped" => (Tone::Quiet, "Stopped"),
        "expired" => (Tone::Quiet, "Its time was over"),
        "overruled" => (Tone::Quiet, "Overruled"),
        other => (Tone::Quiet, other),
    };
    let shares: Vec<String> = decision.shares.iter().map(|s| number(f64::from(*s) / 100.0)).collect();
    BanditDecisionRow {
        decision: Badge::new(tone, word),
        shares: format!("{} %", shares.join(" / ")),
        reason: decision.reason.clone(),
        by: crate::words::person(&decision.decided_by).to_owned(),
        at: timestamp(decision.decided_at_ms),
    }
}
