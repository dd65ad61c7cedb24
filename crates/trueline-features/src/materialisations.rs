//! What was loaded into the online store from datasets, and when.

use crate::{FeatureError, FeatureView, Features};
use serde::Serialize;
use serde_json::json;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Edge, LedgerTx, Millis, NewEvent, Node, ProjectId};

/// A load of a view's rows from a dataset version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Materialisation {
    /// The view's version.
    pub version: i64,
    /// The dataset.
    pub dataset: String,
    /// The dataset version's number.
    pub dataset_number: i64,
    /// Rows from this time on, in microseconds since 1970.
    pub start_us: Option<i64>,
    /// Rows up to this time.
    pub end_us: Option<i64>,
    /// Rows that were read within those times.
    pub rows_read: i64,
    /// Rows that replaced what was there.
    pub rows_written: i64,
    /// When it ended.
    pub at_ms: Millis,
}

/// Records a load in the transaction that ends its task.
///
/// # Errors
/// What the database says.
pub fn record_materialisation(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    task: &str,
    view: &FeatureView,
    source: &Node,
    done: &Materialisation,
) -> Result<(), FeatureError> {
    tx.execute(
        "INSERT INTO feature_materialisations (project, task, view, version, dataset, dataset_number, start_us, end_us,
             rows_read, rows_written, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        &[
            project.into(),
            task.into(),
            (&view.spec.name).into(),
            done.version.into(),
            (&done.dataset).into(),
            done.dataset_number.into(),
            done.start_us.into(),
            done.end_us.into(),
            done.rows_read.into(),
            done.rows_written.into(),
            done.at_ms.into(),
        ],
    )?;
    let event = NewEvent::new(project, "feature_view.materialised", "feature_view", view.node().id);
    let event = tx.emit(event.with(json!(done)))?;
    tx.link(&event, &Edge::new(project, view.node(), "materialised", source.clone()))?;
    Ok(())
}

impl Features {
    /// The newest loads of a view, at most 50.
    ///
    /// # Errors
    /// What the database says.
    pub async fn materialisations(
        &self,
        leave: &Authorized<ReadProject>,
        view: &str,
    ) -> Result<Vec<Materialisation>, FeatureError> {
        let (project, view) = (leave.project().clone(), view.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let rows = tx.query(
                    "SELECT version, dataset, dataset_number, start_us, end_us, rows_read, rows_written, at_ms
                     FROM feature_materialisations WHERE project = ?1 AND view = ?2 ORDER BY at_ms DESC LIMIT 50",
                    &[(&project).into(), (&view).into()],
                )?;
                let one = |mut row: trueline_db::Row| {
                    Ok(Materialisation {
                        version: row.take(0)?,
                        dataset: row.take(1)?,
                        dataset_number: row.take(2)?,
                        start_us: row.take(3)?,
                        end_us: row.take(4)?,
                        rows_read: row.take(5)?,
                        rows_written: row.take(6)?,
                        at_ms: row.take(7)?,
                    })
                };
                rows.into_iter().map(one).collect()
            })
            .await
    }
}
