//! What a version was trained on, as a monitor compares windows with it: from the version to its run, to the dataset version
//! that the run names, to counts of the features that the model reads.

use crate::gate_facts;
use crate::release::ReleaseError;
use crate::run_datasets::{dataset_version, training_input};
use std::collections::BTreeMap;
use trueline_blobs::BlobError;
use trueline_data::{Data, DataError, DatasetVersion, Table};
use trueline_identity::{Authorized, Caller, IdentityError, Policy, ReadProject};
use trueline_ledger::ProjectId;
use trueline_monitoring::{
    BINS, CATEGORIES, FeatureValue, MonitoringError, Reference, ReferenceColumn, TrainingData,
};
use trueline_query::{Column, ColumnState, json_column};
use trueline_registry::{Registry, RegistryError, VersionKey};
use trueline_tracking::{RunId, Tracking, TrackingError};

/// What a version was trained on could not be looked up now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The server has no leave to read the project.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The frozen files of the version can't be read.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Runs can't be read.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// Data can't be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Monitoring failed.
    #[error(transparent)]
    Monitoring(#[from] MonitoringError),
    /// The thread that read stopped.
    #[error("reading the training data stopped: {0}")]
    Thread(String),
}

/// Looks up what versions were trained on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrainingReferences {
    /// Who may read.
    pub policy: Policy,
    /// Versions.
    pub registry: Registry,
    /// Their runs.
    pub tracking: Tracking,
    /// What the runs read.
    pub data: Data,
}

/// Found, or why not, which is for the user to mend; what may pass by itself is a [`TrainingError`].
type Found<T> = Result<T, String>;

impl TrainingReferences {
    /// What a version, `model/3`, was trained on.
    ///
    /// # Errors
    /// What may pass by itself: a database or a store that does not answer.
    pub async fn look_up(&self, project: &ProjectId, variant: &str) -> Result<TrainingData, TrainingError> {
        let leave = self.policy.authorize(&Caller::system("monitoring"), project)?;
        let (features, version) = match self.named(&leave, variant).await? {
            Ok(named) => named,
            Err(why) => return Ok(TrainingData::Unknown(why)),
        };
        match self.counted(project, features, version).await {
            Ok(Ok(reference)) => Ok(TrainingData::Known(reference)),
            Ok(Err(why)) => Ok(TrainingData::Unknown(why)),
            Err(TrainingError::Data(error)) if lasts(&error) => Ok(TrainingData::Unknown(error.to_string())),
            Err(other) => Err(other),
        }
    }

    /// The features that a version reads, and the dataset version that its run names.
    async fn named(
        &self,
        leave: &Authorized<ReadProject>,
        variant: &str,
    ) -> Result<Found<(Vec<String>, DatasetVersion)>, TrainingError> {
        let (model, number) = variant.rsplit_once('/').unwrap_or((variant, ""));
        let version = match self.registry.version(leave, &VersionKey::parse(model, number)?).await {
            Err(RegistryError::NotFound(why)) => return Ok(Err(why)),
            other => other?,
        };
        let Some(run) = &version.run_id else { return Ok(Err("it was registered without a run".to_owned())) };
        let run = match self.tracking.run(leave, &RunId::new(run)).await {
            Err(TrackingError::NotFound(why)) => return Ok(Err(why)),
            other => other?,
        };
        let input = match training_input(&run.dataset_inputs) {
            Ok(input) => input,
            Err(why) => return Ok(Err(why)),
        };
        let trained_on = match dataset_version(&self.data, leave, input).await? {
            Some(Ok(found)) => found,
            Some(Err(why)) => return Ok(Err(why)),
            None => return Ok(Err("its run names no dataset version".to_owned())),
        };
        let signature = gate_facts::signature(&self.registry, &self.tracking, leave, &version).await;
        let signature = match signature {
            Err(ReleaseError::Tracking(TrackingError::Blob(error))) if is_gone(&error) => {
                return Ok(Err(error.to_string()));
            }
            Err(other) => return Err(other.into()),
            Ok(Err(why)) => return Ok(Err(why)),
            Ok(Ok(signature)) => signature,
        };
        let names = signature.inputs.into_iter().map(|c| c.name).filter(|name| !name.is_empty());
        Ok(Ok((names.collect(), trained_on)))
    }

