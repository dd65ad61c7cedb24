//! Compiled conditions, run against a real SQLite with a small tracking schema.

#![allow(clippy::unwrap_used)]

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, ToSql, params_from_iter};
use trueline_search::mlflow::{Kind, parse_filter};
use trueline_search::sql::{ColumnType, MAX_PARAMS, Place, Places, SqlError, SqlValue, compile};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value};

struct RunPlaces;

impl Places for RunPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        let rows = |table: &str, holds, nan: Option<&str>| Place::Rows {
            from: format!("{table} x"),
            on: "x.run_id = r.run_id".to_owned(),
            key: Some("x.key".to_owned()),
            value: "x.value".to_owned(),
            holds,
            nan: nan.map(str::to_owned),
        };
        match (field.entity, field.key.as_str()) {
            (Entity::Metric, _) => Some(rows("latest_metrics", ColumnType::Real, Some("x.is_nan = 1"))),
            (Entity::Param, _) => Some(rows("params", ColumnType::Text, None)),
            (Entity::Tag, _) => Some(rows("tags", ColumnType::Text, None)),
            (Entity::Attribute, "start_time" | "experiment_id") => {
                Some(Place::Column { sql: format!("r.{}", field.key), holds: ColumnType::Int })
            }
            (Entity::Attribute, "run_id" | "status") => {
                Some(Place::Column { sql: format!("r.{}", field.key), holds: ColumnType::Text })
            }
            _ => None,
        }
    }
}

struct Bound<'v>(&'v SqlValue);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self.0 {
            SqlValue::Int(int) => Ok(ToSqlOutput::from(*int)),
            SqlValue::Real(real) => Ok(ToSqlOutput::from(*real)),
            SqlValue::Text(text) => text.to_sql(),
        }
    }
}

fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        r"
        PRAGMA case_sensitive_like = ON;
        CREATE TABLE runs (run_id TEXT, experiment_id INTEGER, status TEXT, start_time INTEGER);
        CREATE TABLE params (run_id TEXT, key TEXT, value TEXT);
        CREATE TABLE tags (run_id TEXT, key TEXT, value TEXT);
        CREATE TABLE latest_metrics (run_id TEXT, key TEXT, value REAL, is_nan INTEGER);
        INSERT INTO runs VALUES ('a', 1, 'FINISHED', 100), ('b', 1, 'RUNNING', 200), ('c', 2, NULL, 300);
        INSERT INTO params VALUES ('a', 'opt', 'Adam'), ('b', 'opt', 'sgd'), ('a', 'path', 'C:\x_y'), ('b', 'path', 'C:/xzy');
        INSERT INTO tags VALUES ('a', 'team', 'red'), ('b', 'team', 'Red');
        INSERT INTO latest_metrics VALUES ('a', 'loss', 0.5, 0), ('b', 'loss', 0.0, 1), ('a', 'acc', 1, 0), ('c', 'acc', 2, 0);
        ",
    )
    .unwrap();
    db
}

