//! The profile of a table in one scan: per column nulls, range, moments, quantiles, distinct values, histogram or
//! frequent values. The arithmetic is `trueline-stats`'; here cells are fed to it.

use crate::QueryError;
use crate::schema::{Column, columns_of};
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, TimeUnit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trueline_stats::profile::{NumericProfile, TextProfile};

/// Fixes the sketches' coins and hashes, so that the same bytes have the same profile everywhere.
const SEED: u64 = 0x0072_7565_6c69_6e65;
const COUNTERS: usize = 64;
const SHOWN: usize = 10;
const BINS: usize = 20;
const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// What was seen of a column so far; two of the same column merge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ColumnState {
    /// Numbers.
    Number {
        /// Their profile.
        profile: NumericProfile,
    },
    /// Dates and times, as milliseconds since 1970.
    Time {
        /// Their profile.
        profile: NumericProfile,
    },
    /// Text and truth values.
    Text {
        /// Their profile.
        profile: TextProfile,
    },
    /// Lists, structures and bytes, of which only nulls are counted.
    Opaque {
        /// All rows.
        rows: u64,
        /// Rows that are null.
        nulls: u64,
    },
}

/// A value that at least `at_least` rows have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequent {
    /// The value.
    pub value: String,
    /// In at least so many rows.
    pub at_least: u64,
    /// In at most so many rows.
    pub at_most: u64,
}

/// A bar of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramBin {
    /// From, exclusive but for the first.
    pub low: f64,
    /// To, inclusive.
    pub high: f64,
    /// Rows.
    pub count: u64,
}

/// The value that a share `p` of the rows does not exceed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// The share.
    pub p: f64,
    /// The value: a number, or a time as RFC 3339.
    pub value: Value,
}

/// What a person wants to know of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Name and type.
    #[serde(flatten)]
    pub column: Column,
    /// All rows.
    pub rows: u64,
    /// Rows without a value.
    pub nulls: u64,
    /// Rows with NaN or an infinity.
    pub not_finite: u64,
    /// Different values.
    pub distinct: Option<f64>,
    /// Whether `distinct` is a count or an estimate (standard error 1.6 %).
    pub distinct_exact: bool,
    /// The smallest value; of text the shortest length in characters.
    pub min: Value,
    /// The largest value; of text the longest length in characters.
    pub max: Value,
    /// The mean of numbers.
    pub mean: Option<f64>,
    /// The sample standard deviation of numbers.
    pub std: Option<f64>,
    /// Quantiles, exact in small tables, else within 1.65 % of rank.
    pub quantiles: Vec<Quantile>,
    /// Equally wide bins over the range; of times in milliseconds since 1970.
    pub histogram: Vec<HistogramBin>,
    /// The most frequent texts.
    pub frequent: Vec<Frequent>,
}

/// The profile of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableProfile {
    /// All rows.
    pub rows: u64,
    /// The columns in their order.
    pub columns: Vec<ColumnProfile>,
}

/// Profiles batches as they pass.
#[derive(Clone, Debug)]
pub struct Profiler {
    columns: Vec<(Column, ColumnState)>,
    rows: u64,
}