    /// Bins come from the profile, counts from one more scan: a profile's own are estimates once a table is large, and
    /// a threshold that is calibrated to chance would take their error for drift.
    async fn counted(
        &self,
        project: &ProjectId,
        features: Vec<String>,
        version: DatasetVersion,
    ) -> Result<Found<Reference>, TrainingError> {
        let states = self.data.states(project, &version).await?;
        let columns = columns(&states, &features)?;
        let named = format!("{}@{} ({} rows)", version.name, version.number, version.manifest.rows());
        if columns.is_empty() {
            return Ok(Err(format!("{named} has none of the columns that the model reads")));
        }
        let absent: Vec<&str> =
            features.iter().filter(|f| !columns.contains_key(*f)).map(String::as_str).collect();
        let source = match &absent[..] {
            [] => named,
            some => format!("{named}, which can't be compared in {}", some.join(", ")),
        };
        let table = self.data.table(project, &version).await?;
        let counting = tokio::task::spawn_blocking(move || count(&table, columns));
        let columns = counting.await.map_err(|e| TrainingError::Thread(e.to_string()))??;
        Ok(Ok(Reference { source, columns }))
    }
}

fn is_gone(error: &BlobError) -> bool {
    matches!(error, BlobError::NotFound(_) | BlobError::TooLarge { .. })
}

/// Whether an error will be the same the next time.
fn lasts(error: &DataError) -> bool {
    match error {
        DataError::Blob(error) => is_gone(error),
        other => matches!(other, DataError::NotFound(_) | DataError::Invalid(_) | DataError::Table(_)),
    }
}

/// Bins of the features that have any, with nothing in them yet. A time, or a column without a value, has none.
fn columns(
    states: &[(Column, ColumnState)],
    features: &[String],
) -> Result<BTreeMap<String, ReferenceColumn>, MonitoringError> {
    let mut out = BTreeMap::new();
    for (column, state) in states.iter().filter(|(column, _)| features.contains(&column.name)) {
        let bins = match state {
            ColumnState::Number { profile } if profile.range().is_some() => {
                ReferenceColumn::numeric(&profile.reference_window(BINS)?)
            }
            ColumnState::Text { profile } if profile.rows() > profile.nulls() => {
                let frequent = profile.frequent().top(CATEGORIES).into_iter();
                ReferenceColumn::texts(&frequent.map(|f| (f.value, f.at_least)).collect(), 0, 0)?
            }
            _ => continue,
        };
        out.insert(column.name.clone(), bins.emptied());
    }
    Ok(out)
}

fn count(
    table: &Table,
    mut columns: BTreeMap<String, ReferenceColumn>,
) -> Result<BTreeMap<String, ReferenceColumn>, DataError> {
    let names: Vec<String> = columns.keys().cloned().collect();
    for batch in table.scan(Some(&names))? {
        let batch = batch?;
        for ((name, column), array) in columns.iter_mut().zip(batch.columns()) {
            json_column(name, array)?.iter().for_each(|value| column.observe(&feature(value)));
        }
    }
    Ok(columns)
}

/// As the prediction log has it.
fn feature(value: &serde_json::Value) -> FeatureValue {
    match value {
        serde_json::Value::Number(number) => {
            number.as_f64().map_or(FeatureValue::Missing, FeatureValue::Number)
        }
        serde_json::Value::String(text) => FeatureValue::Text(text.clone()),
        serde_json::Value::Bool(on) => FeatureValue::Text(on.to_string()),
        _ => FeatureValue::Missing,
    }
}
