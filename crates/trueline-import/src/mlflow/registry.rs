//! Registered models and their versions; prompts are among them, told by their tags.

use super::given;
use super::schema::Schema;
use crate::ImportError;
use crate::importer::Importer;
use std::collections::HashMap;
use trueline_db::{Row, Tx};
use trueline_registry::{Alias, ImportedRegisteredModel, ImportedVersion, KeyValue, Stage};

/// The stage of versions that MLflow has deleted.
const DELETED: &str = "Deleted_Internal";

const COLUMNS: [&str; 11] = [
    "name",
    "version",
    "creation_time",
    "last_updated_time",
    "description",
    "current_stage",
    "source",
    "run_id",
    "run_link",
    "storage_location",
    "status",
];

/// Takes all registered models.
pub(super) fn read(tx: &mut Tx<'_>, schema: &Schema, importer: &mut Importer) -> Result<(), ImportError> {
    if !schema.has_table("registered_models") {
        return Ok(());
    }
    let mut versions = versions(tx, schema, importer)?;
    let mut aliases = aliases(tx, schema)?;
    let mut tags = tags(tx, schema, "registered_model_tags")?;
    let columns =
        schema.columns("registered_models", &["name", "creation_time", "last_updated_time", "description"]);
    let workspace = schema.in_workspace("registered_models");
    let rows = tx.query(
        &format!("SELECT {columns} FROM registered_models WHERE {workspace} ORDER BY creation_time, name"),
        &[schema.workspace()],
    )?;
    for mut row in rows {
        let name: String = row.take(0)?;
        let created = row.take::<Option<i64>>(1)?.unwrap_or_default();
        importer.registered_model(ImportedRegisteredModel {
            description: row.take::<Option<String>>(3)?.unwrap_or_default(),
            created_at_ms: created,
            updated_at_ms: row.take::<Option<i64>>(2)?.unwrap_or(created),
            tags: tags.remove(&(name.clone(), 0)).unwrap_or_default(),
            aliases: aliases.remove(&name).unwrap_or_default(),
            versions: versions.remove(&name).unwrap_or_default(),
            name,
        })?;
    }
    Ok(())
}

fn versions(
    tx: &mut Tx<'_>,
    schema: &Schema,
    importer: &mut Importer,
) -> Result<HashMap<String, Vec<ImportedVersion>>, ImportError> {
    let mut tags = tags(tx, schema, "model_version_tags")?;
    let workspace = schema.in_workspace("model_versions");
    let columns = schema.columns("model_versions", &COLUMNS);
    let rows = tx.query(
        &format!("SELECT {columns} FROM model_versions WHERE {workspace} ORDER BY name, version"),
        &[schema.workspace()],
    )?;
    let mut found: HashMap<String, Vec<ImportedVersion>> = HashMap::new();
    for mut row in rows {
        let name: String = row.take(0)?;
        let mut version = version(&mut row, importer)?;
        version.tags = tags.remove(&(name.clone(), version.version)).unwrap_or_default();
        found.entry(name).or_default().push(version);
    }
    Ok(found)
}

fn version(row: &mut Row, importer: &mut Importer) -> Result<ImportedVersion, ImportError> {
    let created = row.take::<Option<i64>>(2)?.unwrap_or_default();
    let stage: Option<String> = row.take(5)?;
    let deleted = stage.as_deref() == Some(DELETED);
    let said = given(row.take(6)?).unwrap_or_default();
    let stored = given(row.take(9)?);
    let moved = |uri: &str| importer.copying.moved(uri);
    let source = moved(&said).or_else(|| stored.as_deref().and_then(moved)).unwrap_or(said);
    let model_id = source.strip_prefix("models:/").filter(|id| !id.contains('/')).map(ToOwned::to_owned);
    let status: Option<String> = row.take(10)?;
    if !deleted && status.is_some_and(|s| s != "READY") {
        importer.report.miss(
            "states of versions",
            1,
            "MLflow had not finished them; here a version is ready at once",
        );
    }
    Ok(ImportedVersion {
        version: row.take(1)?,
        description: row.take::<Option<String>>(4)?.unwrap_or_default(),
        source,
        run_id: given(row.take(7)?),
        run_link: given(row.take(8)?),
        model_id,
        stage: stage.and_then(|s| Stage::parse(&s)).unwrap_or(Stage::None),
        deleted,
        created_at_ms: created,
        updated_at_ms: row.take::<Option<i64>>(3)?.unwrap_or(created),
        tags: Vec::new(),
        origins: Vec::new(),
        manifest: None,
    })
}

/// Tags by model and, of versions, number.
fn tags(
    tx: &mut Tx<'_>,
    schema: &Schema,
    table: &str,
) -> Result<HashMap<(String, i64), Vec<KeyValue>>, ImportError> {
    let mut found: HashMap<(String, i64), Vec<KeyValue>> = HashMap::new();
    if !schema.has_table(table) {
        return Ok(found);
    }
    let version = if schema.has(table, "version") { "version" } else { "0" };
    let workspace = schema.in_workspace(table);
    let sql = format!("SELECT name, {version}, key, value FROM {table} WHERE {workspace} ORDER BY key");
    tx.each(&sql, &[schema.workspace()], |row| {
        let owner = (row.take(0)?, row.take(1)?);
        let tag = KeyValue { key: row.take(2)?, value: row.take::<Option<String>>(3)?.unwrap_or_default() };
        found.entry(owner).or_default().push(tag);
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}

fn aliases(tx: &mut Tx<'_>, schema: &Schema) -> Result<HashMap<String, Vec<Alias>>, ImportError> {
    let table = "registered_model_aliases";
    let mut found: HashMap<String, Vec<Alias>> = HashMap::new();
    if !schema.has_table(table) {
        return Ok(found);
    }
    let workspace = schema.in_workspace(table);
    let sql = format!("SELECT name, alias, version FROM {table} WHERE {workspace} ORDER BY alias");
    tx.each(&sql, &[schema.workspace()], |row| {
        let name: String = row.take(0)?;
        found.entry(name).or_default().push(Alias { alias: row.take(1)?, version: row.take(2)? });
        Ok::<_, ImportError>(())
    })?;
    Ok(found)
}
