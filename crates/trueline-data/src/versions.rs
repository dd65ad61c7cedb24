//! Dataset versions: asked for, recorded once their files are measured, found again.

use crate::manifest::{DatasetRef, Manifest, NamedFile, Which, check_name};
use crate::measure::Measured;
use crate::{Data, DataError};
use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use trueline_blobs::BlobError;
use trueline_db::{DbError, Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteData};
use trueline_ledger::{Actor, Edge, LedgerTx, Millis, NewEvent, Node, ProjectId};
use trueline_query::TableProfile;
use trueline_tasks::{Lease, NewTask, complete, enqueue};

/// The kind of the task that makes a version of uploaded files.
pub const ADD_TASK: &str = "data.add";
const MOST_FILES: usize = 10_000;
const ATTEMPTS: u32 = 2;

/// A version of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetVersion {
    /// The dataset.
    pub name: String,
    /// Its number within the dataset, from 1.
    pub number: i64,
    /// The hash of its manifest.
    pub id: String,
    /// Files and columns.
    pub manifest: Manifest,
    /// What the files were called.
    pub file_names: Vec<String>,
    /// The profile.
    pub profile: TableProfile,
    /// The blob with the profile's states.
    pub states: String,
    /// How it was made, when Trueline made it.
    pub recipe: Option<Json>,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
}

/// A dataset in one line: its newest version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// The newest version's number.
    pub number: i64,
    /// The newest version's id.
    pub id: String,
    /// The newest version's rows.
    pub rows: i64,
    /// The newest version's bytes.
    pub size: i64,
    /// Whether Trueline made it.
    pub made_here: bool,
    /// Who added the newest version.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
}

/// What the task that adds a version was told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) files: Vec<NamedFile>,
    by: String,
}

const COLUMNS: &str =
    "name, number, id, manifest, file_names, profile, states, recipe, created_by, created_at_ms
    FROM dataset_versions";

pub(crate) fn parse<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, DataError> {
    serde_json::from_str(text)
        .map_err(|e| DataError::Ledger(DbError::Other(format!("a dataset's row is broken: {e}")).into()))
}

fn version_from(row: &mut Row) -> Result<DatasetVersion, DataError> {
    Ok(DatasetVersion {
        name: row.take(0)?,
        number: row.take(1)?,
        id: row.take(2)?,
        manifest: parse(&row.take::<String>(3)?)?,
        file_names: parse(&row.take::<String>(4)?)?,
        profile: parse(&row.take::<String>(5)?)?,
        states: row.take(6)?,
        recipe: row.take::<Option<String>>(7)?.map(|r| parse(&r)).transpose()?,
        created_by: row.take(8)?,
        created_at_ms: row.take(9)?,
    })
}

fn find(tx: &mut Tx<'_>, project: &ProjectId, wanted: &DatasetRef) -> Result<DatasetVersion, DataError> {
    let (rule, value) = match &wanted.which {
        Which::Newest => ("?3 = ''", String::new().into()),
        Which::Number(number) => ("number = ?3", (*number).into()),
        Which::Id(prefix) => ("substr(id, 1, length(?3)) = ?3", prefix.as_str().into()),
    };
    let sql =
        format!("SELECT {COLUMNS} WHERE project = ?1 AND name = ?2 AND {rule} ORDER BY number DESC LIMIT 1");
    let row = tx.query_opt(&sql, &[project.into(), (&wanted.name).into(), value])?;
    let mut row = row.ok_or_else(|| {
        DataError::NotFound(format!(
            "there is no dataset version {wanted}: `trueline data list` names those that there are"
        ))
    })?;
    version_from(&mut row)
}

