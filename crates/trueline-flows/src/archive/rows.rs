//! Predictions and labels as tables of Arrow: the columns that `trueline query` has, with types that are the same in every
//! file, so that a folder of them is one table. What differs from model to model, inputs and features, is JSON.

use crate::predict::json_of;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use trueline_ledger::Millis;
use trueline_predictions::{Assignment, Columns, EVERY, Label, Outputs, Record, Scalar, Stage, Status};
use trueline_query::arrow_array::{
    ArrayRef, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use trueline_query::{QueryError, RecordBatch};

/// What is archived.
pub(crate) trait Row: Sized {
    /// When it came, in milliseconds since 1970.
    fn received_ms(&self) -> Millis;
    /// When it happened, in milliseconds since 1970.
    fn event_ms(&self) -> Millis;
    /// Some of them as a table.
    fn table(rows: &[Self]) -> Result<RecordBatch, QueryError>;
}

impl Row for Record {
    fn received_ms(&self) -> Millis {
        self.received_at_ms
    }

    fn event_ms(&self) -> Millis {
        self.event_time_ms
    }

    fn table(rows: &[Self]) -> Result<RecordBatch, QueryError> {
        let stage = |stage: Stage| whole(rows, move |r| stage_us(r, stage));
        let share = |r: &Self| f64::from(r.share) / f64::from(EVERY);
        batch([
            ("prediction_id", texts(rows, |r| Some(r.prediction_id.to_string()))),
            ("endpoint", texts(rows, |r| Some(r.endpoint.clone()))),
            ("model", texts(rows, |r| Some(r.variant.model.clone()))),
            ("version", texts(rows, |r| Some(r.variant.version.clone()))),
            ("event_time", times(rows, |r| r.event_time_ms)),
            ("received_at", times(rows, |r| r.received_at_ms)),
            ("key", texts(rows, |r| r.key.clone())),
            ("request_id", texts(rows, |r| Some(r.request_id.clone()))),
            ("inputs", texts(rows, |r| Some(object(&r.inputs)))),
            ("features", texts(rows, |r| Some(object(&r.features)))),
            (
                "output",
                numbers(rows, |r| if let Outputs::One(one) = &r.outputs { number(one) } else { None }),
            ),
            ("output_json", texts(rows, |r| output(&r.outputs))),
            (
                "error",
                texts(rows, |r| if let Status::Error(why) = &r.status { Some(why.clone()) } else { None }),
            ),
            ("parse_us", stage(Stage::Parse)),
            ("features_us", stage(Stage::Features)),
            ("queue_us", stage(Stage::Queue)),
            ("runtime_us", stage(Stage::Runtime)),
            ("total_us", stage(Stage::Total)),
            ("share", numbers(rows, |r| Some(share(r)))),
            ("weight", numbers(rows, |r| Some(1.0 / share(r)))),
            ("redacted", texts(rows, |r| Some(json!(r.redacted).to_string()))),
            ("trial", texts(rows, |r| r.assignment.as_ref().map(|lot| lot.trial.clone()))),
            ("chance", numbers(rows, |r| r.assignment.as_ref().map(Assignment::probability))),
        ])
    }
}

impl Row for Label {
    fn received_ms(&self) -> Millis {
        self.received_at_ms
    }

    fn event_ms(&self) -> Millis {
        self.event_time_ms
    }

    fn table(rows: &[Self]) -> Result<RecordBatch, QueryError> {
        batch([
            ("prediction_id", texts(rows, |r| Some(r.prediction_id.to_string()))),
            ("value", numbers(rows, |r| number(&r.value))),
            ("value_json", texts(rows, |r| Some(json_of(&r.value).to_string()))),
            ("event_time", times(rows, |r| r.event_time_ms)),
            ("received_at", times(rows, |r| r.received_at_ms)),
            ("source", texts(rows, |r| Some(r.source.clone()))),
        ])
    }
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch, QueryError> {
    // Every column may have nulls, whatever these rows have: all files have one schema.
    let columns = columns.into_iter().map(|(name, values)| (name, values, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn texts<T>(rows: &[T], of: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}

fn numbers<T>(rows: &[T], of: impl Fn(&T) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<Float64Array>())
}

fn whole<T>(rows: &[T], of: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<Int64Array>())
}

fn times<T>(rows: &[T], of: impl Fn(&T) -> Millis) -> ArrayRef {
    let times = rows.iter().map(|row| Some(of(row))).collect::<TimestampMillisecondArray>();
    Arc::new(times.with_timezone("UTC"))
}

fn stage_us(record: &Record, stage: Stage) -> Option<i64> {
    let found = record.timings.iter().find(|(of, _)| *of == stage);
    found.map(|(_, us)| i64::try_from(*us).unwrap_or(i64::MAX))
}

#[allow(clippy::cast_precision_loss)]
fn number(value: &Scalar) -> Option<f64> {
    match value {
        Scalar::Bool(on) => Some(f64::from(u8::from(*on))),
        Scalar::Int(whole) => Some(*whole as f64),
        Scalar::Float(float) => Some(*float),
        Scalar::Null | Scalar::Text(_) => None,
    }
}

fn object(columns: &Columns) -> String {
    let members = columns.iter().map(|(name, value)| (name.clone(), json_of(value)));
    Json::Object(members.collect()).to_string()
}

/// The whole answer as JSON; none where there was none.
fn output(outputs: &Outputs) -> Option<String> {
    match outputs {
        Outputs::None => None,
        Outputs::One(one) => Some(json_of(one).to_string()),
        Outputs::Many(many) => Some(json!(many).to_string()),
    }
}
