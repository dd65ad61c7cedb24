//! What labels say of a rollout: read on from where they were read last, joined with the predictions that its lots have drawn,
//! and handed to its evidence.

use crate::labelled::{LabelBounds, LabelledPrediction, labels_since};
use crate::predict::json_of;
use serde_json::Value as Json;
use std::time::Duration;
use trueline_predictions::{Cursor, LogError, Outputs, PredictionLog, Record, Scalar, Unit};
use trueline_serving::Predictions;
use trueline_serving::rollout::{
    Evidence, InSegments, LabelSeen, LabelsLeftOut, Rollout, Said, SegmentColumn, segments_of,
};
use trueline_stats::StatsError;
use trueline_stats::sequential::Arm;

/// Labels that are read at one sitting: so many a second, and not for long, since others wait to be judged.
const LABELS: LabelBounds = LabelBounds { most: 5_000, longest: Duration::from_millis(300) };

/// A failure to take labels in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabelError {
    /// The log can't be read.
    #[error("the labels of a rollout's predictions can't be read, so its quality is not judged: {0}")]
    Log(#[from] LogError),
    /// The tests do not take a value.
    #[error("a rollout can't be judged by its labels: {0}")]
    Stats(#[from] StatsError),
}

/// Takes in the labels that came since the last time; whether there were any. The first time nothing is read: a rollout begins
/// with what comes from then on. It reads files.
pub(crate) fn take_in_labels(
    log: &PredictionLog,
    rollout: &Rollout,
    evidence: &mut Evidence,
) -> Result<bool, LabelError> {
    let Some(from) = evidence.labels_from() else { return Ok(false) };
    let project = rollout.project.as_str();
    let Some(from) = Cursor::parse(from) else {
        evidence.labels_read(log.end_of_labels(project).to_string(), LabelsLeftOut::default());
        return Ok(true);
    };
    let seen = labels_since(log, project, rollout.endpoint.as_str(), from, LABELS)?;
    let mut left_out = LabelsLeftOut::default();
    for labelled in &seen.labelled {
        if let Some(label) = label_seen(rollout, labelled, &mut left_out) {
            evidence.observe_label(&label)?;
        }
    }
    evidence.labels_read(seen.next.to_string(), left_out);
    Ok(seen.next != from)
}

/// A label as the tests take it; none where its prediction was not drawn for this rollout, or says nothing.
fn label_seen(
    rollout: &Rollout,
    labelled: &LabelledPrediction,
    left_out: &mut LabelsLeftOut,
) -> Option<LabelSeen> {
    let record = &labelled.record;
    let lot = record.assignment.as_ref().filter(|lot| lot.trial == rollout.id)?;
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
    let (Some(answered), Some(truth)) = (answered(record), said(&labelled.label.value)) else {
        left_out.incomparable += 1;
        return None;
    };
    let (arm, share) = match labelled.version() == rollout.candidate.name() {
        true => (Arm::Canary, lot.probability()),
        false => (Arm::Champion, 1.0 - lot.probability()),
    };
    let segments = segments(&rollout.plan.segments, record);
    Some(LabelSeen { arm, share, unit, segments, answered, truth })
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
    if record.redacted.iter().any(|name| name == Predictions::UNNAMED) {
        return None;
    }
    match &record.outputs {
        Outputs::None => None,
        Outputs::One(value) => said(value),
        Outputs::Many(values) => Some(Said::Several(values.clone())),
    }
}

fn said(value: &Scalar) -> Option<Said> {
    match value {
        Scalar::Null => None,
        Scalar::Bool(on) => Some(Said::Truth(*on)),
        #[allow(clippy::cast_precision_loss)]
        Scalar::Int(whole) => Some(Said::Number(*whole as f64)),
        Scalar::Float(float) => Some(Said::Number(*float)),
        // What has more than one value is logged as JSON, and is no class.
        Scalar::Text(text) if text.starts_with(['{', '[']) => None,
        Scalar::Text(text) => Some(Said::Text(text.clone())),
    }
}
