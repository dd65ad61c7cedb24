//! One prediction as it is logged, and its bytes.
//!
//! ```text
//! version 1 to 3 | id, 16 bytes | event time | received − event time          (what every item starts with)
//! project | endpoint | model | version | request id                      texts: varint length, UTF-8
//! key: 0, or 1 and a text
//! inputs, features: count, then name and scalar each
//! outputs: 0 none | 1 scalar | 2 count, then f64 each
//! status: 0 | 1 and the error's text
//! timings: count, then stage byte and microseconds each
//! version 2 and 3: share in millionths | redacted: count, then a text each
//! version 3 alone: the assignment: trial, a text | chance in millionths | 0 key, 1 request, 2 row
//! ```

use crate::scalar::{put_scalar, take_scalar};
use crate::wire::{Head, Reader, put_float, put_text, put_varint};
use crate::{Assignment, DecodeError, LogError, Scalar};
use std::fmt;

/// Largest record in bytes: a row of a few thousand columns, or one long text.
pub const MAX_RECORD: usize = 4 << 20;

/// The newest version. What was assigned by no lot is written as the second, and what is neither sampled nor redacted then as
/// the first, which takes no byte more than it did.
pub(crate) const VERSION: u8 = 3;

/// The share of predictions that are logged, in millionths, where all are.
pub const EVERY: u32 = 1_000_000;

/// Names a prediction; sorts by time. The caller makes it, so that a test or a replay is deterministic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PredictionId(u128);

impl PredictionId {
    /// 48 bits of milliseconds since 1970, then the low 80 bits of `random`.
    #[must_use]
    pub fn new(ms: u64, random: u128) -> Self {
        Self((u128::from(ms) << 80) | (random & ((1 << 80) - 1)))
    }

    /// Reads 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 16];
        hex::decode_to_slice(text, &mut out).ok().map(|()| Self::from_bytes(out))
    }

    /// When it was made, in milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        (self.0 >> 80) as u64
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The whole of it as a number.
    #[must_use]
    pub fn number(&self) -> u128 {
        self.0
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.to_bytes(), &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Named values of one row, in the order of the request.
pub type Columns = Vec<(String, Scalar)>;

/// What the model answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    /// Nothing, as after an error.
    None,
    /// One value.
    One(Scalar),
    /// Several numbers: probabilities by class, quantiles.
    Many(Vec<f64>),
}

/// Whether the prediction was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was.
    Ok,
    /// It was not; why.
    Error(String),
}

/// A stage of a request whose time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Bytes to columns.
    Parse = 1,
    /// Snapshot to variant.
    Route = 2,
    /// The online store.
    Features = 3,
    /// The schema.
    Check = 4,
    /// Waiting for the batch.
    Queue = 5,
    /// The model itself.
    Runtime = 6,
    /// From first to last byte.
    Total = 7,
}

impl Stage {
    fn read(byte: u8) -> Result<Self, DecodeError> {
        let all =
            [Self::Parse, Self::Route, Self::Features, Self::Check, Self::Queue, Self::Runtime, Self::Total];
        all.into_iter().find(|s| *s as u8 == byte).ok_or(DecodeError("it has a stage that is none"))
    }
}

/// The version that answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Registered model.
    pub model: String,
    /// Its version.
    pub version: String,
}

/// One logged prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id, as the caller was told.
    pub prediction_id: PredictionId,
    /// Project's id.
    pub project: String,
    /// Endpoint's name.
    pub endpoint: String,
    /// What answered.
    pub variant: Variant,
    /// When the predicted thing happened, in milliseconds since 1970.
    pub event_time_ms: i64,
    /// When the request came, in milliseconds since 1970.
    pub received_at_ms: i64,
    /// The sticky or entity key, if there was one.
    pub key: Option<String>,
    /// The request that it came with.
    pub request_id: String,
    /// What was sent.
    pub inputs: Columns,
    /// What the online store added.
    pub features: Columns,
    /// What was answered.
    pub outputs: Outputs,
    /// How it ended.
    pub status: Status,
    /// Microseconds by stage.
    pub timings: Vec<(Stage, u64)>,
    /// Of so many millionths of such predictions a record is kept; [`EVERY`] where all are. A record stands for
    /// `EVERY / share` predictions.
    pub share: u32,
    /// What was not logged as it was, by the names of columns: it is left out, or a keyed hash stands for it.
    pub redacted: Vec<String>,
    /// The lot of a trial that was under way, by which this variant answered; none where no lot was drawn for one, or the caller
    /// named the version.
    pub assignment: Option<Assignment>,
}

