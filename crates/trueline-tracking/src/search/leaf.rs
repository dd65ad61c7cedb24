//! One comparison over the runs of one experiment, as a scan of one index.

use super::places::{attribute, of_dataset};
use crate::logged::{self, VALUE};
use crate::schema::INDEXED_CHARS;
use crate::{TrackingError, many};
use trueline_db::{Tx, Value};
use trueline_search::sql::{ColumnType, Place, Places, SqlError, SqlValue, compile_comparison};
use trueline_search::{Comparison, Entity, Field, Op};

/// A place that is a column, whatever the field.
struct Only(&'static str, ColumnType);

impl Places for Only {
    fn place(&self, _: &Field) -> Option<Place> {
        Some(Place::Column { sql: self.0.to_owned(), holds: self.1 })
    }
}

pub(super) fn values(params: Vec<SqlValue>) -> impl Iterator<Item = Value> {
    params.into_iter().map(|p| match p {
        SqlValue::Int(v) => Value::Int(v),
        SqlValue::Real(v) => Value::Real(v),
        SqlValue::Text(v) => Value::Text(v),
    })
}

/// Where to look at values as a whole: the index of params and tags holds the first part of them only.
#[derive(Clone, Debug)]
struct Whole {
    table: logged::Table,
    comparison: Comparison,
}

/// A comparison that is ready to be scanned for.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// What follows `SELECT` and the number of the run; `?1` is the experiment.
    from: String,
    params: Vec<Value>,
    /// The scan tells in a second column which values may go on beyond the index.
    whole: Option<Whole>,
    /// An index leads to what matches, or nearly.
    pub(super) is_narrow: bool,
}

impl Leaf {
    pub(super) fn new(comparison: &Comparison) -> Result<Self, TrackingError> {
        let field = &comparison.field;
        let unknown = || TrackingError::from(SqlError::UnknownField(field.clone()));
        match field.entity {
            Entity::Metric => Self::metric(comparison),
            Entity::Param => Self::text(logged::Table::Params, comparison),
            Entity::Tag => Self::text(logged::Table::Tags, comparison),
            Entity::Attribute => {
                let (column, holds) = attribute(&field.key).ok_or_else(unknown)?;
                let condition = compile_comparison(comparison, &Only(column, holds), 2)?;
                let indexed = matches!(
                    field.key.as_str(),
                    "run_id" | "run_name" | "user_id" | "start_time" | "end_time"
                );
                Ok(Self {
                    from: format!("r.n FROM runs r WHERE r.experiment_n = ?1 AND {}", condition.sql),
                    params: values(condition.params).collect(),
                    whole: None,
                    is_narrow: indexed && is_range(comparison.op),
                })
            }
            Entity::Dataset => {
                let column = of_dataset(&field.key).ok_or_else(unknown)?;
                let condition = compile_comparison(comparison, &Only(column, ColumnType::Text), 2)?;
                Ok(Self {
                    from: format!(
                        "r.n FROM datasets d JOIN run_inputs i ON i.dataset = d.id JOIN runs r ON r.id = i.run
                         WHERE r.experiment_n = ?1 AND {}",
                        condition.sql
                    ),
                    params: values(condition.params).collect(),
                    whole: None,
                    is_narrow: false,
                })
            }
            _ => Err(unknown()),
        }
    }

    fn metric(comparison: &Comparison) -> Result<Self, TrackingError> {
        let mut params = vec![comparison.field.key.as_str().into()];
        let from = "x.run FROM latest_metrics x WHERE x.experiment_n = ?1 AND x.key = ?2";
        let from = match comparison.op {
            Op::IsNotNull => from.to_owned(),
            op => {
                let condition = compile_comparison(comparison, &Only("x.value", ColumnType::Real), 3)?;
                params.extend(values(condition.params));
                match op {
                    Op::Ne => format!("{from} AND ({} OR x.is_nan = 1)", condition.sql),
                    _ => format!("{from} AND x.is_nan = 0 AND {}", condition.sql),
                }
            }
        };
        Ok(Self { from, params, whole: None, is_narrow: is_range(comparison.op) })
    }

