//! Versions: registered with a frozen manifest, found, described, tagged, staged, deleted.

use crate::manifest::{self, Manifest};
use crate::model::{KeyValue, NewVersion, Stage, Version, VersionKey, VersionNumber};
use crate::{Registry, RegistryError, models, retention, standing, validate};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, RegisterModel};
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};

pub(crate) const COLUMNS: &str =
    "v.name, v.version, v.description, v.source, v.run_id, v.run_link, v.model_id, v.stage,
     v.created_by, v.created_at_ms, v.updated_at_ms, v.manifest_digest, v.id FROM model_versions v";

/// Reads a version from its columns and fills in what belongs to it.
pub(crate) fn from_row(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    row: &mut Row,
) -> Result<Version, RegistryError> {
    let key = VersionKey::new(row.take::<String>(0)?, row.take(1)?);
    let params = [project.into(), (&key.model).into(), key.version.into()];
    let tags = tx.query(
        "SELECT key, value FROM model_version_tags WHERE project = ?1 AND name = ?2 AND version = ?3 ORDER BY key",
        &params,
    )?;
    let aliases = tx.query(
        "SELECT alias FROM model_aliases WHERE project = ?1 AND name = ?2 AND version = ?3 ORDER BY alias",
        &params,
    )?;
    Ok(Version {
        description: row.take(2)?,
        source: row.take(3)?,
        run_id: row.take(4)?,
        run_link: row.take(5)?,
        model_id: row.take(6)?,
        stage: Stage::parse(&row.take::<String>(7)?).unwrap_or(Stage::None),
        created_by: row.take(8)?,
        created_at_ms: row.take(9)?,
        updated_at_ms: row.take(10)?,
        manifest_digest: row.take(11)?,
        id: row.take(12)?,
        tags: models::pairs(tags)?,
        aliases: aliases.into_iter().map(|mut row| row.take(0)).collect::<Result<_, _>>()?,
        key,
    })
}

fn not_found(key: &VersionKey) -> RegistryError {
    RegistryError::NotFound(format!("Model Version (name={}, version={}) not found", key.model, key.version))
}

pub(crate) fn get(tx: &mut Tx<'_>, project: &ProjectId, key: &VersionKey) -> Result<Version, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE v.project = ?1 AND v.name = ?2 AND v.version = ?3 AND v.lifecycle = 'active'"
    );
    let mut row = tx
        .query_opt(&sql, &[project.into(), (&key.model).into(), key.version.into()])?
        .ok_or_else(|| not_found(key))?;
    from_row(tx, project, &mut row)
}

pub(crate) fn newest(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    model: &str,
) -> Result<Option<VersionNumber>, RegistryError> {
    Ok(tx
        .scalar::<Option<i64>>(
            "SELECT MAX(version) FROM model_versions WHERE project = ?1 AND name = ?2 AND lifecycle = 'active'",
            &[project.into(), model.into()],
        )?
        .flatten())
}

/// The newest version of each of these stages.
pub(crate) fn latest(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    model: &str,
    stages: &[Stage],
) -> Result<Vec<Version>, RegistryError> {
    let rows = tx.query(
        "SELECT stage, MAX(version) FROM model_versions
         WHERE project = ?1 AND name = ?2 AND lifecycle = 'active' GROUP BY stage",
        &[project.into(), model.into()],
    )?;
    let mut numbers = Vec::new();
    for mut row in rows {
        let stage = Stage::parse(&row.take::<String>(0)?);
        if stage.is_some_and(|s| stages.contains(&s)) {
            numbers.push(row.take::<i64>(1)?);
        }
    }
    numbers.sort_unstable();
    numbers.into_iter().map(|n| get(tx, project, &VersionKey::new(model, n))).collect()
}

fn upsert_tag(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    key: &VersionKey,
    tag: &KeyValue,
) -> Result<(), RegistryError> {
    validate::tag("Model version", tag)?;
    tx.execute(
        "INSERT INTO model_version_tags (project, name, version, key, value) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (project, name, version, key) DO UPDATE SET value = excluded.value",
        &[project.into(), (&key.model).into(), key.version.into(), (&tag.key).into(), (&tag.value).into()],
    )?;
    Ok(())
}

impl Registry {
    /// Registers a version of a model, with the next number; numbers of deleted ones are not given again.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the model, [`RegistryError::Invalid`] for a bad tag.
    pub async fn create_version(
        &self,
        leave: &Authorized<RegisterModel>,
        new: NewVersion,
    ) -> Result<Version, RegistryError> {
        validate::origin(&new)?;
        let project = leave.project().clone();
        let digest = new.manifest.as_ref().map(Manifest::digest);
        self.ledger.write(leave.actor(), move |tx| insert(tx, &project, &new, digest.as_deref())).await
    }

