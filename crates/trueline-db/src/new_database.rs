//! A database for another program: made from nothing, filled with rows, and only then there. It has neither ledger nor
//! migrations; what its tables mean is the caller's matter.

use crate::postgres_backend;
use crate::tx::{Dialect, PgConnection};
use crate::{DbError, Value};
use rusqlite::Connection;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Rows take up so many bytes of a copy before they are sent.
const COPIED: usize = 256 * 1024;

/// A database on its way. One that is dropped before [`NewDatabase::finish`] leaves nothing behind.
pub struct NewDatabase(Kind);

enum Kind {
    Sqlite(NewFile),
    Postgres(Box<PgConnection>),
}

/// An SQLite database under another name until it is whole.
struct NewFile {
    connection: Option<Connection>,
    beside: PathBuf,
    target: PathBuf,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            // What can't be removed is written over by the next one.
            drop(fs::remove_file(&self.beside));
        }
    }
}

impl NewFile {
    fn connection(&self) -> Result<&Connection, DbError> {
        self.connection.as_ref().ok_or(DbError::Gone)
    }

    fn finish(mut self) -> Result<(), DbError> {
        let connection = self.connection()?;
        connection.execute_batch("COMMIT")?;
        let disk = |e: std::io::Error| DbError::Other(format!("can't keep {}: {e}", self.target.display()));
        File::open(&self.beside).and_then(|file| file.sync_all()).map_err(disk)?;
        fs::rename(&self.beside, &self.target).map_err(disk)?;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
        self.connection = None;
        Ok(())
    }
}

impl NewDatabase {
    /// A new SQLite file. It is written beside `target`, under the same name with `.part`.
    ///
    /// # Errors
    /// When there is such a file, or none can be made.
    pub fn sqlite(target: &Path) -> Result<Self, DbError> {
        if target.exists() {
            return Err(DbError::Other(format!("there is a file {} already", target.display())));
        }
        let mut beside = target.as_os_str().to_owned();
        beside.push(".part");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DbError::Other(format!("can't write {}: {error}", beside.display())));
            }
            _ => {}
        }
        let connection = Connection::open(&beside)?;
        // Half a file is thrown away, so nothing must be undone nor survive in between.
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -65536)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Self(Kind::Sqlite(NewFile { connection: Some(connection), beside, target: target.to_owned() })))
    }

    /// A PostgreSQL database that is there and has no tables; what is written is one transaction.
    ///
    /// # Errors
    /// When it can't be reached, or is not empty.
    pub fn postgres(url: &str) -> Result<Self, DbError> {
        let mut connection = postgres_backend::connect(url)?;
        connection.client.batch_execute(
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL SERIALIZABLE",
        )?;
        let sql = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()";
        let tables: i64 = connection.client.query_one(sql, &[])?.try_get(0)?;
        if tables > 0 {
            return Err(DbError::Other(format!("the database is not empty: it has {tables} tables")));
        }
        Ok(Self(Kind::Postgres(Box::new(connection))))
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.0 {
            Kind::Sqlite(_) => Dialect::Sqlite,
            Kind::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs statements without parameters, as they make tables and indexes.
    ///
    /// # Errors
    /// What the database says.
    pub fn run(&mut self, sql: &str) -> Result<(), DbError> {
        match &mut self.0 {
            Kind::Sqlite(file) => Ok(file.connection()?.execute_batch(sql)?),
            Kind::Postgres(connection) => Ok(connection.client.batch_execute(sql)?),
        }
    }

    /// Adds rows to a table, each with a value for every column.
    ///
    /// # Errors
    /// What the database says.
    pub fn insert(&mut self, table: &str, columns: &[&str], rows: &[Vec<Value>]) -> Result<(), DbError> {
        if rows.is_empty() {
            return Ok(());
        }
        let names = columns.join(", ");
        match &mut self.0 {
            Kind::Sqlite(file) => {
                let marks = vec!["?"; columns.len()].join(", ");
                let sql = format!("INSERT INTO {table} ({names}) VALUES ({marks})");
                let mut statement = file.connection()?.prepare_cached(&sql)?;
                for row in rows {
                    statement.execute(rusqlite::params_from_iter(row))?;
                }
            }
            Kind::Postgres(connection) => {
                let mut copy = connection.client.copy_in(&format!("COPY {table} ({names}) FROM STDIN"))?;
                let mut text = String::with_capacity(COPIED + 4096);
                let lost = |e: std::io::Error| DbError::Unreachable(e.to_string());
                for row in rows {
                    put_row(&mut text, row);
                    if text.len() >= COPIED {
                        copy.write_all(text.as_bytes()).map_err(lost)?;
                        text.clear();
                    }
                }
                copy.write_all(text.as_bytes()).map_err(lost)?;
                copy.finish()?;
            }
        }
        Ok(())
    }

    /// Has all of it be there, durably.
    ///
    /// # Errors
    /// What the database or the disk says; then nothing is there.
    pub fn finish(self) -> Result<(), DbError> {
        match self.0 {
            Kind::Sqlite(file) => file.finish(),
            Kind::Postgres(mut connection) => Ok(connection.client.batch_execute("COMMIT")?),
        }
    }
}

/// A row in the text form of PostgreSQL's `COPY`.
fn put_row(out: &mut String, row: &[Value]) {
    for (i, value) in row.iter().enumerate() {
        if i > 0 {
            out.push('\t');
        }
        match value {
            Value::Null => out.push_str("\\N"),
            // Writing to a string can't fail.
            Value::Int(v) => drop(write!(out, "{v}")),
            Value::Real(v) => drop(write!(out, "{v:e}")),
            Value::Text(v) => v.chars().for_each(|c| match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c => out.push(c),
            }),
            Value::Bytes(v) => {
                out.push_str("\\\\x");
                out.push_str(&hex::encode(v));
            }
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_as_copy_reads_it() {
        let mut out = String::new();
        let row = [Value::Null, 7i64.into(), f64::MAX.into(), "a\tb\\\nc".into(), Value::Bytes(vec![1, 255])];
        put_row(&mut out, &row);
        assert_eq!(out, "\\N\t7\t1.7976931348623157e308\ta\\tb\\\\\\nc\t\\\\x01ff\n");
    }

    #[test]
    fn a_file_is_there_when_it_is_whole_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.db");
        let make = || {
            let mut new = NewDatabase::sqlite(&target).unwrap();
            new.run("CREATE TABLE t (a TEXT, b BIGINT)").unwrap();
            new.insert("t", &["a", "b"], &[vec!["x".into(), 1i64.into()], vec![Value::Null, 2i64.into()]])
                .unwrap();
            new
        };
        drop(make());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        make().finish().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let count: i64 =
            Connection::open(&target).unwrap().query_row("SELECT SUM(b) FROM t", [], |r| r.get(0)).unwrap();
        assert_eq!(count, 3);
        assert!(NewDatabase::sqlite(&target).is_err(), "nothing is written over");
    }
}
