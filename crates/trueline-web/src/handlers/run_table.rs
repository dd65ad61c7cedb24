//! One experiment as the table of its runs, and the views of it that were saved. Views are tags of the experiment, so that
//! colleagues see them and the ledger keeps their history.

use super::experiments::{NOTE_TAG, duration_ms, view_of};
use super::settings::field;
use super::{Answer, App, Form, Visitor, Web, history, offset, page, pairs, timestamp};
use crate::links::{Links, ViewUrl};
use crate::pages::{Column, ColumnGroup, ExperimentPage, RunRow, RunTableFeed, SavedView};
use crate::parts::{Badge, Cell, Pair};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_identity::WriteTracking;
use trueline_search::mlflow::OrderBy;
use trueline_search::{Expr, Field, query};
use trueline_tracking::{
    Cell as Value, ColumnNames, Experiment, ExperimentId, KeyValue, RunSearch, TableRow, TableWindow,
};

/// Rows that come with the page.
const PAGE: u64 = 50;
/// Columns that a table starts with.
const FIRST_METRICS: usize = 4;
const FIRST_PARAMS: usize = 4;
/// Columns that the page itself offers; the module offers all.
const CHOICES: usize = 200;
/// As many columns as the API gives at a time.
const MOST_COLUMNS: usize = 100;
/// A saved view is a tag of this name and its own.
const VIEW_TAG: &str = "trueline.view.";
/// What makes up a view: neither the page that is shown of it nor who is selected.
const VIEW_KEYS: [&str; 6] = ["filter", "sort", "col", "pin", "fold", "deleted"];

/// The columns that the URL names, or a few to start with.
fn shown(view: &ViewUrl, choices: &[Column]) -> Vec<Column> {
    let named: Vec<Column> = view.all("col").chain(view.all("pin")).filter_map(Column::parse).collect();
    let mut columns: Vec<Column> = Vec::new();
    if view.get("col").is_empty() {
        let first = |group: &'static str, n: usize| choices.iter().filter(move |c| c.group == group).take(n);
        columns.extend(first("Metrics", FIRST_METRICS).chain(first("Params", FIRST_PARAMS)).cloned());
    }
    for column in named {
        if !columns.iter().any(|c| c.key == column.key) {
            columns.push(column);
        }
    }
    columns.truncate(MOST_COLUMNS);
    columns
}

/// All columns that there are, apart from the tags that tools keep for themselves.
fn choices(names: &ColumnNames) -> Vec<Column> {
    let tags = names.tags.iter().filter(|t| !t.starts_with("mlflow."));
    let metrics = names.metrics.iter().map(|k| Column::metric(k));
    let params = names.params.iter().map(|k| Column::param(k, false));
    metrics.chain(params).chain(tags.map(|k| Column::tag(k))).collect()
}

/// A column as the query language names it.
fn column_field(key: &str) -> Option<Field> {
    let (family, name) = key.split_once('.')?;
    query::parse_field(&query::RUNS, &format!("{family}.`{name}`")).ok()
}

/// The order that the URL asks for.
fn order(sort: &str) -> Vec<OrderBy> {
    let (key, ascending) = sort.strip_prefix('-').map_or((sort, true), |key| (key, false));
    let own = match key {
        "started_at" => Some("start_time"),
        "name" => Some("run_name"),
        "duration" => Some("duration"),
        _ => None,
    };
    let field = match own {
        Some(own) => query::parse_field(&query::RUNS, own).ok(),
        None => column_field(key),
    };
    field.map(|field| OrderBy { field, ascending }).into_iter().collect()
}

fn cell(column: &Column, value: &Value) -> Cell {
    match value {
        Value::None => Cell::Missing,
        Value::Number(v) => Cell::Number(*v),
        #[allow(clippy::cast_precision_loss)]
        Value::Int(v) => Cell::Number(*v as f64),
        Value::Text(text) => match column.group {
            "Metrics" => Cell::metric(text.parse().ok()),
            "Params" => Cell::param(Some(text)),
            _ => Cell::Text(text.clone()),
        },
    }
}

fn row(row: &TableRow, columns: &[&Column], selected: &[&str], now: i64) -> RunRow {
    let run = &row.run;
    RunRow {
        id: run.id.to_string(),
        name: run.name.clone(),
        status: Badge::state(run.status.as_str()),
        created_by: crate::words::person(&run.created_by).to_owned(),
        started_at: run.start_time.map(timestamp),
        duration_ms: duration_ms(run, now),
        selected: selected.contains(&run.id.as_str()),
        cells: columns.iter().zip(&row.cells).map(|(column, value)| cell(column, value)).collect(),
    }
}