    /// One version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn version(
        &self,
        leave: &Authorized<ReadProject>,
        key: &VersionKey,
    ) -> Result<Version, RegistryError> {
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger.db().read(move |tx| get(tx, &project, &key)).await
    }

    /// The frozen files of a version, when it has them.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn manifest(
        &self,
        leave: &Authorized<ReadProject>,
        key: &VersionKey,
    ) -> Result<Option<Manifest>, RegistryError> {
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger
            .db()
            .read(move |tx| {
                let Some(digest) = get(tx, &project, &key)?.manifest_digest else { return Ok(None) };
                manifest::find(tx, &project, &digest)
            })
            .await
    }

    /// The newest version of each of these stages; of all stages when none is given.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Invalid`] for an unknown stage.
    pub async fn latest_versions(
        &self,
        leave: &Authorized<ReadProject>,
        model: &str,
        stages: &[String],
    ) -> Result<Vec<Version>, RegistryError> {
        let stages: Vec<Stage> = match stages {
            [] => Stage::ALL.to_vec(),
            some => some.iter().map(|s| stage(s)).collect::<Result<_, _>>()?,
        };
        let (project, model) = (leave.project().clone(), model.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                models::require(tx, &project, &model)?;
                latest(tx, &project, &model, &stages)
            })
            .await
    }

    /// Says something of a version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn describe_version(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
        description: String,
    ) -> Result<Version, RegistryError> {
        self.change_version(leave, key, "version.described", move |tx, project, before| {
            tx.execute(
                "UPDATE model_versions SET description = ?4 WHERE project = ?1 AND name = ?2 AND version = ?3",
                &[project.into(), (&before.key.model).into(), before.key.version.into(), (&description).into()],
            )?;
            Ok(json!({ "before": before.description, "after": description }))
        })
        .await
    }

    /// Sets a tag of a version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Invalid`].
    pub async fn set_version_tag(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
        tag: KeyValue,
    ) -> Result<Version, RegistryError> {
        self.change_version(leave, key, "version.tagged", move |tx, project, before| {
            upsert_tag(tx, project, &before.key, &tag)?;
            Ok(json!({ "key": tag.key, "value": tag.value, "is_prompt": models::is_prompt(tx, project, &before.key.model)? }))
        })
        .await
    }

    /// Takes a tag from a version, if it has it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the version.
    pub async fn delete_version_tag(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
        tag: String,
    ) -> Result<Version, RegistryError> {
        self.change_version(leave, key, "version.untagged", move |tx, project, before| {
            tx.execute(
                "DELETE FROM model_version_tags WHERE project = ?1 AND name = ?2 AND version = ?3 AND key = ?4",
                &[project.into(), (&before.key.model).into(), before.key.version.into(), (&tag).into()],
            )?;
            Ok(json!({ "key": tag, "is_prompt": models::is_prompt(tx, project, &before.key.model)? }))
        })
        .await
    }

    /// Moves a version to a stage; with `archive_others` those that are there are archived.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Invalid`] for an unknown stage, [`RegistryError::State`] when
    /// others are to be archived from a stage that holds none, [`RegistryError::NotReleasable`] for a protected one.
    pub async fn transition_stage(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
        to: &str,
        archive_others: bool,
    ) -> Result<Version, RegistryError> {
        let to = stage(to)?;
        if archive_others && matches!(to, Stage::None | Stage::Archived) {
            return Err(RegistryError::State(format!(
                "Model version transition cannot archive existing model versions because '{}' is not an Active stage. Valid \
                 stages are Staging, Production",
                to.as_str()
            )));
        }
        self.change_version(leave, key, "version.staged", move |tx, project, before| {
            let (model, number) = (&before.key.model, before.key.version);
            let now = tx.now();
            standing::require(tx, project, &before.key, ("stage", to.as_str()), now)?;
            let archived = match archive_others {
                false => 0,
                true => tx.execute(
                    "UPDATE model_versions SET stage = 'Archived', updated_at_ms = ?5
                     WHERE project = ?1 AND name = ?2 AND version <> ?3 AND stage = ?4 AND lifecycle = 'active'",
                    &[project.into(), model.into(), number.into(), to.as_str().into(), now.into()],
                )?,
            };
            tx.execute(
                "UPDATE model_versions SET stage = ?4 WHERE project = ?1 AND name = ?2 AND version = ?3",
                &[project.into(), model.into(), number.into(), to.as_str().into()],
            )?;
            models::touch(tx, project, model)?;
            Ok(json!({ "before": before.stage, "after": to, "archived": archived }))
        })
        .await
    }

    /// Deletes a version: what was said of it is redacted, its aliases go, its number is not given again.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn delete_version(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
    ) -> Result<(), RegistryError> {
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &key)?;
                let now = tx.now();
                let params: [trueline_db::Value; 3] =
                    [(&project).into(), (&key.model).into(), key.version.into()];
                tx.execute(
                    "UPDATE model_versions SET lifecycle = 'deleted', description = '', source = 'REDACTED-SOURCE-PATH',
                         run_id = NULL, run_link = NULL, model_id = NULL, manifest_digest = NULL, stage = 'None',
                         updated_at_ms = ?4
                     WHERE project = ?1 AND name = ?2 AND version = ?3",
                    &[params[0].clone(), params[1].clone(), params[2].clone(), now.into()],
                )?;
                for table in ["model_version_tags", "model_aliases", "gate_runs", "approvals"] {
                    tx.execute(
                        &format!("DELETE FROM {table} WHERE project = ?1 AND name = ?2 AND version = ?3"),
                        &params,
                    )?;
                }
                if let Some(digest) = &before.manifest_digest {
                    retention::left_unused(tx, &project, Some(digest))?;
                }
                models::touch(tx, &project, &key.model)?;
                let event = NewEvent::new(&project, "version.deleted", "version", key.to_string());
                tx.emit(event.with(json!({
                    "id": before.id, "model": key.model, "version": key.version, "aliases": before.aliases,
                })))?;
                Ok(())
            })
            .await
    }

    async fn change_version<F>(
        &self,
        leave: &Authorized<RegisterModel>,
        key: &VersionKey,
        action: &'static str,
        change: F,
    ) -> Result<Version, RegistryError>
    where
        F: Fn(&mut LedgerTx<'_, '_>, &ProjectId, &Version) -> Result<serde_json::Value, RegistryError>
            + Send
            + 'static,
    {
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &key)?;
                let payload = change(tx, &project, &before)?;
                // As in MLflow, a tag does not make a version newer.
                if !action.ends_with("tagged") {
                    let now = tx.now();
                    tx.execute(
                        "UPDATE model_versions SET updated_at_ms = ?4 WHERE project = ?1 AND name = ?2 AND version = ?3",
                        &[(&project).into(), (&key.model).into(), key.version.into(), now.into()],
                    )?;
                }
                if tx.changed() == 0 {
                    return Ok(before);
                }
                tx.emit(NewEvent::new(&project, action, "version", key.to_string()).with(payload))?;
                get(tx, &project, &key)
            })
            .await
    }
}

