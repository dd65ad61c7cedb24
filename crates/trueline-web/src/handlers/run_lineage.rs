//! What a run has to do with: the run that began it, runs that it began, models that it made and what they were registered
//! as.

use super::experiments::duration_ms;
use super::{Failure, Visitor, Web, logged_models, timestamp};
use crate::links::Links;
use crate::pages::{ModelMade, RunLine};
use crate::parts::{Badge, Reference};
use trueline_ledger::{Node, neighbours};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value};
use trueline_tracking::{RunData, RunId, RunSearch, TrackingError, ViewType};

const PARENT: &str = "mlflow.parentRunId";
/// Runs below a run that its page shows.
const CHILDREN: u64 = 20;
/// Models that it shows.
const MODELS: usize = 50;

/// The filter that finds the runs below a run.
pub(super) fn filter(id: &str) -> String {
    format!("tags.{PARENT} = '{id}'")
}

fn below(id: &RunId) -> Expr {
    let field = Field { entity: Entity::Tag, key: PARENT.to_owned() };
    Expr::from(Comparison { field, op: Op::Eq, value: Some(Value::Text(id.to_string())) })
}

/// The run that a run is part of.
pub(super) async fn parent(
    app: &Web,
    visitor: &Visitor,
    run: &RunData,
    to: &Links,
) -> Result<Option<Reference>, Failure> {
    let Some(tag) = run.tags.iter().find(|t| t.key == PARENT) else { return Ok(None) };
    named(app, visitor, to, &RunId::new(&tag.value)).await.map(Some)
}

/// A run by its name, with a link to it while it is there.
pub(super) async fn named(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    run: &RunId,
) -> Result<Reference, Failure> {
    match app.tracking.run(&visitor.session.leave()?, run).await {
        Ok(found) => Ok(Reference::to("run", &found.run.name, to.run(run.as_str()))),
        Err(TrackingError::NotFound(_)) => Ok(Reference::named("run", run.as_str())),
        Err(other) => Err(other.into()),
    }
}

/// The newest runs that are part of a run, and whether there are more.
pub(super) async fn children(
    app: &Web,
    visitor: &Visitor,
    run: &RunData,
    to: &Links,
) -> Result<(Vec<RunLine>, bool), Failure> {
    let search = RunSearch {
        experiments: vec![run.run.experiment],
        filter: below(&run.run.id),
        order_by: Vec::new(),
        view: ViewType::ActiveOnly,
        offset: 0,
        limit: CHILDREN,
    };
    let found = app.tracking.search_runs(&visitor.session.leave()?, search).await?;
    let now = app.ledger.sources().now();
    let line = |run: &RunData| RunLine {
        run: Reference::to("run", &run.run.name, to.run(run.run.id.as_str())),
        status: Badge::state(run.run.status.as_str()),
        started_at: run.run.start_time.map(timestamp),
        duration_ms: duration_ms(&run.run, now),
    };
    Ok((found.items.iter().map(|run| line(run)).collect(), found.more))
}

/// The models that a run logged, with the versions that they were registered as.
pub(super) async fn models(
    app: &Web,
    visitor: &Visitor,
    run: &RunData,
    to: &Links,
) -> Result<Vec<ModelMade>, Failure> {
    let leave = visitor.session.leave()?;
    let mut out = Vec::new();
    for (id, step) in run.model_outputs.iter().take(MODELS) {
        let model = match app.tracking.logged_model(&leave, id).await {
            Ok(model) => model,
            // A deleted one is no longer told of.
            Err(TrackingError::NotFound(_)) => continue,
            Err(other) => return Err(other.into()),
        };
        out.push(ModelMade {
            id: id.clone(),
            name: model.name,
            kind: model.model_type.unwrap_or_default(),
            status: logged_models::status(model.status),
            step: *step,
            versions: versions(app, visitor, to, id).await?,
        });
    }
    Ok(out)
}

/// The versions that a logged model was registered as.
pub(super) async fn versions(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    model: &str,
) -> Result<Vec<Reference>, Failure> {
    let (project, node) = (visitor.session.project().id.clone(), Node::new("logged_model", model));
    let edges = app.ledger.db().read(move |tx| neighbours(tx, &project, &node)).await;
    let edges = edges.map_err(trueline_ledger::LedgerError::from)?;
    let ids = edges.iter().filter(|e| e.from.kind == "version").map(|e| e.from.id.clone()).collect();
    let known = app.registry.versions_of_ids(&visitor.session.leave()?, ids).await?;
    let mut names: Vec<String> = known.values().map(ToString::to_string).collect();
    names.sort_unstable();
    Ok(names.iter().map(|name| super::reference(to, "version", name)).collect())
}