/// Params whose values on the page are all numbers stand as numbers do.
fn tell_numeric(groups: &mut [ColumnGroup], window: &TableWindow) {
    let open = groups.iter_mut().filter(|g| !g.folded).flat_map(|g| &mut g.columns);
    for (at, column) in open.enumerate() {
        if column.group == "Params" {
            let values: Vec<Cell> =
                window.rows.iter().filter_map(|r| r.cells.get(at)).map(|v| cell(column, v)).collect();
            let texts = values.iter().any(|v| matches!(v, Cell::Text(_)));
            column.numeric = !texts && values.iter().any(|v| *v != Cell::Missing);
        }
    }
}

fn sorted_pairs(query: &str) -> Vec<(String, String)> {
    let mut pairs = pairs(Some(query));
    pairs.sort();
    pairs
}

fn saved_views(experiment: &Experiment, view: &ViewUrl) -> Vec<SavedView> {
    let here = sorted_pairs(&view.query_of(&VIEW_KEYS));
    let saved = |tag: &KeyValue| {
        let name = tag.key.strip_prefix(VIEW_TAG)?.to_owned();
        let own = ViewUrl::new(view.path(), pairs(Some(&tag.value)));
        let query = own.query_of(&VIEW_KEYS);
        let current = !here.is_empty() && sorted_pairs(&query) == here;
        Some(SavedView { name, href: own.first_page(), current })
    };
    experiment.tags.iter().filter_map(saved).collect()
}

pub(super) async fn one(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let found = app.tracking.experiment(&leave, ExperimentId::parse(&id)?).await?;
    let mut shell = visitor.shell(&app, &found.name, Section::Experiments).await?;
    shell.crumbs = vec![Crumb::to("Experiments", shell.to.experiments()), Crumb::here(&found.name)];
    shell.as_cli = Some(format!("mlflow runs list --experiment-id {id}"));
    let view = ViewUrl::new(shell.to.experiment(&id), visitor.query.clone());
    let gone = view.get("gone").to_owned();
    if !gone.is_empty() {
        shell.notice = Some(format!(
            "The view “{gone}” is deleted. What it showed is still here: save it again to undo."
        ));
    }
    let names = app.tracking.column_names(&leave, vec![found.id]).await?;
    let mut choices = choices(&names);
    let (pinned, folded): (Vec<&str>, Vec<&str>) = (view.all("pin").collect(), view.all("fold").collect());
    let mut groups = ColumnGroup::arrange(shown(&view, &choices), &pinned, &folded);
    let fields: Vec<Field> = open(&groups).filter_map(|c| column_field(&c.key)).collect();

    let first = offset(view.get("cursor"));
    let (filter, filter_problem) = match query::parse(&query::RUNS, view.get("filter")) {
        Ok(filter) => (filter, None),
        Err(error) => (Expr::always(), Some(error.to_string())),
    };
    let search = RunSearch {
        experiments: vec![found.id],
        filter,
        order_by: order(view.get("sort")),
        view: view_of(&view),
        offset: first,
        limit: PAGE,
    };
    let window = app.tracking.table(&leave, search, fields, None).await?;
    tell_numeric(&mut groups, &window);
    let columns: Vec<&Column> = open(&groups).collect();
    let selected: Vec<&str> = view.get("selected").split(',').collect();
    let now = app.ledger.sources().now();
    let runs: Vec<RunRow> = window.rows.iter().map(|r| row(r, &columns, &selected, now)).collect();
    let total = window.total as u64;
    let all_columns = choices.len();
    choices.truncate(CHOICES);
    let note = found.tags.iter().find(|t| t.key == NOTE_TAG);
    let api = format!("/projects/{}/api/v1", crate::links::segment(visitor.project()));
    let feed = RunTableFeed {
        rows_url: format!("{api}/runs"),
        columns_url: format!("{api}/experiments/{}/columns", found.id),
        result: window.result,
        first,
        total,
    };
    let set_by = history::of(&app, &visitor, &shell.to, "experiment", &id).await?;
    let is_own = |key: &str| !key.starts_with("mlflow.") && !key.starts_with(VIEW_TAG);
    let (noted, tagged) = history::rows(&found.tags, set_by, is_own);
    shell.as_api = visitor.api(&format!("/api/v1/runs?experiment={}", found.id));
    page(&ExperimentPage {
        history: noted.into_iter().chain(tagged).collect(),
        id,
        name: found.name.clone(),
        description: note.map(|t| t.value.clone()).unwrap_or_default(),
        created_at: timestamp(found.created_at_ms),
        artifact_location: found.artifact_location.clone(),
        tags: found.tags.iter().filter(|t| is_own(&t.key)).map(|t| Pair::new(&t.key, &t.value)).collect(),
        filter_problem,
        views: saved_views(&found, &view),
        view_query: view.query_of(&VIEW_KEYS),
        view_name: gone,
        can_save: visitor.session.leave::<WriteTracking>().is_ok(),
        groups,
        choices,
        all_columns,
        next_cursor: (first + PAGE < total).then(|| (first + PAGE).to_string()),
        runs,
        tracking_uri: visitor.tracking_uri(),
        feed,
        view,
        shell,
    })
}

