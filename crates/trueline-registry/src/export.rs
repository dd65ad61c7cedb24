//! What goes out to another store: models with versions and aliases, in the form in which an import takes them.

use crate::import::{ImportedRegisteredModel, ImportedVersion};
use crate::model::{KeyValue, Stage};
use crate::{RegistryError, manifest, models};
use std::collections::HashMap;
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::ProjectId;

/// Models, prompts among them, in the order of their names; those after `after`, with all their versions, deleted ones too.
///
/// # Errors
/// What the database says.
pub fn models(
    tx: &mut Tx<'_>,
    leave: &Authorized<ReadProject>,
    after: &str,
    most: u32,
) -> Result<Vec<ImportedRegisteredModel>, RegistryError> {
    let project = leave.project();
    let sql = format!(
        "SELECT name, description, created_at_ms, updated_at_ms FROM registered_models
         WHERE project = ?1 AND name > ?2 ORDER BY name LIMIT {most}"
    );
    let mut found = Vec::new();
    for mut row in tx.query(&sql, &[project.into(), after.into()])? {
        let name: String = row.take(0)?;
        let tags = tx.query(
            "SELECT key, value FROM registered_model_tags WHERE project = ?1 AND name = ?2 ORDER BY key",
            &[project.into(), (&name).into()],
        )?;
        found.push(ImportedRegisteredModel {
            description: row.take(1)?,
            created_at_ms: row.take(2)?,
            updated_at_ms: row.take(3)?,
            tags: models::pairs(tags)?,
            aliases: models::aliases(tx, project, &name)?,
            versions: versions(tx, project, &name)?,
            name,
        });
    }
    Ok(found)
}

fn versions(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Vec<ImportedVersion>, RegistryError> {
    let key = [project.into(), name.into()];
    let mut tags: HashMap<i64, Vec<KeyValue>> = HashMap::new();
    let sql = "SELECT version, key, value FROM model_version_tags WHERE project = ?1 AND name = ?2 ORDER BY version, key";
    tx.each(sql, &key, |row| {
        tags.entry(row.take(0)?).or_default().push(KeyValue { key: row.take(1)?, value: row.take(2)? });
        Ok::<_, RegistryError>(())
    })?;
    let mut found = Vec::new();
    let sql =
        "SELECT v.version, v.description, v.source, v.run_id, v.run_link, v.model_id, v.stage, v.lifecycle,
                      v.created_at_ms, v.updated_at_ms, v.manifest_digest
               FROM model_versions v WHERE v.project = ?1 AND v.name = ?2 ORDER BY v.version";
    for mut row in tx.query(sql, &key)? {
        let version: i64 = row.take(0)?;
        let manifest = match row.take::<Option<String>>(10)? {
            Some(digest) => manifest::find(tx, project, &digest)?,
            None => None,
        };
        found.push(ImportedVersion {
            version,
            description: row.take(1)?,
            source: row.take(2)?,
            run_id: row.take(3)?,
            run_link: row.take(4)?,
            model_id: row.take(5)?,
            stage: Stage::parse(&row.take::<String>(6)?).unwrap_or(Stage::None),
            deleted: row.take::<String>(7)? == "deleted",
            created_at_ms: row.take(8)?,
            updated_at_ms: row.take(9)?,
            tags: tags.remove(&version).unwrap_or_default(),
            origins: Vec::new(),
            manifest,
        });
    }
    Ok(found)
}