/// Records a version in a transaction, with `recipe` when it was made here and lineage to `sources`. A version with the
/// same id is answered as it is; the second value tells whether a new one was made.
///
/// # Errors
/// What the database says.
pub fn record(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    name: &str,
    measured: &Measured,
    by: &str,
    recipe: Option<&Json>,
    sources: &[(&str, Node)],
) -> Result<(DatasetVersion, bool), DataError> {
    let id = measured.manifest.id();
    let wanted = DatasetRef { name: name.to_owned(), which: Which::Id(id.clone()) };
    if let Ok(known) = find(tx, project, &wanted) {
        return Ok((known, false));
    }
    let newest = "SELECT max(number) FROM dataset_versions WHERE project = ?1 AND name = ?2";
    let newest: Option<Option<i64>> = tx.scalar(newest, &[project.into(), name.into()])?;
    let version = DatasetVersion {
        name: name.to_owned(),
        number: newest.flatten().unwrap_or(0) + 1,
        id,
        manifest: measured.manifest.clone(),
        file_names: measured.file_names.clone(),
        profile: measured.profile.clone(),
        states: measured.states.clone(),
        recipe: recipe.cloned(),
        created_by: by.to_owned(),
        created_at_ms: tx.now(),
    };
    insert(tx, project, &version)?;
    let event = NewEvent::new(project, "dataset.version_added", "dataset_version", node_id(&version));
    let event = tx.emit(event.with(json!({
        "dataset": name, "number": version.number, "id": version.id, "manifest": version.manifest,
        "file_names": version.file_names, "recipe": recipe, "by": by,
    })))?;
    for (relation, source) in sources {
        let own = Node::new("dataset_version", node_id(&version));
        tx.link(&event, &Edge::new(project, own, relation, source.clone()))?;
    }
    Ok((version, true))
}

fn node_id(version: &DatasetVersion) -> String {
    format!("{}@{}", version.name, version.number)
}

fn insert(tx: &mut Tx<'_>, project: &ProjectId, v: &DatasetVersion) -> Result<(), DataError> {
    let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO dataset_versions (project, name, number, id, rows, size, manifest, file_names, profile, states,
             recipe, created_by, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        &[
            project.into(),
            (&v.name).into(),
            v.number.into(),
            (&v.id).into(),
            bounded(v.manifest.rows()).into(),
            bounded(v.manifest.size()).into(),
            json!(v.manifest).to_string().into(),
            json!(v.file_names).to_string().into(),
            json!(v.profile).to_string().into(),
            (&v.states).into(),
            v.recipe.as_ref().map(ToString::to_string).into(),
            (&v.created_by).into(),
            v.created_at_ms.into(),
        ],
    )?;
    Ok(())
}

impl DatasetVersion {
    /// The node that stands for it in the lineage.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::new("dataset_version", node_id(self))
    }
}

