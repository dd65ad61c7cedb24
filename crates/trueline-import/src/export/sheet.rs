//! Rows on their way into MLflow's tables: gathered, cut to what the columns hold, and written in an order that their
//! references allow.

use super::schema::{self, Facts};
use crate::ImportError;
use std::collections::{BTreeMap, HashMap};
use trueline_db::{Dialect, NewDatabase, Value};

/// Rows that wait at the most.
const WAITING: usize = 20_000;

/// A table with the columns that are written, in their order.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// Columns that hold addresses. One that is cut leads nowhere, so SQLite, which has no limits, gets them whole.
const ADDRESSES: [&str; 5] = ["artifact_uri", "artifact_location", "source", "storage_location", "run_link"];

/// The database that is made.
pub(super) struct Sheet {
    db: NewDatabase,
    facts: HashMap<&'static str, Facts>,
    waiting: BTreeMap<usize, (&'static Table, Vec<Vec<Value>>)>,
    rows: usize,
    /// How many values were cut, by table, column and limit.
    cut: BTreeMap<(&'static str, &'static str, usize), u64>,
}

impl Sheet {
    /// Makes the tables.
    pub(super) fn new(mut db: NewDatabase) -> Result<Self, ImportError> {
        db.run(&schema::tables(db.dialect())).map_err(ImportError::Target)?;
        Ok(Self { db, facts: schema::facts(), waiting: BTreeMap::new(), rows: 0, cut: BTreeMap::new() })
    }

    /// Adds a row, with a value for each column.
    pub(super) fn put(&mut self, table: &'static Table, mut row: Vec<Value>) -> Result<(), ImportError> {
        debug_assert_eq!(table.columns.len(), row.len(), "{}", table.name);
        let facts = self.facts.get(table.name);
        for (column, value) in table.columns.iter().zip(&mut row) {
            let Value::Text(text) = value else { continue };
            let Some(longest) = facts.and_then(|facts| facts.longest(column)) else { continue };
            if text.len() <= longest || (self.db.dialect() == Dialect::Sqlite && ADDRESSES.contains(column)) {
                continue;
            }
            if let Some((end, _)) = text.char_indices().nth(longest) {
                text.truncate(end);
                *self.cut.entry((table.name, column, longest)).or_default() += 1;
            }
        }
        let place = facts.map_or(usize::MAX, |facts| facts.place);
        self.waiting.entry(place).or_insert_with(|| (table, Vec::new())).1.push(row);
        self.rows += 1;
        if self.rows >= WAITING { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        for (table, rows) in self.waiting.values_mut() {
            self.db.insert(table.name, table.columns, rows).map_err(ImportError::Target)?;
            rows.clear();
        }
        self.rows = 0;
        Ok(())
    }

    /// Makes the indexes and has the database be there; answers how many values of what were cut to what length.
    pub(super) fn finish(
        mut self,
    ) -> Result<BTreeMap<(&'static str, &'static str, usize), u64>, ImportError> {
        self.flush()?;
        let indexes = schema::indexes(self.db.dialect());
        self.db.run(&indexes).map_err(ImportError::Target)?;
        self.db.finish().map_err(ImportError::Target)?;
        Ok(self.cut)
    }
}
