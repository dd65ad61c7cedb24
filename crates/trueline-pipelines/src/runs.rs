//! Runs of pipelines: started, read, cancelled.

use crate::declaration::PipelineSpec;
use crate::model::{Attempt, AttemptState, PipelineRun, Reason, RunState, StepRun, StepState};
use crate::pipelines::{self, parse_spec};
use crate::{PipelineError, Pipelines, progress};
use serde_json::json;
use std::collections::BTreeMap;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, RunPipeline};
use trueline_ledger::{Actor, Edge, EventId, LedgerTx, NewEvent, Node, ProjectId};

/// Runs of one pipeline that may be under way at once.
const MOST_ACTIVE: i64 = 16;
/// How often a step may be fenced before that is no coincidence any more.
const FENCES: i64 = 5;

/// A run to be started.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Of this pipeline.
    pub pipeline: String,
    /// Params other than the defaults.
    pub params: BTreeMap<String, String>,
    /// Why.
    pub reason: Reason,
}

const RUN: &str =
    "id, project, pipeline, version, directory, state, reason, params, created_by, created_at_ms,
     finished_at_ms FROM pipeline_runs";

fn run_from(row: &mut Row) -> Result<PipelineRun, PipelineError> {
    let broken = |e: serde_json::Error| PipelineError::State(format!("a run can't be read: {e}"));
    Ok(PipelineRun {
        id: row.take(0)?,
        project: ProjectId::new(row.take::<String>(1)?),
        pipeline: row.take(2)?,
        version: row.take(3)?,
        directory: row.take(4)?,
        state: RunState::parse(&row.take::<String>(5)?),
        reason: serde_json::from_str(&row.take::<String>(6)?).map_err(broken)?,
        params: serde_json::from_str(&row.take::<String>(7)?).map_err(broken)?,
        created_by: row.take(8)?,
        created_at_ms: row.take(9)?,
        finished_at_ms: row.take(10)?,
        steps: Vec::new(),
    })
}

/// The declaration that a run began with.
pub(crate) fn spec_of(tx: &mut Tx<'_>, run: &PipelineRun) -> Result<PipelineSpec, PipelineError> {
    let body: Option<String> = tx.scalar(
        "SELECT body FROM pipeline_versions WHERE project = ?1 AND pipeline = ?2 AND version = ?3",
        &[(&run.project).into(), (&run.pipeline).into(), (&run.version).into()],
    )?;
    parse_spec(&body.ok_or_else(|| PipelineError::State(format!("version {} is gone", run.version)))?)
}

/// A run without its steps.
pub(crate) fn head(tx: &mut Tx<'_>, id: &str) -> Result<PipelineRun, PipelineError> {
    let row = tx.query_opt(&format!("SELECT {RUN} WHERE id = ?1"), &[id.into()])?;
    run_from(&mut row.ok_or_else(|| no_run(id))?)
}

fn no_run(id: &str) -> PipelineError {
    PipelineError::NotFound(format!("there is no pipeline run {id}"))
}

pub(crate) fn steps_of(tx: &mut Tx<'_>, run: &str) -> Result<Vec<StepRun>, PipelineError> {
    let rows = tx.query(
        "SELECT step, state, cache_key, outputs, same_as, error, started_at_ms, finished_at_ms FROM step_runs
         WHERE pipeline_run = ?1 ORDER BY step",
        &[run.into()],
    )?;
    let mut steps = Vec::with_capacity(rows.len());
    for mut row in rows {
        let outputs: Option<String> = row.take(3)?;
        steps.push(StepRun {
            step: row.take(0)?,
            state: StepState::parse(&row.take::<String>(1)?),
            cache_key: row.take(2)?,
            outputs: outputs.and_then(|o| serde_json::from_str(&o).ok()),
            same_as: row.take(4)?,
            error: row.take(5)?,
            started_at_ms: row.take(6)?,
            finished_at_ms: row.take(7)?,
            attempts: Vec::new(),
        });
    }
    Ok(steps)
}

const ATTEMPT: &str = "step, id, attempt, state, task, worker, run, exit_code, error, log, log_bytes, cpu_ms,
     peak_rss_bytes, started_at_ms, finished_at_ms FROM step_attempts";

