//! How a run goes on: an attempt begins and ends, a step with it, and the steps that waited for it begin. All of that is
//! one transaction each time, so that no crash leaves a run that nobody will take further.

use crate::cache::Outputs;
use crate::model::{AttemptState, PipelineRun, RunState, StepRun, StepState, StepTask};
use crate::runs::{head, spec_of, steps_of};
use crate::{PipelineError, Pipelines, STEP_TASK};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use trueline_ledger::{Edge, LedgerTx, Millis, NewEvent, Node};
use trueline_tasks::{Lease, NewTask, complete, enqueue_after};

/// How often the task of an attempt may be taken up: once for each time that a server comes back.
const TAKE_UPS: u32 = 100;

/// What an attempt used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The blob of its log.
    pub log: Option<String>,
    /// Size of the log.
    pub log_bytes: Option<i64>,
    /// Processor time of its processes.
    pub cpu_ms: Option<i64>,
    /// The most memory that its command held.
    pub peak_rss_bytes: Option<i64>,
    /// How its command ended.
    pub exit_code: Option<i64>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Well, and made these.
    Succeeded(Outputs),
    /// It need not run: a run of the pipeline made the same before.
    Skipped {
        /// What was made then.
        outputs: Outputs,
        /// The run that made it.
        same_as: String,
    },
    /// Badly.
    Failed(String),
    /// It took too long.
    TimedOut(String),
    /// The run was cancelled.
    Cancelled,
    /// Its process was lost.
    Fenced(String),
}

impl AttemptEnd {
    fn state(&self) -> AttemptState {
        match self {
            Self::Succeeded(_) => AttemptState::Succeeded,
            Self::Skipped { .. } => AttemptState::Skipped,
            Self::Failed(_) => AttemptState::Failed,
            Self::TimedOut(_) => AttemptState::TimedOut,
            Self::Cancelled => AttemptState::Cancelled,
            Self::Fenced(_) => AttemptState::Fenced,
        }
    }

    fn error(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::TimedOut(why) | Self::Fenced(why) => Some(why),
            _ => None,
        }
    }
}

fn step_id(run: &PipelineRun, step: &str) -> String {
    format!("{}/{step}", run.id)
}

/// Queues the next attempt of a step.
fn queue_attempt(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    step: &str,
    wait_ms: Millis,
) -> Result<(), PipelineError> {
    let last: Option<Option<i64>> = tx.scalar(
        "SELECT MAX(attempt) FROM step_attempts WHERE pipeline_run = ?1 AND step = ?2",
        &[(&run.id).into(), step.into()],
    )?;
    let number = last.flatten().unwrap_or(0) + 1;
    let id = tx.derived_id(&format!("attempt {step} {number}"));
    let payload = StepTask { pipeline_run: run.id.clone(), step: step.to_owned(), attempt: id.clone() };
    let task = NewTask {
        project: run.project.clone(),
        kind: STEP_TASK,
        payload: json!(payload),
        max_attempts: TAKE_UPS,
    };
    let task = enqueue_after(tx, &task, wait_ms)?;
    tx.execute(
        "INSERT INTO step_attempts (id, pipeline_run, step, attempt, state, task)
         VALUES (?1, ?2, ?3, ?4, 'queued', ?5)",
        &[(&id).into(), (&run.id).into(), step.into(), number.into(), task.into()],
    )?;
    Ok(())
}

