//! A search as a table that people scroll through: the whole result in its order is worked out once and kept for a while as
//! row numbers; windows of it are then read with the columns that are looked at.

use super::order::{Key, Order};
use super::places::{RunPlaces, attribute};
use super::sets;
use super::{RunSearch, runs};
use crate::model::{ExperimentId, Run};
use crate::{Tracking, TrackingError, experiments, logged, many};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Millis, ProjectId};
use trueline_search::sql::{ColumnType, Place, Places, SqlError};
use trueline_search::{Entity, Expr, Field};

/// Results that are kept.
const KEPT: usize = 16;
/// Rows that are kept in all of them.
const KEPT_ROWS: usize = 4_000_000;
/// How long a result is kept, in milliseconds.
const KEPT_FOR_MS: Millis = 10 * 60 * 1000;
/// Names of a family that are told.
const MOST_NAMES: usize = 2_000;

/// A window of a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableWindow {
    /// The result that the window is of; naming it again gives other windows of the same.
    pub result: String,
    /// How many rows the result has.
    pub total: usize,
    /// The rows of the window. A run that was deleted for good since is left out.
    pub rows: Vec<TableRow>,
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct TableRow {
    /// The run.
    pub run: Run,
    /// What it has in each column that was asked for.
    pub cells: Vec<Cell>,
}

/// A cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number; NaN and infinities have none in JSON and are text.
    Number(f64),
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Nothing.
    None,
}

impl From<Key> for Cell {
    fn from(key: Key) -> Self {
        match key {
            Key::Int(v) => Self::Int(v),
            Key::Real(v) if v.is_infinite() => {
                Self::Text(if v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
            }
            Key::Real(v) => Self::Number(v),
            Key::Text(v) => Self::Text(v),
            Key::Nan => Self::Text("NaN".to_owned()),
            Key::Missing => Self::None,
        }
    }
}

/// The names that runs of some experiments have something under.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ColumnNames {
    /// Of metrics.
    pub metrics: Vec<String>,
    /// Of params.
    pub params: Vec<String>,
    /// Of tags.
    pub tags: Vec<String>,
    /// There are more than are told here.
    pub cut: bool,
}

/// Results of searches that were worked out not long ago.
#[derive(Debug, Default)]
pub(crate) struct Results {
    kept: Mutex<VecDeque<Arc<Known>>>,
}

#[derive(Debug)]
struct Known {
    id: String,
    project: ProjectId,
    made_at: Millis,
    rows: Vec<i64>,
}

impl Results {
    fn find(&self, project: &ProjectId, id: &str, now: Millis) -> Option<Arc<Known>> {
        let kept = self.kept.lock().ok()?;
        let known = kept.iter().find(|known| known.id == id && known.project == *project)?;
        (now - known.made_at < KEPT_FOR_MS).then(|| known.clone())
    }

    fn keep(&self, known: Arc<Known>) {
        let Ok(mut kept) = self.kept.lock() else { return };
        kept.push_front(known);
        let mut rows = 0;
        kept.retain(|known| {
            rows += known.rows.len();
            rows <= KEPT_ROWS
        });
        kept.truncate(KEPT);
    }
}

impl Tracking {
    /// A window of a search's result, with a cell for each of `columns`. With the id of a `result` that is still known the
    /// window is of that; else the search is made again.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a filter, order or column that names no field.
    pub async fn table(
        &self,
        leave: &Authorized<ReadProject>,
        search: RunSearch,
        columns: Vec<Field>,
        result: Option<String>,
    ) -> Result<TableWindow, TrackingError> {
        let project = leave.project().clone();
        let (offset, limit) = (runs::size(search.offset), runs::size(search.limit));
        let now = self.ledger.sources().now();
        let known = match result.and_then(|id| self.results.find(&project, &id, now)) {
            Some(known) => known,
            None => {
                if runs::asks_for_metrics(&search) {
                    self.fold_waiting(&project, &search.experiments).await?;
                }
                let of = project.clone();
                let rows = self.ledger.db().read(move |tx| all(tx, &of, &search)).await?;
                let id = hex::encode(&Sha256::digest(self.ledger.sources().id())[..12]);
                let known = Arc::new(Known { id, project: project.clone(), made_at: now, rows });
                self.results.keep(known.clone());
                known
            }
        };
        let window: Vec<i64> = known.rows.iter().skip(offset).take(limit).copied().collect();
        let rows = self.ledger.db().read(move |tx| cells(tx, &window, &columns)).await?;
        Ok(TableWindow { result: known.id.clone(), total: known.rows.len(), rows })
    }