fn attempt_from(row: &mut Row) -> Result<(String, Attempt), PipelineError> {
    let attempt = Attempt {
        id: row.take(1)?,
        attempt: row.take(2)?,
        state: AttemptState::parse(&row.take::<String>(3)?),
        task: row.take(4)?,
        worker: row.take(5)?,
        run: row.take(6)?,
        exit_code: row.take(7)?,
        error: row.take(8)?,
        log: row.take(9)?,
        log_bytes: row.take(10)?,
        cpu_ms: row.take(11)?,
        peak_rss_bytes: row.take(12)?,
        started_at_ms: row.take(13)?,
        finished_at_ms: row.take(14)?,
    };
    Ok((row.take(0)?, attempt))
}

pub(crate) fn attempt(tx: &mut Tx<'_>, id: &str) -> Result<Attempt, PipelineError> {
    let row = tx.query_opt(&format!("SELECT {ATTEMPT} WHERE id = ?1"), &[id.into()])?;
    let mut row = row.ok_or_else(|| PipelineError::NotFound(format!("there is no attempt {id}")))?;
    Ok(attempt_from(&mut row)?.1)
}

/// A run with its steps and attempts, steps in the order of the declaration.
fn whole(tx: &mut Tx<'_>, mut run: PipelineRun) -> Result<PipelineRun, PipelineError> {
    let spec = spec_of(tx, &run)?;
    let mut steps = steps_of(tx, &run.id)?;
    let sql = format!("SELECT {ATTEMPT} WHERE pipeline_run = ?1 ORDER BY step, attempt");
    for mut row in tx.query(&sql, &[(&run.id).into()])? {
        let (step, attempt) = attempt_from(&mut row)?;
        if let Some(owner) = steps.iter_mut().find(|s| s.step == step) {
            owner.attempts.push(attempt);
        }
    }
    steps.sort_by_key(|s| spec.steps.iter().position(|d| d.name == s.step));
    run.steps = steps;
    Ok(run)
}

/// Starts a run in a transaction of its caller's; answers its id and the event that tells of it.
pub(crate) fn start(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    new: &NewRun,
) -> Result<(String, EventId), PipelineError> {
    let pipeline = pipelines::get(tx, project, &new.pipeline)?;
    let params = pipeline.spec.params_with(&new.params)?;
    let active: Option<i64> = tx.scalar(
        "SELECT COUNT(*) FROM pipeline_runs WHERE project = ?1 AND pipeline = ?2 AND state = 'running'",
        &[project.into(), (&new.pipeline).into()],
    )?;
    if active.unwrap_or(0) >= MOST_ACTIVE {
        return Err(PipelineError::State(format!(
            "{MOST_ACTIVE} runs of `{}` are under way already; wait for one to end or cancel one",
            new.pipeline
        )));
    }
    let (id, now, by) = (tx.derived_id("pipeline run"), tx.now(), tx.actor().principal.clone());
    tx.execute(
        "INSERT INTO pipeline_runs
             (id, project, pipeline, version, directory, state, reason, params, created_by, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, 'running', ?6, ?7, ?8, ?9)",
        &[
            (&id).into(),
            project.into(),
            (&new.pipeline).into(),
            (&pipeline.version).into(),
            (&pipeline.directory).into(),
            json!(new.reason).to_string().into(),
            json!(params).to_string().into(),
            by.into(),
            now.into(),
        ],
    )?;
    for step in &pipeline.spec.steps {
        tx.execute(
            "INSERT INTO step_runs (pipeline_run, step, state, retries_left, fences_left)
             VALUES (?1, ?2, 'queued', ?3, ?4)",
            &[(&id).into(), (&step.name).into(), step.retries.into(), FENCES.into()],
        )?;
    }
    let event = NewEvent::new(project, "pipeline.run.started", "pipeline_run", &id);
    let event = tx.emit(event.with(json!({
        "pipeline": new.pipeline, "version": pipeline.version, "reason": new.reason, "params": params,
    })))?;
    let own = Node::new("pipeline_run", &id);
    tx.link(&event, &Edge::new(project, own.clone(), "ran", Node::new("pipeline", &new.pipeline)))?;
    if let Reason::Trigger { event: cause, .. } = &new.reason {
        tx.link(&event, &Edge::new(project, own, "started_by", Node::new("event", cause)))?;
    }
    let run = head(tx, &id)?;
    progress::advance(tx, &run)?;
    Ok((id, event))
}

