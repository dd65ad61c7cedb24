//! Searches over runs, experiments and logged models: where their fields lie, in which order and page.

mod leaf;
#[cfg(test)]
mod oracle;
mod order;
mod places;
mod runs;
mod sets;
mod table;
mod walk;

use crate::model::{Experiment, ExperimentId, ViewType};
use crate::{KnownRun, LoggedModel, MeasuredOn, Tracking, TrackingError, experiments, logged_models, points};
use places::{ExperimentPlaces, LoggedModelPlaces};
use std::sync::Arc;
pub(crate) use table::Results;
pub use table::{Cell, ColumnNames, TableRow, TableWindow};
use trueline_db::{Tx, Value};
use trueline_identity::{Authorized, ReadProject};
use trueline_search::Expr;
use trueline_search::mlflow::OrderBy;
use trueline_search::sql::{Place, Places, SqlError, compile};

/// A page of what was found.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there is another page.
    pub more: bool,
}

/// Which runs are asked for.
#[derive(Clone, Debug)]
pub struct RunSearch {
    /// Of these experiments.
    pub experiments: Vec<ExperimentId>,
    /// That meet this.
    pub filter: Expr,
    /// In this order; then the newest first.
    pub order_by: Vec<OrderBy>,
    /// Deleted or not.
    pub view: ViewType,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

/// Which experiments are asked for.
#[derive(Clone, Debug)]
pub struct ExperimentSearch {
    /// That meet this.
    pub filter: Expr,
    /// In this order; the newest first when there is none.
    pub order_by: Vec<OrderBy>,
    /// Deleted or not.
    pub view: ViewType,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

/// Which logged models are asked for.
#[derive(Clone, Debug)]
pub struct LoggedModelSearch {
    /// Of these experiments.
    pub experiments: Vec<ExperimentId>,
    /// That meet this.
    pub filter: Expr,
    /// Measured on one of these, as are the metrics of the filter; on anything when there is none.
    pub datasets: Vec<MeasuredOn>,
    /// In this order; the newest first when there is none.
    pub order_by: Vec<OrderBy>,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

impl From<SqlError> for TrackingError {
    fn from(error: SqlError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// A statement in the making: its text and its parameters.
struct Query {
    sql: String,
    params: Vec<Value>,
}

impl Query {
    fn new(sql: String, params: Vec<Value>) -> Self {
        Self { sql, params }
    }

    fn value(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("?{}", self.params.len())
    }

    fn filter(&mut self, filter: &Expr, places: &dyn Places) -> Result<(), TrackingError> {
        let condition = compile(filter, places, self.params.len() + 1)?;
        self.sql.push_str(&format!(" AND ({})", condition.sql));
        self.params.extend(leaf::values(condition.params));
        Ok(())
    }

    /// Of these experiments only.
    fn experiments(&mut self, column: &str, experiments: &[ExperimentId]) {
        let list: Vec<String> = experiments.iter().map(|id| self.value(*id)).collect();
        self.sql.push_str(&format!(" AND {column} IN ({})", list.join(", ")));
    }

    /// Of logged models that were measured on one of these datasets only; answers where their fields lie then.
    fn measured_on(&mut self, datasets: &[MeasuredOn]) -> LoggedModelPlaces {
        let one = |dataset: &MeasuredOn| {
            let name = self.value(dataset.name.as_str());
            match &dataset.digest {
                None => format!("x.dataset_name = {name}"),
                Some(digest) => {
                    format!("x.dataset_name = {name} AND x.dataset_digest = {}", self.value(digest.as_str()))
                }
            }
        };
        let any: Vec<String> = datasets.iter().map(one).collect();
        if any.is_empty() {
            return LoggedModelPlaces { metrics: "x.model = m.id".to_owned() };
        }
        let metrics = format!("x.model = m.id AND ({})", any.join(" OR "));
        self.sql.push_str(&format!(" AND EXISTS (SELECT 1 FROM logged_model_metrics x WHERE {metrics})"));
        LoggedModelPlaces { metrics }
    }

    /// Orders by fields, what is missing last whatever the direction, NaN before it.
    fn order(&mut self, orders: &[OrderBy], places: &dyn Places, finally: &str) -> Result<(), TrackingError> {
        let mut keys = Vec::new();
        for order in orders {
            let direction = if order.ascending { "ASC" } else { "DESC" };
            let place = places
                .place(&order.field)
                .ok_or_else(|| TrackingError::from(SqlError::UnknownField(order.field.clone())))?;
            match place {
                Place::Column { sql, .. } => {
                    keys.push(format!("CASE WHEN {sql} IS NULL THEN 1 ELSE 0 END, {sql} {direction}"));
                }
                Place::Rows { from, on, value, nan, .. } => {
                    let key = self.value(order.field.key.as_str());
                    let pick =
                        |what: &str| format!("(SELECT {what} FROM {from} WHERE {on} AND x.key = {key})");
                    let rank = match nan {
                        Some(nan) => format!("MAX(CASE WHEN {nan} THEN 1 ELSE 0 END)"),
                        None => "MAX(0)".to_owned(),
                    };
                    let best = if order.ascending { "MIN" } else { "MAX" };
                    keys.push(format!(
                        "COALESCE({}, 2), {} {direction}",
                        pick(&rank),
                        pick(&format!("{best}({value})"))
                    ));
                }
            }
        }
        keys.push(finally.to_owned());
        self.sql.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        Ok(())
    }

    /// Asks for one more than the page holds, so that it is known whether there is another.
    fn page(&mut self, offset: u64, limit: u64) {
        let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let limit = self.value(bounded(limit.saturating_add(1)));
        let offset = self.value(bounded(offset));
        self.sql.push_str(&format!(" LIMIT {limit} OFFSET {offset}"));
    }

    fn run<T>(
        &self,
        tx: &mut Tx<'_>,
        limit: u64,
        mut read: impl FnMut(&mut trueline_db::Row) -> Result<T, TrackingError>,
    ) -> Result<Page<T>, TrackingError> {
        let mut found = tx.query(&self.sql, &self.params)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let items = found.iter_mut().map(&mut read).collect::<Result<_, _>>()?;
        Ok(Page { items, more })
    }
}

impl Tracking {
    /// The runs that meet a filter.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a filter or order that names no field.
    pub async fn search_runs(
        &self,
        leave: &Authorized<ReadProject>,
        search: RunSearch,
    ) -> Result<Page<Arc<KnownRun>>, TrackingError> {
        let search = Arc::new(search);
        let mut heeds_inbox = runs::asks_for_metrics(&search);
        loop {
            let (of, asked, known) = (leave.project().clone(), search.clone(), self.known_runs.clone());
            let find = move |tx: &mut Tx<'_>| {
                let numbers = experiments::numbers(tx, &of, &asked.experiments)?;
                if heeds_inbox && !points::waiting_in(tx, &numbers)?.is_empty() {
                    return Ok(None);
                }
                let Page { items, more } = runs::find(tx, &numbers, &asked, runs::Bounds::MEASURED)?;
                let items = match heeds_inbox {
                    // Nothing of them waits.
                    true => known.read_folded(tx, &of, &items)?,
                    false => known.read(tx, &of, &items)?,
                };
                Ok::<_, TrackingError>(Some(Page { items, more }))
            };
            if let Some(found) = self.ledger.db().read(find).await? {
                return Ok(found);
            }
            self.fold_waiting(leave.project(), &search.experiments).await?;
            // What came after that is newer than the search.
            heeds_inbox = false;
        }
    }

    /// The experiments that meet a filter.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a filter or order that names no field.
    pub async fn search_experiments(
        &self,
        leave: &Authorized<ReadProject>,
        search: ExperimentSearch,
    ) -> Result<Page<Experiment>, TrackingError> {
        let project = leave.project().clone();
        self.begin_experiments(&project).await?;
        self.ledger
            .db()
            .read(move |tx| {
                let columns = experiments::COLUMNS;
                let mut query =
                    Query::new(format!("SELECT {columns} WHERE e.project = ?1"), vec![(&project).into()]);
                if let Some(lifecycle) = search.view.lifecycle() {
                    let word = query.value(lifecycle.as_str());
                    query.sql.push_str(&format!(" AND e.lifecycle = {word}"));
                }
                query.filter(&search.filter, &ExperimentPlaces)?;
                let newest = match search.order_by.is_empty() {
                    true => "e.created_at_ms DESC, e.id",
                    false => "e.id",
                };
                query.order(&search.order_by, &ExperimentPlaces, newest)?;
                query.page(search.offset, search.limit);
                let mut page = query.run(tx, search.limit, experiments::from_row)?;
                for experiment in &mut page.items {
                    experiment.tags = experiments::tags(tx, &project, experiment.id)?;
                }
                Ok::<_, TrackingError>(page)
            })
            .await
    }

    /// The logged models that meet a filter.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a filter or order that names no field.
    pub async fn search_logged_models(
        &self,
        leave: &Authorized<ReadProject>,
        search: LoggedModelSearch,
    ) -> Result<Page<LoggedModel>, TrackingError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                if search.experiments.is_empty() {
                    return Ok(Page { items: Vec::new(), more: false });
                }
                let columns = logged_models::COLUMNS;
                let sql = format!("SELECT {columns} WHERE m.project = ?1 AND m.lifecycle = 'active'");
                let mut query = Query::new(sql, vec![(&project).into()]);
                query.experiments("m.experiment", &search.experiments);
                let places = query.measured_on(&search.datasets);
                query.filter(&search.filter, &places)?;
                query.order(&search.order_by, &places, "m.created_at_ms DESC, m.id")?;
                query.page(search.offset, search.limit);
                let page = query.run(tx, search.limit, |row| Ok(logged_models::from_row(row)?.0))?;
                let mut items = Vec::with_capacity(page.items.len());
                for model in page.items {
                    items.push(logged_models::fill(tx, model)?);
                }
                Ok::<_, TrackingError>(Page { items, more: page.more })
            })
            .await
    }
}
