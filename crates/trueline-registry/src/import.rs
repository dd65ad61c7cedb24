//! Registered models of another store, each with its versions and aliases in one transaction. What is here already stays
//! as it is, so that an import can be repeated. How the other store is read is the faces' matter.

use crate::manifest::{self, Manifest};
use crate::model::{Alias, KeyValue, Stage, VersionNumber};
use crate::{Registry, RegistryError, models, policies, validate};
use serde_json::json;
use std::collections::BTreeSet;
use trueline_identity::{Authorized, RegisterModel};
use trueline_ledger::{Edge, EventId, LedgerTx, Millis, NewEvent, Node, ProjectId};

/// What the event of an imported model is called.
pub(crate) const IMPORTED: &str = "model.imported";

/// A version as another store had it.
#[derive(Clone, Debug)]
pub struct ImportedVersion {
    /// Its number.
    pub version: VersionNumber,
    /// What is said of it.
    pub description: String,
    /// Where its files are.
    pub source: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// A link to the run.
    pub run_link: Option<String>,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// Its stage.
    pub stage: Stage,
    /// Whether it was deleted: its number is taken all the same.
    pub deleted: bool,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Its tags.
    pub tags: Vec<KeyValue>,
    /// What of this project it comes from, by kind and id, for the lineage.
    pub origins: Vec<(&'static str, String)>,
    /// Its frozen files, when they were copied.
    pub manifest: Option<Manifest>,
}

/// A registered model as another store had it.
#[derive(Clone, Debug)]
pub struct ImportedRegisteredModel {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Its tags.
    pub tags: Vec<KeyValue>,
    /// Its aliases.
    pub aliases: Vec<Alias>,
    /// Its versions.
    pub versions: Vec<ImportedVersion>,
}

/// What became of an imported model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelImport {
    /// It is new; so many versions came with it.
    New(u64),
    /// It was here from an earlier import; so many versions were not.
    Known(u64),
    /// Another model has its name, so nothing was taken.
    NameTaken,
}

impl Registry {
    /// Takes in a model with its versions. One that was imported before gets the versions that it does not have; once it has
    /// a release policy here, they come without aliases and stages, since an import releases nothing.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a name or tag that breaks a rule, or what the ledger says.
    pub async fn import_model(
        &self,
        leave: &Authorized<RegisterModel>,
        source: &str,
        model: ImportedRegisteredModel,
    ) -> Result<ModelImport, RegistryError> {
        validate::model_name(&model.name)?;
        let (project, source) = (leave.project().clone(), source.to_owned());
        self.ledger.write(leave.actor(), move |tx| take(tx, &project, &source, &model)).await
    }
}

