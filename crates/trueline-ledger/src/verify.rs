//! Checking the log: the files against the trusted key alone, then the database's rows against the files. Needs no
//! server and trusts nothing in the data directory.

use crate::LedgerError;
use crate::event::Entry;
use crate::files::Folder;
use serde::Serialize;
use std::path::Path;
use trueline_db::Tx;
use trueline_tlog::{
    Checkpoint, Fault, LogReader, TileId, TileLevel, VerifierKey, check_stale_tile, verify_log,
};

/// Rows compared with the files at a time.
const PAGE: u64 = 256;
/// Rows compared in one read.
const STRETCH: u64 = 16 * PAGE;

/// What is wrong, and from which entry on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The first bad entry, when it is one.
    pub entry: Option<u64>,
    /// What is wrong with it.
    pub problem: String,
}

impl Finding {
    pub(crate) fn new(entry: Option<u64>, problem: impl Into<String>) -> Self {
        Self { entry, problem: problem.into() }
    }

    pub(crate) fn at(entry: u64, problem: impl Into<String>) -> Self {
        Self::new(Some(entry), problem)
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "entry {entry}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// What was found in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries under the checkpoint, all of them checked.
    pub entries: u64,
    /// Root hash, hexadecimal.
    pub root: String,
    /// Payloads that were erased by an event that says so.
    pub erased: u64,
    /// Those among the erased whose erasure is not under the checkpoint yet: the log does not vouch for it until then.
    pub erased_unconfirmed: u64,
    /// Rows whose events had their payloads erased, so that nobody can say what should be in them.
    pub unknowable: u64,
    /// Segments of the prediction log that are gone as an event says, because they were kept for long enough.
    pub deleted_segments: u64,
    /// Segments of the prediction log that lie with other servers of the database: a check of those finds what is wrong with them.
    pub segments_elsewhere: u64,
    /// Events that are committed but not yet under the checkpoint.
    pub waiting: u64,
}

/// A check that ran: in order, or the first thing that is not.
pub type Verification = Result<Report, Finding>;

/// Checks the files under `folder` with a key that came from outside, and against an earlier checkpoint when there is
/// one.
///
/// # Errors
/// [`LedgerError::Files`] when they can't be read at all.
pub fn verify_files(folder: &Path, key: &str, earlier: Option<&[u8]>) -> Result<Verification, LedgerError> {
    let trusted: VerifierKey =
        key.trim().parse().map_err(|e| LedgerError::Diverged(format!("the key can't be read: {e}")))?;
    let reader = Folder(folder.to_owned());
    let Some(signed) = reader.read("checkpoint").map_err(|e| LedgerError::files(folder, e))? else {
        return Ok(Err(Finding::new(None, "there is no checkpoint")));
    };
    let earlier = match earlier.map(|bytes| Checkpoint::open(bytes, &trusted)).transpose() {
        Ok(earlier) => earlier,
        Err(error) => return Ok(Err(Finding::new(None, format!("the earlier checkpoint: {error}")))),
    };
    match verify_log(&reader, &signed, &trusted, earlier.as_ref(), |_, _| {}) {
        Ok(found) => {
            if let Err(finding) = check_leftovers(&reader, found.checkpoint.size)? {
                return Ok(Err(finding));
            }
            let (entries, root) = (found.checkpoint.size, found.checkpoint.root.to_hex());
            Ok(Ok(Report { entries, root, ..Report::default() }))
        }
        Err(finding) => Ok(Err(finding.into())),
    }
}

impl From<trueline_tlog::Finding> for Finding {
    fn from(finding: trueline_tlog::Finding) -> Self {
        Self::at(finding.first_bad_entry, finding.fault.to_string())
    }
}

/// Checks the partial tiles of earlier sizes, which stay for readers that are still there.
fn check_leftovers(reader: &Folder, size: u64) -> Result<Result<(), Finding>, LedgerError> {
    for tile in reader.partial_tiles()? {
        // What lies beyond the checkpoint is about to come under the next one.
        let current = TileId::at(tile.level(), tile.index(), size);
        if current.is_none_or(|current| current.width() <= tile.width()) {
            continue;
        }
        match check_stale_tile(reader, tile, size) {
            Ok(()) => {}
            // Removed meanwhile, because its tile has become full.
            Err(finding) if matches!(&finding.fault, Fault::Missing { path } if *path == tile.path()) => {}
            Err(finding) => return Ok(Err(finding.into())),
        }
    }
    Ok(Ok(()))
}

/// Compares a stretch of rows, from entry `from` on, with files that were found in order; answers where the next
/// stretch begins. Call it until that is the end: a stretch is short enough for one read.
///
/// # Errors
/// What the database says.
pub fn verify_rows(
    tx: &mut Tx<'_>,
    folder: &Path,
    from: u64,
    report: &mut Report,
) -> Result<Result<u64, Finding>, LedgerError> {
    let reader = Folder(folder.to_owned());
    let mut next = from;
    while next < report.entries && next < from + STRETCH {
        let Some(id) = TileId::at(TileLevel::Entries, next / PAGE, report.entries) else { break };
        let entries = trueline_tlog::read::read_entries(&reader, id)
            .map_err(|e| LedgerError::Diverged(e.to_string()))?;
        if let Err(finding) = compare_page(tx, next, &entries, report)? {
            return Ok(Err(finding));
        }
        next += entries.len() as u64;
    }
    Ok(Ok(next))
}

/// How many committed events are not under a checkpoint of `size` entries yet.
///
/// # Errors
/// What the database says.
pub fn waiting_events(tx: &mut Tx<'_>, size: u64) -> Result<u64, LedgerError> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let waiting: Option<i64> =
        tx.scalar("SELECT COUNT(*) FROM ledger_events WHERE idx IS NULL OR idx >= ?1", &[size.into()])?;
    Ok(waiting.unwrap_or(0).unsigned_abs())
}

fn compare_page(
    tx: &mut Tx<'_>,
    first: u64,
    entries: &[Vec<u8>],
    report: &mut Report,
) -> Result<Result<(), Finding>, LedgerError> {
    let from = i64::try_from(first).unwrap_or(i64::MAX);
    let to = from + i64::try_from(entries.len()).unwrap_or(0);
    let rows = tx.query(
        "SELECT e.idx, e.entry, e.id, e.project, e.at_ms, e.actor, e.action, e.resource_kind, e.resource_id, p.salt, p.body
         FROM ledger_events e LEFT JOIN ledger_payloads p ON p.event_id = e.id
         WHERE e.idx >= ?1 AND e.idx < ?2 ORDER BY e.idx",
        &[from.into(), to.into()],
    )?;
    let mut rows = rows.into_iter();
    for (index, entry) in (first..).zip(entries) {
        let Some(mut row) = rows.next() else {
            return Ok(Err(Finding::at(index, "its row is missing from the database")));
        };
        if row.take::<i64>(0)?.unsigned_abs() != index {
            return Ok(Err(Finding::at(index, "its row is missing from the database")));
        }
        if row.take::<Vec<u8>>(1)? != *entry {
            return Ok(Err(Finding::at(index, "its row in the database is not what the log holds")));
        }
        let Ok(told) = serde_json::from_slice::<Entry>(entry) else {
            return Ok(Err(Finding::at(index, "it is not an event of this ledger")));
        };
        let compared = match compare_columns(&mut row, &told)? {
            Ok(()) => compare_payload(tx, &mut row, &told, report)?,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = compared {
            return Ok(Err(Finding::at(index, problem)));
        }
    }
    Ok(Ok(()))
}

/// Compares the columns that are searched by with the entry itself.
fn compare_columns(row: &mut trueline_db::Row, told: &Entry) -> Result<Result<(), String>, LedgerError> {
    let columns: [(&str, String, &str); 6] = [
        ("id", row.take(2)?, &told.id),
        ("project", row.take(3)?, &told.project),
        ("actor", row.take(5)?, &told.actor),
        ("action", row.take(6)?, &told.action),
        ("resource_kind", row.take(7)?, &told.resource.kind),
        ("resource_id", row.take(8)?, &told.resource.id),
    ];
    for (column, found, expected) in columns {
        if found != expected {
            return Ok(Err(format!("the column {column} says '{found}', the log says '{expected}'")));
        }
    }
    if row.take::<i64>(4)? != told.at_ms {
        return Ok(Err("the column at_ms is not what the log says".to_owned()));
    }
    Ok(Ok(()))
}

fn compare_payload(
    tx: &mut Tx<'_>,
    row: &mut trueline_db::Row,
    told: &Entry,
    report: &mut Report,
) -> Result<Result<(), String>, LedgerError> {
    let payload: (Option<Vec<u8>>, Option<String>) = (row.take(9)?, row.take(10)?);
    if let (Some(salt), Some(body)) = payload {
        return Ok(told.check_payload(&salt, &body));
    }
    match erasure(tx, told)? {
        None => Ok(Err("its payload is missing, and no event says that it was erased".to_owned())),
        Some(index) => {
            let confirmed = index.is_some_and(|index| index.unsigned_abs() < report.entries);
            report.erased += 1;
            report.erased_unconfirmed += u64::from(!confirmed);
            Ok(Ok(()))
        }
    }
}

/// Whether an event says that this one's payload was erased, and its index if it has one.
fn erasure(tx: &mut Tx<'_>, erased: &Entry) -> Result<Option<Option<i64>>, LedgerError> {
    Ok(tx.scalar(
        "SELECT idx FROM ledger_events
         WHERE project = ?1 AND resource_kind = 'event' AND resource_id = ?2 AND action = 'event.erased'",
        &[(&erased.project).into(), (&erased.id).into()],
    )?)
}