impl Pipelines {
    /// Starts a run of a pipeline.
    ///
    /// # Errors
    /// [`PipelineError::NotFound`], [`PipelineError::Invalid`] for a param that there is not, [`PipelineError::State`]
    /// when too many are under way.
    pub async fn start(
        &self,
        leave: &Authorized<RunPipeline>,
        new: NewRun,
    ) -> Result<PipelineRun, PipelineError> {
        let project = leave.project().clone();
        let started = self.ledger.write(leave.actor(), move |tx| {
            let (id, _) = start(tx, &project, &new)?;
            let run = head(tx, &id)?;
            whole(tx, run)
        });
        let run = started.await;
        self.tasks.ring();
        run
    }

    /// A run with its steps and attempts.
    ///
    /// # Errors
    /// [`PipelineError::NotFound`].
    pub async fn run(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<PipelineRun, PipelineError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let run = head(tx, &id)?;
                if run.project != project {
                    return Err(no_run(&id));
                }
                whole(tx, run)
            })
            .await
    }

    /// The newest runs of a pipeline, or of all, with their steps; at most `limit`, those before a time when given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn runs(
        &self,
        leave: &Authorized<ReadProject>,
        pipeline: Option<&str>,
        before_ms: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PipelineRun>, PipelineError> {
        let (project, pipeline) = (leave.project().clone(), pipeline.map(ToOwned::to_owned));
        self.ledger
            .db()
            .read(move |tx| {
                let mut params = vec![(&project).into(), before_ms.unwrap_or(i64::MAX).into(), limit.into()];
                let mut only = "";
                if let Some(name) = &pipeline {
                    only = "AND pipeline = ?4";
                    params.push(name.into());
                }
                let sql = format!(
                    "SELECT {RUN} WHERE project = ?1 AND created_at_ms < ?2 {only}
                     ORDER BY created_at_ms DESC, id LIMIT ?3"
                );
                let rows = tx.query(&sql, &params)?;
                rows.into_iter().map(|mut row| run_from(&mut row).and_then(|run| whole(tx, run))).collect()
            })
            .await
    }

    /// Ends a run: steps that wait will not begin; those at work are ended by whoever works on them.
    ///
    /// # Errors
    /// [`PipelineError::NotFound`], [`PipelineError::State`] when it has ended.
    pub async fn cancel(
        &self,
        leave: &Authorized<RunPipeline>,
        id: &str,
        reason: String,
    ) -> Result<PipelineRun, PipelineError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let run = head(tx, &id)?;
                if run.project != project {
                    return Err(no_run(&id));
                }
                if run.state != RunState::Running {
                    return Err(PipelineError::State(format!("run {id} has {} already", run.state.as_str())));
                }
                progress::cancel(tx, &run, &reason)?;
                let run = head(tx, &id)?;
                whole(tx, run)
            })
            .await
    }

    /// A run, its declaration and one attempt of it, for whoever works on the attempt.
    ///
    /// # Errors
    /// [`PipelineError::NotFound`].
    pub async fn work(
        &self,
        run: &str,
        attempt_id: &str,
    ) -> Result<(PipelineRun, PipelineSpec, Attempt), PipelineError> {
        let (run, attempt_id) = (run.to_owned(), attempt_id.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let run = head(tx, &run)?;
                let run = whole(tx, run)?;
                let spec = spec_of(tx, &run)?;
                let attempt = attempt(tx, &attempt_id)?;
                Ok((run, spec, attempt))
            })
            .await
    }

    /// One attempt by its id, if there is such a one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn attempt(&self, id: &str) -> Result<Option<Attempt>, PipelineError> {
        let id = id.to_owned();
        let found = self.ledger.db().read(move |tx| attempt(tx, &id));
        match found.await {
            Err(PipelineError::NotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// The time by the server's clock.
    #[must_use]
    pub fn now(&self) -> trueline_ledger::Millis {
        self.ledger.sources().now()
    }

    /// Who the parts of the server that work on steps are, for the ledger.
    #[must_use]
    pub fn actor() -> Actor {
        Actor::system("pipelines")
    }
}