impl Data {
    /// Asks for a version of files whose bytes are here; answers the task that measures and records it.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for bad names, unknown formats or bytes that were not uploaded.
    pub async fn request_version(
        &self,
        leave: &Authorized<WriteData>,
        name: String,
        files: Vec<NamedFile>,
    ) -> Result<String, DataError> {
        check_name(&name)?;
        if files.is_empty() || files.len() > MOST_FILES {
            return Err(DataError::Invalid(format!("a dataset version has 1 to {MOST_FILES} files")));
        }
        let namespace = Self::namespace(leave.project());
        for file in &files {
            file.format()?;
            match self.blobs.keep_alive(&namespace, &file.sha256).await {
                Ok(size) if size == file.size => {}
                Ok(size) => {
                    let NamedFile { name, size: told, .. } = file;
                    return Err(DataError::Invalid(format!("{name} has {size} bytes here, not {told}")));
                }
                Err(BlobError::NotFound(_)) => {
                    return Err(DataError::Invalid(format!(
                        "the bytes of {} are not here: send them to /api/v1/dataset-files/{} first",
                        file.name, file.sha256
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let order = Order { name, files, by: leave.actor().principal.clone() };
        let project = leave.project().clone();
        let task = NewTask { project, kind: ADD_TASK, payload: json!(order), max_attempts: ATTEMPTS };
        self.ledger.write(leave.actor(), move |tx| Ok(enqueue(tx, &task)?)).await
    }

    /// What the task does: measures the files, records the version and ends the task in one transaction.
    ///
    /// # Errors
    /// What went wrong, as text for the task's record.
    pub async fn add_task(self, lease: Lease) -> Result<(), String> {
        self.add(lease).await.map_err(|e| e.to_string())
    }

    async fn add(self, lease: Lease) -> Result<(), DataError> {
        let order: Order = serde_json::from_value(lease.payload.clone())
            .map_err(|e| DataError::Invalid(format!("the task's payload is broken: {e}")))?;
        let measured = self.measure(&lease.project, order.files).await?;
        let actor = Actor { on_behalf_of: Some(order.by.clone()), ..Actor::system("data") };
        let (name, by) = (order.name, order.by);
        self.ledger
            .write(&actor, move |tx| {
                let (version, made) = record(tx, &lease.project, &name, &measured, &by, None, &[])?;
                let result = json!({
                    "dataset": version.name, "number": version.number, "id": version.id, "new": made,
                });
                complete(tx, &lease, &result)?;
                Ok(())
            })
            .await
    }

    /// The datasets of a project by name, `limit` from `offset` on; those alone whose name holds `part`, in letters of
    /// either case.
    ///
    /// # Errors
    /// What the database says.
    pub async fn datasets(
        &self,
        leave: &Authorized<ReadProject>,
        part: &str,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<Dataset>, DataError> {
        let (project, offset) = (leave.project().clone(), i64::try_from(offset).unwrap_or(i64::MAX));
        let special = |c: char| ['%', '_', '\\'].contains(&c);
        let escaped: String = part
            .to_lowercase()
            .chars()
            .flat_map(|c| special(c).then_some('\\').into_iter().chain([c]))
            .collect();
        let pattern = format!("%{escaped}%");
        self.ledger
            .db()
            .read(move |tx| {
                let sql = "SELECT name, number, id, rows, size, recipe IS NOT NULL, created_by, created_at_ms
                     FROM dataset_versions v
                     WHERE project = ?1 AND lower(name) LIKE ?4 ESCAPE '\\'
                       AND number = (SELECT max(number) FROM dataset_versions
                                     WHERE project = ?1 AND name = v.name)
                     ORDER BY name LIMIT ?2 OFFSET ?3";
                let params = [(&project).into(), limit.into(), offset.into(), (&pattern).into()];
                let rows = tx.query(sql, &params)?;
                rows.into_iter().map(|mut row| dataset_from(&mut row)).collect()
            })
            .await
    }

    /// One version.
    ///
    /// # Errors
    /// [`DataError::NotFound`].
    pub async fn version(
        &self,
        leave: &Authorized<ReadProject>,
        wanted: &DatasetRef,
    ) -> Result<DatasetVersion, DataError> {
        self.version_in(leave.project(), wanted).await
    }

    /// One version, for a task that was given leave when it was asked for.
    ///
    /// # Errors
    /// [`DataError::NotFound`].
    pub async fn version_in(
        &self,
        project: &ProjectId,
        wanted: &DatasetRef,
    ) -> Result<DatasetVersion, DataError> {
        let (project, wanted) = (project.clone(), wanted.clone());
        self.ledger.db().read(move |tx| find(tx, &project, &wanted)).await
    }

    /// The versions of a dataset in one line each, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`DataError::NotFound`] without any.
    pub async fn versions(
        &self,
        leave: &Authorized<ReadProject>,
        name: &str,
        limit: u32,
    ) -> Result<Vec<Dataset>, DataError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let sql = "SELECT name, number, id, rows, size, recipe IS NOT NULL, created_by, created_at_ms
                     FROM dataset_versions WHERE project = ?1 AND name = ?2 ORDER BY number DESC LIMIT ?3";
                let rows = tx.query(sql, &[(&project).into(), (&name).into(), limit.into()])?;
                if rows.is_empty() {
                    return Err(DataError::NotFound(format!(
                        "there is no dataset {name}: `trueline data list` names those that there are"
                    )));
                }
                rows.into_iter().map(|mut row| dataset_from(&mut row)).collect()
            })
            .await
    }

    /// The bytes of the `place`-th file (from 0) of a version, with its name and size.
    ///
    /// # Errors
    /// [`DataError::NotFound`], [`DataError::Blob`].
    pub async fn file(
        &self,
        leave: &Authorized<ReadProject>,
        wanted: &DatasetRef,
        place: usize,
    ) -> Result<(NamedFile, impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>), DataError> {
        let version = self.version(leave, wanted).await?;
        let found = version.manifest.files.get(place).zip(version.file_names.get(place));
        let (entry, name) =
            found.ok_or_else(|| DataError::NotFound(format!("{wanted} has no file number {place}")))?;
        let file = NamedFile { name: name.clone(), sha256: entry.sha256.clone(), size: entry.size };
        let bytes = self.blobs.get(&Self::namespace(leave.project()), &file.sha256, None).await?;
        Ok((file, bytes))
    }
}

fn dataset_from(row: &mut Row) -> Result<Dataset, DataError> {
    Ok(Dataset {
        name: row.take(0)?,
        number: row.take(1)?,
        id: row.take(2)?,
        rows: row.take(3)?,
        size: row.take(4)?,
        made_here: row.take(5)?,
        created_by: row.take(6)?,
        created_at_ms: row.take(7)?,
    })
}