fn matching(expr: &Expr) -> String {
    // The first placeholder belongs to the query around the condition.
    let condition = compile(expr, &RunPlaces, 2).unwrap();
    let db = database();
    let sql =
        format!("SELECT run_id FROM runs r WHERE start_time > ?1 AND {} ORDER BY run_id", condition.sql);
    let mut statement = db.prepare(&sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let zero = SqlValue::Int(0);
    let params = std::iter::once(&zero).chain(&condition.params).map(Bound);
    let rows = statement.query_map(params_from_iter(params), |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn filter(text: &str) -> Expr {
    parse_filter(Kind::Runs, text).unwrap()
}

#[track_caller]
fn assert_matches(text: &str, runs: &str) {
    assert_eq!(matching(&filter(text)), runs, "{text}");
}

#[test]
fn an_empty_filter_matches_everything() {
    assert_matches("", "abc");
}

#[test]
fn a_key_that_is_absent_matches_only_is_null() {
    assert_matches("params.opt != 'Adam'", "b");
    assert_matches("params.opt IS NULL", "c");
    assert_matches("params.opt IS NOT NULL", "ab");
    assert_matches("tags.nowhere IS NULL AND params.opt = 'sgd'", "b");
    assert_matches("status != 'FINISHED'", "b");
}

#[test]
fn nan_matches_only_unequal() {
    for (text, runs) in [
        ("metrics.loss = 0", ""),
        ("metrics.loss < 1", "a"),
        ("metrics.loss >= 0", "a"),
        ("metrics.loss != 0", "ab"),
        ("metrics.loss != 0.5", "b"),
    ] {
        assert_matches(text, runs);
    }
}

#[test]
fn like_minds_case_and_ilike_does_not() {
    assert_matches("tags.team LIKE 'R%'", "b");
    assert_matches("tags.team ILIKE 'R__'", "ab");
    assert_matches("params.opt LIKE 'adam'", "");
    assert_matches("tags.team LIKE 'R*'", "");
}

#[test]
fn a_backslash_in_a_pattern_stands_for_itself() {
    assert_matches(r"params.path LIKE 'C:\%'", "a");
    assert_matches(r"params.path LIKE 'C:\x\_y'", "");
    assert_matches("params.path LIKE 'C:%x_y'", "ab");
}

#[test]
fn lists_match_any_of_their_strings() {
    assert_matches("run_id IN ('a', 'c')", "ac");
    assert_matches("run_id NOT IN ('a', 'c')", "b");
}

#[test]
fn numbers_are_compared_as_numbers() {
    assert_matches("start_time > 100", "bc");
    assert_matches("start_time > 199.5", "bc");
    assert_matches("created <= 2e2", "ab");
    assert_matches("metrics.acc = 1", "a");
    assert_matches("metrics.acc > 1.5 AND start_time = 300", "c");
}

#[test]
fn an_id_in_a_column_of_integers_may_be_written_as_a_string() {
    let field = Field { entity: Entity::Attribute, key: "experiment_id".to_owned() };
    let expr = |text: &str| {
        Expr::from(Comparison { field: field.clone(), op: Op::Eq, value: Some(Value::Text(text.to_owned())) })
    };
    assert_eq!(matching(&expr("2")), "c");
    assert!(matches!(compile(&expr("two"), &RunPlaces, 1), Err(SqlError::Mismatch { .. })));
}

#[test]
fn or_and_not_are_complements_even_of_absent_fields() {
    let finished = filter("status = 'FINISHED'");
    assert_eq!(matching(&Expr::Not(Box::new(finished.clone()))), "bc");
    assert_eq!(matching(&Expr::Or(vec![finished, filter("metrics.acc > 1")])), "ac");
    assert_eq!(matching(&Expr::Or(vec![])), "");
    assert_eq!(matching(&Expr::Not(Box::new(Expr::always()))), "");
}

#[test]
fn thousands_of_clauses_stay_within_sqlites_tree() {
    let text = vec!["run_id != 'b'"; 1200].join(" AND ");
    assert_matches(&text, "ac");
    let clause = filter("run_id != 'b'");
    assert_eq!(matching(&Expr::And(vec![clause; 4000])), "ac");
}

#[test]
fn limits_are_errors() {
    let unknown = filter("artifact_uri = 'x'");
    assert!(matches!(compile(&unknown, &RunPlaces, 1), Err(SqlError::UnknownField(_))));
    let many = Expr::And(vec![filter("run_id = 'a'"); MAX_PARAMS]);
    assert!(matches!(compile(&many, &RunPlaces, 2), Err(SqlError::ManyParams)));
    let deep = (0..200).fold(Expr::always(), |expr, _| Expr::Not(Box::new(expr)));
    assert_eq!(compile(&deep, &RunPlaces, 1), Err(SqlError::TooDeep));
    let long = filter(&format!("tags.team LIKE '{}'", "%".repeat(60_000)));
    assert_eq!(compile(&long, &RunPlaces, 1), Err(SqlError::LongPattern(60_000)));
    let field = Field { entity: Entity::Tag, key: "team".to_owned() };
    let regex = Expr::from(Comparison { field, op: Op::RLike, value: Some(Value::Text("r.d".to_owned())) });
    assert_eq!(compile(&regex, &RunPlaces, 1), Err(SqlError::NoRegex));
}

#[test]
fn placeholders_count_from_where_they_are_told() {
    let condition = compile(&filter("params.opt = 'x' AND start_time > 5"), &RunPlaces, 7).unwrap();
    assert_eq!(
        condition.sql,
        "((EXISTS (SELECT 1 FROM params x WHERE x.run_id = r.run_id AND x.key = ?7 AND (x.value = ?8))) AND \
         (r.start_time > ?9))"
    );
    assert_eq!(
        condition.params,
        [SqlValue::Text("opt".to_owned()), SqlValue::Text("x".to_owned()), SqlValue::Int(5)]
    );
}
