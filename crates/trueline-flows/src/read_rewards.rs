//! Rewards of a bandit, read from the log of predictions in its order: each prediction that the bandit's lot drew, once its
//! label must be there. It reads files: call it where blocking is allowed.

use crate::labelled::unit_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_ledger::Millis;
use trueline_predictions::{
    Cursor, Finder, Label, LogError, Outputs, PredictionLog, Record, Scalar, Scan, Status, Unit,
};
use trueline_serving::Predictions;
use trueline_serving::bandit::{Bandit, Measure, Told, UnitOutcome, UnitReward};

/// Predictions that are read at once; what was counted of them is written down before more are read.
const PAGE: usize = 2_000;

/// A reward with the shares under which its lot was drawn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DrawnReward {
    pub(crate) reward: UnitReward,
    pub(crate) shares: Vec<u32>,
}

/// What was read.
pub(crate) struct RewardsRead {
    pub(crate) rewards: Vec<DrawnReward>,
    /// Where it goes on.
    pub(crate) next: Cursor,
    /// When the last prediction came that was read.
    pub(crate) read_to_ms: Option<Millis>,
    /// Whether there is more to read already.
    pub(crate) more: bool,
    /// When there will be, if nothing else comes.
    pub(crate) due_ms: Option<Millis>,
}

/// The rewards behind a position whose labels are due by `now`, in the order of the log. The predictions behind the first one
/// that is not due wait, so that each is looked at once; so do those of shares that another server has just declared.
pub(crate) fn read_rewards(
    log: &PredictionLog,
    bandit: &Bandit,
    allotments: &BTreeMap<i64, Vec<u32>>,
    from: Cursor,
    now: Millis,
) -> Result<RewardsRead, LogError> {
    let (project, endpoint) = (bandit.project.as_str(), bandit.endpoint.as_str());
    let scan = |limit| log.scan(project, endpoint, &Scan { from, event_time_ms: None, limit, until: None });
    let page = scan(PAGE)?;
    let due = |record: &Record| bandit.plan.label_due(record.received_at_ms);
    let ripe = page.items.iter().take_while(|r| due(r) <= now && is_known(r, bandit)).count();
    // Only the log can tell the position of one that waits.
    let next = match ripe {
        0 if !page.items.is_empty() => from,
        some if some < page.items.len() => scan(some)?.next,
        _ => page.next,
    };
    let mut finder = log.finder(project, Some(endpoint));
    let mut rewards = Vec::new();
    for record in &page.items[..ripe] {
        rewards.extend(reward_of(record, bandit, allotments, &mut finder)?);
    }
    Ok(RewardsRead {
        rewards,
        next,
        read_to_ms: ripe.checked_sub(1).map(|last| page.items[last].received_at_ms),
        more: ripe == page.items.len() && !page.end,
        due_ms: page.items.get(ripe).map(due),
    })
}

/// The generation of the route by whose shares the bandit's lot drew a prediction; none where another lot did, or none.
fn generation(record: &Record, bandit: &Bandit) -> Option<i64> {
    let trial = record.assignment.as_ref()?.trial.as_str();
    trial.strip_prefix(bandit.id.as_str())?.strip_prefix('/')?.parse().ok()
}

/// Whether the bandit was read since it had the shares by which a prediction was drawn.
fn is_known(record: &Record, bandit: &Bandit) -> bool {
    generation(record, bandit).is_none_or(|generation| generation <= bandit.generation)
}

/// What a prediction is worth to a bandit; nothing when another lot has drawn it, or none.
fn reward_of(
    record: &Record,
    bandit: &Bandit,
    allotments: &BTreeMap<i64, Vec<u32>>,
    finder: &mut Finder,
) -> Result<Option<DrawnReward>, LogError> {
    let Some(assignment) = &record.assignment else { return Ok(None) };
    let shares = generation(record, bandit).and_then(|generation| allotments.get(&generation));
    let version = format!("{}/{}", record.variant.model, record.variant.version);
    let (Some(shares), Some(arm)) = (shares, bandit.arm(&version)) else { return Ok(None) };
    let unit = unit_of(record);
    let outcome = match (unit, &record.status) {
        (None, _) => UnitOutcome::Unusable,
        (Some(_), Status::Error(_)) => UnitOutcome::Failed,
        (Some(_), Status::Ok) => labelled(record, bandit, &finder.labels(record.prediction_id)?),
    };
    let by_key = assignment.unit == Unit::Key;
    let reward =
        UnitReward { arm, unit: unit.unwrap_or_default(), by_key, at_ms: record.received_at_ms, outcome };
    Ok(Some(DrawnReward { reward, shares: shares.clone() }))
}

