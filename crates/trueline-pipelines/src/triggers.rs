//! What starts a pipeline by itself: whether an event matches a trigger, whether the cooldown is over, and the start, once
//! for each event however often it is looked at.

use crate::declaration::{Clock, TriggerKind, TriggerSpec};
use crate::model::{Pipeline, Reason};
use crate::runs::{NewRun, start};
use crate::{PipelineError, Pipelines};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use trueline_ledger::{EventRow, LedgerTx, Millis, NewEvent, ProjectId};

/// The action of the event that an alert begins to fire with.
const ALERT_FIRING: &str = "alert.firing";

/// What became of a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fired {
    /// A run was started: its id.
    Started(String),
    /// The last start is too recent.
    CoolingDown,
    /// A run that it started goes on.
    Busy,
    /// The run could not be started, and why.
    Refused(String),
    /// The event was dealt with before.
    Before,
}

/// A field of an event's payload as text.
fn field<'a>(event: &'a EventRow, name: &str) -> Option<&'a str> {
    event.payload.as_ref()?.get(name)?.as_str()
}

/// When an event happened in the world that it tells of.
pub(crate) fn event_time(event: &EventRow) -> Millis {
    let payload = event.payload.as_ref();
    let told = payload.and_then(|p| p.get("event_time_ms").and_then(Json::as_i64));
    told.unwrap_or(event.at_ms)
}

fn matches(trigger: &TriggerSpec, event: &EventRow) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_ref().is_none_or(|w| found == Some(w.as_str()))
    };
    match trigger.kind {
        TriggerKind::Manual => false,
        TriggerKind::Event => {
            trigger.action.as_ref() == Some(&event.action)
                && is(&trigger.resource, Some(event.resource.id.as_str()))
        }
        TriggerKind::Alert => {
            let of_monitor = (event.resource.kind == "monitor").then_some(event.resource.id.as_str());
            let of_endpoint = (event.resource.kind == "endpoint").then_some(event.resource.id.as_str());
            event.action == ALERT_FIRING
                && is(&trigger.monitor, field(event, "monitor").or(of_monitor))
                && is(&trigger.endpoint, field(event, "endpoint").or(of_endpoint))
        }
    }
}

/// The params that a trigger takes from an event; those that the event lacks keep their defaults.
fn params(trigger: &TriggerSpec, event: &EventRow) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, pointer) in &trigger.params {
        match event.payload.as_ref().and_then(|p| p.pointer(pointer)) {
            Some(Json::String(text)) => drop(found.insert(name.clone(), text.clone())),
            Some(Json::Null) | None => {}
            Some(other) => drop(found.insert(name.clone(), other.to_string())),
        }
    }
    found
}

impl Pipelines {
    /// Shows an event to all triggers of its project and starts what it starts. Shown again, it starts nothing.
    ///
    /// # Errors
    /// What the database says; a run that can't be started is an outcome, not an error.
    pub async fn show_event(&self, event: &EventRow) -> Result<Vec<(String, Fired)>, PipelineError> {
        let project = ProjectId::new(event.project.clone());
        let mut fired = Vec::new();
        for pipeline in self.all_of(project.clone()).await? {
            // What happened before it was declared is not its matter, however late the event is looked at.
            if event.at_ms < pipeline.created_at_ms {
                continue;
            }
            for trigger in pipeline.spec.triggers.iter().filter(|t| matches(t, event)) {
                let outcome = self.fire(&project, &pipeline, trigger, event).await?;
                fired.push((format!("{}/{}", pipeline.name, trigger.name), outcome));
            }
        }
        Ok(fired)
    }

    async fn fire(
        &self,
        project: &ProjectId,
        pipeline: &Pipeline,
        trigger: &TriggerSpec,
        event: &EventRow,
    ) -> Result<Fired, PipelineError> {
        let at = event_time(event);
        let reason = Reason::Trigger {
            trigger: trigger.name.clone(),
            event: event.id.clone(),
            action: event.action.clone(),
            event_time_ms: at,
        };
        let new = NewRun { pipeline: pipeline.name.clone(), params: params(trigger, event), reason };
        let firing =
            Firing { project: project.clone(), trigger: trigger.clone(), event: event.id.clone(), at, new };
        let attempt = firing.clone();
        let done = self.ledger.write(&Self::actor(), move |tx| attempt.fire(tx)).await;
        self.tasks.ring();
        match done {
            // A start that was refused rolled back; that it was refused is recorded apart from it.
            Err(PipelineError::State(why) | PipelineError::Invalid(why) | PipelineError::NotFound(why)) => {
                let outcome = Fired::Refused(why);
                self.ledger.write(&Self::actor(), move |tx| firing.record(tx, outcome.clone())).await
            }
            other => other,
        }
    }
}

