//! SQL over rows that are put together for one question: a database of SQLite that is nobody else's, holds copies alone, and
//! is gone with the answer. What a question may take of time and memory is limited here; whose rows they are, the floors
//! above know.

use crate::QueryError;
use rusqlite::limits::Limit;
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, ErrorCode, params_from_iter};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The longest statement in bytes.
const LONGEST: i32 = 64 << 10;
/// The longest row in bytes while rows are put in: more than a record of the prediction log has, as JSON.
const LARGEST_RECORD: i32 = 64 << 20;
/// The longest text or blob, and the longest row, in bytes that a statement may make.
const LARGEST_VALUE: i32 = 4 << 20;
/// The most columns of an answer, of a table or of anything in between: together with the longest value they bound a row.
const MOST_COLUMNS: i32 = 64;
/// The most arguments of a function.
const MOST_ARGUMENTS: i32 = 16;
/// What a value takes of memory besides its text.
const VALUE_BYTES: usize = 32;
/// The most pages of 4 KiB that the tables may take, in memory and on disk.
const MOST_PAGES: u32 = 1 << 20;
/// The most bytes of files without a name that all questions of a server may have written together: their tables, and what
/// sorting and grouping needs besides.
const MOST_TEMPORARY: u64 = 8 << 30;
/// How often it is looked how many these are.
const LOOK: Duration = Duration::from_millis(250);
/// Pages are kept in memory up to so many KiB; what is more goes to a file without a name.
const CACHE_KIB: u32 = 64 << 10;

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// Missing.
    Null,
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
}

/// What an answer may be at most.
#[derive(Clone, Copy, Debug)]
pub struct SqlMost {
    /// Rows.
    pub rows: usize,
    /// Bytes of its texts, and 32 for each value.
    pub bytes: usize,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlAnswer {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<SqlValue>>,
    /// Whether there were more rows than asked for.
    pub truncated: bool,
}

/// Tables that one question is asked of.
#[derive(Debug)]
pub struct Sql {
    connection: Connection,
    /// Interrupts the connection when its time is over; ends when it is dropped.
    alarm: Alarm,
    time: Duration,
}

impl Sql {
    /// Makes the tables with a script of ours. `time` is what loading and asking may take together.
    ///
    /// # Errors
    /// [`QueryError::Sql`] when there is no room for them.
    pub fn begin(tables: &str, time: Duration) -> Result<Self, QueryError> {
        // Without a name: a file that no other process sees, made when memory does not do.
        let connection = Connection::open("")?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA max_page_count = {MOST_PAGES}; PRAGMA trusted_schema = OFF; {tables}"
        ))?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST_RECORD)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
        connection.execute_batch("BEGIN")?;
        let alarm = Alarm::set(&connection, time, MOST_TEMPORARY)?;
        Ok(Self { connection, alarm, time })
    }

    /// Adds a row to a table, a value for each of its columns.
    ///
    /// # Errors
    /// [`QueryError::Sql`] when it does not fit, or the time is over.
    pub fn insert(&self, statement: &str, row: impl IntoIterator<Item = SqlValue>) -> Result<(), QueryError> {
        let stored = row.into_iter().map(|value| match value {
            SqlValue::Null => Stored::Null,
            SqlValue::Int(whole) => Stored::Integer(whole),
            SqlValue::Float(number) => Stored::Real(number),
            SqlValue::Text(text) => Stored::Text(text),
        });
        let mut prepared = self.connection.prepare_cached(statement)?;
        prepared.execute(params_from_iter(stored)).map_err(|e| self.told(e))?;
        Ok(())
    }

    /// Asks with one statement that only reads.
    ///
    /// # Errors
    /// [`QueryError::Sql`] with what is wrong with the statement, or when it takes too long.
    pub fn ask(self, statement: &str, most: SqlMost) -> Result<SqlAnswer, QueryError> {
        self.connection.execute_batch("COMMIT")?;
        if !reads(statement) {
            return Err(QueryError::Sql(
                "a question is one SELECT; it may begin with WITH or VALUES".to_owned(),
            ));
        }
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE)?;
        self.connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, MOST_COLUMNS)?;
        self.connection.set_limit(Limit::SQLITE_LIMIT_FUNCTION_ARG, MOST_ARGUMENTS)?;
        let mut prepared = self.connection.prepare(statement).map_err(|e| self.told(e))?;
        if !prepared.readonly() {
            return Err(QueryError::Sql("a question only reads: it can't change the tables".to_owned()));
        }
        if prepared.parameter_count() > 0 {
            let told =
                "the statement has parameters, and there is nothing to put in their place: write values";
            return Err(QueryError::Sql(told.to_owned()));
        }
        let columns: Vec<String> = prepared.column_names().map(str::to_owned).collect();
        let mut answer = SqlAnswer { columns, rows: Vec::new(), truncated: false };
        let mut bytes = 0;
        let mut rows = prepared.query([]).map_err(|e| self.told(e))?;
        while let Some(row) = rows.next().map_err(|e| self.told(e))? {
            if answer.rows.len() == most.rows {
                answer.truncated = true;
                break;
            }
            let values = (0..answer.columns.len()).map(|i| Ok(value(row.get_ref(i)?)));
            let values = values.collect::<Result<Vec<_>, rusqlite::Error>>()?;
            bytes += values
                .iter()
                .map(|v| VALUE_BYTES + if let SqlValue::Text(text) = v { text.len() } else { 0 })
                .sum::<usize>();
            if bytes > most.bytes {
                return Err(QueryError::Sql(format!(
                    "the answer has more than {} bytes: ask for fewer columns or rows",
                    most.bytes
                )));
            }
            answer.rows.push(values);
        }
        Ok(answer)
    }

    fn told(&self, error: rusqlite::Error) -> QueryError {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => self.stopped(),
            Some(ErrorCode::DiskFull) => QueryError::TooMuch(format!(
                "what the question is about takes more than {} GiB, or the disk for temporary files is full: narrow it to \
                 an endpoint or a span of time",
                (u64::from(MOST_PAGES) * 4096) >> 30
            )),
            _ => error.into(),
        }
    }

    /// Runs a script of ours, as when all rows are in.
    ///
    /// # Errors
    /// [`QueryError::Sql`].
    pub fn run(&self, script: &str) -> Result<(), QueryError> {
        self.connection.execute_batch(script).map_err(|e| self.told(e))
    }

    /// Whether there is time and room left. Rows are put in one by one, each too quickly to be interrupted, so who does asks.
    ///
    /// # Errors
    /// [`QueryError::TooLong`], [`QueryError::TooMuch`].
    pub fn in_time(&self) -> Result<(), QueryError> {
        let stop = Instant::now() >= self.alarm.at || self.alarm.is_too_much();
        if stop { Err(self.stopped()) } else { Ok(()) }
    }

    /// When the time is over.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.alarm.at
    }

    /// Why the question is not answered any further.
    fn stopped(&self) -> QueryError {
        if self.alarm.is_too_much() {
            return QueryError::TooMuch(format!(
                "what sorting and grouping for the questions that are being answered needs takes more than {} GiB on the \
                 disk: ask for fewer rows, or sort and group less of them",
                self.alarm.most_temporary >> 30
            ));
        }
        let seconds = self.time.as_secs();
        QueryError::TooLong(format!(
            "the question took more than {seconds} s: narrow it to an endpoint or a span of time"
        ))
    }
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(match error {
            rusqlite::Error::MultipleStatement => "ask one statement at a time".to_owned(),
            // With the place, which SQLite tells in its own words.
            rusqlite::Error::SqlInputError { msg, sql, offset, .. } => {
                let at = usize::try_from(offset).ok().and_then(|offset| sql.get(offset..));
                let near: Option<String> = at.map(|rest| rest.chars().take(30).collect());
                match near.filter(|near| !near.is_empty()) {
                    Some(near) => format!("{msg}, at `{near}`"),
                    None => msg,
                }
            }
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            other => other.to_string(),
        })
    }
}

