//! Making a training set: the rows of a dataset, joined with the features that were known at their times, become a
//! dataset version of their own, which remembers how it was made.

use serde::{Deserialize, Serialize};
use serde_json::json;
use trueline_data::{
    Data, DataError, DatasetRef, DatasetVersion, Measured, NamedFile, Table, check_name, record,
};
use trueline_features::{FeatureError, FeatureView, Features, ViewRef};
use trueline_identity::{Authorized, WriteData};
use trueline_ledger::{Actor, Ledger, Node};
use trueline_query::{ParquetFile, QueryError, RightTable, point_in_time_join};
use trueline_tasks::{Lease, NewTask, TaskError, complete, enqueue};

/// The kind of the task that makes a training set.
pub const TRAINING_SET_TASK: &str = "features.join";
const ATTEMPTS: u32 = 2;
const FILE: &str = "training-set.parquet";

/// Features to be taken from a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewChoice {
    /// The view: `weather` for the newest version, `weather@2` for that one.
    pub view: String,
    /// Those of its features to take; all when empty.
    #[serde(default)]
    pub features: Vec<String>,
    /// Where the rows' column has another name than the view's key: key, column.
    #[serde(default)]
    pub keys: std::collections::BTreeMap<String, String>,
}

/// A training set to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSet {
    /// The dataset that the result becomes a version of.
    pub name: String,
    /// The dataset whose rows it has: `flights`, `flights@3`.
    pub rows: String,
    /// The column that says as of when a row must know its features.
    pub timestamp: String,
    /// The views, in the order of their columns.
    pub views: Vec<ViewChoice>,
    /// Whether features are called `view__feature`.
    #[serde(default)]
    pub full_feature_names: bool,
}

/// A failure of this story.
#[derive(Debug, thiserror::Error)]
pub enum FeatureFlowError {
    /// Of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Of the features.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

impl From<QueryError> for FeatureFlowError {
    fn from(error: QueryError) -> Self {
        Self::Data(error.into())
    }
}

impl From<TaskError> for FeatureFlowError {
    fn from(error: TaskError) -> Self {
        Self::Data(error.into())
    }
}

/// What a task of these flows was told, and by whom.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order<T> {
    pub(crate) ask: T,
    pub(crate) by: String,
}

impl<T: for<'a> Deserialize<'a>> Order<T> {
    pub(crate) fn of(lease: &Lease) -> Result<Self, DataError> {
        serde_json::from_value(lease.payload.clone())
            .map_err(|e| DataError::Invalid(format!("the task's payload is broken: {e}")))
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor { on_behalf_of: Some(self.by.clone()), ..Actor::system("features") }
    }
}

/// Asks for a training set; answers the task that makes it. Which versions of dataset and views it reads is settled now,
/// so that the task may run, and run again, at any time.
///
/// # Errors
/// What data or features say of the names.
pub async fn request_training_set(
    ledger: &Ledger,
    data: &Data,
    features: &Features,
    leave: &Authorized<WriteData>,
    mut ask: TrainingSet,
) -> Result<String, FeatureFlowError> {
    check_name(&ask.name)?;
    if ask.views.is_empty() {
        return Err(DataError::Invalid("name at least one view to join".to_owned()).into());
    }
    let project = leave.project();
    let rows = data.version_in(project, &DatasetRef::parse(&ask.rows)?).await?;
    ask.rows = numbered(&rows);
    for choice in &mut ask.views {
        let view = features.view_in(project, &ViewRef::parse(&choice.view)?).await?;
        chosen(&view, choice)?;
        choice.view = view.reference().to_string();
    }
    let payload = json!(Order { ask, by: leave.actor().principal.clone() });
    let task = NewTask { project: project.clone(), kind: TRAINING_SET_TASK, payload, max_attempts: ATTEMPTS };
    let enqueued: Result<String, DataError> =
        ledger.write(leave.actor(), move |tx| Ok(enqueue(tx, &task)?)).await;
    Ok(enqueued?)
}

fn numbered(version: &DatasetVersion) -> String {
    format!("{}@{}", version.name, version.number)
}

/// The features that a choice takes of a view.
fn chosen(view: &FeatureView, choice: &ViewChoice) -> Result<Vec<String>, FeatureFlowError> {
    let known = &view.spec.features;
    let invalid = |told: String| FeatureFlowError::Features(FeatureError::Invalid(told));
    if let Some(stray) = choice.features.iter().find(|f| !known.contains(f)) {
        return Err(invalid(format!(
            "view {} has no feature `{stray}`; it has {}",
            choice.view,
            known.join(", ")
        )));
    }
    if let Some(stray) = choice.keys.keys().find(|k| !view.join_keys.contains(k)) {
        return Err(invalid(format!(
            "view {} has no key `{stray}`; it has {}",
            choice.view,
            view.join_keys.join(", ")
        )));
    }
    Ok(if choice.features.is_empty() { known.clone() } else { choice.features.clone() })
}

/// A view with the dataset version that it is read from.
struct Source {
    view: FeatureView,
    choice: ViewChoice,
    features: Vec<String>,
    version: DatasetVersion,
    table: Table,
}