impl Record {
    pub(crate) fn head(&self) -> Head {
        Head { id: self.prediction_id, event_ms: self.event_time_ms, received_ms: self.received_at_ms }
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// [`LogError::TooLarge`] beyond [`MAX_RECORD`].
    pub fn encode(&self) -> Result<Vec<u8>, LogError> {
        let mut out = Vec::with_capacity(256);
        let told = self.share != EVERY || !self.redacted.is_empty();
        let format = if self.assignment.is_some() { VERSION } else { 1 + u8::from(told) };
        self.head().put(format, &mut out);
        let Variant { model, version } = &self.variant;
        for text in [&self.project, &self.endpoint, model, version, &self.request_id] {
            put_text(&mut out, text);
        }
        put_optional(&mut out, self.key.as_deref());
        put_columns(&mut out, &self.inputs);
        put_columns(&mut out, &self.features);
        put_outputs(&mut out, &self.outputs);
        put_optional(&mut out, if let Status::Error(why) = &self.status { Some(why) } else { None });
        put_varint(&mut out, self.timings.len() as u64);
        for (stage, us) in &self.timings {
            out.push(*stage as u8);
            put_varint(&mut out, *us);
        }
        if format > 1 {
            put_varint(&mut out, u64::from(self.share));
            put_varint(&mut out, self.redacted.len() as u64);
            self.redacted.iter().for_each(|name| put_text(&mut out, name));
        }
        if let Some(assignment) = &self.assignment {
            assignment.put(&mut out);
        }
        if out.len() > MAX_RECORD {
            return Err(LogError::TooLarge { what: "a record", bytes: out.len(), limit: MAX_RECORD });
        }
        Ok(out)
    }

    /// Reads a record's bytes, all of them.
    ///
    /// # Errors
    /// When they are not exactly one record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (version, head) = Head::take(VERSION, &mut reader)?;
        let (project, endpoint) = (reader.text()?, reader.text()?);
        let variant = Variant { model: reader.text()?, version: reader.text()? };
        let request_id = reader.text()?;
        let key = take_optional(&mut reader)?;
        let inputs = take_columns(&mut reader)?;
        let features = take_columns(&mut reader)?;
        let outputs = take_outputs(&mut reader)?;
        let status = take_optional(&mut reader)?.map_or(Status::Ok, Status::Error);
        let mut timings = Vec::with_capacity(8);
        for _ in 0..reader.count(2)? {
            timings.push((Stage::read(reader.byte()?)?, reader.varint()?));
        }
        let (share, redacted) = match version {
            1 => (EVERY, Vec::new()),
            _ => take_declared(&mut reader)?,
        };
        let assignment = (version > 2).then(|| Assignment::take(&mut reader)).transpose()?;
        reader.end()?;
        Ok(Self {
            prediction_id: head.id,
            project,
            endpoint,
            variant,
            event_time_ms: head.event_ms,
            received_at_ms: head.received_ms,
            key,
            request_id,
            inputs,
            features,
            outputs,
            status,
            timings,
            share,
            redacted,
            assignment,
        })
    }
}

/// What versions from the second on have besides: the share, and what was redacted.
fn take_declared(reader: &mut Reader<'_>) -> Result<(u32, Vec<String>), DecodeError> {
    let share = u32::try_from(reader.varint()?).ok().filter(|share| (1..=EVERY).contains(share));
    let share = share.ok_or(DecodeError("a share is none"))?;
    let count = reader.count(1)?;
    Ok((share, (0..count).map(|_| reader.text()).collect::<Result<_, _>>()?))
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn take_optional(reader: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
    match reader.byte()? {
        0 => Ok(None),
        1 => reader.text().map(Some),
        _ => Err(DecodeError("an optional text is neither there nor missing")),
    }
}

fn put_columns(out: &mut Vec<u8>, columns: &Columns) {
    put_varint(out, columns.len() as u64);
    for (name, value) in columns {
        put_text(out, name);
        put_scalar(out, value);
    }
}

fn take_columns(reader: &mut Reader<'_>) -> Result<Columns, DecodeError> {
    // A column takes 2 bytes at the least, but 56 in memory: it grows with what is really there.
    let count = reader.count(2)?;
    let mut columns = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        columns.push((reader.text()?, take_scalar(reader)?));
    }
    Ok(columns)
}

fn put_outputs(out: &mut Vec<u8>, outputs: &Outputs) {
    match outputs {
        Outputs::None => out.push(0),
        Outputs::One(scalar) => {
            out.push(1);
            put_scalar(out, scalar);
        }
        Outputs::Many(values) => {
            out.push(2);
            put_varint(out, values.len() as u64);
            values.iter().for_each(|v| put_float(out, *v));
        }
    }
}

