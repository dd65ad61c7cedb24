//! Rows on their way into MLflow's tables: gathered, cut to what the columns hold, and written in an order that their
//! references allow.

use super::schema::{self, Facts};
use crate::ImportError;
use std::collections::{BTreeMap, HashMap};
use trueline_db::{Dialect, NewDatabase, Value};

/// Rows that wait at the most,
const ROWS: usize = 20_000;
/// and the bytes of their texts.
const BYTES: usize = 32 * 1024 * 1024;

/// A table with the columns that are written, in their order.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// Columns that hold addresses: one that is cut leads nowhere.
const ADDRESSES: [&str; 5] = ["artifact_uri", "artifact_location", "source", "storage_location", "run_link"];

/// The database that is made.
pub(super) struct Sheet {
    db: NewDatabase,
    facts: HashMap<&'static str, Facts>,
    waiting: BTreeMap<usize, (&'static Table, Vec<Vec<Value>>)>,
    rows: usize,
    bytes: usize,
    too_long: TooLong,
}

/// How many values were too long, by table, column and limit.
#[derive(Debug, Default)]
pub(super) struct TooLong {
    /// These were cut.
    pub(super) cut: BTreeMap<(&'static str, &'static str, usize), u64>,
    /// These are what rows are known by, so that their rows were left out.
    pub(super) left_out: BTreeMap<(&'static str, &'static str, usize), u64>,
}

impl Sheet {
    /// Makes the tables.
    pub(super) fn new(mut db: NewDatabase) -> Result<Self, ImportError> {
        db.run(&schema::tables(db.dialect())).map_err(ImportError::Target)?;
        let (waiting, too_long) = (BTreeMap::new(), TooLong::default());
        Ok(Self { db, facts: schema::facts(), waiting, rows: 0, bytes: 0, too_long })
    }

    /// Which database is made.
    pub(super) fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    /// Adds a row, with a value for each column. Texts that are too long are cut; SQLite, which has no limits, gets keys and
    /// addresses whole.
    pub(super) fn put(&mut self, table: &'static Table, mut row: Vec<Value>) -> Result<(), ImportError> {
        debug_assert_eq!(table.columns.len(), row.len(), "{}", table.name);
        let facts = self.facts.get(table.name);
        let sqlite = self.db.dialect() == Dialect::Sqlite;
        for (column, value) in table.columns.iter().zip(&mut row) {
            let Value::Text(text) = value else { continue };
            self.bytes += text.len();
            let longest = facts.and_then(|facts| facts.longest(column)).unwrap_or(usize::MAX);
            // Bytes are at least as many as characters.
            if text.len() <= longest {
                continue;
            }
            let Some((end, _)) = text.char_indices().nth(longest) else { continue };
            let key = facts.is_some_and(|facts| facts.is_key(column));
            if sqlite && (key || ADDRESSES.contains(column)) {
                continue;
            }
            let counts = if key { &mut self.too_long.left_out } else { &mut self.too_long.cut };
            *counts.entry((table.name, column, longest)).or_default() += 1;
            if key {
                return Ok(());
            }
            text.truncate(end);
        }
        let place = facts.map_or(usize::MAX, |facts| facts.place);
        self.waiting.entry(place).or_insert_with(|| (table, Vec::new())).1.push(row);
        self.rows += 1;
        if self.rows >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        for (table, rows) in self.waiting.values_mut() {
            self.db.insert(table.name, table.columns, rows).map_err(ImportError::Target)?;
            rows.clear();
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Makes the indexes and has the database be there; answers what was too long.
    pub(super) fn finish(mut self) -> Result<TooLong, ImportError> {
        self.flush()?;
        let indexes = schema::indexes(self.db.dialect());
        self.db.run(&indexes).map_err(ImportError::Target)?;
        self.db.finish().map_err(ImportError::Target)?;
        Ok(self.too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trueline_db::Db;

    const MODELS: Table = Table { name: "registered_models", columns: &["name", "description"] };

    #[test]
    fn texts_are_cut_to_what_mlflow_has_room_for_but_keys_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.db");
        let mut sheet = Sheet::new(NewDatabase::sqlite(&path).unwrap()).unwrap();
        sheet.put(&MODELS, vec!["é".repeat(300).into(), "é".repeat(6000).into()]).unwrap();
        let too_long = sheet.finish().unwrap();
        assert_eq!(too_long.cut, BTreeMap::from([(("registered_models", "description", 5000), 1)]));
        assert!(too_long.left_out.is_empty());
        let lengths = Db::inspect(&path, |tx| {
            let sql = "SELECT LENGTH(name) + 10000 * LENGTH(description) FROM registered_models";
            tx.scalar::<i64>(sql, &[])
        });
        assert_eq!(lengths.unwrap(), Some(50_000_300));
    }
}
