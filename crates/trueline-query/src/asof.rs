//! The as-of join: to each row of the left side the newest row of the right side with equal keys that was known at the
//! left row's time. A sort-merge operator over columns that are in memory; what the columns mean is the caller's matter.
//!
//! ```text
//!  left (key, T)  ── ids of keys ──► sorted by (key, T) ──┐
//!                                                         ├─ one pass: the last right row with ts <= T, within ttl
//!  right (key, ts, created) ───────► sorted by (key, ts, created, row) ┘
//! ```
//!
//! The rule is Feast's: `T - ttl <= ts <= T`, both ends included; of equal `ts` the newest `created` wins, and of
//! equal `created` the later row. Keys or times that are null match nothing.

use crate::QueryError;
use arrow_array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow_cast::cast;
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use std::collections::HashMap;

/// One side of a join: columns of equal length.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    /// The columns that must be equal, in an order that both sides share.
    pub keys: &'a [ArrayRef],
    /// The time of each row, in microseconds since 1970.
    pub time: &'a Int64Array,
}

/// Rows that share a time are told apart by when they were created, in microseconds since 1970.
pub type Created<'a> = Option<&'a Int64Array>;

/// A key's place among the distinct keys of the right side.
type KeyId = u32;

/// For each left row the right row that belongs to it, or null.
///
/// `ttl` is in microseconds; `None` reaches back without end. O(n log n) in each side's rows; beyond the columns it
/// needs 24 bytes per right row, 16 per left row, and the distinct keys.
///
/// # Errors
/// [`QueryError::Type`] for keys that are no integers, text, dates, times or truth values, or differ in type between
/// the sides; [`QueryError::TooManyRows`] beyond 2³² - 1 rows on a side.
pub fn asof_join(
    left: &Side<'_>,
    right: &Side<'_>,
    created: Created<'_>,
    ttl: Option<i64>,
) -> Result<UInt32Array, QueryError> {
    let (left_rows, right_rows) = (count("the left side", left)?, count("the right side", right)?);
    let keys = Keys::of(left.keys, right.keys)?;
    let mut known = keys.right(right, created, right_rows)?;
    // Unstable sorts will do: the row's number makes every entry different.
    known.sort_unstable();
    let mut asked = keys.left(left, left_rows);
    asked.sort_unstable();
    Ok(merge(&asked, &known, ttl, left_rows))
}

fn count(what: &'static str, side: &Side<'_>) -> Result<u32, QueryError> {
    let limit = u64::from(u32::MAX);
    u32::try_from(side.time.len()).map_err(|_| QueryError::TooManyRows { what, limit })
}

/// Key, time, created, row.
type Known = (KeyId, i64, i64, u32);
/// Key, time, row.
type Asked = (KeyId, i64, u32);

fn merge(asked: &[Asked], known: &[Known], ttl: Option<i64>, rows: u32) -> UInt32Array {
    let mut found: Vec<Option<u32>> = vec![None; rows as usize];
    let mut next = 0;
    for &(key, at, row) in asked {
        // All that sorts up to (key, at) was known then; the last of it is the newest of this key, or another key's.
        while next < known.len() && (known[next].0, known[next].1) <= (key, at) {
            next += 1;
        }
        let Some(&(candidate, time, _, place)) = next.checked_sub(1).and_then(|i| known.get(i)) else {
            continue;
        };
        let alive = ttl.is_none_or(|ttl| time >= at.saturating_sub(ttl));
        if candidate == key && alive {
            found[row as usize] = Some(place);
        }
    }
    UInt32Array::from(found)
}

/// The keys of both sides as comparable bytes.
struct Keys {
    left: Encoded,
    right: Encoded,
    ids: HashMap<Box<[u8]>, KeyId>,
}

struct Encoded {
    rows: arrow_row::Rows,
    nulls: Vec<bool>,
}

