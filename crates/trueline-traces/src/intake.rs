//! Evaluation datasets and scorers of another server come in with their ids; what is here already stays as it is, so that
//! an import can be repeated. Traces are the matter of [`crate::whole`].

use crate::dataset_records::{self, DatasetRecord};
use crate::datasets::{self, EvaluationDataset};
use crate::scorers::{self, Sampling, ScorerVersion};
use crate::{TraceError, Traces};
use serde_json::json;
use sha2::{Digest, Sha256};
use trueline_identity::{Authorized, WriteTracking};
use trueline_ledger::NewEvent;

/// A scorer as another server had it.
#[derive(Clone, Debug)]
pub struct WholeScorer {
    /// Its versions; all tell the same id, experiment and name.
    pub versions: Vec<ScorerVersion>,
    /// How many traces it is to judge.
    pub sampling: Option<Sampling>,
}

impl Traces {
    /// Takes in an evaluation dataset with the experiments that it belongs to; answers whether it is new. Its records come
    /// by [`Traces::import_records`].
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a tag without a key, or what the ledger says.
    pub async fn import_dataset(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        dataset: EvaluationDataset,
        experiments: Vec<String>,
    ) -> Result<bool, TraceError> {
        let (project, source) = (leave.project().clone(), source.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                if datasets::find(tx, &project, &dataset.id)?.is_some() {
                    return Ok(false);
                }
                datasets::insert(tx, &project, &dataset)?;
                datasets::associate(tx, &project, &dataset.id, &experiments)?;
                let told = json!({
                    "source": source, "name": dataset.name, "tags": dataset.tags, "experiments": experiments,
                });
                tx.emit(datasets::event(&project, "evaluation_dataset.imported", &dataset.id).with(told))?;
                Ok(true)
            })
            .await
    }

    /// Takes in records of an evaluation dataset that is here, unless there are some with their ids or inputs; answers how
    /// many came in.
    ///
    /// # Errors
    /// [`TraceError::NotFound`] for the dataset, or what the ledger says.
    pub async fn import_records(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        dataset: String,
        records: Vec<DatasetRecord>,
    ) -> Result<u64, TraceError> {
        let (project, source) = (leave.project().clone(), source.to_owned());
        let hashes: Vec<String> =
            records.iter().map(|record| dataset_records::hash(&record.inputs)).collect();
        let sha256 = hashes.iter().fold(Sha256::new(), |sum, hash| sum.chain_update(hash));
        let sha256 = hex::encode(sha256.finalize());
        self.ledger
            .write(leave.actor(), move |tx| {
                datasets::get(tx, &project, &dataset)?;
                let mut new = 0;
                for (record, hash) in records.iter().zip(&hashes) {
                    new += dataset_records::insert_whole(tx, &project, &dataset, record, hash)?;
                }
                if new > 0 {
                    let told = json!({ "source": source, "records": new, "inputs_sha256": sha256 });
                    let action = "evaluation_dataset.records_imported";
                    tx.emit(datasets::event(&project, action, &dataset).with(told))?;
                }
                Ok(new)
            })
            .await
    }

    /// Takes in a scorer's versions, unless there are some with their numbers; answers how many came in.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] and [`TraceError::NotFound`] for one that could not be registered here; then none came in.
    pub async fn import_scorer(
        &self,
        leave: &Authorized<WriteTracking>,
        source: &str,
        scorer: WholeScorer,
    ) -> Result<u64, TraceError> {
        for version in &scorer.versions {
            scorers::check(&version.name, &version.body)?;
        }
        let (project, source) = (leave.project().clone(), source.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let Some(first) = scorer.versions.first() else { return Ok(0) };
                let (id, mut new) = (scorers::place(tx, &project, first)?, 0);
                let mut bodies = Sha256::new();
                for version in &scorer.versions {
                    new += scorers::insert_version(tx, &project, &id, version)?;
                    bodies.update(&version.body);
                }
                if new == 0 {
                    return Ok(0);
                }
                if let Some(sampling) = &scorer.sampling {
                    scorers::insert_sampling(tx, &project, &id, sampling)?;
                }
                let event = NewEvent::new(&project, "scorer.imported", "scorer", id);
                tx.emit(event.with(json!({
                    "source": source, "experiment": first.experiment.to_string(), "name": first.name, "versions": new,
                    "sha256": hex::encode(bodies.finalize()),
                })))?;
                Ok(new)
            })
            .await
    }
}