/// One match of a trigger and an event.
#[derive(Clone)]
struct Firing {
    project: ProjectId,
    trigger: TriggerSpec,
    event: String,
    at: Millis,
    new: NewRun,
}

impl Firing {
    fn fire(&self, tx: &mut LedgerTx<'_, '_>) -> Result<Fired, PipelineError> {
        if self.is_done(tx)? {
            return Ok(Fired::Before);
        }
        if self.is_cooling_down(tx)? {
            return self.record(tx, Fired::CoolingDown);
        }
        if self.is_busy(tx)? {
            return self.record(tx, Fired::Busy);
        }
        let (run, _) = start(tx, &self.project, &self.new)?;
        self.record(tx, Fired::Started(run))
    }

    fn is_done(&self, tx: &mut LedgerTx<'_, '_>) -> Result<bool, PipelineError> {
        let known = tx.query_opt(
            "SELECT outcome FROM trigger_firings
             WHERE project = ?1 AND pipeline = ?2 AND trigger_name = ?3 AND event = ?4",
            &[
                (&self.project).into(),
                (&self.new.pipeline).into(),
                (&self.trigger.name).into(),
                (&self.event).into(),
            ],
        )?;
        Ok(known.is_some())
    }

    fn is_cooling_down(&self, tx: &mut LedgerTx<'_, '_>) -> Result<bool, PipelineError> {
        let (column, now) = match self.trigger.clock {
            Clock::Event => ("event_time_ms", self.at),
            Clock::Wall => ("at_ms", tx.now()),
        };
        let last: Option<Option<i64>> = tx.scalar(
            &format!(
                "SELECT MAX({column}) FROM trigger_firings
                 WHERE project = ?1 AND pipeline = ?2 AND trigger_name = ?3 AND outcome = 'started'"
            ),
            &[(&self.project).into(), (&self.new.pipeline).into(), (&self.trigger.name).into()],
        )?;
        Ok(last.flatten().is_some_and(|last| now - last < self.trigger.cooldown.millis()))
    }

    /// Answers to one cause don't pile up: what goes on already answers to this event as well.
    fn is_busy(&self, tx: &mut LedgerTx<'_, '_>) -> Result<bool, PipelineError> {
        let going_on: Option<i64> = tx.scalar(
            "SELECT COUNT(*) FROM trigger_firings f JOIN pipeline_runs r ON r.id = f.pipeline_run
             WHERE f.project = ?1 AND f.pipeline = ?2 AND f.trigger_name = ?3 AND r.state = 'running'",
            &[(&self.project).into(), (&self.new.pipeline).into(), (&self.trigger.name).into()],
        )?;
        Ok(going_on.is_some_and(|count| count > 0))
    }

    fn record(&self, tx: &mut LedgerTx<'_, '_>, outcome: Fired) -> Result<Fired, PipelineError> {
        if self.is_done(tx)? {
            return Ok(Fired::Before);
        }
        let (word, run, why) = match &outcome {
            Fired::Started(run) => ("started", Some(run.clone()), None),
            Fired::Refused(why) => ("refused", None, Some(why.clone())),
            Fired::Busy => ("busy", None, None),
            Fired::CoolingDown | Fired::Before => ("cooling_down", None, None),
        };
        let now = tx.now();
        tx.execute(
            "INSERT INTO trigger_firings
                 (project, pipeline, trigger_name, event, outcome, pipeline_run, event_time_ms, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            &[
                (&self.project).into(),
                (&self.new.pipeline).into(),
                (&self.trigger.name).into(),
                (&self.event).into(),
                word.into(),
                run.clone().into(),
                self.at.into(),
                now.into(),
            ],
        )?;
        let id = format!("{}/{}", self.new.pipeline, self.trigger.name);
        let event = NewEvent::new(&self.project, "pipeline.trigger.fired", "trigger", id);
        tx.emit(event.with(json!({
            "pipeline": self.new.pipeline, "trigger": self.trigger.name, "event": self.event,
            "event_time_ms": self.at, "outcome": word, "why": why, "pipeline_run": run,
            "cooldown": self.trigger.cooldown, "clock": self.trigger.clock,
        })))?;
        Ok(outcome)
    }
}
