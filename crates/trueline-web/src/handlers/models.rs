//! Models, one model, one version.

use super::experiments::{name_holds, order, pager};
use super::{Answer, App, Visitor, Web, offset, page, release, runs, timestamp};
use crate::links::{Links, ViewUrl};
use crate::pages::{
    AliasRow, Field, FrozenFile, Manifest, ModelPage, ModelRow, ModelsPage, Signature, VersionPage,
    VersionRow,
};
use crate::parts::{Badge, Pair, Reference, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use serde_json::Value as Json;
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
    let mlmodel = match &manifest {
        Some(manifest) => mlmodel(&app, &visitor, manifest).await,
        None => None,
    };
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
        flavours: mlmodel.as_ref().map(|m| m.flavours.clone()).unwrap_or_default(),
        manifest: frozen,
        signature: mlmodel.and_then(|m| m.signature),
        tags: pairs(&version.tags),
        lineage,
        model,
        version: number,
        shell,
    })
}

/// What a page tells of an `MLmodel` file.
pub(super) struct MlModel {
    flavours: Vec<String>,
    pub(super) signature: Option<Signature>,
}

/// Larger ones are no `MLmodel` files.
const LARGEST_MLMODEL: u64 = 1 << 20;

pub(super) async fn mlmodel(
    app: &Web,
    visitor: &Visitor,
    manifest: &trueline_registry::Manifest,
) -> Option<MlModel> {
    let file = manifest.file("MLmodel")?;
    let leave = visitor.session.leave().ok()?;
    let bytes = app.tracking.blob(&leave, &file.sha256, LARGEST_MLMODEL).await.ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(MlModel { flavours: flavours(&text), signature: signature(&text) })
}

/// The keys of the block `flavors:`; an `MLmodel` file is YAML of a narrow kind, written by MLflow itself.
fn flavours(text: &str) -> Vec<String> {
    let block = text.lines().skip_while(|l| *l != "flavors:").skip(1);
    let inside = block.take_while(|l| l.starts_with(' '));
    let own = inside.filter(|l| l.starts_with("  ") && !l.starts_with("   ") && l.ends_with(':'));
    own.map(|l| l.trim().trim_end_matches(':').to_owned()).collect()
}

/// The block `signature:`, whose values are JSON in quotes.
fn signature(text: &str) -> Option<Signature> {
    let block = text.lines().skip_while(|l| *l != "signature:").skip(1);
    let lines: Vec<&str> = block.take_while(|l| l.starts_with(' ')).collect();
    // Long values are folded over lines that are indented deeper.
    let mut joined: Vec<String> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(last) if line.starts_with("   ") => last.push_str(&format!(" {}", line.trim())),
            _ => joined.push(line.trim().to_owned()),
        }
    }
    let part = |name: &str| {
        let line = joined.iter().find_map(|l| l.strip_prefix(&format!("{name}: ")))?;
        let json: Json = serde_json::from_str(line.trim_matches('\'')).ok()?;
        Some(json.as_array()?.iter().map(field).collect::<Vec<_>>())
    };
    let signature = Signature {
        inputs: part("inputs").unwrap_or_default(),
        outputs: part("outputs").unwrap_or_default(),
        params: part("params").unwrap_or_default(),
    };
    (!signature.inputs.is_empty() || !signature.outputs.is_empty()).then_some(signature)
}

fn field(value: &Json) -> Field {
    let kind = match value["tensor-spec"].as_object() {
        Some(spec) => {
            let dtype = spec.get("dtype").and_then(Json::as_str).unwrap_or_default();
            format!("tensor({dtype}, {})", spec.get("shape").unwrap_or(&Json::Null))
        }
        None => value["type"].as_str().unwrap_or_default().to_owned(),
    };
    let name = value["name"].as_str().unwrap_or_default().to_owned();
    Field { name, kind, optional: value["required"] == false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MLMODEL: &str = "artifact_path: x\nflavors:\n  python_function:\n    env:\n      conda: conda.yaml\n  xgboost:\n    \
                           code: null\nmodel_id: m-1\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \"hour\", \
                           \"required\": true}, {\"type\": \"double\",\n    \"name\": \"distance\", \"required\": false}]'\n  \
                           outputs: '[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float32\", \"shape\": [-1]}}]'\n  params: \
                           null\n";

    #[test]
    fn an_mlmodel_file_tells_flavours_and_signature() {
        assert_eq!(flavours(MLMODEL), ["python_function", "xgboost"]);
        let signature = signature(MLMODEL).unwrap();
        assert_eq!(signature.inputs.len(), 2);
        assert_eq!((signature.inputs[1].name.as_str(), signature.inputs[1].optional), ("distance", true));
        assert_eq!(signature.outputs[0].kind, "tensor(float32, [-1])");
    }
}
