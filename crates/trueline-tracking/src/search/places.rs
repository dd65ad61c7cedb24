//! Where the fields of runs, experiments and logged models lie.

use crate::logged::VALUE;
use trueline_search::sql::{ColumnType, Place, Places};
use trueline_search::{Entity, Field};

fn column(sql: &str, holds: ColumnType) -> Option<Place> {
    Some(Place::Column { sql: sql.to_owned(), holds })
}

fn rows(table: &str, on: &str, value: &str, holds: ColumnType, nan: Option<&str>) -> Option<Place> {
    Some(Place::Rows {
        from: format!("{table} x"),
        on: on.to_owned(),
        key: Some("x.key".to_owned()),
        value: value.to_owned(),
        holds,
        nan: nan.map(ToOwned::to_owned),
    })
}

/// The column of `runs r` that holds an attribute.
pub(super) fn attribute(key: &str) -> Option<(&'static str, ColumnType)> {
    use ColumnType::{Int, Text};
    Some(match key {
        "run_id" => ("r.id", Text),
        "run_name" => ("r.name", Text),
        "user_id" => ("r.claimed_user", Text),
        "status" => ("r.status", Text),
        "artifact_uri" => ("r.artifact_uri", Text),
        "lifecycle_stage" => ("r.lifecycle", Text),
        "experiment_id" => ("r.experiment", Int),
        "start_time" => ("r.start_time", Int),
        "end_time" => ("r.end_time", Int),
        // Milliseconds; a run that has not ended has none.
        "duration" => ("(r.end_time - r.start_time)", Int),
        _ => return None,
    })
}

/// The column that holds a fact about a dataset that a run read.
pub(super) fn of_dataset(key: &str) -> Option<&'static str> {
    match key {
        "name" => Some("d.name"),
        "digest" => Some("d.digest"),
        "context" => Some("i.context"),
        _ => None,
    }
}

/// Where the fields of runs lie.
pub(super) struct RunPlaces;

impl Places for RunPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Real, Text};
        match field.entity {
            Entity::Attribute => attribute(&field.key).and_then(|(sql, holds)| column(sql, holds)),
            Entity::Metric => rows("latest_metrics", "x.run = r.n", "x.value", Real, Some("x.is_nan = 1")),
            Entity::Param => rows("params", "x.run = r.n", VALUE, Text, None),
            Entity::Tag => rows("tags", "x.run = r.n", VALUE, Text, None),
            Entity::Dataset => of_dataset(&field.key).map(|value| Place::Rows {
                from: "run_inputs i JOIN datasets d ON d.id = i.dataset".to_owned(),
                on: "i.run = r.id".to_owned(),
                key: None,
                value: value.to_owned(),
                holds: Text,
                nan: None,
            }),
            _ => None,
        }
    }
}

/// Where the fields of experiments lie.
pub(super) struct ExperimentPlaces;

impl Places for ExperimentPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Int, Text};
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "name") => column("e.name", Text),
            (Entity::Attribute, "experiment_id") => column("CAST(e.id AS TEXT)", Text),
            (Entity::Attribute, "creation_time") => column("e.created_at_ms", Int),
            (Entity::Attribute, "last_update_time") => column("e.updated_at_ms", Int),
            (Entity::Tag, _) => {
                let on = "x.project = e.project AND x.experiment = e.id";
                rows("experiment_tags", on, "x.value", Text, None)
            }
            _ => None,
        }
    }
}

/// Where the fields of logged models lie.
pub(super) struct LoggedModelPlaces {
    /// Which metrics of a model count.
    pub(super) metrics: String,
}

impl Places for LoggedModelPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Int, Real, Text};
        let of_model = "x.model = m.id";
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "name") => column("m.name", Text),
            (Entity::Attribute, "model_id") => column("m.id", Text),
            (Entity::Attribute, "model_type") => column("m.model_type", Text),
            (Entity::Attribute, "status") => column("m.status", Text),
            (Entity::Attribute, "source_run_id") => column("m.source_run", Text),
            (Entity::Attribute, "experiment_id") => column("m.experiment", Int),
            (Entity::Attribute, "creation_timestamp" | "creation_time") => column("m.created_at_ms", Int),
            (Entity::Attribute, "last_updated_timestamp" | "last_updated_time") => {
                column("m.updated_at_ms", Int)
            }
            (Entity::Metric, _) => {
                rows("logged_model_metrics", &self.metrics, "x.value", Real, Some("x.is_nan = 1"))
            }
            (Entity::Param, _) => rows("logged_model_params", of_model, "x.value", Text, None),
            (Entity::Tag, _) => rows("logged_model_tags", of_model, "x.value", Text, None),
            _ => None,
        }
    }
}