impl Source {
    fn right(&self, full_names: bool) -> Result<RightTable, QueryError> {
        let spec = &self.view.spec;
        let named = |feature: &String| {
            let name = if full_names { format!("{}__{feature}", spec.name) } else { feature.clone() };
            (feature.clone(), name)
        };
        let left = |key: &String| (key.clone(), self.choice.keys.get(key).unwrap_or(key).clone());
        Ok(RightTable {
            scan: self.table.scan(Some(&self.view.columns()))?,
            keys: self.view.join_keys.iter().map(left).collect(),
            time: spec.timestamp.clone(),
            created: spec.created.clone(),
            ttl: spec.ttl.map(trueline_features::Ttl::micros),
            features: self.features.iter().map(named).collect(),
        })
    }
}

/// What the task does: joins, keeps the result, and records it with its recipe and lineage.
///
/// # Errors
/// What went wrong, as text for the task's record.
pub async fn training_set_task(
    ledger: Ledger,
    data: Data,
    features: Features,
    lease: Lease,
) -> Result<(), String> {
    make(&ledger, &data, &features, lease).await.map_err(|e| e.to_string())
}

async fn make(
    ledger: &Ledger,
    data: &Data,
    features: &Features,
    lease: Lease,
) -> Result<(), FeatureFlowError> {
    let order: Order<TrainingSet> = Order::of(&lease)?;
    let actor = order.actor();
    let project = lease.project.clone();
    let rows = data.version_in(&project, &DatasetRef::parse(&order.ask.rows)?).await?;
    let mut sources = Vec::new();
    for choice in &order.ask.views {
        let view = features.view_in(&project, &ViewRef::parse(&choice.view)?).await?;
        let version = data.version_in(&project, &DatasetRef::parse(&view.spec.dataset)?).await?;
        let table = data.table(&project, &version).await?;
        let features = chosen(&view, choice)?;
        sources.push(Source { view, choice: choice.clone(), features, version, table });
    }
    let left = data.table(&project, &rows).await?;
    let (measured, sources, matched) = join(data, &lease, &order.ask, left, sources).await?;

    let recipe = json!({
        "kind": "point_in_time_join",
        "rows": { "dataset": rows.name, "number": rows.number, "id": rows.id },
        "timestamp": order.ask.timestamp,
        "full_feature_names": order.ask.full_feature_names,
        "views": sources.iter().zip(&matched).map(|(s, matched)| json!({
            "view": s.view.spec.name, "version": s.view.version, "features": s.features, "keys": s.choice.keys,
            "ttl": s.view.spec.ttl,
            "dataset": s.version.name, "number": s.version.number, "id": s.version.id,
            "rows_matched": matched,
        })).collect::<Vec<_>>(),
    });
    let mut lineage: Vec<(&'static str, Node)> = vec![("rows_from", rows.node())];
    for source in &sources {
        lineage.push(("joined_by", source.view.node()));
        lineage.push(("joined_from", source.version.node()));
    }
    let recorded: Result<(), DataError> = ledger
        .write(&actor, move |tx| {
            let (version, new) =
                record(tx, &project, &order.ask.name, &measured, &order.by, Some(&recipe), &lineage)?;
            let result = json!({
                "dataset": version.name, "number": version.number, "id": version.id, "new": new,
                "rows": version.manifest.rows(), "recipe": recipe,
            });
            Ok(complete(tx, &lease, &result)?)
        })
        .await;
    Ok(recorded?)
}

/// Writes the joined rows to a file, keeps it and measures it.
async fn join(
    data: &Data,
    lease: &Lease,
    ask: &TrainingSet,
    left: Table,
    sources: Vec<Source>,
) -> Result<(Measured, Vec<Source>, Vec<u64>), FeatureFlowError> {
    let spool = data.blobs().spool().map_err(DataError::from)?;
    let (time, full_names) = (ask.timestamp.clone(), ask.full_feature_names);
    let joined = tokio::task::spawn_blocking(move || {
        let to = std::io::BufWriter::new(spool.reopen()?);
        let views = sources.iter().map(|s| s.right(full_names)).collect::<Result<Vec<_>, _>>()?;
        let (mut file, mut to) = (None, Some(to));
        let (schema, matched) = point_in_time_join(
            |columns| left.scan(columns),
            &time,
            views,
            |schema, batch| {
                if let Some(to) = to.take() {
                    file = Some(ParquetFile::begin(to, schema.clone())?);
                }
                file.as_mut().map_or(Ok(()), |f| f.append(&batch))
            },
        )?;
        // Without a batch nothing was begun; an empty table has a schema still.
        let file = match (file, to) {
            (Some(file), _) => file,
            (None, Some(to)) => ParquetFile::begin(to, schema)?,
            (None, None) => return Err(QueryError::Io(std::io::Error::other("the file was lost"))),
        };
        let (mut to, _) = file.finish()?;
        std::io::Write::flush(&mut to)?;
        Ok((spool, sources, matched))
    });
    let stopped = |e: tokio::task::JoinError| DataError::Invalid(format!("the join stopped: {e}"));
    let (spool, sources, matched) = joined.await.map_err(stopped)??;
    let blob = data.keep(&lease.project, spool).await?;
    let file = NamedFile { name: FILE.to_owned(), sha256: blob.sha256, size: blob.size };
    Ok((data.measure(&lease.project, vec![file]).await?, sources, matched))
}
