//! What a job sees: statements in the common subset of SQLite and PostgreSQL, with `?1`, `?2`, … for
//! parameters. How the transaction around it begins and ends is the backends' matter.

use crate::{DbError, FromValue, Value};
use std::collections::HashMap;

/// Which database a transaction runs on, for the few statements that need a native form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3, bundled.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A transaction in progress.
///
/// A statement that fails dooms the transaction on both databases: whatever the job returns afterwards, its
/// writes are rolled back. Use `ON CONFLICT` where a conflict is expected.
pub struct Tx<'c> {
    backend: Backend<'c>,
    changed: u64,
    failure: Option<DbError>,
    /// When set, the only tables that may be written.
    only: Option<&'static [&'static str]>,
    /// Inserts that go with the next statement, each into another table.
    later: Vec<(String, Vec<Value>)>,
}

pub(crate) enum Backend<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c mut PgConnection),
}

/// A PostgreSQL connection with the statements that were prepared on it.
pub(crate) struct PgConnection {
    pub(crate) client: postgres::Client,
    statements: HashMap<String, postgres::Statement>,
}

/// How many prepared statements a PostgreSQL connection keeps; searches make their text at run time.
const PREPARED: usize = 512;

impl PgConnection {
    pub(crate) fn new(client: postgres::Client) -> Self {
        Self { client, statements: HashMap::new() }
    }

    fn statement(&mut self, sql: &str) -> Result<postgres::Statement, postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&dollars(sql))?;
        if self.statements.len() >= PREPARED
            && let Some(any) = self.statements.keys().next().cloned()
        {
            self.statements.remove(&any);
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Rows that one statement inserts at the most.
const ROWS_AT_ONCE: usize = 32;

/// How many of so many rows go with the next statement: all of few, else a power of two, so that there are few statements
/// to prepare.
fn rows_at_once(left: usize) -> usize {
    match left {
        0..=16 => left,
        _ => ROWS_AT_ONCE.min(1 << left.ilog2()),
    }
}

/// The placeholders of so many rows: `(?1, ?2), (?3, ?4)`.
fn placeholders(rows: usize, columns: usize) -> String {
    let row = |at: usize| {
        let each: Vec<String> = (1..=columns).map(|i| format!("?{}", at * columns + i)).collect();
        format!("({})", each.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// INSERTs as one statement of PostgreSQL's: all but the last are in its `WITH`.
fn together(inserts: &[(String, Vec<Value>)]) -> (String, Vec<Value>) {
    let (mut sql, mut all) = (String::new(), Vec::new());
    for (i, (insert, params)) in inserts.iter().enumerate() {
        let insert = numbered_from(insert, all.len());
        let last = i + 1 == inserts.len();
        sql.push_str(match (i, last) {
            (_, true) => " ",
            (0, false) => "WITH ",
            _ => ", ",
        });
        sql.push_str(&if last { insert } else { format!("i{i} AS ({insert})") });
        all.extend_from_slice(params);
    }
    (sql, all)
}

/// A statement whose parameters have numbers that are greater by `before`.
fn numbered_from(sql: &str, before: usize) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut quoted = false;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        quoted ^= c == '\'';
        out.push(c);
        if c == '?' && !quoted {
            let mut number = 0;
            while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                number = number * 10 + digit as usize;
                rest.next();
            }
            out.push_str(&(number + before).to_string());
        }
    }
    out
}

/// Turns `?1` into `$1`, outside of quoted text.
fn dollars(sql: &str) -> String {
    let mut quoted = false;
    sql.chars()
        .map(|c| match c {
            '\'' => {
                quoted = !quoted;
                c
            }
            '?' if !quoted => '$',
            _ => c,
        })
        .collect()
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| c.is_whitespace() || c == '(').filter(|w| !w.is_empty())
}

/// The table that an INSERT, UPDATE or DELETE names.
fn written_table(sql: &str) -> Option<&str> {
    let mut words = words(sql);
    let verb = words.next()?.to_ascii_uppercase();
    match verb.as_str() {
        "UPDATE" => words.next(),
        "INSERT" | "DELETE" => words.nth(1),
        _ => None,
    }
}

