//! Registered models: made, found, renamed, described, tagged, given aliases, deleted.

use crate::model::{Alias, KeyValue, RegisteredModel, Stage, VersionKey, VersionNumber};
use crate::{Registry, RegistryError, Version, retention, standing, validate, versions};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, RegisterModel};
use trueline_ledger::{LedgerTx, NewEvent, ProjectId};

pub(crate) const COLUMNS: &str =
    "m.name, m.description, m.created_by, m.created_at_ms, m.updated_at_ms, m.id FROM registered_models m";

fn not_found(name: &str) -> RegistryError {
    RegistryError::NotFound(format!("Registered Model with name={name} not found"))
}

/// Reads a model from its columns and fills in what belongs to it.
pub(crate) fn from_row(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    row: &mut Row,
) -> Result<RegisteredModel, RegistryError> {
    let name: String = row.take(0)?;
    let tags = tx.query(
        "SELECT key, value FROM registered_model_tags WHERE project = ?1 AND name = ?2 ORDER BY key",
        &[project.into(), (&name).into()],
    )?;
    Ok(RegisteredModel {
        description: row.take(1)?,
        created_by: row.take(2)?,
        created_at_ms: row.take(3)?,
        updated_at_ms: row.take(4)?,
        id: row.take(5)?,
        tags: pairs(tags)?,
        aliases: aliases(tx, project, &name)?,
        latest: versions::latest(tx, project, &name, &Stage::ALL)?,
        name,
    })
}

pub(crate) fn pairs(rows: Vec<Row>) -> Result<Vec<KeyValue>, RegistryError> {
    rows.into_iter().map(|mut row| Ok(KeyValue { key: row.take(0)?, value: row.take(1)? })).collect()
}