fn take(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    source: &str,
    model: &ImportedRegisteredModel,
) -> Result<ModelImport, RegistryError> {
    let known = tx.query_opt(
        "SELECT id, created_at_ms FROM registered_models WHERE project = ?1 AND name = ?2",
        &[project.into(), (&model.name).into()],
    )?;
    let id = match known {
        None => None,
        Some(mut row) => {
            let (id, made): (String, i64) = (row.take(0)?, row.take(1)?);
            if made != model.created_at_ms {
                return Ok(ModelImport::NameTaken);
            }
            Some(id)
        }
    };
    let mut numbers = BTreeSet::new();
    for mut row in tx.query(
        "SELECT version FROM model_versions WHERE project = ?1 AND name = ?2",
        &[project.into(), (&model.name).into()],
    )? {
        numbers.insert(row.take::<i64>(0)?);
    }
    let versions: Vec<&ImportedVersion> =
        model.versions.iter().filter(|v| !numbers.contains(&v.version)).collect();
    let count = versions.len() as u64;
    let guarded = policies::get(tx, project, &model.name)?.is_some();
    let aliases: Vec<&Alias> = model
        .aliases
        .iter()
        .filter(|alias| !guarded && versions.iter().any(|v| v.version == alias.version && !v.deleted))
        .collect();
    let done = if id.is_none() { ModelImport::New(count) } else { ModelImport::Known(count) };
    if done == ModelImport::Known(0) {
        return Ok(done);
    }
    let id = match id {
        Some(id) => id,
        None => insert_model(tx, project, model)?,
    };
    let mut told = Vec::new();
    let mut ids = Vec::new();
    for version in &versions {
        let version_id = tx.derived_id(&format!("version {}", version.version));
        let digest = version.manifest.as_ref().map(Manifest::digest);
        let stage = if guarded { Stage::None } else { version.stage };
        let row = (version_id.as_str(), digest.as_deref(), stage);
        insert_version(tx, project, &model.name, row, version)?;
        if !version.deleted {
            told.push(json!({
                "id": version_id, "version": version.version, "source": version.source, "manifest_digest": digest,
            }));
        }
        ids.push((version_id, *version));
    }
    let mut set = Vec::new();
    for alias in aliases {
        let new = tx.execute(
            "INSERT INTO model_aliases (project, name, alias, version) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            &[project.into(), (&model.name).into(), (&alias.alias).into(), alias.version.into()],
        )?;
        if new > 0 {
            set.push(alias);
        }
    }
    let event = NewEvent::new(project, IMPORTED, "model", &model.name);
    let event = tx.emit(event.with(json!({
        "id": id, "source": source, "versions": told, "deleted": versions.iter().filter(|v| v.deleted).count(),
        "aliases": set, "tags": model.tags,
    })))?;
    ids.iter().try_for_each(|(own, version)| link(tx, project, &event, (own, &id), version))?;
    Ok(done)
}

fn insert_model(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    model: &ImportedRegisteredModel,
) -> Result<String, RegistryError> {
    let (id, by) = (tx.derived_id("model"), tx.actor().principal.clone());
    tx.execute(
        "INSERT INTO registered_models (id, project, name, description, created_by, created_at_ms, updated_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &[
            (&id).into(),
            project.into(),
            (&model.name).into(),
            (&model.description).into(),
            by.into(),
            model.created_at_ms.into(),
            model.updated_at_ms.into(),
        ],
    )?;
    for tag in &model.tags {
        models::upsert_tag(tx, project, &model.name, tag)?;
    }
    Ok(id)
}

fn insert_version(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    model: &str,
    (id, digest, stage): (&str, Option<&str>, Stage),
    version: &ImportedVersion,
) -> Result<(), RegistryError> {
    let by = tx.actor().principal.clone();
    let lifecycle = if version.deleted { "deleted" } else { "active" };
    tx.execute(
        "INSERT INTO model_versions (project, name, version, description, source, run_id, run_link, model_id, stage,
                                     lifecycle, created_by, created_at_ms, updated_at_ms, manifest_digest, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        &[
            project.into(),
            model.into(),
            version.version.into(),
            (&version.description).into(),
            (&version.source).into(),
            version.run_id.clone().into(),
            version.run_link.clone().into(),
            version.model_id.clone().into(),
            stage.as_str().into(),
            lifecycle.into(),
            by.into(),
            version.created_at_ms.into(),
            version.updated_at_ms.into(),
            digest.into(),
            id.into(),
        ],
    )?;
    if let (Some(digest), Some(files)) = (digest, &version.manifest) {
        manifest::insert(tx, project, digest, files)?;
    }
    for tag in &version.tags {
        tx.execute(
            "INSERT INTO model_version_tags (project, name, version, key, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
            &[project.into(), model.into(), version.version.into(), (&tag.key).into(), (&tag.value).into()],
        )?;
    }
    Ok(())
}

fn link(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    event: &EventId,
    (own, model): (&str, &str),
    version: &ImportedVersion,
) -> Result<(), RegistryError> {
    if version.deleted {
        return Ok(());
    }
    let mut link = |relation: &str, kind: &str, other: &str| {
        tx.link(event, &Edge::new(project, Node::new("version", own), relation, Node::new(kind, other)))
    };
    link("belongs_to", "model", model)?;
    for (kind, origin) in &version.origins {
        link("registered_from", kind, origin)?;
    }
    Ok(())
}