/// Begins the steps whose turn it is, cancels those that can't have one, and ends the run when nothing is left.
pub(crate) fn advance(tx: &mut LedgerTx<'_, '_>, run: &PipelineRun) -> Result<(), PipelineError> {
    let graph = spec_of(tx, run)?.check()?;
    let mut states: BTreeMap<String, StepState> =
        steps_of(tx, &run.id)?.into_iter().map(|s| (s.step, s.state)).collect();
    for step in graph.order() {
        if states[step] != StepState::Queued {
            continue;
        }
        let bad = graph.before(step).find(|b| states[*b].is_terminal() && !states[*b].is_good()).cloned();
        if let Some(bad) = bad {
            let why = format!("step `{bad}` {}", states[&bad].as_str().replace('_', " "));
            end_step(tx, run, step, StepState::Cancelled, Some(&why), json!({}))?;
            states.insert(step.clone(), StepState::Cancelled);
        } else if graph.before(step).all(|b| states[b].is_good()) {
            let queued: Option<i64> = tx.scalar(
                "SELECT COUNT(*) FROM step_attempts WHERE pipeline_run = ?1 AND step = ?2",
                &[(&run.id).into(), step.into()],
            )?;
            if queued.unwrap_or(0) == 0 {
                queue_attempt(tx, run, step, 0)?;
            }
        }
    }
    if run.state == RunState::Running && states.values().all(|s| s.is_terminal()) {
        let good = states.values().all(|s| s.is_good());
        end_run(tx, run, if good { RunState::Succeeded } else { RunState::Failed }, &states)?;
    }
    Ok(())
}

fn end_run(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    state: RunState,
    steps: &BTreeMap<String, StepState>,
) -> Result<(), PipelineError> {
    let now = tx.now();
    tx.execute(
        "UPDATE pipeline_runs SET state = ?2, finished_at_ms = ?3 WHERE id = ?1",
        &[(&run.id).into(), state.as_str().into(), now.into()],
    )?;
    let action = match state {
        RunState::Succeeded => "pipeline.run.succeeded",
        RunState::Cancelled => "pipeline.run.cancelled",
        _ => "pipeline.run.failed",
    };
    let event = NewEvent::new(&run.project, action, "pipeline_run", &run.id);
    tx.emit(event.with(json!({ "pipeline": run.pipeline, "steps": steps })))?;
    Ok(())
}

fn end_step(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    step: &str,
    state: StepState,
    error: Option<&str>,
    detail: Json,
) -> Result<(), PipelineError> {
    let now = tx.now();
    tx.execute(
        "UPDATE step_runs SET state = ?3, error = ?4, finished_at_ms = ?5 WHERE pipeline_run = ?1 AND step = ?2",
        &[(&run.id).into(), step.into(), state.as_str().into(), error.into(), now.into()],
    )?;
    let action = match state {
        StepState::Succeeded => "pipeline.step.succeeded",
        StepState::Skipped => "pipeline.step.skipped",
        StepState::TimedOut => "pipeline.step.timed_out",
        StepState::Cancelled => "pipeline.step.cancelled",
        StepState::Fenced => "pipeline.step.fenced",
        _ => "pipeline.step.failed",
    };
    let mut payload = json!({ "pipeline": run.pipeline, "step": step, "error": error });
    if let (Some(all), Json::Object(more)) = (payload.as_object_mut(), detail) {
        all.extend(more);
    }
    let event = tx.emit(NewEvent::new(&run.project, action, "step", step_id(run, step)).with(payload))?;
    let own = Node::new("step", step_id(run, step));
    tx.link(&event, &Edge::new(&run.project, own, "belongs_to", Node::new("pipeline_run", &run.id)))?;
    Ok(())
}

/// Ends a run by a person's wish. Attempts that wait end here; those at work are ended by their worker.
pub(crate) fn cancel(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    reason: &str,
) -> Result<(), PipelineError> {
    let steps = steps_of(tx, &run.id)?;
    let mut states: BTreeMap<String, StepState> = BTreeMap::new();
    for StepRun { step, state, .. } in &steps {
        let mut after = *state;
        if !state.is_terminal() {
            after = StepState::Cancelled;
            end_step(tx, run, step, after, Some("the run was cancelled"), json!({ "reason": reason }))?;
        }
        states.insert(step.clone(), after);
    }
    tx.execute(
        "UPDATE step_attempts SET state = 'cancelled' WHERE pipeline_run = ?1 AND state = 'queued'",
        &[(&run.id).into()],
    )?;
    end_run(tx, run, RunState::Cancelled, &states)
}