    fn text(table: logged::Table, comparison: &Comparison) -> Result<Self, TrackingError> {
        let mut params = vec![comparison.field.key.as_str().into()];
        let of_key = format!("FROM {} x WHERE x.experiment_n = ?1 AND x.key = ?2", table.name());
        if comparison.op == Op::IsNotNull {
            return Ok(Self { from: format!("x.run {of_key}"), params, whole: None, is_narrow: false });
        }
        let condition = compile_comparison(comparison, &Only("x.value", ColumnType::Text), 3)?;
        params.extend(values(condition.params));
        let condition = condition.sql;
        if is_equal_to_short(comparison) {
            let from = format!("x.run {of_key} AND {condition}");
            return Ok(Self { from, params, whole: None, is_narrow: true });
        }
        let filled = format!("LENGTH(x.value) >= {INDEXED_CHARS}");
        Ok(Self {
            from: format!(
                "x.run, CASE WHEN {filled} THEN 1 ELSE 0 END {of_key} AND ({condition} OR {filled})"
            ),
            params,
            whole: Some(Whole { table, comparison: comparison.clone() }),
            is_narrow: false,
        })
    }

    fn all_params(&self, experiment: i64) -> Vec<Value> {
        let mut params = vec![experiment.into()];
        params.extend(self.params.iter().cloned());
        params
    }

    /// Shows the number of every run that matches.
    pub(super) fn scan(
        &self,
        tx: &mut Tx<'_>,
        experiment: i64,
        mut see: impl FnMut(i64),
    ) -> Result<(), TrackingError> {
        let sql = format!("SELECT {}", self.from);
        let params = self.all_params(experiment);
        let Some(whole) = &self.whole else {
            return tx.each(&sql, &params, |row| {
                see(row.take(0)?);
                Ok(())
            });
        };
        let mut filled = Vec::new();
        tx.each(&sql, &params, |row| {
            match row.take::<i64>(1)? == 1 {
                true => filled.push(row.take(0)?),
                false => see(row.take(0)?),
            }
            Ok::<_, TrackingError>(())
        })?;
        whole.scan(tx, &filled, see)
    }

    /// The runs that match, sorted, when they are `most` at the most.
    pub(super) fn few(
        &self,
        tx: &mut Tx<'_>,
        experiment: i64,
        most: usize,
    ) -> Result<Option<Vec<i64>>, TrackingError> {
        let mut params = self.all_params(experiment);
        params.push(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1).into());
        let sql = format!("SELECT {} LIMIT ?{}", self.from, params.len());
        let mut found = Vec::new();
        tx.each(&sql, &params, |row| {
            found.push(row.take(0)?);
            Ok::<_, TrackingError>(())
        })?;
        found.sort_unstable();
        found.dedup();
        Ok((found.len() <= most).then_some(found))
    }
}

fn is_range(op: Op) -> bool {
    op.is_order() || matches!(op, Op::Eq | Op::In)
}

/// Whether it asks for values that the index holds as a whole.
fn is_equal_to_short(comparison: &Comparison) -> bool {
    let short = |text: &String| logged::split(text).1.is_none() && text.chars().count() < INDEXED_CHARS;
    match (comparison.op, &comparison.value) {
        (Op::Eq, Some(trueline_search::Value::Text(text))) => short(text),
        (Op::In, Some(trueline_search::Value::List(texts))) => texts.iter().all(short),
        _ => false,
    }
}

impl Whole {
    /// Shows those of these runs whose whole value matches.
    fn scan(&self, tx: &mut Tx<'_>, runs: &[i64], mut see: impl FnMut(i64)) -> Result<(), TrackingError> {
        for mut some in many::batches(runs) {
            let key = some.push(self.comparison.field.key.as_str());
            let place = Only(VALUE, ColumnType::Text);
            let condition = compile_comparison(&self.comparison, &place, some.next())?;
            values(condition.params).for_each(|value| drop(some.push(value)));
            let table = self.table.name();
            let which = format!("x.key = {key} AND {}", condition.sql);
            let sql = some.sql(&format!("SELECT x.run FROM {table} x WHERE x.run IN ({{list}}) AND {which}"));
            tx.each(&sql, some.params(), |row| {
                see(row.take(0)?);
                Ok::<_, TrackingError>(())
            })?;
        }
        Ok(())
    }
}