pub(crate) fn aliases(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Vec<Alias>, RegistryError> {
    let rows = tx.query(
        "SELECT alias, version FROM model_aliases WHERE project = ?1 AND name = ?2 ORDER BY alias",
        &[project.into(), name.into()],
    )?;
    rows.into_iter().map(|mut row| Ok(Alias { alias: row.take(0)?, version: row.take(1)? })).collect()
}

pub(crate) fn get(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    name: &str,
) -> Result<RegisteredModel, RegistryError> {
    let sql = format!("SELECT {COLUMNS} WHERE m.project = ?1 AND m.name = ?2");
    let mut row = tx.query_opt(&sql, &[project.into(), name.into()])?.ok_or_else(|| not_found(name))?;
    from_row(tx, project, &mut row)
}

pub(crate) fn require(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<(), RegistryError> {
    id(tx, project, name).map(drop)
}

/// The id of a model.
pub(crate) fn id(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<String, RegistryError> {
    let sql = "SELECT id FROM registered_models WHERE project = ?1 AND name = ?2";
    tx.scalar(sql, &[project.into(), name.into()])?.ok_or_else(|| not_found(name))
}

/// The tag by which MLflow tells prompts from models.
const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

/// Whether a model is a prompt. Events tell it, because their readers may come when the model is gone.
pub(crate) fn is_prompt(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<bool, RegistryError> {
    let sql = "SELECT value FROM registered_model_tags WHERE project = ?1 AND name = ?2 AND key = ?3";
    let value: Option<String> = tx.scalar(sql, &[project.into(), name.into(), IS_PROMPT.into()])?;
    Ok(value.is_some_and(|v| v.eq_ignore_ascii_case("true")))
}

/// Notes on a model that something of it changed.
pub(crate) fn touch(tx: &mut LedgerTx<'_, '_>, project: &ProjectId, name: &str) -> Result<(), RegistryError> {
    let now = tx.now();
    tx.execute(
        "UPDATE registered_models SET updated_at_ms = ?3 WHERE project = ?1 AND name = ?2",
        &[project.into(), name.into(), now.into()],
    )?;
    Ok(())
}

pub(crate) fn upsert_tag(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    name: &str,
    tag: &KeyValue,
) -> Result<(), RegistryError> {
    validate::tag("Registered model", tag)?;
    tx.execute(
        "INSERT INTO registered_model_tags (project, name, key, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project, name, key) DO UPDATE SET value = excluded.value",
        &[project.into(), name.into(), (&tag.key).into(), (&tag.value).into()],
    )?;
    Ok(())
}

pub(crate) fn alias_target(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    name: &str,
    alias: &str,
) -> Result<Option<VersionNumber>, RegistryError> {
    Ok(tx.scalar(
        "SELECT version FROM model_aliases WHERE project = ?1 AND name = ?2 AND alias = ?3",
        &[project.into(), name.into(), alias.into()],
    )?)
}

/// The tables that carry a model's name, for a rename.
const NAMED: [&str; 8] = [
    "registered_models",
    "registered_model_tags",
    "model_versions",
    "model_version_tags",
    "model_aliases",
    "release_policies",
    "gate_runs",
    "approvals",
];

impl Registry {
    /// Makes a model without versions.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::Invalid`].
    pub async fn create_model(
        &self,
        leave: &Authorized<RegisterModel>,
        name: String,
        description: String,
        tags: Vec<KeyValue>,
    ) -> Result<RegisteredModel, RegistryError> {
        validate::model_name(&name)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let (now, by) = (tx.now(), tx.actor().principal.clone());
                let id = tx.derived_id("model");
                let made = tx.execute(
                    "INSERT INTO registered_models (id, project, name, description, created_by, created_at_ms, updated_at_ms)
                     VALUES (?6, ?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (project, name) DO NOTHING",
                    &[
                        (&project).into(),
                        (&name).into(),
                        (&description).into(),
                        by.into(),
                        now.into(),
                        (&id).into(),
                    ],
                )?;
                if made == 0 {
                    return Err(RegistryError::Exists(format!("Registered Model (name={name}) already exists.")));
                }
                for tag in &tags {
                    upsert_tag(tx, &project, &name, tag)?;
                }
                let event = NewEvent::new(&project, "model.created", "model", &name);
                tx.emit(event.with(json!({ "id": id, "description": description, "tags": tags })))?;
                get(tx, &project, &name)
            })
            .await
    }

    /// One model.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn model(
        &self,
        leave: &Authorized<ReadProject>,
        name: &str,
    ) -> Result<RegisteredModel, RegistryError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger.db().read(move |tx| get(tx, &project, &name)).await
    }

    /// Whether a name is that of a prompt, which is a model with a tag; no error when there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_prompt(
        &self,
        leave: &Authorized<ReadProject>,
        name: &str,
    ) -> Result<bool, RegistryError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger.db().read(move |tx| is_prompt(tx, &project, &name)).await
    }

    /// Renames a model with all that belongs to it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Exists`], [`RegistryError::Invalid`].
    pub async fn rename_model(
        &self,
        leave: &Authorized<RegisterModel>,
        name: &str,
        new_name: String,
    ) -> Result<RegisteredModel, RegistryError> {
        validate::model_name(&new_name)?;
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let id = id(tx, &project, &name)?;
                if require(tx, &project, &new_name).is_ok() {
                    return Err(RegistryError::Exists(format!(
                        "Registered Model (name={new_name}) already exists."
                    )));
                }
                for table in NAMED {
                    tx.execute(
                        &format!("UPDATE {table} SET name = ?3 WHERE project = ?1 AND name = ?2"),
                        &[(&project).into(), (&name).into(), (&new_name).into()],
                    )?;
                }
                touch(tx, &project, &new_name)?;
                let event = NewEvent::new(&project, "model.renamed", "model", &name);
                tx.emit(event.with(json!({ "id": id, "before": name, "after": new_name })))?;
                get(tx, &project, &new_name)
            })
            .await
    }

    /// Says what a model is for.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn describe_model(
        &self,
        leave: &Authorized<RegisterModel>,
        name: &str,
        description: String,
    ) -> Result<RegisteredModel, RegistryError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &name)?.description;
                tx.execute(
                    "UPDATE registered_models SET description = ?3 WHERE project = ?1 AND name = ?2",
                    &[(&project).into(), (&name).into(), (&description).into()],
                )?;
                touch(tx, &project, &name)?;
                let event = NewEvent::new(&project, "model.described", "model", &name);
                tx.emit(event.with(json!({ "before": before, "after": description })))?;
                get(tx, &project, &name)
            })
            .await
    }

    /// Deletes a model with its versions, aliases and tags. The ledger keeps what was there.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn delete_model(
        &self,
        leave: &Authorized<RegisterModel>,
        name: &str,
    ) -> Result<(), RegistryError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let id = id(tx, &project, &name)?;
                for table in NAMED {
                    tx.execute(
                        &format!("DELETE FROM {table} WHERE project = ?1 AND name = ?2"),
                        &[(&project).into(), (&name).into()],
                    )?;
                }
                retention::left_unused(tx, &project, None)?;
                let event = NewEvent::new(&project, "model.deleted", "model", &name);
                tx.emit(event.with(json!({ "id": id })))?;
                Ok(())
            })
            .await
    }

    /// Sets a tag of a model.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Invalid`].
    pub async fn set_model_tag(
        &self,
        leave: &Authorized<RegisterModel>,
        name: &str,
        tag: KeyValue,
    ) -> Result<(), RegistryError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                require(tx, &project, &name)?;
                upsert_tag(tx, &project, &name, &tag)?;
                let is_prompt = is_prompt(tx, &project, &name)?;
                let event = NewEvent::new(&project, "model.tagged", "model", &name);
                tx.emit(event.with(json!({ "key": tag.key, "value": tag.value, "is_prompt": is_prompt })))?;
                Ok(())
            })
            .await
    }

    /// Takes a tag from a model, if it has it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the model.
    pub async fn delete_model_tag(
        &self,
        leave: &Authorized<RegisterModel>,
        name: &str,
        key: String,
    ) -> Result<(), RegistryError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                require(tx, &project, &name)?;
                let is_prompt = is_prompt(tx, &project, &name)?;
                let gone = tx.execute(
                    "DELETE FROM registered_model_tags WHERE project = ?1 AND name = ?2 AND key = ?3",
                    &[(&project).into(), (&name).into(), (&key).into()],
                )?;
                if gone > 0 {
                    let event = NewEvent::new(&project, "model.untagged", "model", &name);
                    tx.emit(event.with(json!({ "key": key, "is_prompt": is_prompt })))?;
                }
                Ok(())
            })
            .await
    }

    /// Points an alias at a version; a protected one at a released version alone.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Invalid`] for a reserved name, [`RegistryError::NotReleasable`].
    pub async fn set_alias(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
        alias: String,
    ) -> Result<(), RegistryError> {
        validate::alias(&alias)?;
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                require(tx, &project, &key.model)?;
                let version = versions::get(tx, &project, &key)?;
                let before = alias_target(tx, &project, &key.model, &alias)?;
                if before == Some(key.version) {
                    return Ok(());
                }
                let now = tx.now();
                standing::require(tx, &project, &key, ("alias", &alias), now)?;
                tx.execute(
                    "INSERT INTO model_aliases (project, name, alias, version) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (project, name, alias) DO UPDATE SET version = excluded.version",
                    &[(&project).into(), (&key.model).into(), (&alias).into(), key.version.into()],
                )?;
                let is_prompt = is_prompt(tx, &project, &key.model)?;
                let event = NewEvent::new(&project, "alias.set", "alias", format!("{}@{alias}", key.model));
                tx.emit(event.with(json!({
                    "model": key.model, "alias": alias, "before": before, "after": key.version,
                    "version_id": version.id, "is_prompt": is_prompt,
                })))?;
                Ok(())
            })
            .await
    }

    /// Takes an alias away, if it is there.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the model.
    pub async fn delete_alias(
        &self,
        leave: &Authorized<RegisterModel>,
        model: &str,
        alias: String,
    ) -> Result<(), RegistryError> {
        let (project, model) = (leave.project().clone(), model.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                require(tx, &project, &model)?;
                let Some(before) = alias_target(tx, &project, &model, &alias)? else { return Ok(()) };
                tx.execute(
                    "DELETE FROM model_aliases WHERE project = ?1 AND name = ?2 AND alias = ?3",
                    &[(&project).into(), (&model).into(), (&alias).into()],
                )?;
                let is_prompt = is_prompt(tx, &project, &model)?;
                let event = NewEvent::new(&project, "alias.deleted", "alias", format!("{model}@{alias}"));
                tx.emit(event.with(json!({
                    "model": model, "alias": alias, "before": before, "is_prompt": is_prompt,
                })))?;
                Ok(())
            })
            .await
    }

    /// The version that an alias points at; `latest` always points at the newest.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] when there is no such alias (as MLflow answers), [`RegistryError::NotFound`]
    /// without the model.
    pub async fn version_by_alias(
        &self,
        leave: &Authorized<ReadProject>,
        model: &str,
        alias: &str,
    ) -> Result<Version, RegistryError> {
        let (project, model, alias) = (leave.project().clone(), model.to_owned(), alias.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                require(tx, &project, &model)?;
                let number = match alias.as_str() {
                    "latest" => versions::newest(tx, &project, &model)?,
                    _ => alias_target(tx, &project, &model, &alias)?,
                };
                let number = number.ok_or_else(|| {
                    RegistryError::Invalid(format!("Registered model alias {alias} not found."))
                })?;
                versions::get(tx, &project, &VersionKey::new(&model, number))
            })
            .await
    }
}