impl Pipelines {
    /// Records that an attempt begins, on this worker, as this run of tracking.
    ///
    /// # Errors
    /// [`PipelineError::Task`] when the lease was lost.
    pub async fn begin_attempt(
        &self,
        lease: &Lease,
        task: &StepTask,
        worker: &str,
        mlflow_run: &str,
        cache_key: &str,
    ) -> Result<(), PipelineError> {
        let (lease, task) = (lease.clone(), task.clone());
        let (worker, mlflow_run, key) = (worker.to_owned(), mlflow_run.to_owned(), cache_key.to_owned());
        self.ledger
            .write(&Self::actor(), move |tx| {
                trueline_tasks::still_leased(tx, &lease)?;
                let now = tx.now();
                let run = head(tx, &task.pipeline_run)?;
                tx.execute(
                    "UPDATE step_attempts SET state = 'running', worker = ?2, run = ?3, started_at_ms = ?4
                     WHERE id = ?1",
                    &[(&task.attempt).into(), (&worker).into(), (&mlflow_run).into(), now.into()],
                )?;
                tx.execute(
                    "UPDATE step_runs SET state = 'running', cache_key = ?3,
                            started_at_ms = COALESCE(started_at_ms, ?4)
                     WHERE pipeline_run = ?1 AND step = ?2 AND state IN ('queued', 'running')",
                    &[(&task.pipeline_run).into(), (&task.step).into(), (&key).into(), now.into()],
                )?;
                let own = step_id(&run, &task.step);
                let event = NewEvent::new(&run.project, "pipeline.step.started", "step", own.as_str());
                let event = tx.emit(event.with(json!({
                    "pipeline": run.pipeline, "step": task.step, "attempt": task.attempt, "run": mlflow_run,
                    "cache_key": key, "worker": worker, "epoch": lease.epoch(),
                })))?;
                let step = Node::new("step", own);
                tx.link(&event, &Edge::new(&run.project, Node::new("run", &mlflow_run), "ran_as", step))?;
                Ok(())
            })
            .await
    }

    /// Records how an attempt ended, and takes the run further. A worker that lost its lease changes nothing.
    ///
    /// # Errors
    /// [`PipelineError::Task`] when the lease was lost: the result is not accepted.
    pub async fn end_attempt(
        &self,
        lease: &Lease,
        task: &StepTask,
        cache_key: Option<&str>,
        end: AttemptEnd,
        usage: Usage,
    ) -> Result<(), PipelineError> {
        let (lease, task, key) = (lease.clone(), task.clone(), cache_key.map(ToOwned::to_owned));
        let actor = Self::actor();
        let ended = self.ledger.write(&actor, move |tx| {
            let state = end.state();
            complete(
                tx,
                &lease,
                &json!({ "state": state, "error": end.error(), "exit_code": usage.exit_code }),
            )?;
            record_attempt(tx, &task, &end, &usage)?;
            let run = head(tx, &task.pipeline_run)?;
            if run.state != RunState::Running {
                return Ok(());
            }
            settle_step(tx, &run, &task, key.as_deref(), &end)?;
            advance(tx, &run)
        });
        let ended: Result<(), PipelineError> = ended.await;
        self.tasks.ring();
        ended
    }

    /// Whether the run of an attempt was cancelled, for its worker.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_cancelled(&self, run: &str) -> Result<bool, PipelineError> {
        let run = run.to_owned();
        self.ledger.db().read(move |tx| Ok(head(tx, &run)?.state != RunState::Running)).await
    }
}