impl Profiler {
    /// For batches of `schema`.
    ///
    /// # Errors
    /// None in practice: the sketches' sizes are constants in range.
    pub fn new(schema: &Schema) -> Result<Self, QueryError> {
        let states = schema.fields().iter().map(|f| start(f.data_type())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { columns: columns_of(schema).into_iter().zip(states).collect(), rows: 0 })
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// [`QueryError::Arrow`] for values that don't convert.
    pub fn observe(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        self.rows += batch.num_rows() as u64;
        for ((_, state), array) in self.columns.iter_mut().zip(batch.columns()) {
            feed(state, array)?;
        }
        Ok(())
    }

    /// Rows seen.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The states, which can be kept and merged.
    #[must_use]
    pub fn states(&self) -> Vec<(Column, ColumnState)> {
        self.columns.clone()
    }

    /// What was seen, for people.
    #[must_use]
    pub fn profile(&self) -> TableProfile {
        let columns = self.columns.iter().map(|(column, state)| summary(column, state)).collect();
        TableProfile { rows: self.rows, columns }
    }
}

fn start(kind: &DataType) -> Result<ColumnState, QueryError> {
    let number = || NumericProfile::new(SEED);
    Ok(match kind {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            ColumnState::Time { profile: number() }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => {
            let profile = TextProfile::new(COUNTERS, SEED);
            let profile = profile.map_err(|e| arrow_schema::ArrowError::ComputeError(e.to_string()))?;
            ColumnState::Text { profile }
        }
        kind if kind.is_numeric() => ColumnState::Number { profile: number() },
        _ => ColumnState::Opaque { rows: 0, nulls: 0 },
    })
}

fn feed(state: &mut ColumnState, array: &ArrayRef) -> Result<(), QueryError> {
    match state {
        ColumnState::Number { profile } => {
            let values = cast(array, &DataType::Float64)?;
            values.as_primitive::<Float64Type>().iter().for_each(|v| profile.observe(v));
        }
        ColumnState::Time { profile } => {
            let times = cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            let millis = cast(&times, &DataType::Int64)?;
            #[allow(clippy::cast_precision_loss)]
            millis.as_primitive::<Int64Type>().iter().for_each(|v| profile.observe(v.map(|v| v as f64)));
        }
        ColumnState::Text { profile } => {
            let texts = cast(array, &DataType::Utf8)?;
            texts.as_string::<i32>().iter().for_each(|v| profile.observe(v));
        }
        ColumnState::Opaque { rows, nulls } => {
            *rows += array.len() as u64;
            *nulls += array.null_count() as u64;
        }
    }
    Ok(())
}

fn moment(millis: f64) -> Value {
    #[allow(clippy::cast_possible_truncation)]
    let time = jiff::Timestamp::from_millisecond(millis as i64);
    time.map_or_else(|_| json!(millis), |t| json!(t.to_string()))
}

/// A value of an integer column without a point. Beyond 2^53 it is no longer exact, and says so by having one.
fn whole_number(value: f64) -> Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    #[allow(clippy::cast_possible_truncation)]
    if value.fract() == 0.0 && value.abs() <= EXACT { json!(value as i64) } else { json!(value) }
}

fn summary(column: &Column, state: &ColumnState) -> ColumnProfile {
    let mut out = ColumnProfile {
        column: column.clone(),
        rows: 0,
        nulls: 0,
        not_finite: 0,
        distinct: None,
        distinct_exact: false,
        min: Value::Null,
        max: Value::Null,
        mean: None,
        std: None,
        quantiles: Vec::new(),
        histogram: Vec::new(),
        frequent: Vec::new(),
    };
    match state {
        ColumnState::Number { profile } => {
            let whole = column.kind.contains("int");
            numbers(&mut out, profile, |v| if whole { whole_number(v) } else { json!(v) });
            out.mean = profile.moments().mean();
            out.std = profile.moments().sample_variance().map(f64::sqrt);
        }
        ColumnState::Time { profile } => numbers(&mut out, profile, moment),
        ColumnState::Text { profile } => texts(&mut out, profile),
        ColumnState::Opaque { rows, nulls } => (out.rows, out.nulls) = (*rows, *nulls),
    }
    out
}

fn numbers(out: &mut ColumnProfile, profile: &NumericProfile, show: impl Fn(f64) -> Value) {
    (out.rows, out.nulls) = (profile.rows(), profile.nulls());
    out.not_finite = profile.nans() + profile.infinities();
    out.distinct = Some(profile.distinct().estimate().round());
    out.distinct_exact = profile.distinct().is_exact();
    if let Some((low, high)) = profile.range() {
        (out.min, out.max) = (show(low), show(high));
    }
    let at = |p: f64| Some(Quantile { p, value: show(profile.quantile(p).ok()??) });
    out.quantiles = QUANTILES.into_iter().filter_map(at).collect();
    let bin = |(low, high, count)| HistogramBin { low, high, count };
    out.histogram = profile.histogram(BINS).into_iter().map(bin).collect();
}

fn texts(out: &mut ColumnProfile, profile: &TextProfile) {
    (out.rows, out.nulls) = (profile.rows(), profile.nulls());
    out.distinct = Some(profile.distinct().estimate().round());
    out.distinct_exact = profile.distinct().is_exact();
    if let Some((shortest, longest)) = profile.length_range() {
        (out.min, out.max) = (json!(shortest), json!(longest));
    }
    let frequent = profile.frequent().top(SHOWN).into_iter();
    out.frequent =
        frequent.map(|f| Frequent { value: f.value, at_least: f.at_least, at_most: f.at_most }).collect();
}
