//! `/runs`: runs as a table, in windows, with the columns that are looked at; and which columns there are.

use crate::problem::Problem;
use crate::time::rfc3339;
use crate::{App, Caller};
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};
use trueline_search::mlflow::OrderBy;
use trueline_search::query;
use trueline_tracking::{Cell, ExperimentId, RunSearch, TableRow, ViewType};

const WINDOW: u64 = 100;
const LARGEST_WINDOW: u64 = 1_000;
const MOST_COLUMNS: usize = 100;

/// What is asked for in the query string; `experiment`, `order_by` and `column` may come many times.
struct Asked {
    search: RunSearch,
    columns: Vec<String>,
    result: Option<String>,
}

fn refused(what: &str, error: &impl std::fmt::Display) -> Problem {
    Problem::invalid(format!("`{what}`: {error}"))
}

fn number(what: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::invalid(format!("`{what}` is a whole number from 0, not `{text}`")))
}

/// A field and a direction: `metrics.loss desc`.
fn order(text: &str) -> Result<OrderBy, Problem> {
    let lower = text.trim_end().to_ascii_lowercase();
    let (field, ascending) = match () {
        () if lower.ends_with(" desc") => (&text.trim_end()[..lower.len() - 5], false),
        () if lower.ends_with(" asc") => (&text.trim_end()[..lower.len() - 4], true),
        () => (text, true),
    };
    let field = query::parse_field(&query::RUNS, field).map_err(|e| refused("order_by", &e))?;
    Ok(OrderBy { field, ascending })
}

fn asked(raw: Option<String>) -> Result<Asked, Problem> {
    let mut asked = Asked {
        search: RunSearch {
            experiments: Vec::new(),
            filter: trueline_search::Expr::always(),
            order_by: Vec::new(),
            view: ViewType::ActiveOnly,
            offset: 0,
            limit: WINDOW,
        },
        columns: Vec::new(),
        result: None,
    };
    let search = &mut asked.search;
    for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "experiment" => search.experiments.push(ExperimentId::parse(&value)?),
            "filter" => {
                search.filter = query::parse(&query::RUNS, &value).map_err(|e| refused("filter", &e))?;
            }
            "order_by" => search.order_by.push(order(&value)?),
            "view" => {
                search.view = match value.as_ref() {
                    "active" => ViewType::ActiveOnly,
                    "deleted" => ViewType::DeletedOnly,
                    "all" => ViewType::All,
                    _ => return Err(Problem::invalid("`view` is active, deleted or all")),
                };
            }
            "offset" => search.offset = number("offset", &value)?,
            "limit" => search.limit = number("limit", &value)?.clamp(1, LARGEST_WINDOW),
            "column" => asked.columns.push(value.into_owned()),
            "result" => asked.result = Some(value.into_owned()),
            other => {
                return Err(Problem::invalid(format!(
                    "`{other}` is no parameter: use experiment, filter, order_by, view, column, offset, limit, result"
                )));
            }
        }
    }
    if search.experiments.is_empty() {
        return Err(Problem::invalid("name at least one `experiment` by its id"));
    }
    if asked.columns.len() > MOST_COLUMNS {
        return Err(Problem::invalid(format!("at most {MOST_COLUMNS} columns at a time")));
    }
    Ok(asked)
}

fn row(row: &TableRow) -> Value {
    let run = &row.run;
    let cells: Vec<&Cell> = row.cells.iter().collect();
    json!({
        "run_id": run.id,
        "name": run.name,
        "experiment": run.experiment.to_string(),
        "status": run.status,
        "user": run.claimed_user,
        "created_by": run.created_by,
        "started_at": run.start_time.map(rfc3339),
        "ended_at": run.end_time.map(rfc3339),
        "lifecycle": run.lifecycle,
        "cells": cells,
    })
}

/// A window of the runs that meet a filter: `{"result", "total", "columns", "rows"}`. Asked again with that `result`,
/// other windows are of the same rows in the same order, whatever has been logged since.
pub(crate) async fn runs(
    State(app): App,
    Caller(session): Caller,
    RawQuery(raw): RawQuery,
) -> Result<Json<Value>, Problem> {
    let Asked { search, columns, result } = asked(raw)?;
    let fields = columns
        .iter()
        .map(|column| query::parse_field(&query::RUNS, column).map_err(|e| refused("column", &e)))
        .collect::<Result<Vec<_>, _>>()?;
    let window = app.tracking.table(&session.leave()?, search, fields, result).await?;
    let rows: Vec<Value> = window.rows.iter().map(row).collect();
    Ok(Json(json!({ "result": window.result, "total": window.total, "columns": columns, "rows": rows })))
}

/// The names that runs of an experiment have metrics, params and tags under.
pub(crate) async fn columns(
    State(app): App,
    Caller(session): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let experiment = ExperimentId::parse(&id)?;
    Ok(Json(json!(app.tracking.column_names(&session.leave()?, vec![experiment]).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_experiments_filter_order_and_columns() {
        let asked = asked(Some(
            "experiment=1&experiment=2&filter=metrics.a+%3E+1+or+status%3D%27FAILED%27&order_by=metrics.a+desc&column=params.b&limit=5"
                .to_owned(),
        ))
        .unwrap_or_else(|_| panic!("refused"));
        assert_eq!(asked.search.experiments.len(), 2);
        assert_eq!(asked.search.filter.comparisons().len(), 2);
        assert!(!asked.search.order_by[0].ascending);
        assert_eq!((asked.columns, asked.search.limit), (vec!["params.b".to_owned()], 5));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "experiment=x",
            "experiment=1&filter=foo",
            "experiment=1&limit=-1",
            "experiment=1&nonsense=1",
        ] {
            assert!(asked(Some(bad.to_owned())).is_err(), "{bad}");
        }
    }
}
