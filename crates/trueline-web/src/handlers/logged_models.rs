//! Models as runs logged them: those of an experiment, and one.

use super::experiments::pager;
use super::{
    Answer, App, Failure, Visitor, Web, artifacts, history, mlmodel, offset, page, run_lineage, runs,
    timestamp,
};
use crate::links::{FilesOf, Links, ViewUrl};
use crate::pages::{LoggedModelPage, LoggedModelRow, LoggedModelsPage, ModelMetricRow};
use crate::parts::{Badge, Pair, Reference};
use crate::shell::{Crumb, Section, Shell};
use axum::extract::{Path, State};
use std::collections::{BTreeMap, BTreeSet};
use trueline_search::Expr;
use trueline_search::mlflow::{Kind, OrderBy, parse_filter, parse_order_by};
use trueline_tracking::{
    Experiment, ExperimentId, LoggedModel, LoggedModelSearch, LoggedModelStatus, ModelMetric, RunId,
};

const PAGE: u64 = 50;
/// Metrics that have a column.
const METRICS: usize = 8;

pub(super) fn status(status: LoggedModelStatus) -> Badge {
    Badge::state(status.as_str().trim_start_matches("LOGGED_MODEL_"))
}

fn crumbs(shell: &Shell, experiment: &Experiment, model: Option<&str>) -> Vec<Crumb> {
    let own = experiment.id.to_string();
    let mut way = vec![
        Crumb::to("Experiments", shell.to.experiments()),
        Crumb::to(&experiment.name, shell.to.experiment(&own)),
    ];
    match model {
        Some(name) => way.extend([Crumb::to("Models", shell.to.logged_models(&own)), Crumb::here(name)]),
        None => way.push(Crumb::here("Models")),
    }
    way
}

/// The order that the URL asks for, if there is such a one.
fn order(sort: &str) -> Vec<OrderBy> {
    let (key, direction) = sort.strip_prefix('-').map_or((sort, "ASC"), |key| (key, "DESC"));
    let field = match key {
        "name" => "name".to_owned(),
        "created_at" => "creation_timestamp".to_owned(),
        _ => match key.strip_prefix("metrics.") {
            Some(name) => format!("metrics.`{name}`"),
            None => return Vec::new(),
        },
    };
    parse_order_by(Kind::LoggedModels, &format!("{field} {direction}")).into_iter().collect()
}

/// The last point of each metric on each dataset, by metric.
fn latest<'m>(model: &'m LoggedModel) -> Vec<&'m (RunId, ModelMetric)> {
    let key = |point: &'m (RunId, ModelMetric)| {
        let dataset = point.1.dataset.as_ref();
        (point.1.metric.key.as_str(), dataset.map(|d| (d.name.as_str(), d.digest.as_deref())))
    };
    // Points come by step and time, so that a later one takes the place of an earlier one.
    let by_key: BTreeMap<_, _> = model.metrics.iter().map(|point| (key(point), point)).collect();
    by_key.into_values().collect()
}

/// The run that a model came from.
async fn source_run(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    model: &LoggedModel,
) -> Result<Option<Reference>, Failure> {
    let Some(run) = &model.source_run else { return Ok(None) };
    run_lineage::named(app, visitor, to, run).await.map(Some)
}

/// The run that logged a point, by its id alone: there may be many.
fn run_of(to: &Links, run: &RunId) -> Reference {
    Reference::to("run", run.as_str().get(..8).unwrap_or(run.as_str()), to.run(run.as_str()))
}

