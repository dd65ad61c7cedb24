//! Which datasets the runs of some experiments read, each once for each use of it.

use crate::model::ExperimentId;
use crate::{Tracking, TrackingError};
use trueline_db::Value;
use trueline_identity::{Authorized, ReadProject};

/// As many as MLflow answers.
const MOST: i64 = 1000;

/// A dataset that runs of an experiment read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetSummary {
    /// The experiment.
    pub experiment: ExperimentId,
    /// The dataset's name.
    pub name: String,
    /// What the client computed over its contents.
    pub digest: String,
    /// What it was read for, when a run said so.
    pub context: Option<String>,
}

impl Tracking {
    /// The datasets that runs of these experiments read, by experiment, name, digest and context; at most 1000.
    ///
    /// # Errors
    /// What the database says.
    pub async fn dataset_summaries(
        &self,
        leave: &Authorized<ReadProject>,
        experiments: &[ExperimentId],
    ) -> Result<Vec<DatasetSummary>, TrackingError> {
        if experiments.is_empty() {
            return Ok(Vec::new());
        }
        let mut params: Vec<Value> = vec![leave.project().into()];
        params.extend(experiments.iter().map(|id| Value::from(*id)));
        let places: Vec<String> = (2..=params.len()).map(|n| format!("?{n}")).collect();
        let sql = format!(
            "SELECT DISTINCT d.experiment, d.name, d.digest, i.context FROM datasets d
             JOIN run_inputs i ON i.dataset = d.id WHERE d.project = ?1 AND d.experiment IN ({})
             ORDER BY d.experiment, d.name, d.digest, i.context LIMIT {MOST}",
            places.join(", ")
        );
        self.ledger
            .db()
            .read(move |tx| {
                let rows = tx.query(&sql, &params)?;
                let summary = |mut row: trueline_db::Row| {
                    Ok(DatasetSummary {
                        experiment: ExperimentId(row.take(0)?),
                        name: row.take(1)?,
                        digest: row.take(2)?,
                        context: row.take(3)?,
                    })
                };
                rows.into_iter().map(summary).collect()
            })
            .await
    }
}
