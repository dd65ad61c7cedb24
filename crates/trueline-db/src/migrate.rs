//! Forward-only migrations, run at start. Each crate that owns tables brings a [`Module`]; a database that is
//! newer than the binary, or was made by other migrations, is refused before anything is written.

use crate::DbError;
use crate::tx::{Backend, Dialect, PgConnection, Tx};
use sha2::{Digest, Sha256};

/// The tables of one crate, as the list of steps that make them.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// The owner, for example `tracking`.
    pub name: &'static str,
    /// Steps in order; only ever appended to.
    pub migrations: &'static [Migration],
}

/// One step. Its text is in the common subset: BIGINT, DOUBLE PRECISION, TEXT, BYTEA; `{serial}` stands for
/// a key that the database counts up, `{clustered}` after a table's columns for rows that lie in the order of its primary
/// key where the database has that.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// 1, 2, 3, …
    pub version: i64,
    /// One or more statements.
    pub sql: &'static str,
}

impl Migration {
    fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.sql.as_bytes()))
    }
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    module TEXT NOT NULL, version BIGINT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (module, version))";

/// Any number serves, as long as it is always the same: `trueline` on a telephone's keys.
const ADVISORY_LOCK: i64 = 8783_5463;

pub(crate) fn run_sqlite(c: &mut rusqlite::Connection, modules: &[Module]) -> Result<(), DbError> {
    c.execute_batch("BEGIN IMMEDIATE")?;
    let done = run(&mut Tx::new(Backend::Sqlite(c)), modules);
    c.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

pub(crate) fn run_postgres(c: &mut PgConnection, modules: &[Module]) -> Result<(), DbError> {
    c.client.batch_execute("BEGIN")?;
    // Another server may be at the same migration, and one over many rows takes its time.
    c.client.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10min'")?;
    c.client.batch_execute(&format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))?;
    let done = run(&mut Tx::new(Backend::Postgres(c)), modules);
    c.client.batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

fn run(tx: &mut Tx<'_>, modules: &[Module]) -> Result<(), DbError> {
    tx.batch(TABLE)?;
    refuse_newer(tx, modules)?;
    for module in modules {
        for step in module.migrations {
            let applied: Option<String> = tx.scalar(
                "SELECT digest FROM schema_migrations WHERE module = ?1 AND version = ?2",
                &[module.name.into(), step.version.into()],
            )?;
            match applied {
                Some(digest) if digest == step.digest() => {}
                Some(_) => {
                    return Err(DbError::Altered { module: module.name.to_owned(), version: step.version });
                }
                None => apply(tx, module, step)?,
            }
        }
    }
    Ok(())
}

fn refuse_newer(tx: &mut Tx<'_>, modules: &[Module]) -> Result<(), DbError> {
    for mut row in tx.query("SELECT module, MAX(version) FROM schema_migrations GROUP BY module", &[])? {
        let (name, found): (String, i64) = (row.take(0)?, row.take(1)?);
        let module = modules.iter().find(|m| m.name == name);
        let known = module.and_then(|m| m.migrations.last()).map_or(0, |m| m.version);
        if found > known {
            return Err(DbError::TooNew { module: name, found, known });
        }
    }
    Ok(())
}

fn apply(tx: &mut Tx<'_>, module: &Module, step: &Migration) -> Result<(), DbError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => step
            .sql
            .replace("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT")
            .replace("{clustered}", "WITHOUT ROWID"),
        // Text sorts and compares by its bytes on both, whatever the locale of the server.
        Dialect::Postgres => step
            .sql
            .replace("{serial}", "BIGSERIAL PRIMARY KEY")
            .replace("{clustered}", "")
            .replace(" TEXT", " TEXT COLLATE \"C\""),
    };
    tx.batch(&sql)?;
    tx.execute(
        "INSERT INTO schema_migrations (module, version, digest) VALUES (?1, ?2, ?3)",
        &[module.name.into(), step.version.into(), step.digest().into()],
    )?;
    tracing::info!(module = module.name, version = step.version, "migrated the database");
    Ok(())
}
