//! What labels say of a rollout: read on from where they were read last, and joined with the predictions that its lots have
//! drawn.

use crate::labelled::{LabelBounds, LabelledPrediction, labels_since};
use crate::predict::json_of;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::time::Duration;
use trueline_predictions::{Cursor, LogError, Outputs, PredictionLog, Record, Scalar, Unit};
use trueline_serving::Predictions;
use trueline_serving::rollout::{
    Arms, InSegments, LabelSeen, LabelsLeftOut, Rollout, Said, SegmentColumn, segments_of,
};
use trueline_stats::sequential::Arm;

/// Labels that are read at one sitting: so many a second, and not for long, since others wait to be judged.
const LABELS: LabelBounds = LabelBounds { most: 5_000, longest: Duration::from_millis(300) };

/// Labels of a rollout's predictions that came at a server.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Labels {
    pub(crate) seen: Vec<LabelSeen>,
    /// Those that say nothing.
    pub(crate) left_out: Arms<LabelsLeftOut>,
}

/// The labels that came at this server since a position, which is moved on; none where the plan has no limit of quality. The
/// first time nothing is read: a rollout begins with what comes from then on. It reads files.
pub(crate) fn labels_since_then(
    log: &PredictionLog,
    rollout: &Rollout,
    at: &mut String,
) -> Result<Labels, LogError> {
    let mut labels = Labels::default();
    if rollout.plan.limits.quality.is_none() {
        return Ok(labels);
    }
    let project = rollout.project.as_str();
    let Some(from) = Cursor::parse(at) else {
        *at = log.end_of_labels(project).to_string();
        return Ok(labels);
    };
    let found = labels_since(log, project, rollout.endpoint.as_str(), from, LABELS)?;
    let Labels { seen, left_out } = &mut labels;
    seen.extend(found.labelled.iter().filter_map(|labelled| label_seen(rollout, labelled, left_out)));
    *at = found.next.to_string();
    Ok(labels)
}

/// A label as the tests take it; none where its prediction was not drawn for this rollout, or says nothing.
fn label_seen(
    rollout: &Rollout,
    labelled: &LabelledPrediction,
    left_out: &mut Arms<LabelsLeftOut>,
) -> Option<LabelSeen> {
    let record = &labelled.record;
    let lot = record.assignment.as_ref().filter(|lot| lot.trial == rollout.id)?;
    let (arm, share) = match labelled.version() == rollout.candidate.name() {
        true => (Arm::Canary, lot.probability()),
        false => (Arm::Champion, 1.0 - lot.probability()),
    };
    let left_out = left_out.of(arm);
    if !labelled.is_first() {
        left_out.corrections += 1;
        return None;
    }
    if labelled.failed() {
        left_out.failed += 1;
        return None;
    }
    let unit = match (lot.unit, labelled.unit()) {
        (Unit::Request, _) => None,
        (Unit::Key | Unit::Row(_), Some(unit)) => Some(unit),
        (Unit::Key | Unit::Row(_), None) => {
            left_out.without_key += 1;
            return None;
        }
    };
    let Some(truth) = said(&labelled.label.value) else {
        left_out.incomparable += 1;
        return None;
    };
    // What an endpoint does not log is the same for both arms; an answer that is logged and says nothing is the arm's own.
    if record.redacted.iter().any(|name| name == Predictions::UNNAMED) {
        left_out.redacted += 1;
        return None;
    }
    let segments = segments(&rollout.plan.segments, record);
    Some(LabelSeen { arm, share, unit, segments, answered: answered(record), truth })
}

/// Where a logged prediction lies. Of what was redacted nothing is known.
fn segments(declared: &[SegmentColumn], record: &Record) -> InSegments {
    segments_of(declared, |column| {
        if record.redacted.iter().any(|name| name == column) {
            return None;
        }
        let found = record.inputs.iter().find(|(name, _)| name == column);
        Some(found.map_or(Json::Null, |(_, value)| json_of(value)))
    })
}

fn answered(record: &Record) -> Option<Said> {
    match &record.outputs {
        Outputs::None => None,
        Outputs::One(value) => said(value),
        // What is no number can't be compared, and JSON has no word for it.
        Outputs::Many(values) => {
            values.iter().all(|value| value.is_finite()).then(|| Said::Several(values.clone()))
        }
    }
}