/// The reward by the last label that came in time; later ones correct nothing.
fn labelled(record: &Record, bandit: &Bandit, labels: &[Label]) -> UnitOutcome {
    let due = bandit.plan.label_due(record.received_at_ms);
    let Some(label) = labels.iter().rfind(|label| label.received_at_ms <= due) else {
        return UnitOutcome::WithoutLabel;
    };
    let Some(truth) = told(&label.value) else { return UnitOutcome::Unusable };
    let reward = &bandit.plan.reward;
    if reward.measure != Measure::Label {
        // What was redacted is not what was answered.
        if record.redacted.iter().any(|name| name == Predictions::UNNAMED) {
            return UnitOutcome::Unusable;
        }
        // Left out, it would count for the arm that gives no answers.
        if is_none(&record.outputs) {
            return UnitOutcome::Rewarded(0.0);
        }
    }
    let reward = reward.of(answered(&record.outputs).as_ref(), &truth);
    reward.map_or(UnitOutcome::Unusable, UnitOutcome::Rewarded)
}

/// Whether an answer says nothing: it is missing, or no number.
fn is_none(outputs: &Outputs) -> bool {
    match outputs {
        Outputs::None | Outputs::One(Scalar::Null) => true,
        Outputs::One(Scalar::Float(float)) => !float.is_finite(),
        Outputs::One(_) => false,
        Outputs::Many(many) => many.is_empty() || many.iter().any(|one| !one.is_finite()),
    }
}

fn told(scalar: &Scalar) -> Option<Told> {
    match scalar {
        Scalar::Null => None,
        Scalar::Bool(on) => Some(Told::Number(f64::from(u8::from(*on)))),
        #[allow(clippy::cast_precision_loss)]
        Scalar::Int(whole) => Some(Told::Number(*whole as f64)),
        Scalar::Float(float) => Some(Told::Number(*float)),
        // What has more than one value is logged as JSON, and is no class.
        Scalar::Text(text) if text.starts_with(['{', '[']) => None,
        Scalar::Text(text) => Some(Told::Text(text.clone())),
    }
}

/// An answer as rewards take it: of two probabilities the second, of more the place of the largest.
fn answered(outputs: &Outputs) -> Option<Told> {
    match outputs {
        Outputs::None => None,
        Outputs::One(one) => told(one),
        Outputs::Many(two) if two.len() == 2 => Some(Told::Number(two[1])),
        #[allow(clippy::cast_precision_loss)]
        Outputs::Many(many) => {
            let largest = (0..many.len()).reduce(|a, b| if many[b] > many[a] { b } else { a });
            largest.map(|place| Told::Number(place as f64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_numbers_or_classes() {
        assert_eq!(answered(&Outputs::Many(vec![0.3, 0.7])), Some(Told::Number(0.7)));
        assert_eq!(answered(&Outputs::Many(vec![0.3, 0.5, 0.2])), Some(Told::Number(1.0)));
        assert_eq!(answered(&Outputs::One(Scalar::Text("late".into()))), Some(Told::Text("late".into())));
        assert_eq!(answered(&Outputs::One(Scalar::Bool(true))), Some(Told::Number(1.0)));
        assert_eq!((answered(&Outputs::None), answered(&Outputs::Many(Vec::new()))), (None, None));
        assert_eq!(answered(&Outputs::One(Scalar::Text("{\"a\": 1}".into()))), None, "no class");
    }

    #[test]
    fn an_answer_that_is_no_number_is_none() {
        assert!(is_none(&Outputs::One(Scalar::Float(f64::NAN))) && is_none(&Outputs::One(Scalar::Null)));
        assert!(is_none(&Outputs::Many(vec![0.5, f64::INFINITY])) && is_none(&Outputs::None));
        assert!(!is_none(&Outputs::One(Scalar::Float(0.5))) && !is_none(&Outputs::Many(vec![0.5, 0.5])));
    }
}