/// Whether a statement that returns rows only reads. Common table expressions can hide a write on PostgreSQL.
fn reads_only(sql: &str) -> bool {
    let mut words = words(sql);
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    match verb.as_str() {
        "SELECT" | "VALUES" => true,
        "WITH" => !words
            .any(|w| ["INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|verb| w.eq_ignore_ascii_case(verb))),
        _ => false,
    }
}

/// PostgreSQL can't keep NUL in text; SQLite could, and nobody should find that out when moving from one to the other.
fn refuse_nul(params: &[Value]) -> Result<(), DbError> {
    match params.iter().any(|p| matches!(p, Value::Text(text) if text.contains('\0'))) {
        true => Err(DbError::Nul),
        false => Ok(()),
    }
}

/// One row of an answer; columns are taken out by position.
#[derive(Debug)]
pub struct Row {
    values: Vec<Value>,
}

impl Row {
    /// Takes column `i` (from 0) out of the row.
    ///
    /// # Errors
    /// [`DbError::Type`] when it has another type, or was taken already.
    pub fn take<T: FromValue>(&mut self, i: usize) -> Result<T, DbError> {
        let value = self.values.get_mut(i).map_or(Value::Null, |v| std::mem::replace(v, Value::Null));
        T::from_value(value, i)
    }
}

impl<'c> Tx<'c> {
    pub(crate) fn new(backend: Backend<'c>) -> Self {
        Self { backend, changed: 0, failure: None, only: None, later: Vec::new() }
    }

    /// Which database this runs on.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self.backend {
            Backend::Sqlite(_) => Dialect::Sqlite,
            Backend::Postgres(_) => Dialect::Postgres,
        }
    }

    /// How many rows this transaction has inserted, updated or deleted so far.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// Allows writes to `tables` alone from here on.
    pub(crate) fn restrict(&mut self, tables: &'static [&'static str]) {
        self.only = Some(tables);
    }

    fn check_table(&self, sql: &str) -> Result<(), DbError> {
        let Some(only) = self.only else { return Ok(()) };
        let table = written_table(sql).unwrap_or("?");
        if only.contains(&table) {
            return Ok(());
        }
        Err(DbError::Other(format!("a write to `{table}` without an event; only the ledger may do that")))
    }

    pub(crate) fn take_failure(&mut self) -> Option<DbError> {
        self.failure.take()
    }

    /// Runs a statement that returns no rows; answers how many it touched.
    ///
    /// # Errors
    /// What the database says; the transaction is doomed then.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let allowed = self.check_table(sql).and_then(|()| refuse_nul(params));
        self.note(allowed)?;
        self.flush()?;
        let touched = self.run(sql, params)?;
        self.changed += touched;
        Ok(touched)
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let touched = match &mut self.backend {
            Backend::Sqlite(c) => sqlite_execute(c, sql, params),
            Backend::Postgres(c) => postgres_execute(c, sql, params),
        };
        self.note(touched)
    }

    /// Runs an INSERT of which nobody needs to know how many rows it touched. PostgreSQL gets those that follow each other,
    /// each into another table, at once, since a way there and back costs more than most of them: when the next statement
    /// is run, or at the end of the transaction.
    ///
    /// # Errors
    /// What the database says, of this one or of another one before it; the transaction is doomed then.
    pub fn insert(&mut self, sql: &str, params: Vec<Value>) -> Result<(), DbError> {
        if let Backend::Sqlite(_) = self.backend {
            return self.execute(sql, &params).map(drop);
        }
        let allowed = self.check_table(sql).and_then(|()| refuse_nul(&params));
        self.note(allowed)?;
        // What goes together is in no order, which is only seen where the same table gets rows twice.
        if self.later.iter().any(|(other, _)| written_table(other) == written_table(sql)) {
            self.flush()?;
        }
        self.later.push((sql.to_owned(), params));
        self.changed += 1;
        Ok(())
    }

    /// Sends what was left for later.
    pub(crate) fn flush(&mut self) -> Result<(), DbError> {
        match std::mem::take(&mut self.later).as_slice() {
            [] => Ok(()),
            [(sql, params)] => self.run(sql, params).map(drop),
            several => {
                let (sql, params) = together(several);
                self.run(&sql, &params).map(drop)
            }
        }
    }

    /// Inserts rows, several with each statement: `head` is the statement as far as the names of its columns, `tail` what
    /// follows the values. No two rows may be the same for the constraint that an `ON CONFLICT` in it names.
    ///
    /// # Errors
    /// As for [`Tx::insert`].
    pub fn insert_rows(&mut self, head: &str, rows: Vec<Vec<Value>>, tail: &str) -> Result<(), DbError> {
        let mut left = rows.into_iter();
        while let Some(first) = left.as_slice().first() {
            let n = rows_at_once(left.len());
            let sql = format!("{head} VALUES {} {tail}", placeholders(n, first.len()));
            let params: Vec<Value> = left.by_ref().take(n).flatten().collect();
            self.insert(&sql, params)?;
        }
        Ok(())
    }

    /// Runs a statement and gathers its rows. One with `RETURNING` is a write like any other: its table is checked and its
    /// rows are counted as changed.
    ///
    /// # Errors
    /// What the database says, or that it is neither a read nor a plain write; the transaction is doomed then.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let writes = !reads_only(sql);
        let allowed = match written_table(sql) {
            _ if !writes => Ok(()),
            Some(_) => self.check_table(sql),
            None => Err(DbError::Other(format!("neither a read nor a plain write: {sql}"))),
        };
        self.note(allowed.and_then(|()| refuse_nul(params)))?;
        self.flush()?;
        let rows = match &mut self.backend {
            Backend::Sqlite(c) => sqlite_query(c, sql, params),
            Backend::Postgres(c) => postgres_query(c, sql, params),
        };
        let rows = self.note(rows)?;
        if writes {
            self.changed += rows.len() as u64;
        }
        Ok(rows)
    }

    /// Runs a read and shows its rows to `see` one by one, so that a long answer is never held as a whole.
    ///
    /// # Errors
    /// As for [`Tx::query`], and what `see` says; it ends the reading.
    pub fn each<E: From<DbError>>(
        &mut self,
        sql: &str,
        params: &[Value],
        mut see: impl FnMut(&mut Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let allowed = match reads_only(sql) {
            true => refuse_nul(params),
            false => Err(DbError::Other(format!("not a read: {sql}"))),
        };
        self.note(allowed)?;
        self.flush()?;
        let mut row = Row { values: Vec::new() };
        let mut refused = None;
        let mut show = |row: &mut Row| see(row).map_err(|e| refused = Some(e)).is_ok();
        let read = match &mut self.backend {
            Backend::Sqlite(c) => sqlite_each(c, sql, params, &mut row, &mut show),
            Backend::Postgres(c) => postgres_each(c, sql, params, &mut row, &mut show),
        };
        self.note(read)?;
        refused.map_or(Ok(()), Err)
    }

    /// The first row of an answer, if there is one.
    ///
    /// # Errors
    /// As for [`Tx::query`].
    pub fn query_opt(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// The first column of the first row, if there is one.
    ///
    /// # Errors
    /// As for [`Tx::query`], and [`DbError::Type`].
    pub fn scalar<T: FromValue>(&mut self, sql: &str, params: &[Value]) -> Result<Option<T>, DbError> {
        self.query_opt(sql, params)?.map(|mut row| row.take(0)).transpose()
    }

    /// Runs several statements without parameters; for migrations.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        let done = match &mut self.backend {
            Backend::Sqlite(c) => c.execute_batch(sql).map_err(DbError::from),
            Backend::Postgres(c) => c.client.batch_execute(sql).map_err(DbError::from),
        };
        self.note(done)
    }

    fn note<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        if let Err(error) = &result {
            self.failure = Some(error.clone());
        }
        result
    }
}

