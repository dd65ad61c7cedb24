//! The list of versions that a logged model was registered as, which MLflow keeps in a tag of it.

use crate::logged_models::upsert_tags;
use crate::model::KeyValue;
use crate::{Tracking, TrackingError};
use serde_json::{Value as Json, json};
use trueline_identity::{Authorized, WriteTracking};

const VERSIONS_TAG: &str = "mlflow.modelVersions";

impl Tracking {
    /// Notes with a logged model that it was registered as a version.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`].
    pub async fn note_registered(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &str,
        name: &str,
        version: i64,
    ) -> Result<(), TrackingError> {
        let name = name.to_owned();
        self.change_logged_model(leave, id, "logged_model.tagged", move |tx, model| {
            let before = model.tags.iter().find(|tag| tag.key == VERSIONS_TAG);
            let mut list: Vec<Json> =
                before.and_then(|tag| serde_json::from_str(&tag.value).ok()).unwrap_or_default();
            list.push(json!({ "name": name, "version": version }));
            let tag = KeyValue::new(VERSIONS_TAG, as_python_writes(&list));
            upsert_tags(tx, &model.id, std::slice::from_ref(&tag))?;
            Ok(json!([tag]))
        })
        .await
        .map(drop)
    }
}

/// The list with a space after each comma and colon: clients compare the tag as text.
fn as_python_writes(list: &[Json]) -> String {
    let one = |entry: &Json| format!("{{\"name\": {}, \"version\": {}}}", entry["name"], entry["version"]);
    format!("[{}]", list.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_written_as_clients_know_it() {
        let list = [json!({ "name": "model", "version": 1 }), json!({ "name": "m\"2", "version": 2 })];
        let expected = r#"[{"name": "model", "version": 1}, {"name": "m\"2", "version": 2}]"#;
        assert_eq!(as_python_writes(&list), expected);
    }
}
