//! The order of runs: by the fields that were asked for, what is missing last whatever the direction and NaN before it;
//! then the newest first, then by id.

use super::places::RunPlaces;
use crate::TrackingError;
use std::cmp::Ordering;
use trueline_db::{Row, Value};
use trueline_search::mlflow::OrderBy;
use trueline_search::sql::{ColumnType, Place, Places, SqlError};

/// What a run has for one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Int(i64),
    Real(f64),
    Text(String),
    Nan,
    Missing,
}

impl Key {
    const fn rank(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Real(_) | Self::Text(_) => 0,
            Self::Nan => 1,
            Self::Missing => 2,
        }
    }

    fn compare(&self, other: &Self, ascending: bool) -> Ordering {
        let values = match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => return self.rank().cmp(&other.rank()),
        };
        if ascending { values } else { values.reverse() }
    }

    /// Reads it from a row: the value, and for metrics whether it is NaN.
    pub(super) fn read(
        row: &mut Row,
        at: &mut usize,
        holds: ColumnType,
        nan: bool,
    ) -> Result<Self, TrackingError> {
        let place = *at;
        *at += 1 + usize::from(nan);
        if nan && row.take::<Option<i64>>(place + 1)? == Some(1) {
            return Ok(Self::Nan);
        }
        Ok(match holds {
            ColumnType::Int => row.take::<Option<i64>>(place)?.map_or(Self::Missing, Self::Int),
            ColumnType::Real => row.take::<Option<f64>>(place)?.map_or(Self::Missing, Self::Real),
            ColumnType::Text => row.take::<Option<String>>(place)?.map_or(Self::Missing, Self::Text),
        })
    }
}

/// A run that was found, with what it is sorted by.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) n: i64,
    pub(super) keys: Vec<Key>,
    start: Option<i64>,
    id: String,
}

/// One field of the order: where it lies and in which direction it counts.
#[derive(Clone, Debug)]
struct By {
    key: String,
    place: Place,
    ascending: bool,
}

/// The whole order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    by: Vec<By>,
}

impl Order {
    pub(super) fn new(orders: &[OrderBy]) -> Result<Self, TrackingError> {
        let by = orders.iter().map(|order| {
            let place = RunPlaces
                .place(&order.field)
                .ok_or_else(|| TrackingError::from(SqlError::UnknownField(order.field.clone())))?;
            Ok(By { key: order.field.key.clone(), place, ascending: order.ascending })
        });
        Ok(Self { by: by.collect::<Result<_, TrackingError>>()? })
    }

    /// What a statement selects for [`Order::read`], and from where: runs are `r`.
    pub(super) fn select(&self, mut bind: impl FnMut(Value) -> String) -> String {
        let mut columns = "r.n, r.start_time, r.id".to_owned();
        let mut from = "runs r".to_owned();
        for (i, by) in self.by.iter().enumerate() {
            match &by.place {
                Place::Column { sql, .. } => columns.push_str(&format!(", {sql}")),
                Place::Rows { from: table, on, value, nan, .. } => {
                    let own = |text: &str| text.replace("x.", &format!("x{i}."));
                    let table = table.strip_suffix(" x").unwrap_or(table);
                    let (on, key) = (own(on), bind(by.key.as_str().into()));
                    from.push_str(&format!(" LEFT JOIN {table} x{i} ON {on} AND x{i}.key = {key}"));
                    columns.push_str(&format!(", {}", own(value)));
                    if nan.is_some() {
                        columns.push_str(&format!(", x{i}.is_nan"));
                    }
                }
            }
        }
        format!("SELECT {columns} FROM {from}")
    }

    pub(super) fn read(&self, row: &mut Row) -> Result<Hit, TrackingError> {
        let (n, start, id) = (row.take(0)?, row.take(1)?, row.take(2)?);
        let mut at = 3;
        let mut keys = Vec::with_capacity(self.by.len());
        for by in &self.by {
            keys.push(match &by.place {
                Place::Column { holds, .. } => Key::read(row, &mut at, *holds, false)?,
                Place::Rows { holds, nan, .. } => Key::read(row, &mut at, *holds, nan.is_some())?,
            });
        }
        Ok(Hit { n, keys, start, id })
    }

    pub(super) fn compare(&self, a: &Hit, b: &Hit) -> Ordering {
        // `None` is less than any time, so that it comes last here.
        let newest = || b.start.cmp(&a.start).then_with(|| a.id.cmp(&b.id));
        self.compare_keys(a.keys.iter(), b.keys.iter()).then_with(newest)
    }

    /// The order as far as the fields decide it.
    pub(super) fn compare_keys<'k>(
        &self,
        a: impl Iterator<Item = &'k Key>,
        b: impl Iterator<Item = &'k Key>,
    ) -> Ordering {
        let mut each = self.by.iter().zip(a.zip(b)).map(|(by, (a, b))| a.compare(b, by.ascending));
        each.find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Whether more than one field decides before the time of the start does.
    pub(super) fn has_more(&self) -> bool {
        self.by.len() > 1
    }

    /// What decides first; none when that is the time of the start.
    pub(super) fn first(&self) -> Option<(&str, &Place, bool)> {
        self.by.first().map(|by| (by.key.as_str(), &by.place, by.ascending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_comes_after_numbers_and_what_is_missing_comes_last_in_both_directions() {
        for ascending in [true, false] {
            let mut keys = [Key::Missing, Key::Nan, Key::Real(1.0), Key::Real(2.0)];
            keys.sort_by(|a, b| a.compare(b, ascending));
            let low = if ascending { 1.0 } else { 2.0 };
            assert_eq!(keys[0], Key::Real(low));
            assert_eq!(keys[2..], [Key::Nan, Key::Missing]);
        }
    }
}
