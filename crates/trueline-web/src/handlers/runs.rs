//! One run.

use super::experiments::duration_ms;
use super::{Answer, App, Failure, Visitor, Web, page, reference, timestamp};
use super::{artifacts, history, run_charts, run_console, run_lineage, run_live, traces};
use crate::links::{FilesOf, Links, ViewUrl};
use crate::pages::{ArtifactListing, ChartChoices, Console, DatasetInput, MetricRow, RunPage, RunTab};
use crate::parts::{Badge, Lineage, Pair, Reference};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use trueline_ledger::{Edge, Node, neighbours};
use trueline_tracking::{Lifecycle, RunData, RunId};

fn tag<'r>(run: &'r RunData, key: &str) -> &'r str {
    run.tags.iter().find(|t| t.key == key).map_or("", |t| t.value.as_str())
}

fn source(run: &RunData, commit: Option<&str>) -> String {
    let name = tag(run, "mlflow.source.name");
    let commit = commit.unwrap_or_else(|| tag(run, "mlflow.source.git.commit"));
    match (name.is_empty(), commit.is_empty()) {
        (false, false) => format!("{name} @ {}", commit.get(..7).unwrap_or(commit)),
        _ => format!("{name}{commit}"),
    }
}

/// So many points make a chart: more than it has pixels across.
const POINTS: usize = 1500;

pub(super) fn series_url(project: &str, run: &str, metric: &str) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let key = metric.split('/').map(encode).collect::<Vec<_>>().join("/");
    format!("/projects/{}/api/v1/runs/{}/metrics/{key}?points={POINTS}", encode(project), encode(run))
}

/// What a thing came from and what came from it.
pub(super) async fn lineage(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    kind: &str,
    id: &str,
) -> Result<Lineage, Failure> {
    let (project, node) = (visitor.session.project().id.clone(), Node::new(kind, id));
    let edges = {
        let node = node.clone();
        app.ledger.db().read(move |tx| neighbours(tx, &project, &node)).await
    };
    let edges = edges.map_err(trueline_ledger::LedgerError::from)?;
    let shown = || edges.iter().filter(|e| e.relation != "belongs_to");
    let other = |edge: &Edge| if edge.from == node { edge.to.clone() } else { edge.from.clone() };
    let versions = shown().map(other).filter(|n| n.kind == "version").map(|n| n.id).collect();
    let versions = app.registry.versions_of_ids(&visitor.session.leave()?, versions).await?;
    let mut out = Lineage::default();
    for edge in shown() {
        let list = if edge.from == node { &mut out.from } else { &mut out.made };
        let Node { kind, id } = other(edge);
        list.push(match kind.as_str() {
            // A version's node has an id of its own; people know it by its model's name, which may have changed.
            "version" => match versions.get(&id) {
                Some(key) => reference(to, &kind, &key.to_string()),
                None => Reference::named(&crate::words::noun(&kind), "a deleted version"),
            },
            // All that is shown here belongs to this project.
            "project" => reference(to, &kind, visitor.project()),
            _ => reference(to, &kind, &id),
        });
    }
    Ok(out)
}