fn sqlite_execute(c: &rusqlite::Connection, sql: &str, params: &[Value]) -> Result<u64, DbError> {
    let touched = c.prepare_cached(sql)?.execute(rusqlite::params_from_iter(params))?;
    Ok(touched as u64)
}

fn sqlite_query(c: &rusqlite::Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
    let mut out = Vec::new();
    sqlite_each(c, sql, params, &mut Row { values: Vec::new() }, &mut |row| {
        out.push(Row { values: std::mem::take(&mut row.values) });
        true
    })?;
    Ok(out)
}

/// Fills `shown` with each row in turn, until `see` has seen enough.
fn sqlite_each(
    c: &rusqlite::Connection,
    sql: &str,
    params: &[Value],
    shown: &mut Row,
    see: &mut dyn FnMut(&mut Row) -> bool,
) -> Result<(), DbError> {
    let mut statement = c.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(params))?;
    while let Some(row) = rows.next()? {
        shown.values.clear();
        shown.values.reserve_exact(columns);
        for i in 0..columns {
            shown.values.push(from_sqlite(row.get_ref(i)?));
        }
        if !see(shown) {
            break;
        }
    }
    Ok(())
}

fn from_sqlite(value: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(v) => Value::Int(v),
        ValueRef::Real(v) => Value::Real(v),
        ValueRef::Text(v) => Value::Text(String::from_utf8_lossy(v).into_owned()),
        ValueRef::Blob(v) => Value::Bytes(v.to_vec()),
    }
}

