//! Traces are searched. A search that asks one tag or metadata for equality reads the index of values, which is in the
//! order of the answer; any other reads the traces of the experiment, the newest first.

use crate::filter::{Conditions, PairEquals};
use crate::model::{Page, TraceInfo, keys};
use crate::places::TracePlaces;
use crate::rows::{self, COLUMNS, TraceRow};
use crate::{TraceError, Traces};
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::ProjectId;
use trueline_search::mlflow::OrderBy;
use trueline_search::sql::{Place, Places};
use trueline_search::{Entity, Expr};

/// Which traces are asked for.
#[derive(Clone, Debug)]
pub struct TraceSearch {
    /// Of these experiments.
    pub experiments: Vec<i64>,
    /// That meet this.
    pub filter: Expr,
    /// In this order; then the newest first.
    pub order_by: Vec<OrderBy>,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

/// What an order sorts by, and whether it may be missing.
fn sort_key(
    conditions: &mut Conditions,
    places: &TracePlaces,
    order: &OrderBy,
) -> Result<(String, bool), TraceError> {
    let field = &order.field;
    if field.entity == Entity::RequestMetadata
        && [keys::TOKEN_USAGE, keys::COST].contains(&field.key.as_str())
    {
        return TraceError::invalid(format!(
            "Ordering by reserved metadata '{}' is not supported because it is represented by multiple columns.",
            field.key
        ));
    }
    match places.place(field) {
        Some(Place::Column { sql, .. }) => {
            let always = ["t.id", "t.state", "t.experiment", "t.started_ms"].contains(&sql.as_str());
            Ok((sql, !always))
        }
        Some(Place::Rows { from, on, value, .. }) => {
            let key = conditions.bind(field.key.as_str());
            Ok((format!("(SELECT {value} FROM {from} WHERE {on} AND x.key = {key})"), true))
        }
        None => TraceError::invalid(format!("Invalid identifier type '{}'", field.entity)),
    }
}

/// The whole `ORDER BY`.
fn order(
    conditions: &mut Conditions,
    places: &TracePlaces,
    orders: &[OrderBy],
) -> Result<String, TraceError> {
    let mut sorted = Vec::new();
    for (n, order) in orders.iter().enumerate() {
        if orders[..n].iter().any(|earlier| earlier.field == order.field) {
            return Err(TraceError::Internal(format!(
                "`order_by` contains duplicate fields: {} '{}'",
                order.field.entity, order.field.key
            )));
        }
        let (key, may_miss) = sort_key(conditions, places, order)?;
        if may_miss {
            sorted.push(format!("CASE WHEN {key} IS NULL THEN 1 ELSE 0 END"));
        }
        sorted.push(format!("{key} {}", if order.ascending { "ASC" } else { "DESC" }));
    }
    let asked = |key: &str| {
        orders.iter().any(|order| order.field.entity == Entity::Attribute && order.field.key == key)
    };
    if !asked("timestamp_ms") {
        sorted.push("t.started_ms DESC".to_owned());
    }
    if !asked("request_id") {
        sorted.push("t.id ASC".to_owned());
    }
    Ok(sorted.join(", "))
}

/// Takes out of a conjunction the pair that the search is to follow.
fn split_pair(filter: &Expr) -> (Option<PairEquals<'_>>, Expr) {
    if let Expr::And(parts) = filter {
        for (n, part) in parts.iter().enumerate() {
            if let Expr::Comparison(comparison) = part
                && let Some(pair) = PairEquals::of(comparison)
            {
                let rest = parts.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, part)| part.clone());
                return (Some(pair), Expr::And(rest.collect()));
            }
        }
    }
    (None, filter.clone())
}

fn search(tx: &mut Tx<'_>, project: &ProjectId, search: &TraceSearch) -> Result<Page<TraceInfo>, TraceError> {
    if search.experiments.is_empty() {
        return Ok(Page { items: Vec::new(), more: false });
    }
    let places = TracePlaces(tx.dialect());
    let mut conditions = Conditions::new(tx.dialect(), project, &search.experiments);
    let (pair, rest) = split_pair(&search.filter);
    // CROSS JOIN keeps SQLite from turning the order of tables around; to PostgreSQL it is any join.
    let from = match &pair {
        Some(pair) => format!(
            "trace_pairs d CROSS JOIN traces t WHERE {} AND t.project = d.project AND t.id = d.trace",
            conditions.pair_equals("d", pair)
        ),
        None => format!("traces t WHERE t.project = ?1 AND {}", conditions.in_experiments("t.experiment")),
    };
    let condition = conditions.of(&rest)?;
    let order = match pair.is_some() && search.order_by.is_empty() {
        true => "d.started_ms DESC, d.trace".to_owned(),
        false => order(&mut conditions, &places, &search.order_by)?,
    };
    let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let limit = conditions.bind(bounded(search.limit.saturating_add(1)));
    let offset = conditions.bind(bounded(search.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM {from} AND {condition} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    );
    let mut found = tx.query(&sql, &conditions.params)?;
    let limit = usize::try_from(search.limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let found = found.iter_mut().map(TraceRow::read).collect::<Result<_, _>>()?;
    Ok(Page { items: rows::infos(tx, project, found)?, more })
}

impl Traces {
    /// The traces that meet a filter.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a filter or order that can't be, [`TraceError::Internal`] for an order that names a
    /// field twice.
    pub async fn search(
        &self,
        leave: &Authorized<ReadProject>,
        asked: TraceSearch,
    ) -> Result<Page<TraceInfo>, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| search(tx, &project, &asked)).await
    }
}