fn record_attempt(
    tx: &mut LedgerTx<'_, '_>,
    task: &StepTask,
    end: &AttemptEnd,
    usage: &Usage,
) -> Result<(), PipelineError> {
    let now = tx.now();
    tx.execute(
        "UPDATE step_attempts SET state = ?2, exit_code = ?3, error = ?4, log = ?5, log_bytes = ?6, cpu_ms = ?7,
                peak_rss_bytes = ?8, finished_at_ms = ?9
         WHERE id = ?1",
        &[
            (&task.attempt).into(),
            end.state().as_str().into(),
            usage.exit_code.into(),
            end.error().into(),
            usage.log.clone().into(),
            usage.log_bytes.into(),
            usage.cpu_ms.into(),
            usage.peak_rss_bytes.into(),
            now.into(),
        ],
    )?;
    Ok(())
}

/// What the end of an attempt means for its step: it ends too, or is tried again.
fn settle_step(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    task: &StepTask,
    key: Option<&str>,
    end: &AttemptEnd,
) -> Result<(), PipelineError> {
    let step = task.step.as_str();
    match end {
        AttemptEnd::Succeeded(outputs) | AttemptEnd::Skipped { outputs, .. } => {
            let same_as = match end {
                AttemptEnd::Skipped { same_as, .. } => Some(same_as.as_str()),
                _ => None,
            };
            tx.execute(
                "UPDATE step_runs SET outputs = ?3, same_as = ?4, cache_key = COALESCE(?5, cache_key)
                 WHERE pipeline_run = ?1 AND step = ?2",
                &[
                    (&run.id).into(),
                    step.into(),
                    json!(outputs).to_string().into(),
                    same_as.into(),
                    key.into(),
                ],
            )?;
            let state = if same_as.is_some() { StepState::Skipped } else { StepState::Succeeded };
            if let (StepState::Succeeded, Some(key)) = (state, key) {
                crate::cache::remember(tx, run, task, key, outputs)?;
            }
            let detail =
                json!({ "attempt": task.attempt, "cache_key": key, "outputs": outputs, "same_as": same_as });
            end_step(tx, run, step, state, None, detail)
        }
        AttemptEnd::Cancelled => {
            end_step(tx, run, step, StepState::Cancelled, Some("the run was cancelled"), json!({}))
        }
        AttemptEnd::Failed(why) => again_or(tx, run, task, "retries_left", StepState::Failed, why),
        AttemptEnd::TimedOut(why) => again_or(tx, run, task, "retries_left", StepState::TimedOut, why),
        AttemptEnd::Fenced(why) => again_or(tx, run, task, "fences_left", StepState::Fenced, why),
    }
}

/// Queues another attempt while `budget` lasts, else ends the step.
fn again_or(
    tx: &mut LedgerTx<'_, '_>,
    run: &PipelineRun,
    task: &StepTask,
    budget: &'static str,
    state: StepState,
    why: &str,
) -> Result<(), PipelineError> {
    let step = task.step.as_str();
    let spent = tx.execute(
        &format!(
            "UPDATE step_runs SET {budget} = {budget} - 1 WHERE pipeline_run = ?1 AND step = ?2 AND {budget} > 0"
        ),
        &[(&run.id).into(), step.into()],
    )?;
    if spent == 0 {
        return end_step(tx, run, step, state, Some(why), json!({ "attempt": task.attempt }));
    }
    let left: Option<i64> = tx.scalar(
        &format!("SELECT {budget} FROM step_runs WHERE pipeline_run = ?1 AND step = ?2"),
        &[(&run.id).into(), step.into()],
    )?;
    let spec = spec_of(tx, run)?;
    let wait = match (state, spec.step(step)) {
        (StepState::Fenced, _) | (_, None) => 0,
        (_, Some(declared)) => {
            let tries = i64::from(declared.retries) - left.unwrap_or(0) - 1;
            declared.retry_wait.millis() << tries.clamp(0, 10)
        }
    };
    let event = NewEvent::new(&run.project, "pipeline.step.retried", "step", step_id(run, step));
    tx.emit(event.with(json!({
        "pipeline": run.pipeline, "step": step, "attempt": task.attempt, "because": state, "error": why,
        "wait_ms": wait,
    })))?;
    queue_attempt(tx, run, step, wait)
}