fn said(value: &Scalar) -> Option<Said> {
    match value {
        Scalar::Null => None,
        Scalar::Bool(on) => Some(Said::Truth(*on)),
        #[allow(clippy::cast_precision_loss)]
        Scalar::Int(whole) => Some(Said::Number(*whole as f64)),
        Scalar::Float(float) => float.is_finite().then_some(Said::Number(*float)),
        // What has more than one value is logged as JSON, and is no class.
        Scalar::Text(text) if text.starts_with(['{', '[']) => None,
        Scalar::Text(text) => Some(Said::Text(text.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_ledger::ProjectId;
    use trueline_predictions::{Assignment, EVERY, Label, PredictionId, Status, Variant};
    use trueline_serving::rollout::{Plan, RolloutState};
    use trueline_serving::{EndpointName, ModelSpec};

    fn rollout() -> Rollout {
        let plan: Plan = serde_json::from_value(json!({
            "segments": [{ "column": "country", "values": ["DE", "FR"] }],
            "limits": { "quality": { "measure": "accuracy", "margin": 0.1 } },
        }))
        .unwrap();
        Rollout {
            id: "r".into(),
            project: ProjectId::default_project(),
            endpoint: EndpointName::parse("delays").unwrap(),
            baseline: Vec::new(),
            candidate: ModelSpec {
                id: "v".into(),
                model: "m".into(),
                version: 2,
                manifest_digest: String::new(),
                files: Vec::new(),
            },
            plan,
            state: RolloutState::Running,
            shadowing: false,
            step: 0,
            step_since_ms: 0,
            reason: String::new(),
            started_by: String::new(),
            started_at_ms: 0,
            ended_at_ms: None,
        }
    }

    /// A label for a prediction of a version in a country, drawn with a chance of a quarter.
    fn labelled(version: &str, country: &str, outputs: Outputs, truth: Scalar) -> LabelledPrediction {
        let id = PredictionId::new(1_000, 7);
        let record = Record {
            prediction_id: id,
            project: "default".into(),
            endpoint: "delays".into(),
            variant: Variant { model: "m".into(), version: version.into() },
            event_time_ms: 0,
            received_at_ms: 0,
            key: None,
            request_id: "r".into(),
            inputs: vec![("country".into(), Scalar::Text(country.into()))],
            features: Vec::new(),
            outputs,
            status: Status::Ok,
            timings: Vec::new(),
            share: EVERY,
            redacted: Vec::new(),
            assignment: Some(Assignment { trial: "r".into(), chance: 250_000, unit: Unit::Row(1) }),
        };
        let label = Label {
            prediction_id: id,
            value: truth,
            event_time_ms: 0,
            received_at_ms: 0,
            source: "test".into(),
        };
        LabelledPrediction { record, label, before: None }
    }

    fn yes() -> Outputs {
        Outputs::One(Scalar::Bool(true))
    }

    #[test]
    fn a_label_lies_in_the_segment_of_the_row_that_it_is_of() {
        let (rollout, mut out) = (rollout(), Arms::default());
        let mut places = |country: &str| {
            let label = labelled("2", country, yes(), Scalar::Bool(true));
            label_seen(&rollout, &label, &mut out).unwrap().segments
        };
        let lies = |country: &str| segments_of(&rollout.plan.segments, |_| Some(json!(country)));
        for country in ["DE", "FR", "IT"] {
            assert_eq!(places(country), lies(country));
        }
        assert!(places("DE") != places("FR") && places("IT") == places("ES"), "others are one");
        let mut hidden = labelled("2", "hash", yes(), Scalar::Bool(true));
        hidden.record.redacted = vec!["country".into()];
        let seen = label_seen(&rollout, &hidden, &mut out).unwrap();
        assert_eq!(seen.segments, InSegments::default(), "of what was redacted nothing is known");
        hidden.record.inputs.clear();
        hidden.record.redacted.clear();
        let seen = label_seen(&rollout, &hidden, &mut out).unwrap();
        assert_eq!(seen.segments, lies("IT"), "who does not say is any other");
    }

    #[test]
    fn an_answer_that_says_nothing_counts_and_a_label_that_says_nothing_is_left_out_by_arm() {
        let (rollout, mut out) = (rollout(), Arms::<LabelsLeftOut>::default());
        let mut seen = |labelled: &LabelledPrediction| {
            label_seen(&rollout, labelled, &mut out).map(|s| (s.arm, s.answered))
        };
        let silent = labelled("2", "DE", Outputs::One(Scalar::Null), Scalar::Bool(true));
        assert_eq!(seen(&silent), Some((Arm::Canary, None)));
        let several = Outputs::One(Scalar::Text("{\"a\":1}".into()));
        assert_eq!(seen(&labelled("1", "DE", several, Scalar::Int(1))), Some((Arm::Champion, None)));
        let of_nothing = labelled("1", "DE", yes(), Scalar::Null);
        assert_eq!(seen(&of_nothing), None);
        let mut redacted = labelled("2", "DE", Outputs::One(Scalar::Text("9f".into())), Scalar::Bool(true));
        redacted.record.redacted = vec![Predictions::UNNAMED.into()];
        assert_eq!(seen(&redacted), None);
        let mut corrected = labelled("2", "DE", yes(), Scalar::Bool(true));
        corrected.before = Some(Scalar::Bool(false));
        assert_eq!(seen(&corrected), None);
        assert_eq!(out.baseline, LabelsLeftOut { incomparable: 1, ..LabelsLeftOut::default() });
        assert_eq!(out.candidate, LabelsLeftOut { redacted: 1, corrections: 1, ..LabelsLeftOut::default() });
    }

    #[test]
    fn a_prediction_that_no_lot_of_this_rollout_drew_does_not_count() {
        let (rollout, mut out) = (rollout(), Arms::default());
        let mut other = labelled("2", "DE", yes(), Scalar::Bool(true));
        other.record.assignment.as_mut().unwrap().trial = "an earlier one".into();
        assert_eq!(label_seen(&rollout, &other, &mut out), None);
        other.record.assignment = None;
        assert_eq!(label_seen(&rollout, &other, &mut out), None);
        assert_eq!(out, Arms::default(), "nor is it left out");
    }
}
