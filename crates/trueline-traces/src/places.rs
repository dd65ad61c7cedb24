//! Where the fields of traces and spans lie.

use crate::model::keys;
use trueline_db::{Dialect, Value};
use trueline_search::sql::{ColumnType, Place, Places, SqlValue};
use trueline_search::{Entity, Field};

/// A condition that `value` holds a match of `pattern`, both SQL.
fn regex(dialect: Dialect, value: &str, pattern: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("({value} REGEXP {pattern})"),
        Dialect::Postgres => format!("({value} ~ {pattern})"),
    }
}

pub(crate) fn column(sql: &str, holds: ColumnType) -> Option<Place> {
    Some(Place::Column { sql: sql.to_owned(), holds })
}

/// A value of a compiled condition as a parameter.
pub(crate) fn value(value: SqlValue) -> Value {
    match value {
        SqlValue::Int(value) => Value::Int(value),
        SqlValue::Real(value) => Value::Real(value),
        SqlValue::Text(value) => Value::Text(value),
    }
}

/// The fields of a trace `t`.
pub(crate) struct TracePlaces(pub(crate) Dialect);

impl Places for TracePlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Int, Text};
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "request_id") => column("t.id", Text),
            (Entity::Attribute, "client_request_id") => column("t.client_request_id", Text),
            (Entity::Attribute, "status") => column("t.state", Text),
            (Entity::Attribute, "experiment_id") => column("t.experiment", Int),
            (Entity::Attribute, "timestamp_ms") => column("t.started_ms", Int),
            (Entity::Attribute, "execution_time_ms") => column("t.took_ms", Int),
            (Entity::Attribute, "end_time_ms") => column("(t.started_ms + COALESCE(t.took_ms, 0))", Int),
            (Entity::Tag, keys::NAME) => column("t.name", Text),
            (Entity::Tag, keys::SPANS_LOCATION) => column("t.spans_location", Text),
            (Entity::Tag, keys::ARTIFACT_LOCATION) => column("t.artifact_location", Text),
            (Entity::RequestMetadata, keys::SESSION) => column("t.session", Text),
            (Entity::RequestMetadata, keys::FINALIZED) => {
                column("(CASE WHEN t.finalized = 1 THEN 'true' END)", Text)
            }
            (Entity::Tag, _) => Some(pairs("tag")),
            (Entity::RequestMetadata, _) => Some(pairs("metadata")),
            _ => None,
        }
    }

    fn regex(&self, value: &str, pattern: &str) -> Option<String> {
        Some(regex(self.0, value, pattern))
    }
}

fn pairs(kind: &str) -> Place {
    Place::Rows {
        from: "trace_pairs x".to_owned(),
        on: format!("x.project = t.project AND x.trace = t.id AND x.kind = '{kind}'"),
        key: Some("x.key".to_owned()),
        value: "x.value".to_owned(),
        holds: ColumnType::Text,
        nan: None,
    }
}

/// Any field in one column of text.
pub(crate) struct TextColumn {
    pub(crate) dialect: Dialect,
    pub(crate) sql: &'static str,
}

impl Places for TextColumn {
    fn place(&self, _: &Field) -> Option<Place> {
        column(self.sql, ColumnType::Text)
    }

    fn regex(&self, value: &str, pattern: &str) -> Option<String> {
        Some(regex(self.dialect, value, pattern))
    }
}
