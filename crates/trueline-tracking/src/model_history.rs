//! The list of models that a run logged, as clients older than MLflow 3 keep it: in a tag of the run.

use crate::logged::{self, Table};
use crate::model::RunId;
use crate::{Tracking, TrackingError, known_runs, runs};
use serde_json::json;
use sha2::{Digest, Sha256};
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::NewEvent;

const HISTORY_TAG: &str = "mlflow.log-model.history";

impl Tracking {
    /// Adds a model, described by an `MLmodel` file as JSON, to the list that clients older than MLflow 3 keep in a tag.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] for a deleted run, [`TrackingError::NotFound`].
    pub async fn append_model_history(
        &self,
        leave: &Authorized<WriteTracking>,
        id: &RunId,
        model: serde_json::Value,
    ) -> Result<(), TrackingError> {
        let (project, id) = (leave.project().clone(), id.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let place = runs::require_active(tx, &project, &id)?;
                let before = logged::value(tx, Table::Tags, place.n, HISTORY_TAG)?;
                let mut list: Vec<serde_json::Value> =
                    before.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
                list.push(model.clone());
                // Not cut like other tags: half a list would be read as none.
                logged::set_tag(tx, place, HISTORY_TAG, &json!(list).to_string())?;
                known_runs::changed(tx, place.n)?;
                let event = NewEvent::new(&project, "run.model_logged", "run", id.as_str());
                let sha256 = hex::encode(Sha256::digest(model.to_string()));
                tx.emit(event.with(json!({
                    "artifact_path": model["artifact_path"], "sha256": sha256, "models": list.len(),
                })))?;
                Ok(())
            })
            .await
    }
}