/// The columns that are not folded away.
fn open(groups: &[ColumnGroup]) -> impl Iterator<Item = &Column> {
    groups.iter().filter(|g| !g.folded).flat_map(|g| &g.columns)
}

fn view_tag(form: &[(String, String)]) -> String {
    format!("{VIEW_TAG}{}", field(form, "name"))
}

pub(super) async fn save_view(
    State(app): App,
    visitor: Visitor,
    Path((_, id)): Path<(String, String)>,
    Form(form): Form,
) -> Answer {
    let to = Links::new(Some(visitor.project())).experiment(&id);
    let view = ViewUrl::new(&to, pairs(Some(&field(&form, "query"))));
    let query = view.query_of(&VIEW_KEYS);
    if field(&form, "name").is_empty() {
        return Err(super::Failure::new(trueline_flows::FaultKind::Invalid, "a view needs a name"));
    }
    let tag = KeyValue { key: view_tag(&form), value: query.clone() };
    app.tracking.set_experiment_tag(&visitor.session.leave()?, ExperimentId::parse(&id)?, tag).await?;
    Ok(Redirect::to(&at(&to, &query)).into_response())
}

pub(super) async fn delete_view(
    State(app): App,
    visitor: Visitor,
    Path((_, id)): Path<(String, String)>,
    Form(form): Form,
) -> Answer {
    let to = Links::new(Some(visitor.project())).experiment(&id);
    let (experiment, key) = (ExperimentId::parse(&id)?, view_tag(&form));
    let query = stored(&app, &visitor, experiment, &key).await?;
    app.tracking.delete_experiment_tag(&visitor.session.leave()?, experiment, key).await?;
    // The page then shows what the view did, so that it can be saved again.
    let view = ViewUrl::new(&to, pairs(Some(&query)));
    Ok(Redirect::to(&view.with("gone", &field(&form, "name"))).into_response())
}

async fn stored(
    app: &Web,
    visitor: &Visitor,
    experiment: ExperimentId,
    key: &str,
) -> Result<String, super::Failure> {
    let found = app.tracking.experiment(&visitor.session.leave()?, experiment).await?;
    let tag = found.tags.into_iter().find(|t| t.key == key);
    tag.map(|t| t.value).ok_or_else(|| super::Failure::not_found("there is no view of this name any more"))
}

fn at(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_names_columns_and_pinned_ones_are_shown_too() {
        let choices: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|k| Column::metric(k)).collect();
        let keys = |pairs: &[(&str, &str)]| {
            let view = ViewUrl::new("/", pairs.iter().copied());
            shown(&view, &choices).into_iter().map(|c| c.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&[]), ["metrics.a", "metrics.b", "metrics.c", "metrics.d"]);
        assert_eq!(keys(&[("pin", "metrics.e")]).last().map(String::as_str), Some("metrics.e"));
        assert_eq!(
            keys(&[("col", "params.x"), ("col", "nonsense"), ("pin", "tags.y")]),
            ["params.x", "tags.y"]
        );
    }

    #[test]
    fn an_order_is_of_a_column_or_of_the_runs_themselves() {
        let read = |sort: &str| order(sort).first().map(|o| (o.field.key.clone(), o.ascending));
        assert_eq!(read("-started_at"), Some(("start_time".to_owned(), false)));
        assert_eq!(read("metrics.val loss"), Some(("val loss".to_owned(), true)));
        assert_eq!(read("duration"), Some(("duration".to_owned(), true)));
        assert_eq!(read(""), None);
        assert_eq!(read("nonsense"), None);
    }

    #[test]
    fn a_cell_without_a_json_number_is_still_a_number() {
        let metric = Column::metric("loss");
        assert_eq!(cell(&metric, &Value::Text("Infinity".to_owned())), Cell::Number(f64::INFINITY));
        assert_eq!(cell(&Column::param("lr", false), &Value::Text("0.1".to_owned())), Cell::Number(0.1));
        assert_eq!(cell(&Column::tag("n"), &Value::Text("1".to_owned())), Cell::Text("1".to_owned()));
    }
}
