//! Pipelines, one pipeline, one run of it.

use super::{Answer, App, Failure, Visitor, page, timestamp};
use crate::links::{Links, ViewUrl};
use crate::pages::{
    Pager, PipelinePage, PipelineRow, PipelineRunPage, PipelineRunRow, PipelinesPage, StepBox, StepRow,
};
use crate::parts::{Badge, Reference, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use trueline_ledger::Millis;
use trueline_pipelines::{Pipeline, PipelineError, PipelineRun, Reason, StepRun, TriggerKind, TriggerSpec};

const RUNS: u32 = 20;
/// Runs whose states are shown beside a pipeline and in its steps.
const LAST: usize = 5;
/// How much of the end of a log a page shows, in bytes.
const LOG_END: u64 = 16 << 10;

fn badge(state: &str) -> Badge {
    let tone = match state {
        "succeeded" => Tone::Good,
        "skipped" => Tone::Quiet,
        "failed" | "timed_out" | "fenced" => Tone::Bad,
        "cancelled" => Tone::Warn,
        "running" => Tone::Busy,
        _ => Tone::Wait,
    };
    Badge { tone, ..Badge::state(state) }
}

fn trigger(trigger: &TriggerSpec) -> String {
    let of =
        |what: &str, name: &Option<String>| name.as_ref().map(|n| format!(" {what} {n}")).unwrap_or_default();
    let on = match trigger.kind {
        TriggerKind::Alert => {
            format!("alert{}{}", of("of monitor", &trigger.monitor), of("of endpoint", &trigger.endpoint))
        }
        TriggerKind::Event => {
            format!("{}{}", trigger.action.as_deref().unwrap_or_default(), of("on", &trigger.resource))
        }
        TriggerKind::Manual => "by hand".to_owned(),
    };
    format!("{}: {on}, at most every {}", trigger.name, trigger.cooldown)
}

fn run_row(to: &Links, now: Millis, run: &PipelineRun) -> PipelineRunRow {
    let (why, cause) = match &run.reason {
        Reason::Manual { note } if note.is_empty() => ("by hand".to_owned(), None),
        Reason::Manual { note } => (note.clone(), None),
        Reason::Trigger { trigger, event, action, .. } => (
            format!("trigger {trigger} on {action}"),
            Some(Reference::to("event", &event[..event.len().min(8)], to.event_by_id(event))),
        ),
    };
    PipelineRunRow {
        id: run.id.clone(),
        state: badge(run.state.as_str()),
        why,
        cause,
        started_at: timestamp(run.created_at_ms),
        duration_ms: run.finished_at_ms.unwrap_or(now) - run.created_at_ms,
    }
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Pipelines", Section::Pipelines).await?;
    shell.as_cli = Some("trueline pipeline list".to_owned());
    shell.as_api = visitor.api("/api/v1/pipelines");
    let mut rows = Vec::new();
    for p in app.steps.pipelines().list(&visitor.session.leave()?).await? {
        let leave = visitor.session.leave()?;
        let runs =
            app.steps.pipelines().runs(&leave, Some(&p.name), None, u32::try_from(LAST).unwrap_or(1)).await?;
        rows.push(PipelineRow {
            steps: p.spec.steps.len(),
            triggers: p.spec.triggers.iter().map(|t| t.name.clone()).collect(),
            last: runs.iter().map(|r| (r.id.clone(), badge(r.state.as_str()))).collect(),
            last_at: runs.first().map(|r| timestamp(r.created_at_ms)),
            name: p.name,
        });
    }
    page(&PipelinesPage { shell, pipelines: rows })
}

fn columns(pipeline: &Pipeline, runs: &[PipelineRun]) -> Result<Vec<Vec<StepBox>>, PipelineError> {
    let graph = pipeline.spec.check()?;
    let mut columns: Vec<Vec<StepBox>> = Vec::new();
    for step in &pipeline.spec.steps {
        let depth = graph.depth(&step.name);
        if columns.len() <= depth {
            columns.resize_with(depth + 1, Vec::new);
        }
        let state = |run: &PipelineRun| {
            let own = run.steps.iter().find(|s| s.step == step.name)?;
            Some((run.id.clone(), badge(own.state.as_str())))
        };
        columns[depth].push(StepBox {
            name: step.name.clone(),
            command: step.command.words().join(" "),
            after: graph.before(&step.name).cloned().collect(),
            states: runs.iter().take(LAST).filter_map(state).collect(),
        });
    }
    Ok(columns)
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let pipelines = app.steps.pipelines();
    let pipeline = pipelines.get(&visitor.session.leave()?, &name).await?;
    let mut shell = visitor.shell(&app, &name, Section::Pipelines).await?;
    shell.crumbs = vec![Crumb::to("Pipelines", shell.to.pipelines()), Crumb::here(&name)];
    shell.as_cli = Some(format!("trueline pipeline show {name}"));
    shell.as_api = visitor.api(&format!("/api/v1/pipelines/{name}"));
    let view = ViewUrl::new(shell.to.pipeline(&name), visitor.query.clone());
    let before = view.get("cursor").parse().ok();
    let runs = pipelines.runs(&visitor.session.leave()?, Some(&name), before, RUNS).await?;
    let now = app.ledger.sources().now();
    let full = runs.len() == RUNS as usize;
    let next_cursor = runs.last().filter(|_| full).map(|r| r.created_at_ms.to_string());
    page(&PipelinePage {
        columns: columns(&pipeline, &runs)?,
        triggers: pipeline.spec.triggers.iter().map(trigger).collect(),
        runs: runs.iter().map(|r| run_row(&shell.to, now, r)).collect(),
        pager: Pager { rows: runs.len(), noun: "run", next_cursor },
        version: pipeline.version,
        directory: pipeline.directory,
        name,
        view,
        shell,
    })
}

pub(super) async fn run(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let run = app.steps.pipelines().run(&visitor.session.leave()?, &id).await?;
    let title = format!("{} {}", run.pipeline, &run.id[..run.id.len().min(8)]);
    let mut shell = visitor.shell(&app, &title, Section::Pipelines).await?;
    let pipeline = shell.to.pipeline(&run.pipeline);
    shell.crumbs = vec![
        Crumb::to("Pipelines", shell.to.pipelines()),
        Crumb::to(&run.pipeline, pipeline),
        Crumb::here(&run.id[..run.id.len().min(8)]),
    ];
    shell.as_cli = Some(format!("trueline pipeline show {id}"));
    shell.as_api = visitor.api(&format!("/api/v1/pipeline-runs/{id}"));
    let now = app.ledger.sources().now();
    let mut steps = Vec::new();
    for step in &run.steps {
        steps.push(step_row(&app, &shell.to, now, &run, step).await?);
    }
    page(&PipelineRunPage {
        row: run_row(&shell.to, now, &run),
        created_by: crate::words::person(&run.created_by).to_owned(),
        params: run.params.clone().into_iter().collect(),
        id: run.id,
        pipeline: run.pipeline,
        steps,
        shell,
    })
}

async fn step_row(
    app: &super::Web,
    to: &Links,
    now: Millis,
    run: &PipelineRun,
    step: &StepRun,
) -> Result<StepRow, Failure> {
    let last = step.attempts.last();
    let (mut log, mut cut) = (String::new(), false);
    if let Some(attempt) = last {
        // While it runs, the page shows the beginning; the command line follows it.
        let size = attempt.log_bytes.and_then(|b| u64::try_from(b).ok()).unwrap_or(0);
        let from = size.saturating_sub(LOG_END);
        cut = from > 0;
        log = app.steps.log(&run.project, attempt, from).await?.text;
    }
    let same_as =
        step.same_as.as_ref().map(|id| format!("took the outputs of run {}", &id[..id.len().min(8)]));
    let captured = last.and_then(|a| a.run.as_ref());
    Ok(StepRow {
        name: step.step.clone(),
        state: badge(step.state.as_str()),
        attempts: step.attempts.len(),
        run: captured.map(|id| Reference::to("run", &id[..id.len().min(8)], to.run(id))),
        about: step.error.clone().or(same_as).unwrap_or_default(),
        duration_ms: step.started_at_ms.map(|began| step.finished_at_ms.unwrap_or(now) - began),
        log,
        cut,
    })
}
