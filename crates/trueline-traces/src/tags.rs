//! Tags of traces, set and deleted one at a time.

use crate::model::keys;
use crate::rows::{PairKind, TraceRow, set_pairs};
use crate::{TraceError, Traces, rules};
use serde_json::json;
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::NewEvent;

/// Tags that tell where the spans lie; only the server says that.
const KEPT_BY_THE_SERVER: [&str; 3] =
    [keys::SPANS_LOCATION, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"];

fn check_changeable(key: &str, change: &str) -> Result<(), TraceError> {
    let clears_a_failure = change == "deleted" && key == KEPT_BY_THE_SERVER[2];
    if KEPT_BY_THE_SERVER.contains(&key) && !clears_a_failure {
        return TraceError::invalid(format!("Tag '{key}' is immutable and cannot be {change} on a trace."));
    }
    Ok(())
}

impl Traces {
    /// Sets a tag.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`].
    pub async fn set_tag(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        key: String,
        value: String,
    ) -> Result<(), TraceError> {
        check_changeable(&key, "set")?;
        rules::tag_key(&key)?;
        let value = rules::tag_value(&value);
        let is_name = key == keys::NAME;
        if is_name {
            rules::name(&value)?;
        }
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut row = TraceRow::get(tx, &project, &trace)?;
                match key.as_str() {
                    keys::NAME => {
                        row.name = Some(value.clone());
                        row.save(tx, &project)?;
                    }
                    keys::ARTIFACT_LOCATION => {
                        row.artifact_location.clone_from(&value);
                        row.save(tx, &project)?;
                    }
                    _ => set_pairs(tx, &project, &row, [(PairKind::Tag, &key, &value)])?,
                }
                let event = NewEvent::new(&project, "trace.tagged", "trace", trace.clone());
                tx.emit(event.with(json!({ "key": key, "value": value })))?;
                Ok(())
            })
            .await
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`].
    pub async fn delete_tag(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        key: String,
    ) -> Result<(), TraceError> {
        check_changeable(&key, "deleted")?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut row = TraceRow::get(tx, &project, &trace)?;
                let deleted = if key == keys::NAME {
                    let had = row.name.take().is_some();
                    row.save(tx, &project)?;
                    had
                } else {
                    let sql = "DELETE FROM trace_pairs WHERE project = ?1 AND trace = ?2 AND kind = 'tag' AND key = ?3";
                    tx.execute(sql, &[(&project).into(), (&trace).into(), (&key).into()])? > 0
                };
                if !deleted {
                    return Err(TraceError::NotFound(format!(
                        "No trace tag with key '{key}' for trace with ID '{trace}'"
                    )));
                }
                let event = NewEvent::new(&project, "trace.untagged", "trace", trace.clone());
                tx.emit(event.with(json!({ "key": key })))?;
                Ok(())
            })
            .await
    }
}
