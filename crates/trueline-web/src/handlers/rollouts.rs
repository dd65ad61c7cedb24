//! The newest rollout of an endpoint with its evidence, rollouts that wait for a person, and that person's word.

use super::settings::field;
use super::{Answer, App, Failure, FaultKind, Form, Visitor, Web, endpoints, timestamp};
use crate::format::{count, duration_ms};
use crate::links::Links;
use crate::pages::{
    RolloutCheck, RolloutDecisionRow, RolloutNumbers, RolloutPart, RolloutRow, RolloutShadow, RolloutStep,
    Waiting,
};
use crate::parts::{Badge, Reference, Tone};
use crate::shell::Shell;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_flows::{cancel_rollout, promote_rollout};
use trueline_identity::Deploy;
use trueline_ledger::Millis;
use trueline_serving::rollout::{
    LossReport, MeanReport, QualityReport, RateReport, Report, Rollout, RolloutDecision, RolloutState,
    SegmentReport, ShadowPhase, ShadowReport, ShareReport,
};
use trueline_serving::{EndpointName, ModelSpec};
use trueline_stats::sequential::Interval;

/// Rollouts that an endpoint's page shows.
const SHOWN: u32 = 10;
/// Rollouts that are looked through for those that wait.
const OPEN: u32 = 100;

/// The newest rollout of an endpoint; none when there never was one.
pub(super) async fn part(
    app: &Web,
    visitor: &Visitor,
    shell: &Shell,
    endpoint: &EndpointName,
) -> Result<Option<RolloutPart>, Failure> {
    let rollouts = &app.deployments.rollouts;
    let read = visitor.session.leave()?;
    let all = rollouts.list(&read, Some(endpoint), None, SHOWN).await?;
    let Some((newest, earlier)) = all.split_first() else { return Ok(None) };
    let decisions = rollouts.decisions(&read, &newest.id).await?;
    let open = newest.state.is_open();
    let live = if open { rollouts.numbers(newest).await? } else { None };
    let last = || decisions.iter().rev().find_map(|d| Some((d.numbers.clone()?, d.decided_at_ms)));
    let to = &shell.to;
    Ok(Some(RolloutPart {
        endpoint: endpoint.to_string(),
        id: newest.id.clone(),
        state: state(newest.state),
        open,
        candidate: candidate(to, &newest.candidate),
        baseline: newest.names().baseline.replace('/', " "),
        steps: steps(newest),
        started_by: crate::words::person(&newest.started_by).to_owned(),
        started_at: timestamp(newest.started_at_ms),
        ends_at: timestamp(newest.ended_at_ms.unwrap_or_else(|| newest.plan.deadline(newest.started_at_ms))),
        numbers: live.or_else(last).map(|(report, at)| numbers(to, &report, at)),
        decisions: decisions.iter().rev().map(decision).collect(),
        earlier: earlier.iter().map(|r| row(to, r)).collect(),
        can_decide: open && visitor.session.leave::<Deploy>().is_ok(),
        shell: shell.clone(),
    }))
}

/// Rollouts on hold, for who may decide on them.
pub(super) async fn waiting(app: &Web, visitor: &Visitor, to: &Links) -> Result<Vec<Waiting>, Failure> {
    if visitor.session.leave::<Deploy>().is_err() {
        return Ok(Vec::new());
    }
    let all = app.deployments.rollouts.list(&visitor.session.leave()?, None, None, OPEN).await?;
    let held = all.iter().filter(|r| r.state == RolloutState::Held);
    Ok(held
        .map(|r| Waiting {
            state: Badge::new(Tone::Warn, "On hold"),
            what: format!("Promote {} on {} or take it off", r.candidate.name(), r.endpoint),
            href: format!("{}#rollout", to.endpoint(r.endpoint.as_str())),
            since: timestamp(r.step_since_ms),
        })
        .collect())
}

/// A person promotes the candidate, or takes it off.
pub(super) async fn decide(
    State(app): App,
    visitor: Visitor,
    Path((_, name, id)): Path<(String, String, String)>,
    Form(form): Form,
) -> Answer {
    let reason = endpoints::reason(&form)?;
    let leave = endpoints::deploy_leave(&visitor)?;
    match field(&form, "decision").as_str() {
        "promote" => promote_rollout(&app.deployments, &leave, &id, reason).await?,
        "cancel" => cancel_rollout(&app.deployments, &leave, &id, reason).await?,
        other => {
            let told = format!("a rollout is ended by `promote` or `cancel`, not `{other}`");
            return Err(Failure::new(FaultKind::Invalid, told));
        }
    };
    let to = Links::new(Some(visitor.project())).endpoint(&name);
    Ok(Redirect::to(&format!("{to}#rollout")).into_response())
}

