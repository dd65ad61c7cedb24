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
        let mut version = version(Said::from_row(&mut row)?, importer);
        version.tags = tags.remove(&(name.clone(), version.version)).unwrap_or_default();
        found.entry(name).or_default().push(version);
    }
    Ok(found)
}

/// What a store says of a version.
pub(super) struct Said {
    pub(super) version: i64,
    pub(super) created_at_ms: i64,
    pub(super) updated_at_ms: Option<i64>,
    pub(super) description: Option<String>,
    pub(super) stage: Option<String>,
    pub(super) source: Option<String>,
    pub(super) run_id: Option<String>,
    pub(super) run_link: Option<String>,
    /// Where its files lie, when the source is only a name for them.
    pub(super) stored: Option<String>,
    pub(super) status: Option<String>,
}

impl Said {
    fn from_row(row: &mut Row) -> Result<Self, ImportError> {
        Ok(Self {
            version: row.take(1)?,
            created_at_ms: row.take::<Option<i64>>(2)?.unwrap_or_default(),
            updated_at_ms: row.take(3)?,
            description: row.take(4)?,
            stage: row.take(5)?,
            source: row.take(6)?,
            run_id: row.take(7)?,
            run_link: row.take(8)?,
            stored: row.take(9)?,
            status: row.take(10)?,
        })
    }
}

/// A version without its tags.
pub(super) fn version(said: Said, importer: &mut Importer) -> ImportedVersion {
    let deleted = said.stage.as_deref() == Some(DELETED);
    let source = given(said.source).unwrap_or_default();
    let moved = |uri: &str| importer.copying.moved(uri);
    let source = moved(&source).or_else(|| given(said.stored).as_deref().and_then(moved)).unwrap_or(source);
    let model_id = source.strip_prefix("models:/").filter(|id| !id.contains('/')).map(ToOwned::to_owned);
    if !deleted && said.status.is_some_and(|status| status != "READY") {
        let why = "MLflow had not finished them; here a version is ready at once";
        importer.report.miss("states of versions", 1, why);
    }
    ImportedVersion {
        version: said.version,
        description: said.description.unwrap_or_default(),
        source,
        run_id: given(said.run_id),
        run_link: given(said.run_link),
        model_id,
        stage: said.stage.and_then(|s| Stage::parse(&s)).unwrap_or(Stage::None),
        deleted,
        created_at_ms: said.created_at_ms,
        updated_at_ms: said.updated_at_ms.unwrap_or(said.created_at_ms),
        tags: Vec::new(),
        origins: Vec::new(),
        manifest: None,
    }
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
