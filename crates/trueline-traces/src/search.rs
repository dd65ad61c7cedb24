//! Traces are searched. A search that asks one tag or metadata for equality reads the index of values, which is in the
//! order of the answer; any other reads the traces of the experiment, the newest first.

use crate::filter::{Conditions, PairEquals};
use crate::model::{Page, TraceInfo, keys};
use crate::places::TracePlaces;
use crate::rows::{self, COLUMNS, TraceRow};
use crate::{TraceError, Traces};
use trueline_db::{Dialect, Tx, Value};
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
    for order in orders {
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

/// Takes out of a conjunction a comparison that few traces may meet, for the search to begin with, as the tables to read.
fn split_first(conditions: &mut Conditions, filter: &Expr) -> (Option<First>, Expr) {
    let Expr::And(parts) = filter else { return (None, filter.clone()) };
    for (n, part) in parts.iter().enumerate() {
        let Expr::Comparison(comparison) = part else { continue };
        let first = match (conditions.ids(comparison), PairEquals::of(comparison)) {
            (Some(ids), _) => First { tables: format!("({ids}) d"), wheres: String::new(), in_order: false },
            (None, Some(pair)) => First {
                tables: "trace_pairs d".to_owned(),
                wheres: format!("{} AND ", conditions.pair_equals("d", &pair)),
                in_order: true,
            },
            (None, None) => continue,
        };
        let rest = parts.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, part)| part.clone());
        return (Some(first), Expr::And(rest.collect()));
    }
    (None, filter.clone())
}

/// What a search begins with: rows `d` that name traces.
struct First {
    tables: String,
    wheres: String,
    /// Whether the rows come in the order of the answer.
    in_order: bool,
}

/// The statement that answers a search, with its parameters.
fn statement(
    dialect: Dialect,
    project: &ProjectId,
    search: &TraceSearch,
) -> Result<(String, Vec<Value>), TraceError> {
    let places = TracePlaces(dialect);
    let mut conditions = Conditions::new(dialect, project, &search.experiments);
    let (first, rest) = split_first(&mut conditions, &search.filter);
    let in_experiments = conditions.in_experiments("t.experiment");
    // CROSS JOIN keeps SQLite from turning the order of tables around; to PostgreSQL it is any join.
    let from = match &first {
        Some(First { tables, wheres, .. }) => {
            format!(
                "{tables} CROSS JOIN traces t WHERE {wheres}t.project = ?1 AND t.id = d.trace AND {in_experiments}"
            )
        }
        None => format!("traces t WHERE t.project = ?1 AND {in_experiments}"),
    };
    let condition = conditions.of(&rest)?;
    let order = match first.is_some_and(|first| first.in_order) && search.order_by.is_empty() {
        true => "d.started_ms DESC, d.trace".to_owned(),
        false => order(&mut conditions, &places, &search.order_by)?,
    };
    let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let limit = conditions.bind(bounded(search.limit.saturating_add(1)));
    let offset = conditions.bind(bounded(search.offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM {from} AND {condition} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    );
    Ok((sql, conditions.params))
}

fn search(tx: &mut Tx<'_>, project: &ProjectId, search: &TraceSearch) -> Result<Page<TraceInfo>, TraceError> {
    if search.experiments.is_empty() {
        return Ok(Page { items: Vec::new(), more: false });
    }
    let (sql, params) = statement(tx.dialect(), project, search)?;
    let mut found = tx.query(&sql, &params)?;
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
    /// [`TraceError::Invalid`] for a filter or order that can't be.
    pub async fn search(
        &self,
        leave: &Authorized<ReadProject>,
        asked: TraceSearch,
    ) -> Result<Page<TraceInfo>, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| search(tx, &project, &asked)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use trueline_search::mlflow::{Kind, parse_filter};

    /// How SQLite would answer a search, step by step.
    fn plan(filter: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        for migration in crate::MODULE.migrations {
            connection.execute_batch(migration.sql).unwrap();
        }
        let search = TraceSearch {
            experiments: vec![1],
            filter: parse_filter(Kind::Traces, filter).unwrap(),
            order_by: Vec::new(),
            offset: 0,
            limit: 100,
        };
        let (sql, params) = statement(Dialect::Sqlite, &ProjectId::new("p"), &search).unwrap();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.query_map(rusqlite::params_from_iter(params), |row| row.get(3)).unwrap();
        steps.map(Result::unwrap).collect()
    }

    #[test]
    fn common_searches_read_an_index_in_the_order_of_the_answer() {
        for (filter, index) in [
            ("", "traces_newest"),
            ("timestamp_ms > 5", "traces_newest"),
            ("status = 'ERROR'", "traces_state"),
            ("name = 'n'", "traces_name"),
            ("metadata.`mlflow.trace.session` = 's'", "traces_session"),
            ("tags.env = 'prod'", "trace_pairs_value"),
            ("status = 'OK' AND tags.env = 'prod' AND timestamp_ms > 5", "trace_pairs_value"),
            ("metadata.version = '1'", "trace_pairs_value"),
        ] {
            let plan = plan(filter);
            assert!(plan[0].contains(&format!("USING INDEX {index} ")), "{filter}: {plan:?}");
            assert!(!plan.iter().any(|step| step.contains("USE TEMP B-TREE")), "{filter}: {plan:?}");
            assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{filter}: {plan:?}");
        }
    }

    #[test]
    fn a_search_that_names_few_traces_looks_those_up() {
        for filter in ["request_id = 'tr-1'", "run_id = 'r'", "status = 'OK' AND prompt = 'p/1'"] {
            let plan = plan(filter);
            let looks_up = "SEARCH t USING INDEX sqlite_autoindex_traces_1 (project=? AND id=?)";
            assert!(plan.iter().any(|step| step == looks_up), "{filter}: {plan:?}");
            let all = ["SEARCH p USING INDEX sqlite_autoindex_trace_pairs_1 (project=?)", "SCAN t"];
            assert!(!plan.iter().any(|step| all.contains(&step.as_str())), "{filter}: {plan:?}");
        }
    }
}
