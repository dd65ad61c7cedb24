//! Labels that came since the last look, each with the prediction that it belongs to: what monitors count quality from, and
//! what weighs the arms of a trial once the truth is known. It reads files: call it where blocking is allowed.

use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use trueline_predictions::{
    Cursor, Label, LogError, Outputs, PredictionLog, Record, Scalar, Scan, Status, Unit,
};

/// Labels that are read at once; the clock is looked at in between.
const PAGE: usize = 500;

/// A label with its prediction.
#[derive(Clone, Debug)]
pub struct LabelledPrediction {
    /// What was predicted.
    pub record: Record,
    /// What was true.
    pub label: Label,
    /// What was said to be true until this label corrected it; none for a prediction's first label.
    pub before: Option<Scalar>,
}

/// What one look at the labels of an endpoint may cost.
#[derive(Clone, Copy, Debug)]
pub struct LabelBounds {
    /// Labels of the project that are read at the most, those of other endpoints among them.
    pub most: usize,
    /// After so long nothing more is read.
    pub longest: Duration,
}

/// What one look at the labels of an endpoint found.
#[derive(Clone, Debug)]
pub struct LabelsSeen {
    /// The labels of its predictions, corrections among them, in the order in which they came.
    pub labelled: Vec<LabelledPrediction>,
    /// Where the next look goes on.
    pub next: Cursor,
    /// Whether everything was read that was there.
    pub end: bool,
}

impl LabelledPrediction {
    /// The version that answered, `model/3`.
    #[must_use]
    pub fn version(&self) -> String {
        version_of(&self.record)
    }

    /// Whether it is the first label of its prediction, and no correction of another.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.before.is_none()
    }

    /// Whether the prediction failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.record.status != Status::Ok
    }

    /// The hash of the caller's key, as it was logged; none where there was none, or it was left out of the log.
    #[must_use]
    pub fn key(&self) -> Option<u64> {
        key_of(&self.record)
    }

    /// The hash of what drew the lot: a key, or a request with all of its rows. Predictions with the same one count as one. None
    /// where no lot was drawn, or a key drew it that was not logged.
    #[must_use]
    pub fn unit(&self) -> Option<u64> {
        unit_of(&self.record)
    }

    /// What was answered, as a number: the number itself, or the second of two probabilities.
    #[must_use]
    pub fn answered(&self) -> Option<f64> {
        number_of(&self.record.outputs)
    }

    /// What was true, as a number; yes is 1, no is 0.
    #[must_use]
    pub fn truth(&self) -> Option<f64> {
        match &self.label.value {
            Scalar::Bool(on) => Some(f64::from(u8::from(*on))),
            #[allow(clippy::cast_precision_loss)]
            Scalar::Int(whole) => Some(*whole as f64),
            Scalar::Float(float) => Some(*float),
            Scalar::Null | Scalar::Text(_) => None,
        }
    }
}

/// The hash of the key under which a prediction was asked for, as it was logged.
fn key_of(record: &Record) -> Option<u64> {
    record.key.as_deref().map(|key| hash(key.as_bytes()))
}

/// The hash of what drew the lot of a prediction.
pub(crate) fn unit_of(record: &Record) -> Option<u64> {
    let first_row = |row: u32| hash(&record.prediction_id.number().wrapping_sub(row.into()).to_be_bytes());
    match record.assignment.as_ref()?.unit {
        Unit::Key => key_of(record),
        Unit::Request => Some(first_row(0)),
        Unit::Row(row) => Some(first_row(row)),
    }
}

/// The version that answered, `model/3`.
pub(crate) fn version_of(record: &Record) -> String {
    format!("{}/{}", record.variant.model, record.variant.version)
}

/// An answer as a number: the number itself, or the second of two probabilities.
pub(crate) fn number_of(outputs: &Outputs) -> Option<f64> {
    match outputs {
        #[allow(clippy::cast_precision_loss)]
        Outputs::One(Scalar::Int(whole)) => Some(*whole as f64),
        Outputs::One(Scalar::Float(float)) => Some(*float),
        Outputs::Many(classes) if classes.len() == 2 => classes.get(1).copied(),
        _ => None,
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ])
}