fn state(state: RolloutState) -> Badge {
    match state {
        RolloutState::Running => Badge::new(Tone::Busy, "Running"),
        RolloutState::Held => Badge::new(Tone::Warn, "On hold"),
        RolloutState::Promoted => Badge::new(Tone::Good, "Promoted"),
        RolloutState::RolledBack => Badge::new(Tone::Bad, "Rolled back"),
        RolloutState::Cancelled => Badge::new(Tone::Quiet, "Cancelled"),
    }
}

fn candidate(to: &Links, spec: &ModelSpec) -> Reference {
    let number = spec.version.to_string();
    Reference::to("version", format!("{} {number}", spec.model), to.version(&spec.model, &number))
}

fn row(to: &Links, rollout: &Rollout) -> RolloutRow {
    RolloutRow {
        candidate: candidate(to, &rollout.candidate),
        state: state(rollout.state),
        reason: rollout.reason.clone(),
        by: crate::words::person(&rollout.started_by).to_owned(),
        at: timestamp(rollout.started_at_ms),
    }
}

fn decision(decision: &RolloutDecision) -> RolloutDecisionRow {
    let (tone, word) = match decision.decision.as_str() {
        "started" => (Tone::Busy, "Started"),
        "stepped" => (Tone::Busy, "Next step"),
        "held" => (Tone::Warn, "Put on hold"),
        "promoted" => (Tone::Good, "Promoted"),
        "rolled_back" => (Tone::Bad, "Rolled back"),
        "cancelled" => (Tone::Quiet, "Cancelled"),
        other => (Tone::Quiet, other),
    };
    RolloutDecisionRow {
        decision: Badge::new(tone, word),
        share: percent(decision.share_percent),
        reason: decision.reason.clone(),
        by: crate::words::person(&decision.decided_by).to_owned(),
        at: timestamp(decision.decided_at_ms),
    }
}