    /// What columns there are to choose from.
    ///
    /// # Errors
    /// What the database says.
    pub async fn column_names(
        &self,
        leave: &Authorized<ReadProject>,
        experiments: Vec<ExperimentId>,
    ) -> Result<ColumnNames, TrackingError> {
        let project = leave.project().clone();
        self.fold_waiting(&project, &experiments).await?;
        self.ledger.db().read(move |tx| names(tx, &project, &experiments)).await
    }
}

/// All runs that meet a search, in its order.
pub(super) fn all(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    search: &RunSearch,
) -> Result<Vec<i64>, TrackingError> {
    let order = Order::new(&search.order_by)?;
    let mut found: Vec<(Option<i64>, i64)> = Vec::new();
    let mut keys: Vec<HashMap<i64, Key>> = vec![HashMap::new(); search.order_by.len()];
    for experiment in experiments::numbers(tx, project, &search.experiments)? {
        let mut sql = "SELECT n, start_time FROM runs WHERE experiment_n = ?1".to_owned();
        let mut params = vec![experiment.into()];
        if let Some(lifecycle) = search.view.lifecycle() {
            params.push(lifecycle.as_str().into());
            sql.push_str(" AND lifecycle = ?2");
        }
        let first = found.len();
        tx.each(&sql, &params, |row| {
            found.push((row.take(1)?, row.take(0)?));
            Ok::<_, TrackingError>(())
        })?;
        if search.filter != Expr::always() {
            let set = sets::evaluate(tx, experiment, &search.filter)?;
            let mut place = 0;
            found.retain(|(_, n)| {
                place += 1;
                place <= first || set.contains(*n)
            });
        }
        for (keys, by) in keys.iter_mut().zip(&search.order_by) {
            values_of(tx, experiment, &by.field, keys)?;
        }
    }
    // The newest first; whoever has no time comes last.
    found.sort_unstable_by(|a, b| b.cmp(a));
    let rows: Vec<i64> = found.into_iter().map(|(_, n)| n).collect();
    if keys.is_empty() {
        return Ok(rows);
    }
    // Looked up once for each row, not at each comparison.
    let key_of = |keys: &mut HashMap<i64, Key>, n: &i64| keys.remove(n).unwrap_or(Key::Missing);
    let keys: Vec<Vec<Key>> =
        keys.iter_mut().map(|keys| rows.iter().map(|n| key_of(keys, n)).collect()).collect();
    let of = |place: usize| keys.iter().map(move |keys| &keys[place]);
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_by(|a, b| order.compare_keys(of(*a), of(*b)));
    Ok(places.into_iter().map(|place| rows[place]).collect())
}