fn take_outputs(reader: &mut Reader<'_>) -> Result<Outputs, DecodeError> {
    Ok(match reader.byte()? {
        0 => Outputs::None,
        1 => Outputs::One(take_scalar(reader)?),
        2 => {
            let count = reader.count(8)?;
            Outputs::Many((0..count).map(|_| reader.float()).collect::<Result<_, _>>()?)
        }
        _ => return Err(DecodeError("outputs have a shape that is none")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;
    use proptest::prelude::*;

    fn scalar() -> impl Strategy<Value = Scalar> {
        prop_oneof![
            Just(Scalar::Null),
            any::<bool>().prop_map(Scalar::Bool),
            any::<i64>().prop_map(Scalar::Int),
            any::<f64>().prop_map(Scalar::Float),
            ".{0,12}".prop_map(Scalar::Text),
        ]
    }

    fn columns() -> impl Strategy<Value = Columns> {
        prop::collection::vec((".{0,8}", scalar()), 0..6)
    }

    fn outputs() -> impl Strategy<Value = Outputs> {
        prop_oneof![
            Just(Outputs::None),
            scalar().prop_map(Outputs::One),
            prop::collection::vec(any::<f64>(), 0..5).prop_map(Outputs::Many),
        ]
    }

    fn unit() -> impl Strategy<Value = Unit> {
        prop_oneof![Just(Unit::Key), Just(Unit::Request), any::<u32>().prop_map(Unit::Row)]
    }

    prop_compose! {
        fn record()(
            id in any::<u128>(),
            (event_time_ms, received_at_ms) in any::<(i64, i64)>(),
            (project, endpoint, model, version, request_id) in (".{0,9}", ".{0,9}", ".{0,9}", ".{0,9}", ".{0,9}"),
            key in prop::option::of(".{0,9}"),
            (inputs, features, outputs) in (columns(), columns(), outputs()),
            failed in prop::option::of(".{0,9}"),
            timings in prop::collection::vec((1u8..8, any::<u64>()), 0..8),
            share in prop_oneof![Just(EVERY), 1..EVERY], redacted in prop::collection::vec(".{0,8}", 0..3),
            assignment in prop::option::of((".{0,9}", 1..=EVERY, unit())),
        ) -> Record {
            Record {
                prediction_id: PredictionId(id), project, endpoint, variant: Variant { model, version },
                event_time_ms, received_at_ms, key, request_id, inputs, features, outputs,
                status: failed.map_or(Status::Ok, Status::Error),
                timings: timings.into_iter().map(|(s, us)| (Stage::read(s).unwrap(), us)).collect(),
                share, redacted,
                assignment: assignment.map(|(trial, chance, unit)| Assignment { trial, chance, unit }),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(record in record()) {
            let bytes = record.encode().unwrap();
            let again = Record::decode(&bytes).unwrap();
            prop_assert_eq!(again.encode().unwrap(), bytes, "bit for bit, NaN included");
            prop_assert_eq!(format!("{again:?}"), format!("{record:?}"));
        }

        #[test]
        fn a_record_cut_anywhere_is_refused(record in record(), at in any::<prop::sample::Index>()) {
            let bytes = record.encode().unwrap();
            prop_assert!(Record::decode(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn hostile_bytes_are_refused_or_read(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = 1 + *first % VERSION;
            }
            drop(Record::decode(&bytes));
        }

        #[test]
        fn a_changed_byte_never_panics(record in record(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = record.encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(Record::decode(&bytes));
        }
    }

    #[test]
    fn what_is_neither_sampled_nor_redacted_is_written_as_it_always_was() {
        let plain = Record {
            prediction_id: PredictionId::new(1, 2),
            project: "p".into(),
            endpoint: "e".into(),
            variant: Variant { model: "m".into(), version: "3".into() },
            event_time_ms: 5,
            received_at_ms: 5,
            key: None,
            request_id: String::new(),
            inputs: vec![("a".into(), Scalar::Int(1))],
            features: Vec::new(),
            outputs: Outputs::None,
            status: Status::Ok,
            timings: Vec::new(),
            share: EVERY,
            redacted: Vec::new(),
            assignment: None,
        };
        // Bytes as logs of the first version hold them.
        let first =
            "01 000000000001 00000000000000000002 0a 00 0170 0165 016d 0133 00 00 01 0161 0302 00 00 00 00";
        assert_eq!(hex::encode(plain.encode().unwrap()), first.replace(' ', ""));
        let sampled = Record { share: 250_000, redacted: vec!["a".into()], ..plain.clone() };
        assert_eq!(sampled.encode().unwrap()[0], 2);
        assert_eq!(Record::decode(&sampled.encode().unwrap()), Ok(sampled));
        let drawn = Assignment { trial: "r".into(), chance: 50_000, unit: Unit::Row(3) };
        let assigned = Record { assignment: Some(drawn), ..plain.clone() };
        assert_eq!(Record::decode(&assigned.encode().unwrap()), Ok(assigned));
        assert_eq!(Record::decode(&plain.encode().unwrap()), Ok(plain));
    }

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let early = PredictionId::new(1_700_000_000_000, u128::MAX);
        let late = PredictionId::new(1_700_000_000_001, 0);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(PredictionId::parse(&early.to_string()), Some(early));
        assert_eq!(late.time_ms(), 1_700_000_000_001);
        assert_eq!(PredictionId::parse("12"), None);
    }
}