fn value(stored: ValueRef<'_>) -> SqlValue {
    match stored {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(whole) => SqlValue::Int(whole),
        ValueRef::Real(number) => SqlValue::Float(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            SqlValue::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// Whether a statement begins as one that reads. SQLite says itself whether one changes tables, and not of ATTACH or PRAGMA.
fn reads(statement: &str) -> bool {
    let mut rest = statement.trim_start();
    loop {
        let after = if let Some(line) = rest.strip_prefix("--") {
            line.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(block) = rest.strip_prefix("/*") {
            block.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            break;
        };
        rest = after.trim_start();
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    ["select", "with", "values"].contains(&word.to_ascii_lowercase().as_str())
}

/// A thread that interrupts a connection at a time, or when too much was written, unless it is dropped before.
#[derive(Debug)]
struct Alarm {
    at: Instant,
    most_temporary: u64,
    too_much: Arc<AtomicBool>,
    off: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Alarm {
    fn set(connection: &Connection, time: Duration, most_temporary: u64) -> Result<Self, QueryError> {
        /// An interrupt stops only what runs at its moment, so it is given until the connection is gone.
        const AGAIN: Duration = Duration::from_millis(50);
        let (handle, (off, is_off)) = (connection.get_interrupt_handle(), channel());
        let (at, too_much) = (Instant::now() + time, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&too_much);
        let thread = Builder::new().name("query-alarm".to_owned()).spawn(move || {
            let mut wait = time.min(LOOK);
            while is_off.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let left = at.saturating_duration_since(Instant::now());
                if !told.load(Relaxed) && !left.is_zero() && temporary_bytes() > most_temporary {
                    told.store(true, Relaxed);
                }
                wait = left.min(LOOK);
                if left.is_zero() || told.load(Relaxed) {
                    handle.interrupt();
                    wait = AGAIN;
                }
            }
        })?;
        Ok(Self { at, most_temporary, too_much, off: Some(off), thread: Some(thread) })
    }

    fn is_too_much(&self) -> bool {
        self.too_much.load(Relaxed)
    }
}

/// Bytes of the files without a name that this process has open: SQLite makes such, and nothing else here does. Only their
/// descriptors tell of them; where the system does not list these, none are counted.
fn temporary_bytes() -> u64 {
    let is_temporary = |fd: &Path| {
        let target = fs::read_link(fd).unwrap_or_default();
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // A file that never had a name, or one that SQLite has taken away itself.
        name.ends_with(" (deleted)") && (name.starts_with('#') || name.starts_with("etilqs_"))
    };
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return 0 };
    let files = open.flatten().map(|fd| fd.path()).filter(|fd| is_temporary(fd));
    files.filter_map(|fd| fs::metadata(fd).ok()).map(|file| file.len()).sum()
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.off = None;
        if let Some(thread) = self.thread.take() {
            // It only waits and interrupts.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: SqlMost = SqlMost { rows: 3, bytes: 1 << 20 };

    fn numbers(time: Duration) -> Sql {
        let sql = Sql::begin("CREATE TABLE numbers (n INTEGER, name TEXT)", time).unwrap();
        for (n, name) in [(1, "one"), (2, "two"), (3, "three"), (4, "four")] {
            let row = [SqlValue::Int(n), SqlValue::Text(name.to_owned())];
            sql.insert("INSERT INTO numbers VALUES (?1, ?2)", row).unwrap();
        }
        sql
    }

    fn ask(statement: &str) -> Result<SqlAnswer, String> {
        numbers(Duration::from_secs(60)).ask(statement, MOST).map_err(|e| e.to_string())
    }

    #[test]
    fn rows_are_answered_with_the_names_of_their_columns() {
        let answer =
            ask("-- how many\n SELECT n % 2 AS odd, count(*), avg(n) FROM numbers GROUP BY odd").unwrap();
        assert_eq!(answer.columns, ["odd", "count(*)", "avg(n)"]);
        let row = |odd, avg| vec![SqlValue::Int(odd), SqlValue::Int(2), SqlValue::Float(avg)];
        assert_eq!((answer.rows, answer.truncated), (vec![row(0, 3.0), row(1, 2.0)], false));
        let all = ask("/* all */ WITH x AS (SELECT * FROM numbers) SELECT name FROM x").unwrap();
        assert_eq!((all.rows.len(), all.truncated), (3, true));
    }

    #[test]
    fn what_does_not_only_read_is_refused() {
        for (statement, why) in [
            ("DELETE FROM numbers", "one SELECT"),
            ("WITH x AS (SELECT 1) DELETE FROM numbers", "only reads"),
            ("ATTACH '/etc/passwd' AS p", "one SELECT"),
            ("/* SELECT */ PRAGMA user_version = 3", "one SELECT"),
            ("SELECT 1; DELETE FROM numbers", "one statement"),
            ("SELECT load_extension('/tmp/x.so')", "not authorized"),
            ("SELECT readfile('/etc/passwd')", "no such function"),
            ("SELECT age FROM numbers", "no such column: age"),
            ("SELECT ?1", "parameters"),
            ("", "one SELECT"),
        ] {
            let error = ask(statement).unwrap_err();
            assert!(error.contains(why), "{statement}: {error}");
        }
    }

    #[test]
    fn memory_and_time_are_limited() {
        let error = ask("SELECT zeroblob(100000000)").unwrap_err();
        assert!(error.contains("too big"), "{error}");
        let wide = "SELECT printf('%.*c', 700000, 'x') FROM numbers";
        assert!(ask(wide).unwrap_err().contains("more than 1048576 bytes"));
        let long = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r";
        let error = numbers(Duration::from_millis(200)).ask(long, MOST).unwrap_err();
        assert!(matches!(error, QueryError::TooLong(_)), "{error}");
    }

    #[test]
    fn what_sorting_writes_is_limited() {
        let mut sql = numbers(Duration::from_secs(60));
        sql.alarm = Alarm::set(&sql.connection, Duration::from_secs(60), 1 << 20).unwrap();
        // Sorting goes to files once it does not fit into the cache.
        let wide = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)
                    SELECT n, printf('%.*c', 2000, 'x') || (n * 7919 % 104729) AS t FROM r ORDER BY t";
        let error = sql.ask(wide, MOST).unwrap_err();
        assert!(matches!(&error, QueryError::TooMuch(why) if why.contains("sorting")), "{error}");
    }

    #[test]
    fn tables_that_take_too_much_are_told_in_words() {
        let sql = numbers(Duration::from_secs(60));
        sql.connection.execute_batch("PRAGMA max_page_count = 4").unwrap();
        let long = || SqlValue::Text("x".repeat(3_000));
        let full = (0..100).find_map(|n| {
            sql.insert("INSERT INTO numbers VALUES (?1, ?2)", [SqlValue::Int(n), long()]).err()
        });
        let error = full.unwrap();
        assert!(matches!(&error, QueryError::TooMuch(why) if why.contains("narrow it")), "{error}");
    }
}