fn postgres_execute(c: &mut PgConnection, sql: &str, params: &[Value]) -> Result<u64, DbError> {
    let statement = c.statement(sql)?;
    let params: Vec<_> = params.iter().map(|p| p as &(dyn postgres::types::ToSql + Sync)).collect();
    Ok(c.client.execute(&statement, &params)?)
}

fn postgres_query(c: &mut PgConnection, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
    let mut out = Vec::new();
    postgres_each(c, sql, params, &mut Row { values: Vec::new() }, &mut |row| {
        out.push(Row { values: std::mem::take(&mut row.values) });
        true
    })?;
    Ok(out)
}

/// Fills `shown` with each row in turn, until `see` has seen enough.
fn postgres_each(
    c: &mut PgConnection,
    sql: &str,
    params: &[Value],
    shown: &mut Row,
    see: &mut dyn FnMut(&mut Row) -> bool,
) -> Result<(), DbError> {
    use postgres::fallible_iterator::FallibleIterator;
    let statement = c.statement(sql)?;
    let mut rows = c.client.query_raw(&statement, params)?;
    while let Some(row) = rows.next()? {
        shown.values.clear();
        for i in 0..row.len() {
            shown.values.push(from_postgres(&row, i)?);
        }
        if !see(shown) {
            break;
        }
    }
    Ok(())
}

fn from_postgres(row: &postgres::Row, i: usize) -> Result<Value, DbError> {
    use postgres::types::Type;
    let ty = row.columns()[i].type_();
    let value = match *ty {
        Type::INT8 => row.try_get::<_, Option<i64>>(i)?.into(),
        Type::INT4 => row.try_get::<_, Option<i32>>(i)?.into(),
        Type::BOOL => row.try_get::<_, Option<bool>>(i)?.into(),
        Type::FLOAT8 => row.try_get::<_, Option<f64>>(i)?.into(),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(i)?.into(),
        _ => row.try_get::<_, Option<String>>(i)?.into(),
    };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{dollars, reads_only, together, written_table};

    #[test]
    fn the_written_table_is_found() {
        assert_eq!(written_table("INSERT INTO a(x) VALUES (1)"), Some("a"));
        assert_eq!(written_table("  UPDATE b SET x = 1"), Some("b"));
        assert_eq!(written_table("DELETE FROM c WHERE 1 = 1"), Some("c"));
        assert_eq!(written_table("WITH x AS (SELECT 1) INSERT INTO d SELECT 1"), None);
    }

    #[test]
    fn a_write_is_told_from_a_read() {
        for read in
            ["SELECT 1", " select x FROM t FOR UPDATE", "VALUES (1)", "WITH a AS (SELECT 1) SELECT * FROM a"]
        {
            assert!(reads_only(read), "{read}");
        }
        for write in [
            "UPDATE t SET x = 1 RETURNING x",
            "INSERT INTO t VALUES (1) RETURNING x",
            "WITH gone AS (DELETE FROM t RETURNING x) SELECT x FROM gone",
            "PRAGMA user_version = 1",
            "",
        ] {
            assert!(!reads_only(write), "{write}");
        }
    }

    #[test]
    fn inserts_become_one_statement_with_parameters_of_their_own() {
        let insert = |table: &str, n: i64| {
            (
                format!("INSERT INTO {table} (a, b) VALUES (?2, '?1'), (?1, ?2)"),
                vec![n.into(), (n + 1).into()],
            )
        };
        let (sql, params) = together(&[insert("x", 1), insert("y", 3), insert("z", 5)]);
        let values = |a: u32, b: u32| format!("VALUES (?{b}, '?1'), (?{a}, ?{b})");
        let expected = format!(
            "WITH i0 AS (INSERT INTO x (a, b) {}), i1 AS (INSERT INTO y (a, b) {}) INSERT INTO z (a, b) {}",
            values(1, 2),
            values(3, 4),
            values(5, 6)
        );
        assert_eq!(sql, expected);
        assert_eq!(params, (1i64..=6).map(Into::into).collect::<Vec<_>>());
    }

    #[test]
    fn placeholders_become_dollars_outside_of_quotes() {
        assert_eq!(dollars("a = ?1 AND b = '?' AND c = ?12"), "a = $1 AND b = '?' AND c = $12");
    }
}