pub(super) async fn one(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let id = RunId::new(id);
    let run = app.tracking.run(&leave, &id).await?;
    let experiment = app.tracking.experiment(&leave, run.run.experiment).await?;
    let mut shell = visitor.shell(&app, &run.run.name, Section::Experiments).await?;
    let own = shell.to.experiment(&experiment.id.to_string());
    shell.crumbs = vec![
        Crumb::to("Experiments", shell.to.experiments()),
        Crumb::to(&experiment.name, &own),
        Crumb::here(&run.run.name),
    ];
    shell.as_cli = Some(format!("mlflow runs describe --run-id {id}"));
    shell.as_api = visitor.api(&format!("/api/2.0/mlflow/runs/get?run_id={id}"));
    let view = ViewUrl::new(shell.to.run(id.as_str()), visitor.query.clone());
    let tab = RunTab::parse(view.get("tab"));
    let listing = match tab {
        RunTab::Artifacts => {
            let of = FilesOf::Run(id.as_str());
            artifacts::listing(&app, &visitor, of, &run.run.artifact_uri, view.get("path")).await?
        }
        _ => ArtifactListing::default(),
    };
    let capture = app.tracking.capture(&leave, &id).await?;
    let lineage = lineage(&app, &visitor, &shell.to, "run", id.as_str()).await?;
    let metrics = run.metrics.iter().filter(|m| !run_charts::is_system(m)).map(|m| MetricRow {
        key: m.key.clone(),
        value: m.point.value,
        step: m.point.step,
        at: timestamp(m.point.at_ms),
    });
    let choices = ChartChoices::parse(&view, tab.usual_axis());
    let sections = match tab.is_charts() {
        true => run_charts::sections(&visitor, &run, tab, &choices, &view),
        false => Vec::new(),
    };
    let files = run_console::files(&app, &visitor, &run).await?;
    let has_console = !files.is_empty();
    let console = match tab {
        RunTab::Console => run_console::end(&app, &visitor, &run, files, view.get("path")).await?,
        _ => Console::default(),
    };
    let live_url = shell.to.run_live(id.as_str(), tab.as_str(), view.get("path"));
    let history = history::of(&app, &visitor, &shell.to, "run", id.as_str()).await?;
    let (note, tags) = history::rows(&run.tags, history, |_| true);
    let (children, more) = run_lineage::children(&app, &visitor, &run, &shell.to).await?;
    let more = more.then(|| ViewUrl::new(&own, [("filter", run_lineage::filter(id.as_str()))]).first_page());
    let has_traces = traces::run_has_traces(&app, &visitor, experiment.id.0, id.as_str()).await?;
    page(&RunPage {
        live: run_live::live(live_url, &run, &console.version)?,
        has_console,
        console,
        parent: run_lineage::parent(&app, &visitor, &run, &shell.to).await?,
        children,
        more_children: more,
        models: run_lineage::models(&app, &visitor, &run, &shell.to).await?,
        traces: has_traces.then(|| shell.to.traces_of_run(&experiment.id.to_string(), id.as_str())),
        has_system: run.metrics.iter().any(run_charts::is_system),
        choices,
        sections,
        view,
        id: id.to_string(),
        name: run.run.name.clone(),
        status: Badge::state(run.run.status.as_str()),
        deleted: run.run.lifecycle == Lifecycle::Deleted,
        experiment: Reference::to("experiment", &experiment.name, &own),
        created_by: run.run.created_by.clone(),
        claimed_user: run.run.claimed_user.clone(),
        started_at: run.run.start_time.map(timestamp),
        duration_ms: duration_ms(&run.run, app.ledger.sources().now()),
        source: source(&run, capture.as_ref().and_then(|c| c.commit.as_deref())),
        note,
        tab,
        params: run.params.iter().map(|p| Pair::new(&p.key, &p.value)).collect(),
        metrics: metrics.collect(),
        tags,
        inputs: run.dataset_inputs.iter().map(|i| input(&own, i)).collect(),
        artifacts: listing,
        lineage,
        shell,
    })
}

/// A dataset that a run read; its page is the table of all runs of the experiment that read the same.
fn input(experiment: &str, input: &trueline_tracking::DatasetInput) -> DatasetInput {
    let quoted = |text: &str| text.replace('\'', "''");
    let (name, digest) = (quoted(&input.dataset.name), quoted(&input.dataset.digest));
    let same = format!("datasets.name = '{name}' and datasets.digest = '{digest}'");
    let context = input.tags.iter().find(|t| t.key == "mlflow.data.context");
    DatasetInput {
        name: input.dataset.name.clone(),
        digest: input.dataset.digest.clone(),
        context: context.map(|t| t.value.clone()).unwrap_or_default(),
        source: input.dataset.source.clone(),
        runs: ViewUrl::new(experiment, [("filter", same)]).first_page(),
    }
}