/// The labels of an endpoint's predictions that came after a position, each with its prediction, as far as the bounds let.
/// A label without a prediction of this endpoint is passed over.
///
/// # Errors
/// [`LogError::Cursor`] for a position that is not of this log; when a file can't be read or is damaged.
pub fn labels_since(
    log: &PredictionLog,
    project: &str,
    endpoint: &str,
    from: Cursor,
    bounds: LabelBounds,
) -> Result<LabelsSeen, LogError> {
    let began = Instant::now();
    let mut seen = LabelsSeen { labelled: Vec::new(), next: from, end: false };
    let mut finder = log.finder(project, Some(endpoint));
    let mut left = bounds.most;
    while !seen.end && left > 0 && began.elapsed() < bounds.longest {
        let scan = Scan {
            from: seen.next,
            event_time_ms: None,
            limit: left.min(PAGE),
            until: Some(began + bounds.longest),
        };
        let page = log.scan_labels(project, &scan)?;
        left -= page.items.len().min(left);
        for label in page.items {
            let Some(record) = finder.find(label.prediction_id)? else { continue };
            let history = finder.labels(label.prediction_id)?;
            // A label that its own history does not have can't be told from a correction.
            let Some(place) = history.iter().position(|known| *known == label) else { continue };
            let before = place.checked_sub(1).map(|i| history[i].value.clone());
            seen.labelled.push(LabelledPrediction { record, label, before });
        }
        (seen.next, seen.end) = (page.next, page.end);
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trueline_predictions::{Assignment, EVERY, Options, PredictionId, Variant};

    fn record(endpoint: &str, id: u128, unit: Option<Unit>) -> Record {
        let assignment = unit.map(|unit| Assignment { trial: "t".into(), chance: 50_000, unit });
        Record {
            prediction_id: PredictionId::new(1_000, id),
            project: "p".into(),
            endpoint: endpoint.into(),
            variant: Variant { model: "m".into(), version: "1".into() },
            event_time_ms: 0,
            received_at_ms: 0,
            key: Some("N14228".into()),
            request_id: "r".into(),
            inputs: Vec::new(),
            features: Vec::new(),
            outputs: Outputs::One(Scalar::Float(0.25)),
            status: Status::Ok,
            timings: Vec::new(),
            share: EVERY,
            redacted: Vec::new(),
            assignment,
        }
    }

    fn label(id: u128, value: i64, at_ms: i64) -> Label {
        Label {
            prediction_id: PredictionId::new(1_000, id),
            value: Scalar::Int(value),
            event_time_ms: at_ms,
            received_at_ms: at_ms,
            source: "test".into(),
        }
    }

    const SOME: LabelBounds = LabelBounds { most: 2, longest: Duration::from_secs(60) };

    #[tokio::test]
    async fn labels_are_read_on_in_order_with_their_predictions_and_what_they_correct() {
        let dir = tempfile::tempdir().unwrap();
        let log = PredictionLog::open(dir.path(), Options::default()).unwrap();
        assert_eq!(log.end_of_labels("p"), Cursor::START);
        log.append_required(&[record("e", 1, None), record("e", 2, Some(Unit::Key))]).await.unwrap();
        log.append_required(&[record("other", 3, None)]).await.unwrap();
        log.label("p", vec![label(1, 0, 5)]).await.unwrap();
        let end = log.end_of_labels("p");
        log.label("p", vec![label(3, 1, 6), label(2, 1, 7), label(1, 1, 8), label(9, 1, 9)]).await.unwrap();

        let all = LabelBounds { most: 100, ..SOME };
        let seen = labels_since(&log, "p", "e", Cursor::START, all).unwrap();
        let told: Vec<_> = seen.labelled.iter().map(|l| (l.label.event_time_ms, l.is_first())).collect();
        assert_eq!(
            told,
            [(5, true), (7, true), (8, false)],
            "neither another's nor one without a prediction"
        );
        assert!(seen.end && seen.next == log.end_of_labels("p"));
        assert_eq!(seen.labelled[2].before, Some(Scalar::Int(0)));
        let one = &seen.labelled[1];
        assert_eq!(
            (one.version(), one.failed(), one.answered(), one.truth()),
            ("m/1".into(), false, Some(0.25), Some(1.0))
        );

        let later = labels_since(&log, "p", "e", end, SOME).unwrap();
        assert_eq!((later.labelled.len(), later.end), (1, false), "two labels were read, one is another's");
        let rest = labels_since(&log, "p", "e", later.next, SOME).unwrap();
        assert_eq!(rest.labelled.len(), 1);
        assert!(!rest.labelled[0].is_first());
    }

    #[test]
    fn rows_of_a_request_and_predictions_of_a_key_are_one_unit() {
        let unit = |id, unit| {
            let labelled =
                LabelledPrediction { record: record("e", id, unit), label: label(id, 1, 0), before: None };
            labelled.unit()
        };
        assert_eq!(unit(7, Some(Unit::Row(0))), unit(9, Some(Unit::Row(2))));
        assert_ne!(unit(7, Some(Unit::Request)), unit(8, Some(Unit::Request)));
        assert_eq!(unit(7, Some(Unit::Key)), unit(99, Some(Unit::Key)));
        assert_eq!(unit(7, None), None);
    }
}
