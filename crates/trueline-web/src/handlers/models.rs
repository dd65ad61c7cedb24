//! Models, one model, one version.

use super::experiments::{name_holds, order, pager};
use super::{Answer, App, Visitor, mlmodel, offset, page, release, runs, timestamp};
use crate::links::{Links, ViewUrl};
use crate::pages::{
    AliasRow, FrozenFile, Manifest, ModelPage, ModelRow, ModelsPage, VersionPage, VersionRow,
};
use crate::parts::{Badge, Pair, Reference, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use trueline_flows::{SourceState, source_state};
use trueline_registry::{Alias, ModelSearch, Version, VersionKey, VersionSearch};
use trueline_search::{Comparison, Entity, Expr, Op, Value};

const PAGE: u64 = 50;

fn aliases(list: &[Alias]) -> Vec<AliasRow> {
    list.iter().map(|a| AliasRow { alias: a.alias.clone(), version: a.version.to_string() }).collect()
}

fn pairs(tags: &[trueline_registry::KeyValue]) -> Vec<Pair> {
    tags.iter().map(|t| Pair::new(&t.key, &t.value)).collect()
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Models", Section::Models).await?;
    shell.as_api = visitor.api("/api/2.0/mlflow/registered-models/search");
    let view = ViewUrl::new(shell.to.models(), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let offered = [("name", "name"), ("updated_at", "last_updated_timestamp")];
    let search = ModelSearch {
        filter: name_holds(view.get("q")),
        order_by: order(view.get("sort"), &offered),
        offset: at,
        limit: PAGE,
    };
    let found = app.registry.search_models(&visitor.session.leave()?, search).await?;
    let row = |m: &trueline_registry::RegisteredModel| ModelRow {
        name: m.name.clone(),
        description: m.description.clone(),
        latest: m.latest.iter().map(|v| v.key.version).max().map(|v| v.to_string()),
        aliases: aliases(&m.aliases),
        updated_at: timestamp(m.updated_at_ms),
    };
    let models: Vec<ModelRow> = found.items.iter().map(row).collect();
    let pager = pager(models.len(), "model", found.more, at + PAGE);
    page(&ModelsPage { shell, view, models, pager })
}

/// Whether a version's files are frozen, and so can be served.
fn state(version: &Version) -> Badge {
    match version.manifest_digest {
        Some(_) => Badge::new(Tone::Good, "Frozen"),
        None => Badge::new(Tone::Warn, "Files elsewhere"),
    }
}

fn run_of(to: &Links, version: &Version) -> Option<Reference> {
    let run = version.run_id.as_ref()?;
    Some(Reference::to("run", run.get(..8).unwrap_or(run), to.run(run)))
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let leave = visitor.session.leave()?;
    let model = app.registry.model(&leave, &name).await?;
    let mut shell = visitor.shell(&app, &name, Section::Models).await?;
    shell.crumbs = vec![Crumb::to("Models", shell.to.models()), Crumb::here(&name)];
    let view = ViewUrl::new(shell.to.model(&name), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let field = trueline_search::Field { entity: Entity::Attribute, key: "name".to_owned() };
    let own = Comparison { field, op: Op::Eq, value: Some(Value::Text(name.clone())) };
    let newest_first = order("-version", &[("version", "version_number")]);
    let search = VersionSearch {
        filter: Expr::from(own),
        prompts_too: true,
        order_by: newest_first,
        offset: at,
        limit: PAGE,
    };
    let found = app.registry.search_versions(&leave, search).await?;
    let mut versions = Vec::with_capacity(found.items.len());
    for v in &found.items {
        let manifest = app.registry.manifest(&leave, &v.key).await?;
        let standing = app.registry.release_state(&leave, &v.key).await?;
        versions.push(VersionRow {
            release: standing.policy.is_some().then(|| release::verdict(&standing)),
            version: v.key.version.to_string(),
            state: state(v),
            aliases: v.aliases.clone(),
            run: run_of(&shell.to, v),
            size: manifest.map(|m| m.size()),
            digest: v.manifest_digest.clone(),
            created_by: crate::words::person(&v.created_by).to_owned(),
            created_at: timestamp(v.created_at_ms),
        });
    }
    let policy = app.registry.policy(&leave, &name).await?.as_ref().map(release::policy);
    page(&ModelPage {
        policy,
        view,
        name,
        description: model.description,
        created_at: timestamp(model.created_at_ms),
        updated_at: timestamp(model.updated_at_ms),
        aliases: aliases(&model.aliases),
        pager: pager(versions.len(), "version", found.more, at + PAGE),
        versions,
        tags: pairs(&model.tags),
        shell,
    })
}

pub(super) async fn version(
    State(app): App,
    visitor: Visitor,
    Path((_, model, number)): Path<(String, String, String)>,
) -> Answer {
    let leave = visitor.session.leave()?;
    let key = VersionKey::parse(&model, &number)?;
    let version = app.registry.version(&leave, &key).await?;
    let title = format!("{model} {number}");
    let mut shell = visitor.shell(&app, &title, Section::Models).await?;
    shell.crumbs = vec![
        Crumb::to("Models", shell.to.models()),
        Crumb::to(&model, shell.to.model(&model)),
        Crumb::here(format!("Version {number}")),
    ];
    shell.as_cli = Some(format!("trueline model show {key}"));
    shell.as_api = visitor.api(&format!("/api/2.0/mlflow/model-versions/get?name={model}&version={number}"));
    let manifest = app.registry.manifest(&leave, &key).await?;
    let told = match &manifest {
        Some(manifest) => mlmodel::of_version(&app, &visitor, manifest).await,
        None => None,
    }
    .unwrap_or_default();
    let source = source_state(&app.tracking, &app.registry, &leave, &version).await?;
    let file = |f: &trueline_registry::ManifestFile| FrozenFile {
        path: f.path.clone(),
        size: f.size,
        sha256: f.sha256.clone(),
    };
    let frozen = manifest.as_ref().map(|m| Manifest {
        digest: m.digest(),
        size: m.size(),
        files: m.files().iter().map(file).collect(),
    });
    let state_reason = match frozen {
        Some(_) => String::new(),
        None => format!(
            "The files lie at {}, which this server can't read, so it can't serve them.",
            version.source
        ),
    };
    let lineage = runs::lineage(&app, &visitor, &shell.to, "version", &version.id).await?;
    let release = release::standing(&app, &visitor, &version).await?;
    page(&VersionPage {
        release,
        state: state(&version),
        state_reason,
        diverged: source == SourceState::Diverged,
        description: version.description.clone(),
        aliases: version.aliases.clone(),
        created_by: crate::words::person(&version.created_by).to_owned(),
        created_at: timestamp(version.created_at_ms),
        run: run_of(&shell.to, &version),
        flavours: told.flavours,
        manifest: frozen,
        signature: told.signature,
        tags: pairs(&version.tags),
        lineage,
        model,
        version: number,
        shell,
    })
}