/// What all runs of an experiment have for a field.
fn values_of(
    tx: &mut Tx<'_>,
    experiment: i64,
    field: &Field,
    into: &mut HashMap<i64, Key>,
) -> Result<(), TrackingError> {
    let place =
        RunPlaces.place(field).ok_or_else(|| TrackingError::from(SqlError::UnknownField(field.clone())))?;
    let key = field.key.as_str();
    let (sql, params, holds, nan) = match place {
        Place::Column { sql, holds } => (
            format!("SELECT r.n, {sql} FROM runs r WHERE r.experiment_n = ?1"),
            vec![experiment.into()],
            holds,
            false,
        ),
        Place::Rows { from, value, holds, nan, .. } => {
            let nan_column = if nan.is_some() { ", x.is_nan" } else { "" };
            let sql = format!(
                "SELECT x.run, {value}{nan_column} FROM {from} WHERE x.experiment_n = ?1 AND x.key = ?2"
            );
            (sql, vec![experiment.into(), key.into()], holds, nan.is_some())
        }
    };
    tx.each(&sql, &params, |row| {
        let n = row.take(0)?;
        into.insert(n, Key::read(row, &mut 1, holds, nan)?);
        Ok(())
    })
}

/// The runs of a window with their cells.
fn cells(tx: &mut Tx<'_>, window: &[i64], columns: &[Field]) -> Result<Vec<TableRow>, TrackingError> {
    let mut found = crate::runs::rows(tx, window)?;
    let mut cells: HashMap<i64, Vec<Cell>> =
        window.iter().map(|n| (*n, vec![Cell::None; columns.len()])).collect();
    for (place, field) in columns.iter().enumerate() {
        for mut some in many::batches(window) {
            let (sql, holds, nan) = match field.entity {
                Entity::Attribute => {
                    let (column, holds) = attribute(&field.key)
                        .ok_or_else(|| TrackingError::from(SqlError::UnknownField(field.clone())))?;
                    (format!("SELECT r.n, {column} FROM runs r WHERE r.n IN ({{list}})"), holds, false)
                }
                Entity::Metric | Entity::Param | Entity::Tag => {
                    let key = some.push(field.key.as_str());
                    let (table, value, holds, nan) = match field.entity {
                        Entity::Metric => ("latest_metrics", "x.value, x.is_nan", ColumnType::Real, true),
                        Entity::Param => ("params", logged::VALUE, ColumnType::Text, false),
                        _ => ("tags", logged::VALUE, ColumnType::Text, false),
                    };
                    let sql = format!(
                        "SELECT x.run, {value} FROM {table} x WHERE x.run IN ({{list}}) AND x.key = {key}"
                    );
                    (sql, holds, nan)
                }
                _ => return Err(SqlError::UnknownField(field.clone()).into()),
            };
            let sql = some.sql(&sql);
            tx.each(&sql, some.params(), |row| {
                let n: i64 = row.take(0)?;
                let value = Key::read(row, &mut 1, holds, nan)?;
                if let Some(cell) = cells.get_mut(&n).and_then(|cells| cells.get_mut(place)) {
                    *cell = value.into();
                }
                Ok::<_, TrackingError>(())
            })?;
        }
    }
    let row = |n: &i64| Some(TableRow { run: found.remove(n)?, cells: cells.remove(n)? });
    Ok(window.iter().filter_map(row).collect())
}

fn names(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    experiments: &[ExperimentId],
) -> Result<ColumnNames, TrackingError> {
    let experiments = experiments::numbers(tx, project, experiments)?;
    let mut found = ColumnNames::default();
    for (table, into) in
        [("latest_metrics", &mut found.metrics), ("params", &mut found.params), ("tags", &mut found.tags)]
    {
        let mut names = HashSet::new();
        for experiment in &experiments {
            // From name to name along the index, however many runs have each.
            let sql = format!("SELECT MIN(key) FROM {table} WHERE experiment_n = ?1 AND key > ?2");
            let mut after = String::new();
            while names.len() < MOST_NAMES {
                let next: Option<Option<String>> =
                    tx.scalar(&sql, &[(*experiment).into(), after.as_str().into()])?;
                let Some(name) = next.flatten() else { break };
                names.insert(name.clone());
                after = name;
            }
        }
        found.cut |= names.len() >= MOST_NAMES;
        into.extend(names);
        into.sort_unstable();
    }
    Ok(found)
}