fn steps(rollout: &Rollout) -> Vec<RolloutStep> {
    let here = |promoted: bool| match rollout.state {
        _ if promoted => Badge::new(Tone::Good, "Taken"),
        RolloutState::Running => Badge::new(Tone::Busy, "Now"),
        RolloutState::Held => Badge::new(Tone::Warn, "On hold"),
        _ => Badge::new(Tone::Bad, "Ended here"),
    };
    let promoted = rollout.state == RolloutState::Promoted;
    let ahead = || Badge::new(Tone::Quiet, if rollout.state.is_open() { "Ahead" } else { "Not taken" });
    let step = |(i, step): (usize, &trueline_serving::rollout::Step)| RolloutStep {
        share: percent(step.share_percent),
        state: match i.cmp(&rollout.step) {
            _ if rollout.shadowing => ahead(),
            std::cmp::Ordering::Less => Badge::new(Tone::Good, "Taken"),
            std::cmp::Ordering::Equal => here(promoted),
            std::cmp::Ordering::Greater if promoted => Badge::new(Tone::Quiet, "Skipped"),
            std::cmp::Ordering::Greater => ahead(),
        },
        takes: format!(
            "at least {} requests and {}",
            count(step.least_requests),
            duration_ms(i64::try_from(step.least_seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
        ),
    };
    let all = RolloutStep {
        share: percent(100.0),
        state: if promoted { Badge::new(Tone::Good, "Promoted") } else { ahead() },
        takes: String::new(),
    };
    let shadow = rollout.plan.shadow.as_ref().map(|phase| RolloutStep {
        share: "Shadow".to_owned(),
        state: if rollout.shadowing { here(promoted) } else { Badge::new(Tone::Good, "Taken") },
        takes: shadow_takes(phase),
    });
    let steps = rollout.plan.steps.iter().enumerate().map(step);
    shadow.into_iter().chain(steps).chain(std::iter::once(all)).collect()
}

fn shadow_takes(phase: &ShadowPhase) -> String {
    format!(
        "at least {} requests and {}",
        count(phase.least_requests),
        duration_ms(i64::try_from(phase.least_seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
    )
}

fn numbers(to: &Links, report: &Report, at: Millis) -> RolloutNumbers {
    let shadow = report.shadow.iter().flat_map(shadow_checks);
    RolloutNumbers {
        at: timestamp(at),
        candidate: report.requests.candidate,
        baseline: report.requests.baseline,
        p_value: digits(report.p_value),
        alpha: digits(report.alpha),
        checks: shadow
            .chain([
                errors("Failed requests", &report.errors),
                prediction("Mean prediction", &report.prediction),
                latency(report),
            ])
            .chain(report.quality.iter().flat_map(quality))
            .chain(report.segments.iter().flat_map(segment))
            .collect(),
        labels: report.quality.as_ref().map(labels),
        unreadable_batches: report.unreadable_batches,
        shadow: report.shadow.as_ref().map(|s| shadow_told(to, s)),
    }
}

/// What the shadow's two shares say.
fn shadow_checks(shadow: &ShadowReport) -> [RolloutCheck; 2] {
    let one = |name: &str, share: &ShareReport| RolloutCheck {
        name: name.to_owned(),
        candidate: scaled(share.share, 100.0, " %"),
        baseline: "–".to_owned(),
        effect: "–".to_owned(),
        allowed: format!("{} %", digits(share.allowed * 100.0)),
        evidence: digits(share.log_e.exp()),
        says: match (share.share.lower, share.share.upper) {
            (Some(low), _) if low > share.allowed => harm(),
            (_, Some(high)) if share.units > 0 && high < share.allowed => within(),
            _ => open(),
        },
    };
    [
        one("Answers that differ in shadow", &shadow.differing),
        one("Requests that fail in shadow", &shadow.failing),
    ]
}

fn shadow_told(to: &Links, shadow: &ShadowReport) -> RolloutShadow {
    let at = |id: &str| Reference::to("prediction", id, to.prediction(id));
    RolloutShadow {
        asked: shadow.asked,
        failed: shadow.failed,
        shed: shadow.shed,
        rows: shadow.rows,
        rows_differing: shadow.rows_differing,
        largest: digits(shadow.largest_difference),
        latency: format!(
            "p{} {} beside {}",
            digits(shadow.quantile * 100.0),
            scaled(shadow.at_quantile_ms.candidate, 1.0, " ms"),
            scaled(shadow.at_quantile_ms.baseline, 1.0, " ms")
        ),
        example: shadow.example.as_ref().map(|e| at(&e.prediction_id)),
        failure: shadow.failure.as_ref().map(|f| (at(&f.prediction_id), f.reason.clone())),
    }
}

fn errors(name: &str, rate: &RateReport) -> RolloutCheck {
    let share = |i: Interval| scaled(i, 100.0, " %");
    RolloutCheck {
        name: name.to_owned(),
        candidate: share(rate.rate.candidate),
        baseline: share(rate.rate.baseline),
        effect: ratio(rate),
        allowed: times(rate.allowed_ratio),
        evidence: digits(rate.log_e.exp()),
        says: rate_says(rate),
    }
}

fn prediction(name: &str, mean: &MeanReport) -> RolloutCheck {
    RolloutCheck {
        name: name.to_owned(),
        candidate: scaled(mean.mean.candidate, 1.0, ""),
        baseline: scaled(mean.mean.baseline, 1.0, ""),
        effect: scaled(mean.shift, 1.0, ""),
        allowed: mean
            .allowed_shift
            .map_or_else(|| "not fixed yet".to_owned(), |m| format!("± {}", digits(m))),
        evidence: digits(mean.log_e.exp()),
        says: match (mean.shift.lower, mean.shift.upper, mean.allowed_shift) {
            (Some(low), _, Some(most)) if low > most => harm(),
            (_, Some(high), Some(most)) if high < -most => harm(),
            (Some(low), Some(high), Some(most)) if low >= -most && high <= most && mean.range_fits => {
                within()
            }
            _ => open(),
        },
    }
}

fn latency(report: &Report) -> RolloutCheck {
    let latency = &report.latency;
    RolloutCheck {
        name: format!("Latency, p{}, and how often it is slow", digits(latency.quantile * 100.0)),
        candidate: scaled(latency.at_quantile_ms.candidate, 1.0, " ms"),
        baseline: scaled(latency.at_quantile_ms.baseline, 1.0, " ms"),
        effect: match latency.slow_ms {
            Some(_) => ratio(&latency.slow),
            None => "not known yet".to_owned(),
        },
        allowed: times(latency.slow.allowed_ratio),
        evidence: digits(latency.slow.log_e.exp()),
        says: rate_says(&latency.slow),
    }
}

/// The checks of a segment.
fn segment(part: &SegmentReport) -> [RolloutCheck; 3] {
    let name = |what: &str| format!("{what} where {}", part.name);
    [
        errors(&name("Failed requests"), &part.errors),
        prediction(&name("Mean prediction"), &part.prediction),
        errors(&name("Slow requests"), &part.slow),
    ]
}

/// What labels say, of everything and of each segment.
fn quality(quality: &QualityReport) -> Vec<RolloutCheck> {
    let name = format!("Mean loss ({})", quality.measure.as_str().replace('_', " "));
    let apart = quality.segments.iter().map(|part| loss(format!("{name} where {}", part.name), &part.loss));
    std::iter::once(loss(name.clone(), &quality.loss)).chain(apart).collect()
}

fn loss(name: String, loss: &LossReport) -> RolloutCheck {
    let most = loss.allowed_difference;
    RolloutCheck {
        name,
        candidate: scaled(loss.mean.candidate, 1.0, ""),
        baseline: scaled(loss.mean.baseline, 1.0, ""),
        effect: scaled(loss.difference, 1.0, ""),
        allowed: format!("+ {}", digits(most)),
        evidence: digits(loss.log_e.exp()),
        says: match (loss.difference.lower, loss.difference.upper) {
            (Some(low), _) if low > most => harm(),
            (_, Some(high)) if high <= most && loss.may_pass() && loss.units.candidate > 0 => within(),
            _ => open(),
        },
    }
}

/// How many labels were compared, and which were not.
fn labels(quality: &QualityReport) -> String {
    let (units, odd) = (quality.loss.units, quality.loss.incomparable);
    let told = format!(
        "{} of the candidate, {} of the baseline, {} left out",
        count(units.candidate),
        count(units.baseline),
        count(quality.left_out.all())
    );
    if odd.candidate + odd.baseline == 0 {
        return told;
    }
    let (candidate, baseline) = (count(odd.candidate), count(odd.baseline));
    format!("{told}; {candidate} and {baseline} answers can't be compared and count as the largest loss")
}

fn times(ratio: f64) -> String {
    if ratio == 1.0 { "as often".to_owned() } else { format!("{} times", digits(ratio)) }
}

/// How many times as often; that it is at least never says nothing.
fn ratio(rate: &RateReport) -> String {
    let told = Interval { lower: rate.ratio.lower.filter(|low| *low > 0.0), ..rate.ratio };
    scaled(told, 1.0, " times")
}

fn rate_says(rate: &RateReport) -> Badge {
    let at_most = |i: Interval, most: f64| i.upper.is_some_and(|high| high <= most);
    if rate.ratio.lower.is_some_and(|low| low > rate.allowed_ratio) {
        return harm();
    }
    match at_most(rate.ratio, rate.allowed_ratio) || at_most(rate.difference, rate.allowed_difference) {
        true => within(),
        false => open(),
    }
}

fn harm() -> Badge {
    Badge::new(Tone::Bad, "Harm")
}

fn within() -> Badge {
    Badge::new(Tone::Good, "Within")
}

fn open() -> Badge {
    Badge::new(Tone::Wait, "Not clear yet")
}

fn percent(value: f64) -> String {
    format!("{} %", crate::format::number(value))
}

/// Three digits that count.
fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return crate::format::number(value);
    }
    format!("{value:.2e}").parse().map_or_else(|_| crate::format::number(value), crate::format::number)
}

fn scaled(interval: Interval, by: f64, unit: &str) -> String {
    let told = |v: f64| digits(v * by);
    match (interval.lower, interval.upper) {
        (Some(low), Some(high)) => format!("{} to {}{unit}", told(low), told(high)),
        (Some(low), None) => format!("≥ {}{unit}", told(low)),
        (None, Some(high)) => format!("≤ {}{unit}", told(high)),
        (None, None) => "not known yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_with_three_digits_and_their_unit() {
        let between = Interval { lower: Some(0.012_345), upper: Some(0.1) };
        assert_eq!(scaled(between, 100.0, " %"), "1.23 to 10 %");
        assert_eq!(scaled(Interval { lower: None, upper: Some(1.5) }, 1.0, " times"), "≤ 1.5 times");
        assert_eq!(scaled(Interval::UNKNOWN, 1.0, " ms"), "not known yet");
        assert_eq!(digits(8_000.4), "8000");
    }
}
