//! Walking through the runs of an experiment in the order of an index, a stretch at a time. Runs come in groups that are
//! equal by what is walked along: what of the last group has come is not all of it until the walk has gone on.

use super::order::{Hit, Key, Order};
use crate::TrackingError;
use crate::logged::Table;
use trueline_db::{Tx, Value};
use trueline_search::sql::{ColumnType, Place};

/// A part of the way. Numbers come first, then NaN, then the runs that have nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Values,
    Nan,
    /// Along the times of the start, past those that came before.
    Missing,
    MissingWithoutStart,
    /// All of them as one group, past those that came before.
    MissingAtOnce,
    End,
}

/// What is walked along.
#[derive(Clone, Debug)]
enum Along {
    Metric(String),
    Text(Table, String),
    Attribute(&'static str),
}

/// A walk through an experiment.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    experiment: i64,
    along: Along,
    ascending: bool,
    /// More fields decide before the time of the start does.
    has_more: bool,
    part: Part,
    /// The last run that came: what it has, and its number.
    at: Option<(Value, i64)>,
}

/// A stretch of the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Stretch {
    pub(super) runs: Vec<i64>,
    /// Where the group begins in it that may go on in the next stretch.
    pub(super) open_from: usize,
}

impl Walk {
    /// The walk that follows an order as far as its first field.
    pub(super) fn new(experiment: i64, order: &Order) -> Self {
        let attribute = |name| (Along::Attribute(name), false);
        let (along, ascending) = match order.first() {
            None => attribute("r.start_time"),
            Some((_, Place::Column { sql, .. }, ascending)) => {
                let known = ["r.start_time", "r.end_time", "r.name", "r.claimed_user", "r.status"];
                match known.into_iter().find(|column| column == sql) {
                    Some(column) => (Along::Attribute(column), ascending),
                    // No index has it: everything is one group, whatever the way.
                    None => (Along::Attribute(""), ascending),
                }
            }
            Some((key, Place::Rows { holds, from, .. }, ascending)) => {
                match (holds, from.starts_with("tags")) {
                    (ColumnType::Real, _) => (Along::Metric(key.to_owned()), ascending),
                    (_, true) => (Along::Text(Table::Tags, key.to_owned()), ascending),
                    (_, false) => (Along::Text(Table::Params, key.to_owned()), ascending),
                }
            }
        };
        let has_more = order.has_more();
        Self { experiment, along, ascending, has_more, part: Part::Values, at: None }
    }

    /// Whether a run that was met belongs to this part of the way; runs that have a value are met again along the times.
    pub(super) fn takes(&self, hit: &Hit) -> bool {
        match (self.part, hit.keys.first()) {
            (Part::Missing | Part::MissingWithoutStart | Part::MissingAtOnce, Some(key)) => {
                *key == Key::Missing
            }
            _ => true,
        }
    }

    /// Goes on to the next part.
    pub(super) fn turn(&mut self) {
        self.at = None;
        self.part = match (self.part, &self.along) {
            (Part::Values, Along::Metric(_)) => Part::Nan,
            (Part::Values, Along::Attribute("r.start_time")) => Part::MissingWithoutStart,
            (Part::Values, Along::Attribute("")) => Part::End,
            (Part::Values | Part::Nan, _) if self.has_more => Part::MissingAtOnce,
            (Part::Values | Part::Nan, _) => Part::Missing,
            (Part::Missing, _) => Part::MissingWithoutStart,
            (Part::MissingWithoutStart | Part::MissingAtOnce | Part::End, _) => Part::End,
        };
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.part == Part::End
    }

    /// The next `most` runs of this part; fewer when it ends with them.
    pub(super) fn next(&mut self, tx: &mut Tx<'_>, most: usize) -> Result<Stretch, TrackingError> {
        let mut params: Vec<Value> = vec![self.experiment.into()];
        let (from, column, number, ascending) = match (self.part, &self.along) {
            (Part::End, _) => return Ok(Stretch::default()),
            (Part::Missing, _) | (Part::Values, Along::Attribute("r.start_time")) => {
                let ascending = self.part == Part::Values && self.ascending;
                (
                    "runs r WHERE r.experiment_n = ?1 AND r.start_time IS NOT NULL".to_owned(),
                    "r.start_time",
                    "r.n",
                    ascending,
                )
            }
            (Part::MissingWithoutStart, _) => {
                ("runs r WHERE r.experiment_n = ?1 AND r.start_time IS NULL".to_owned(), "0", "r.n", true)
            }
            (Part::MissingAtOnce, _) | (Part::Values, Along::Attribute("")) => {
                ("runs r WHERE r.experiment_n = ?1".to_owned(), "0", "r.n", true)
            }
            (_, Along::Attribute(column)) => {
                let from = format!("runs r WHERE r.experiment_n = ?1 AND {column} IS NOT NULL");
                (from, *column, "r.n", self.ascending)
            }
            (part, Along::Metric(key)) => {
                params.push(key.as_str().into());
                let nan = i64::from(part == Part::Nan);
                let from =
                    format!("latest_metrics x WHERE x.experiment_n = ?1 AND x.key = ?2 AND x.is_nan = {nan}");
                (from, "x.value", "x.run", self.ascending)
            }
            (_, Along::Text(table, key)) => {
                params.push(key.as_str().into());
                let from = format!("{} x WHERE x.experiment_n = ?1 AND x.key = ?2", table.name());
                (from, "x.value", "x.run", self.ascending)
            }
        };
        let (direction, beyond) = if ascending { ("ASC", ">") } else { ("DESC", "<") };
        let is_flat = column == "0";
        let mut sql = format!("SELECT {number}, {column} FROM {from}");
        if let Some((value, n)) = &self.at {
            params.push((*n).into());
            let after = params.len();
            if is_flat {
                sql.push_str(&format!(" AND {number} {beyond} ?{after}"));
            } else {
                params.push(value.clone());
                sql.push_str(&format!(" AND ({column}, {number}) {beyond} (?{}, ?{after})", after + 1));
            }
        }
        params.push(i64::try_from(most).unwrap_or(i64::MAX).into());
        let by = if is_flat { String::new() } else { format!("{column} {direction}, ") };
        sql.push_str(&format!(" ORDER BY {by}{number} {direction} LIMIT ?{}", params.len()));

        let mut stretch = Stretch::default();
        let mut group: Option<Value> = self.at.take().map(|(value, _)| value);
        tx.each(&sql, &params, |row| {
            let n: i64 = row.take(0)?;
            let value: Value = row.take(1)?;
            if group.as_ref() != Some(&value) {
                stretch.open_from = stretch.runs.len();
                group = Some(value);
            }
            stretch.runs.push(n);
            Ok::<_, TrackingError>(())
        })?;
        if let (Some(value), Some(n)) = (group, stretch.runs.last()) {
            self.at = Some((value, *n));
        }
        Ok(stretch)
    }
}
