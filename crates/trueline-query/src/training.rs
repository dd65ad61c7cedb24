//! A training set: to the rows of an entity table, at their times, the features of views as they were known then.
//! The left table streams; of the right ones the columns that are asked for are held in memory.

use crate::asof::{Side, asof_join};
use crate::{QueryError, RecordBatch, Scan, micros};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatchOptions, UInt32Array, new_empty_array};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use std::sync::Arc;

/// A view to be joined.
pub struct RightTable {
    /// Its rows, with the columns named below.
    pub scan: Scan,
    /// Its key columns, and those of the left table that they must equal.
    pub keys: Vec<(String, String)>,
    /// The column that says when a row was true; none when rows always were.
    pub time: Option<String>,
    /// The column that says when a row was written.
    pub created: Option<String>,
    /// How old a row may be, in microseconds.
    pub ttl: Option<i64>,
    /// The columns to take, and what they are called in the result.
    pub features: Vec<(String, String)>,
}

/// The left rows that each view has something for.
pub type Matched = u64;

/// Joins `views` to a left table as of its column `time`, and gives the batches of the result to `out`, rows in the
/// order of the left table. `left` opens the left table, whole or with some columns. Answers the schema and, for each
/// view, how many rows found a match.
///
/// # Errors
/// [`QueryError::NoColumn`], [`QueryError::Type`], [`QueryError::Value`] for a row without a time,
/// [`QueryError::Mismatch`] when two columns would share a name, and what `out` says.
pub fn point_in_time_join(
    left: impl Fn(Option<&[String]>) -> Result<Scan, QueryError>,
    time: &str,
    views: Vec<RightTable>,
    mut out: impl FnMut(&SchemaRef, RecordBatch) -> Result<(), QueryError>,
) -> Result<(SchemaRef, Vec<Matched>), QueryError> {
    let mut wanted = vec![time.to_owned()];
    for (_, column) in views.iter().flat_map(|v| &v.keys) {
        if !wanted.contains(column) {
            wanted.push(column.clone());
        }
    }
    let asked = Columns::read(left(Some(&wanted))?)?;
    let times = required_time(time, asked.column(time)?)?;
    let mut joined = Vec::new();
    for view in views {
        joined.push(join_one(&asked, &times, view)?);
    }
    drop(asked);

    let whole = left(None)?;
    let schema = result_schema(whole.schema(), &joined)?;
    let mut from = 0;
    for batch in whole {
        let batch = batch?;
        let mut columns = batch.columns().to_vec();
        for view in &joined {
            let places = view.places.slice(from, batch.num_rows());
            for (_, values) in &view.features {
                columns.push(take(values, &places, None)?);
            }
        }
        from += batch.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        out(&schema, RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)?;
    }
    let matched = joined.iter().map(|v| (v.places.len() - v.places.null_count()) as u64).collect();
    Ok((schema, matched))
}

/// A view with the row that each left row takes.
struct Joined {
    places: UInt32Array,
    features: Vec<(Arc<Field>, ArrayRef)>,
}

fn join_one(asked: &Columns, times: &Int64Array, view: RightTable) -> Result<Joined, QueryError> {
    let known = Columns::read(view.scan)?;
    let keys = |side: &Columns, names: Vec<&String>| {
        names.into_iter().map(|n| side.column(n).cloned()).collect::<Result<Vec<_>, _>>()
    };
    let left_keys = keys(asked, view.keys.iter().map(|(_, left)| left).collect())?;
    let right_keys = keys(&known, view.keys.iter().map(|(right, _)| right).collect())?;
    let known_at = match &view.time {
        Some(column) => micros(column, known.column(column)?)?,
        None => Int64Array::from(vec![i64::MIN; known.rows()]),
    };
    let created = view.created.as_ref().map(|c| micros(c, known.column(c)?)).transpose()?;
    let left = Side { keys: &left_keys, time: times };
    let right = Side { keys: &right_keys, time: &known_at };
    let places = asof_join(&left, &right, created.as_ref(), view.ttl)?;
    let feature = |(column, name): &(String, String)| {
        let values = known.column(column)?.clone();
        Ok((Arc::new(Field::new(name, values.data_type().clone(), true)), values))
    };
    let features = view.features.iter().map(feature).collect::<Result<Vec<_>, QueryError>>()?;
    Ok(Joined { places, features })
}

fn required_time(column: &str, array: &ArrayRef) -> Result<Int64Array, QueryError> {
    let times = micros(column, array)?;
    match (0..times.len()).find(|i| times.is_null(*i)) {
        None => Ok(times),
        Some(row) => Err(QueryError::Value {
            row: row as u64 + 1,
            column: column.to_owned(),
            problem: "it is missing, so nothing says what was known then; leave such rows out or fill it",
        }),
    }
}

fn result_schema(left: &SchemaRef, joined: &[Joined]) -> Result<SchemaRef, QueryError> {
    let mut fields: Vec<Arc<Field>> = left.fields().iter().cloned().collect();
    for (field, _) in joined.iter().flat_map(|v| &v.features) {
        if fields.iter().any(|f| f.name() == field.name()) {
            return Err(QueryError::Mismatch {
                file: format!("the feature `{}`", field.name()),
                first: "the columns before it".to_owned(),
                difference: "that name is taken: ask for full feature names, which begin with their view's"
                    .to_owned(),
            });
        }
        fields.push(field.clone());
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Columns in memory, each in one piece.
struct Columns {
    schema: SchemaRef,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn read(scan: Scan) -> Result<Self, QueryError> {
        let schema = scan.schema().clone();
        let batches = scan.collect::<Result<Vec<_>, _>>()?;
        let gather = |(place, field): (usize, &Arc<Field>)| {
            let pieces: Vec<&dyn Array> = batches.iter().map(|b| b.column(place).as_ref()).collect();
            if pieces.is_empty() { Ok(new_empty_array(field.data_type())) } else { concat(&pieces) }
        };
        let arrays = schema.fields().iter().enumerate().map(gather).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { schema, arrays })
    }

    fn rows(&self) -> usize {
        self.arrays.first().map_or(0, |a| a.len())
    }

    fn column(&self, name: &str) -> Result<&ArrayRef, QueryError> {
        let place = self.schema.index_of(name).map_err(|_| QueryError::no_column(name, &self.schema))?;
        Ok(&self.arrays[place])
    }
}