fn stage(word: &str) -> Result<Stage, RegistryError> {
    Stage::parse(word).ok_or_else(|| {
        RegistryError::Invalid(format!(
            "Invalid Model Version stage: {word}. Value must be one of None, Staging, Production, Archived."
        ))
    })
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    new: &NewVersion,
    digest: Option<&str>,
) -> Result<Version, RegistryError> {
    let model = models::id(tx, project, &new.model)?;
    let id = tx.derived_id("version");
    let last: Option<Option<i64>> = tx.scalar(
        "SELECT MAX(version) FROM model_versions WHERE project = ?1 AND name = ?2",
        &[project.into(), (&new.model).into()],
    )?;
    let key = VersionKey::new(&new.model, last.flatten().unwrap_or(0) + 1);
    let (now, by) = (tx.now(), tx.actor().principal.clone());
    tx.execute(
        "INSERT INTO model_versions (project, name, version, description, source, run_id, run_link, model_id, stage,
                                     lifecycle, created_by, created_at_ms, updated_at_ms, manifest_digest, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'None', 'active', ?9, ?10, ?10, ?11, ?12)",
        &[
            project.into(),
            (&key.model).into(),
            key.version.into(),
            (&new.description).into(),
            (&new.source).into(),
            new.run_id.clone().into(),
            new.run_link.clone().into(),
            new.model_id.clone().into(),
            by.into(),
            now.into(),
            digest.into(),
            (&id).into(),
        ],
    )?;
    if let (Some(digest), Some(manifest)) = (digest, &new.manifest) {
        manifest::insert(tx, project, digest, manifest)?;
    }
    for tag in &new.tags {
        upsert_tag(tx, project, &key, tag)?;
    }
    models::touch(tx, project, &key.model)?;
    record(tx, project, &key, (&id, &model), new, digest)?;
    get(tx, project, &key)
}

fn record(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    key: &VersionKey,
    (id, model): (&str, &str),
    new: &NewVersion,
    digest: Option<&str>,
) -> Result<(), RegistryError> {
    let event = NewEvent::new(project, "version.registered", "version", key.to_string());
    let event = tx.emit(event.with(json!({
        "id": id,
        "model": key.model,
        "version": key.version,
        "source": new.source,
        "run_id": new.run_id,
        "model_id": new.model_id,
        "manifest_digest": digest,
        "description": new.description,
        "tags": new.tags,
    })))?;
    let mut link = |relation: &str, kind: &str, other: &str| {
        tx.link(&event, &Edge::new(project, Node::new("version", id), relation, Node::new(kind, other)))
    };
    link("belongs_to", "model", model)?;
    for (kind, origin) in &new.origins {
        link("registered_from", kind, origin)?;
    }
    Ok(())
}
