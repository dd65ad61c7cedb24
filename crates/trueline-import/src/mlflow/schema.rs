//! Which schema a database of MLflow has: its head, the tables and columns that are there, and what of it has no place here.

use crate::ImportError;
use crate::importer::Importer;
use std::collections::{BTreeMap, BTreeSet};
use trueline_db::{DbError, Dialect, Tx, Value};

/// The workspace of databases that have none, and of those that never used another.
pub(super) const DEFAULT_WORKSPACE: &str = "default";

/// Heads that imports were tried with, by the first version of MLflow that made them.
const HEADS: [(&str, &str); 10] = [
    ("0584bdc529eb", "2.22"),
    ("bda7b8c39065", "3.0"),
    ("71994744cf8e", "3.4"),
    ("bf29a5ff90ea", "3.5"),
    ("d3e4f5a6b7c8", "3.9"),
    ("1b5f0d9ad7c1", "3.10"),
    ("da6fb0208061", "3.13"),
    ("b7e4c1a90f23", "3.14"),
    ("dc11669786a5", "3.17"),
    ("f4a9b2c7d1e6", "3.18"),
];

/// Why some things are not taken.
const NO_IMPORT: &str = "an import of them is not offered";

/// Tables whose rows have no place here, with what they are.
const REST: [(&str, &str); 5] = [
    ("webhooks", "webhooks"),
    ("secrets", "secrets of the gateway"),
    ("endpoints", "endpoints of the gateway"),
    ("review_queues", "review queues"),
    ("jobs", "jobs"),
];

/// The tables of a database with their columns.
pub(super) struct Schema {
    tables: BTreeMap<String, BTreeSet<String>>,
    workspace: String,
}

impl Schema {
    /// Reads what there is.
    ///
    /// # Errors
    /// [`ImportError::Source`] when it is no database of MLflow's, or has no such workspace.
    pub(super) fn read(
        tx: &mut Tx<'_>,
        workspace: &str,
        importer: &mut Importer,
    ) -> Result<Self, ImportError> {
        let tables = tables(tx)?;
        let source = importer.report.source.clone();
        if !tables.contains_key("runs") || !tables.contains_key("experiments") {
            return Err(ImportError::source(
                &source,
                "there are no tables of MLflow in it; name the database of its --backend-store-uri",
            ));
        }
        let schema = Self { tables, workspace: workspace.to_owned() };
        let head: Option<String> = match schema.has("alembic_version", "version_num") {
            true => tx.scalar("SELECT version_num FROM alembic_version", &[])?,
            false => None,
        };
        let known = HEADS.iter().find(|(known, _)| head.as_deref() == Some(known));
        importer.report.source = match (&head, known) {
            (_, Some((head, version))) => format!("{source} (schema {head}, MLflow {version})"),
            (Some(head), None) => format!("{source} (schema {head})"),
            (None, None) => source.clone(),
        };
        if known.is_none() {
            importer.report.miss(
                "schema",
                1,
                "it is not one of those that imports were tried with; what is in columns that are not known was not read",
            );
        }
        schema.check_workspace(tx, &source, importer)?;
        Ok(schema)
    }

    fn check_workspace(
        &self,
        tx: &mut Tx<'_>,
        source: &str,
        importer: &mut Importer,
    ) -> Result<(), ImportError> {
        if !self.has("experiments", "workspace") {
            return match self.workspace.as_str() {
                DEFAULT_WORKSPACE => Ok(()),
                _ => Err(ImportError::source(source, "it has no workspaces; leave --workspace out")),
            };
        }
        let mut others = Vec::new();
        let rows = tx.query("SELECT workspace, COUNT(*) FROM experiments GROUP BY workspace", &[])?;
        let mut found = self.workspace == DEFAULT_WORKSPACE;
        for mut row in rows {
            let (name, count): (String, i64) = (row.take(0)?, row.take(1)?);
            match name == self.workspace {
                true => found = true,
                false => others.push((name, count)),
            }
        }
        if !found {
            let names: Vec<&str> = others.iter().map(|(name, _)| name.as_str()).collect();
            return Err(ImportError::source(
                source,
                format!("it has no workspace `{}`, but {}", self.workspace, names.join(", ")),
            ));
        }
        for (name, count) in others {
            importer.report.miss(
                "experiments",
                count.unsigned_abs(),
                format!(
                    "they are in workspace `{name}`; import it into a project of its own: --workspace {name} --project \
                     <project>"
                ),
            );
        }
        Ok(())
    }

    pub(super) fn has_table(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.tables.get(table).is_some_and(|columns| columns.contains(column))
    }

    /// A column, or NULL in its place where the table does not have it.
    pub(super) fn column(&self, table: &str, column: &str) -> String {
        match self.has(table, column) {
            true => column.to_owned(),
            false => format!("NULL AS {column}"),
        }
    }

    /// Columns for a SELECT.
    pub(super) fn columns(&self, table: &str, columns: &[&str]) -> String {
        columns.iter().map(|column| self.column(table, column)).collect::<Vec<_>>().join(", ")
    }

    /// A condition on the workspace, with `?1` for its name, for tables that have one; it goes after another condition.
    pub(super) fn in_workspace(&self, table: &str) -> &'static str {
        match self.has(table, "workspace") {
            true => "workspace = ?1",
            // The parameter must be there for both databases, and of a known type.
            false => "CAST(?1 AS TEXT) = ?1",
        }
    }

    pub(super) fn workspace(&self) -> Value {
        self.workspace.as_str().into()
    }

    /// Tells of tables whose rows were not taken.
    pub(super) fn rest(&self, tx: &mut Tx<'_>, importer: &mut Importer) -> Result<(), ImportError> {
        for (table, what) in REST {
            if !self.has_table(table) {
                continue;
            }
            let count: Option<i64> = tx.scalar(&format!("SELECT COUNT(*) FROM {table}"), &[])?;
            importer.report.miss(what, count.unwrap_or(0).unsigned_abs(), NO_IMPORT);
        }
        Ok(())
    }
}

fn tables(tx: &mut Tx<'_>) -> Result<BTreeMap<String, BTreeSet<String>>, DbError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
             WHERE table_schema = current_schema()"
        }
    };
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mut row in tx.query(sql, &[])? {
        tables.entry(row.take(0)?).or_default().insert(row.take(1)?);
    }
    Ok(tables)
}