impl Keys {
    fn of(left: &[ArrayRef], right: &[ArrayRef]) -> Result<Self, QueryError> {
        let left = normalised(left)?;
        let right = normalised(right)?;
        for (place, (l, r)) in left.iter().zip(&right).enumerate() {
            if l.data_type() != r.data_type() {
                return Err(QueryError::Type {
                    column: format!("key {}", place + 1),
                    found: format!("{} on the left and {} on the right", l.data_type(), r.data_type()),
                    what: "a key",
                    expected: "of one type on both sides",
                });
            }
        }
        let fields = left.iter().map(|a| SortField::new(a.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let (left, right) = (Encoded::of(&converter, &left)?, Encoded::of(&converter, &right)?);
        let mut ids = HashMap::new();
        for row in 0..right.nulls.len() {
            if !right.nulls[row] {
                let next = KeyId::try_from(ids.len()).unwrap_or(KeyId::MAX);
                ids.entry(Box::from(right.rows.row(row).as_ref())).or_insert(next);
            }
        }
        Ok(Self { left, right, ids })
    }

    fn id(&self, side: &Encoded, row: u32) -> Option<KeyId> {
        let row = row as usize;
        if side.nulls[row] {
            return None;
        }
        self.ids.get(side.rows.row(row).as_ref()).copied()
    }

    fn right(&self, side: &Side<'_>, created: Created<'_>, rows: u32) -> Result<Vec<Known>, QueryError> {
        let created_at = |row: usize| match created {
            // A row that does not say when it was created is older than any that does.
            Some(column) if column.is_valid(row) => column.value(row),
            _ => i64::MIN,
        };
        let entry = |row: u32| {
            let place = row as usize;
            let time = side.time.is_valid(place).then(|| side.time.value(place))?;
            Some((self.id(&self.right, row)?, time, created_at(place), row))
        };
        Ok((0..rows).filter_map(entry).collect())
    }

    fn left(&self, side: &Side<'_>, rows: u32) -> Vec<Asked> {
        let entry = |row: u32| {
            let time = side.time.is_valid(row as usize).then(|| side.time.value(row as usize))?;
            Some((self.id(&self.left, row)?, time, row))
        };
        (0..rows).filter_map(entry).collect()
    }
}

impl Encoded {
    fn of(converter: &RowConverter, columns: &[ArrayRef]) -> Result<Self, QueryError> {
        let rows = converter.convert_columns(columns)?;
        let count = columns.first().map_or(0, |c| c.len());
        let nulls = (0..count).map(|row| columns.iter().any(|c| c.is_null(row))).collect();
        Ok(Self { rows, nulls })
    }
}

/// Keys in one type per kind, so that an int32 of one file equals an int64 of another.
fn normalised(columns: &[ArrayRef]) -> Result<Vec<ArrayRef>, QueryError> {
    let one = |(place, column): (usize, &ArrayRef)| {
        let target = match column.data_type() {
            kind if kind.is_integer() => DataType::Int64,
            DataType::LargeUtf8 | DataType::Utf8View | DataType::Utf8 => DataType::Utf8,
            DataType::Dictionary(_, values) if values.equals_datatype(&DataType::Utf8) => DataType::Utf8,
            DataType::Boolean | DataType::Date32 => column.data_type().clone(),
            DataType::Timestamp(..) => DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None),
            other => {
                return Err(QueryError::Type {
                    column: format!("key {}", place + 1),
                    found: crate::schema::word(other),
                    what: "a key",
                    expected: "integers, text, dates, times or truth values",
                });
            }
        };
        Ok(cast(column, &target)?)
    };
    columns.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float64Array, Int32Array, StringArray};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn text(values: &[Option<&str>]) -> Vec<ArrayRef> {
        vec![Arc::new(StringArray::from(values.to_vec()))]
    }

    fn times(values: &[i64]) -> Int64Array {
        Int64Array::from(values.to_vec())
    }

    fn join(
        left: (&[ArrayRef], &Int64Array),
        right: (&[ArrayRef], &Int64Array),
        created: Option<&Int64Array>,
        ttl: Option<i64>,
    ) -> Vec<Option<u32>> {
        let left = Side { keys: left.0, time: left.1 };
        let right = Side { keys: right.0, time: right.1 };
        asof_join(&left, &right, created, ttl).unwrap().iter().collect()
    }

    #[test]
    fn both_ends_of_the_ttl_are_included() {
        let (key, right) = (text(&[Some("a")]), times(&[100]));
        let at = |t: i64| join((&key, &times(&[t])), (&key, &right), None, Some(10))[0];
        assert_eq!([at(99), at(100), at(110), at(111)], [None, Some(0), Some(0), None]);
    }

