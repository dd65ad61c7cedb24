//! Labels: the truth that arrives later for a prediction, and its bytes.
//!
//! ```text
//! version 1 | id, 16 bytes | event time | received − event time
//! value: a scalar | source: text
//! ```

use crate::scalar::{put_scalar, take_scalar};
use crate::wire::{Head, Reader, put_text};
use crate::{DecodeError, LogError, PredictionId, Scalar};

/// Largest label in bytes.
pub const MAX_LABEL: usize = 64 << 10;

const VERSION: u8 = 1;

/// The truth for one prediction, as one source told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The prediction that it belongs to.
    pub prediction_id: PredictionId,
    /// What was true.
    pub value: Scalar,
    /// When it was known, in milliseconds since 1970.
    pub event_time_ms: i64,
    /// When it came here, in milliseconds since 1970.
    pub received_at_ms: i64,
    /// Who told it.
    pub source: String,
}

impl Label {
    pub(crate) fn head(&self) -> Head {
        Head { id: self.prediction_id, event_ms: self.event_time_ms, received_ms: self.received_at_ms }
    }

    /// The label's bytes.
    ///
    /// # Errors
    /// [`LogError::TooLarge`] beyond [`MAX_LABEL`].
    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        let mut out = Vec::with_capacity(64);
        self.head().put(VERSION, &mut out);
        put_scalar(&mut out, &self.value);
        put_text(&mut out, &self.source);
        if out.len() > MAX_LABEL {
            return Err(LogError::TooLarge { what: "a label", bytes: out.len(), limit: MAX_LABEL });
        }
        Ok(out)
    }

    /// Reads a label's bytes, all of them.
    ///
    /// # Errors
    /// When they are not exactly one label.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (_, head) = Head::take(VERSION, &mut reader)?;
        let value = take_scalar(&mut reader)?;
        let source = reader.text()?;
        reader.end()?;
        Ok(Self {
            prediction_id: head.id,
            value,
            event_time_ms: head.event_ms,
            received_at_ms: head.received_ms,
            source,
        })
    }

    /// What this label means after those that came before it for the same prediction.
    ///
    /// It is a duplicate when it says what the last one says. So that a message that is delivered again after a correction
    /// does not undo the correction, it is also one when it repeats an earlier label in value, event time and source, or
    /// when its value is what the history says was true at its event time.
    pub(crate) fn after(&self, history: &[Self]) -> Meaning {
        let Some(last) = history.last() else { return Meaning::New };
        let says = |earlier: &Self| earlier.value.same(&self.value);
        let repeats = |earlier: &Self| {
            says(earlier) && earlier.event_time_ms == self.event_time_ms && earlier.source == self.source
        };
        let true_then = |pair: &[Self]| {
            says(&pair[0]) && (pair[0].event_time_ms..pair[1].event_time_ms).contains(&self.event_time_ms)
        };
        if says(last) || history.iter().any(repeats) || history.windows(2).any(true_then) {
            return Meaning::Duplicate;
        }
        Meaning::Correction
    }
}

/// What a label adds to what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    New,
    Correction,
    Duplicate,
}

/// What became of labels that were sent together. All of them are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// First labels of their predictions.
    pub new: usize,
    /// Labels that replace another value.
    pub corrections: usize,
    /// Labels that were known already.
    pub duplicates: usize,
    /// Ids without a durable prediction so far, each once; their labels are kept.
    pub unknown: Vec<PredictionId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn label(value: Scalar, event_time_ms: i64) -> Label {
        let prediction_id = PredictionId::new(5, 7);
        Label { prediction_id, value, event_time_ms, received_at_ms: 0, source: "test".into() }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            id: u128, event_time_ms: i64, received_at_ms: i64, value: i64, source in ".{0,9}",
        ) {
            let prediction_id = PredictionId::from_bytes(id.to_be_bytes());
            let label = Label { prediction_id, value: Scalar::Int(value), event_time_ms, received_at_ms, source };
            prop_assert_eq!(Label::decode(&label.encode().unwrap()), Ok(label));
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_as_what_they_say(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(label) = Label::decode(&bytes) {
                let again = Label::decode(&label.encode().unwrap()).unwrap();
                prop_assert_eq!(format!("{again:?}"), format!("{label:?}"));
            }
        }
    }

    #[test]
    fn a_label_means_what_it_adds() {
        let first = label(Scalar::Int(1), 10);
        assert_eq!(first.after(&[]), Meaning::New);
        assert_eq!(first.after(&[label(Scalar::Float(1.0), 99)]), Meaning::Duplicate, "1.0 is 1");
        let second = label(Scalar::Int(0), 20);
        assert_eq!(second.after(std::slice::from_ref(&first)), Meaning::Correction);
        let history = [first.clone(), second];
        assert_eq!(
            label(Scalar::Int(1), 15).after(&history),
            Meaning::Duplicate,
            "true until the correction"
        );
        assert_eq!(first.after(&history), Meaning::Duplicate, "the same message again");
        assert_eq!(label(Scalar::Int(1), 30).after(&history), Meaning::Correction, "known anew");
    }

    #[test]
    fn not_a_number_is_a_duplicate_of_itself() {
        let nan = label(Scalar::Float(f64::NAN), 1);
        assert_eq!(nan.after(std::slice::from_ref(&nan)), Meaning::Duplicate);
        assert_eq!(label(Scalar::Null, 1).after(std::slice::from_ref(&nan)), Meaning::Correction);
    }
}
