//! Pipelines in the database: declared, changed, read.

use crate::declaration::PipelineSpec;
use crate::{Pipeline, PipelineError};
use serde::Serialize;
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, DeclarePipeline, ReadProject};
use trueline_ledger::{Ledger, NewEvent, ProjectId};
use trueline_tasks::Tasks;

/// The domain of pipelines. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pipelines {
    pub(crate) ledger: Ledger,
    pub(crate) tasks: Tasks,
}

/// What declaring a pipeline did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Declared {
    /// It is new.
    Created,
    /// It was another before.
    Changed,
    /// It was just so before.
    Unchanged,
}

const COLUMNS: &str = "p.name, p.version, p.directory, v.body, p.created_by, p.created_at_ms, p.updated_at_ms
     FROM pipelines p JOIN pipeline_versions v
       ON v.project = p.project AND v.pipeline = p.name AND v.version = p.version";

fn from_row(row: &mut Row) -> Result<Pipeline, PipelineError> {
    Ok(Pipeline {
        name: row.take(0)?,
        version: row.take(1)?,
        directory: row.take(2)?,
        spec: parse_spec(&row.take::<String>(3)?)?,
        created_by: row.take(4)?,
        created_at_ms: row.take(5)?,
        updated_at_ms: row.take(6)?,
    })
}

pub(crate) fn parse_spec(body: &str) -> Result<PipelineSpec, PipelineError> {
    serde_json::from_str(body)
        .map_err(|e| PipelineError::State(format!("a pipeline's declaration can't be read: {e}")))
}

pub(crate) fn get(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Pipeline, PipelineError> {
    let sql = format!("SELECT {COLUMNS} WHERE p.project = ?1 AND p.name = ?2");
    let mut row = tx.query_opt(&sql, &[project.into(), name.into()])?.ok_or_else(|| {
        PipelineError::NotFound(format!(
            "there is no pipeline `{name}`; `trueline pipeline list` shows those there are"
        ))
    })?;
    from_row(&mut row)
}

impl Pipelines {
    /// Over a ledger and its tasks.
    #[must_use]
    pub fn new(ledger: Ledger, tasks: Tasks) -> Self {
        Self { ledger, tasks }
    }

    /// Makes a pipeline what it is declared to be; runs that are under way keep the version that they began with.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`] when the declaration breaks a rule.
    pub async fn declare(
        &self,
        leave: &Authorized<DeclarePipeline>,
        spec: PipelineSpec,
        directory: String,
    ) -> Result<(Declared, Pipeline), PipelineError> {
        spec.check()?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let (version, now, by) = (spec.version(), tx.now(), tx.actor().principal.clone());
                let before = match get(tx, &project, &spec.name) {
                    Ok(before) if before.version == version && before.directory == directory => {
                        return Ok((Declared::Unchanged, before));
                    }
                    Ok(before) => Some(before),
                    Err(PipelineError::NotFound(_)) => None,
                    Err(error) => return Err(error),
                };
                tx.execute(
                    "INSERT INTO pipeline_versions (project, pipeline, version, body, created_by, created_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                    &[
                        (&project).into(),
                        (&spec.name).into(),
                        (&version).into(),
                        json!(spec).to_string().into(),
                        (&by).into(),
                        now.into(),
                    ],
                )?;
                tx.execute(
                    "INSERT INTO pipelines (project, name, version, directory, created_by, created_at_ms, updated_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                     ON CONFLICT (project, name) DO UPDATE SET version = excluded.version,
                         directory = excluded.directory, updated_at_ms = excluded.updated_at_ms",
                    &[
                        (&project).into(),
                        (&spec.name).into(),
                        (&version).into(),
                        (&directory).into(),
                        (&by).into(),
                        now.into(),
                    ],
                )?;
                let (done, action) = match &before {
                    None => (Declared::Created, "pipeline.created"),
                    Some(_) => (Declared::Changed, "pipeline.changed"),
                };
                let payload = json!({
                    "version": version, "directory": directory, "declaration": spec,
                    "before": before.map(|b| json!({ "version": b.version, "directory": b.directory })),
                });
                tx.emit(NewEvent::new(&project, action, "pipeline", &spec.name).with(payload))?;
                Ok((done, get(tx, &project, &spec.name)?))
            })
            .await
    }

    /// One pipeline.
    ///
    /// # Errors
    /// [`PipelineError::NotFound`].
    pub async fn get(&self, leave: &Authorized<ReadProject>, name: &str) -> Result<Pipeline, PipelineError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger.db().read(move |tx| get(tx, &project, &name)).await
    }

    /// All pipelines of a project, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(&self, leave: &Authorized<ReadProject>) -> Result<Vec<Pipeline>, PipelineError> {
        self.all_of(leave.project().clone()).await
    }

    pub(crate) async fn all_of(&self, project: ProjectId) -> Result<Vec<Pipeline>, PipelineError> {
        self.ledger
            .db()
            .read(move |tx| {
                let sql = format!("SELECT {COLUMNS} WHERE p.project = ?1 ORDER BY p.name");
                let rows = tx.query(&sql, &[(&project).into()])?;
                rows.into_iter().map(|mut row| from_row(&mut row)).collect()
            })
            .await
    }
}