    #[test]
    fn of_equal_times_the_newest_created_wins_and_then_the_later_row() {
        let keys = text(&[Some("a"), Some("a"), Some("a"), Some("a")]);
        let right = times(&[5, 5, 5, 5]);
        let asked = (text(&[Some("a")]), times(&[5]));
        let created = Int64Array::from(vec![Some(1), Some(3), Some(2), None]);
        assert_eq!(join((&asked.0, &asked.1), (&keys, &right), Some(&created), None), [Some(1)]);
        assert_eq!(join((&asked.0, &asked.1), (&keys, &right), None, None), [Some(3)]);
    }

    #[test]
    fn a_newer_row_with_an_older_created_wins_still() {
        let keys = text(&[Some("a"), Some("a")]);
        let created = times(&[9, 1]);
        let found = join((&text(&[Some("a")]), &times(&[7])), (&keys, &times(&[5, 6])), Some(&created), None);
        assert_eq!(found, [Some(1)]);
    }

    #[test]
    fn every_left_row_keeps_its_place_whether_it_matches_repeats_or_is_null() {
        let left = text(&[Some("b"), None, Some("a"), Some("b"), Some("z")]);
        let right = text(&[Some("a"), Some("b"), None]);
        let found =
            join((&left, &times(&[3, 3, 3, 3, 3])), (&right, &times(&[3, 1, 2])), None, Some(i64::MAX));
        assert_eq!(found, [Some(1), None, Some(0), Some(1), None]);
    }

    #[test]
    fn integers_of_any_width_are_the_same_key_and_floats_are_none() {
        let left: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![7]))];
        let right: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![7_i64]))];
        assert_eq!(join((&left, &times(&[1])), (&right, &times(&[1])), None, None), [Some(0)]);
        let floats: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![7.0]))];
        let time = times(&[1]);
        let (left, floats) = (Side { keys: &left, time: &time }, Side { keys: &floats, time: &time });
        let error = asof_join(&left, &floats, None, None).unwrap_err().to_string();
        assert!(error.contains("float64"), "{error}");
    }

    /// Key, key, time.
    type LeftRow = (Option<u8>, u8, Option<i64>);
    /// Key, key, time, created.
    type RightRow = (Option<u8>, u8, Option<i64>, Option<i64>);

    /// The rule read aloud: every right row is looked at for every left row.
    fn nested_loop(left: &[LeftRow], right: &[RightRow], ttl: Option<i64>) -> Vec<Option<u32>> {
        let one = |&(key, other, at): &LeftRow| {
            let (key, at) = (key?, at?);
            let fits = |(_, row): &(usize, &RightRow)| {
                let recent = |ts: i64| ts <= at && ttl.is_none_or(|ttl| ts >= at - ttl);
                row.0 == Some(key) && row.1 == other && row.2.is_some_and(recent)
            };
            let best = right.iter().enumerate().filter(fits).max_by_key(|(i, r)| (r.2, r.3, *i));
            best.map(|(i, _)| u32::try_from(i).unwrap())
        };
        left.iter().map(one).collect()
    }

    fn two_keys(rows: impl Iterator<Item = (Option<u8>, u8)>) -> Vec<ArrayRef> {
        let (words, numbers): (Vec<_>, Vec<_>) =
            rows.map(|(word, n)| (word.map(|w| format!("k{w}")), i32::from(n))).unzip();
        vec![Arc::new(StringArray::from(words)), Arc::new(Int32Array::from(numbers))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn it_finds_what_a_nested_loop_finds(
            left in prop::collection::vec((prop::option::weighted(0.9, 0_u8..4), 0_u8..2, prop::option::weighted(0.9, -20_i64..20)), 0..60),
            right in prop::collection::vec(
                (prop::option::weighted(0.9, 0_u8..4), 0_u8..2, prop::option::weighted(0.9, -20_i64..20),
                 prop::option::weighted(0.8, 0_i64..3)), 0..60),
            ttl in prop::option::of(0_i64..15),
        ) {
            let left_keys = two_keys(left.iter().map(|r| (r.0, r.1)));
            let right_keys = two_keys(right.iter().map(|r| (r.0, r.1)));
            let left_time: Int64Array = left.iter().map(|r| r.2).collect();
            let right_time: Int64Array = right.iter().map(|r| r.2).collect();
            let created: Int64Array = right.iter().map(|r| r.3).collect();
            let found = join((&left_keys, &left_time), (&right_keys, &right_time), Some(&created), ttl);
            prop_assert_eq!(found, nested_loop(&left, &right, ttl));
        }
    }
}