pub(super) async fn list(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let experiment = app.tracking.experiment(&leave, ExperimentId::parse(&id)?).await?;
    let mut shell = visitor.shell(&app, "Logged models", Section::Experiments).await?;
    shell.crumbs = crumbs(&shell, &experiment, None);
    shell.as_api = visitor.api("/api/2.0/mlflow/logged-models/search");
    let view = ViewUrl::new(shell.to.logged_models(&id), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let (filter, filter_problem) = match parse_filter(Kind::LoggedModels, view.get("filter")) {
        Ok(filter) => (filter, None),
        Err(error) => (Expr::always(), Some(error.to_string())),
    };
    let search = LoggedModelSearch {
        experiments: vec![experiment.id],
        filter,
        datasets: Vec::new(),
        order_by: order(view.get("sort")),
        offset: at,
        limit: PAGE,
    };
    let found = app.tracking.search_logged_models(&leave, search).await?;
    let points = found.items.iter().flat_map(|m| &m.metrics);
    let names: BTreeSet<&str> = points.map(|(_, point)| point.metric.key.as_str()).collect();
    let metrics: Vec<String> = names.into_iter().take(METRICS).map(ToOwned::to_owned).collect();
    let mut models = Vec::with_capacity(found.items.len());
    for model in &found.items {
        models.push(row(&app, &visitor, &shell.to, model, &metrics).await?);
    }
    page(&LoggedModelsPage {
        experiment: Reference::to("experiment", &experiment.name, shell.to.experiment(&id)),
        filter_problem,
        metrics,
        pager: pager(models.len(), "model", found.more, at + PAGE),
        models,
        view,
        shell,
    })
}

async fn row(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    model: &LoggedModel,
    metrics: &[String],
) -> Result<LoggedModelRow, Failure> {
    let value = |name: &String| {
        let mut newest_first = model.metrics.iter().rev();
        newest_first.find(|(_, point)| point.metric.key == *name).map(|(_, point)| point.metric.point.value)
    };
    Ok(LoggedModelRow {
        id: model.id.clone(),
        name: model.name.clone(),
        status: status(model.status),
        kind: model.model_type.clone().unwrap_or_default(),
        run: source_run(app, visitor, to, model).await?,
        versions: run_lineage::versions(app, visitor, to, &model.id).await?,
        metrics: metrics.iter().map(value).collect(),
        created_at: timestamp(model.created_at_ms),
    })
}

pub(super) async fn one(State(app): App, visitor: Visitor, Path((_, id)): Path<(String, String)>) -> Answer {
    let leave = visitor.session.leave()?;
    let model = app.tracking.logged_model(&leave, &id).await?;
    let experiment = app.tracking.experiment(&leave, model.experiment).await?;
    let mut shell = visitor.shell(&app, &model.name, Section::Experiments).await?;
    shell.crumbs = crumbs(&shell, &experiment, Some(&model.name));
    shell.as_api = visitor.api(&format!("/api/2.0/mlflow/logged-models/{id}"));
    let view = ViewUrl::new(shell.to.logged_model(&id), visitor.query.clone());
    let files = match view.get("tab") {
        "artifacts" => {
            let of = FilesOf::LoggedModel(&id);
            Some(artifacts::listing(&app, &visitor, of, &model.artifact_uri, view.get("path")).await?)
        }
        _ => None,
    };
    let told = mlmodel::below(&app, &visitor, &model.artifact_uri).await?.unwrap_or_default();
    let history = history::of(&app, &visitor, &shell.to, "logged_model", &id).await?;
    let (note, tags) = history::rows(&model.tags, history, |_| true);
    let metric = |(run, point): &(RunId, ModelMetric)| ModelMetricRow {
        key: point.metric.key.clone(),
        value: point.metric.point.value,
        step: point.metric.point.step,
        dataset: point.dataset.as_ref().map(|d| (d.name.clone(), d.digest.clone().unwrap_or_default())),
        run: run_of(&shell.to, run),
    };
    page(&LoggedModelPage {
        status: status(model.status),
        kind: model.model_type.clone().unwrap_or_default(),
        experiment: Reference::to(
            "experiment",
            &experiment.name,
            shell.to.experiment(&experiment.id.to_string()),
        ),
        run: source_run(&app, &visitor, &shell.to, &model).await?,
        versions: run_lineage::versions(&app, &visitor, &shell.to, &id).await?,
        created_by: model.created_by.clone(),
        created_at: timestamp(model.created_at_ms),
        updated_at: timestamp(model.updated_at_ms),
        flavours: told.flavours,
        signature: told.signature,
        params: model.params.iter().map(|p| Pair::new(&p.key, &p.value)).collect(),
        metrics: latest(&model).into_iter().map(metric).collect(),
        note,
        tags,
        artifacts: files,
        lineage: runs::lineage(&app, &visitor, &shell.to, "logged_model", &id).await?,
        name: model.name,
        id,
        view,
        shell,
    })
}
