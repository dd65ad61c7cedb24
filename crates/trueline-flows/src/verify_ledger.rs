//! Checking the ledger: its files, the rows against them, and with `--state` the rows and the segments of the prediction log
//! that the events imply. Offline from the CLI, or as a task of the server.

use crate::blob_references::{missing, missing_offline};
use crate::verify_segments::verify_segments;
use crate::verify_state::{State, verify_state, verify_state_offline};
use serde_json::json;
use std::path::{Path, PathBuf};
use trueline_blobs::{Blobs, Namespace, size_below};
use trueline_db::{Db, DbError, Tx};
use trueline_identity::{Authorized, Project, ReadLedger, VerifyLedger, all_projects};
use trueline_ledger::{
    Actor, Finding, Ledger, LedgerError, NewEvent, ProjectId, Report, Verification, verify_files,
    verify_rows, waiting_events,
};
use trueline_registry::Disagreement;
use trueline_tasks::{Lease, NewTask, TaskError, TaskRow, Tasks, complete, enqueue};

/// The kind of the task that checks the ledger.
pub const VERIFY_TASK: &str = "ledger.verify";

/// Where the files lie that a check reads.
#[derive(Clone, Debug)]
pub struct CheckedFolders {
    /// The ledger's tiles and checkpoint.
    pub ledger: PathBuf,
    /// The log of predictions.
    pub predictions: PathBuf,
    /// The server whose log it is, where several share the database; else all of it is looked for here.
    pub server: String,
    /// The bytes of artifacts, versions and datasets; an offline check of a copy without them leaves them out.
    pub blobs: PathBuf,
}

/// Asks for a check of the ledger; answers the task that does it.
///
/// # Errors
/// What the ledger says.
pub async fn request_verification(
    ledger: &Ledger,
    leave: &Authorized<VerifyLedger>,
) -> Result<String, LedgerError> {
    let task =
        NewTask { project: ProjectId::server(), kind: VERIFY_TASK, payload: json!({}), max_attempts: 3 };
    ledger.write(leave.actor(), move |tx| enqueue(tx, &task)).await
}

/// The newest check of the ledger, at work or done.
///
/// # Errors
/// What the database says.
pub async fn last_verification(
    tasks: &Tasks,
    leave: &Authorized<ReadLedger>,
) -> Result<Option<TaskRow>, TaskError> {
    tasks.newest_of_server(leave, VERIFY_TASK).await
}

/// What the task does: checks files and rows and records what was found.
///
/// # Errors
/// What the ledger says, as text for the task's record.
pub async fn verify_task(
    ledger: Ledger,
    folders: CheckedFolders,
    blobs: Blobs,
    key: String,
    lease: Lease,
) -> Result<(), String> {
    let server = folders.server.clone();
    let found = check(ledger.db(), folders, &blobs, key).await.map_err(|e| e.to_string())?;
    let (id, now) = (ledger.sources().id(), ledger.sources().now());
    let recorded: Result<(), TaskError> = ledger
        .write(&Actor::system("verifier"), move |tx| {
            let (ok, size, elsewhere, problem) = match &found {
                Ok(report) => (true, report.entries, Some(report.segments_elsewhere), None),
                Err(finding) => (false, 0, None, Some(finding.to_string())),
            };
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            tx.execute(
                "INSERT INTO ledger_verifications (id, at_ms, size, ok, finding) VALUES (?1, ?2, ?3, ?4, ?5)",
                &[(&id).into(), now.into(), size.into(), ok.into(), problem.clone().into()],
            )?;
            let result = json!({
                "ok": ok, "entries": size, "finding": problem, "server": server, "segments_elsewhere": elsewhere,
            });
            tx.emit(
                NewEvent::new(&ProjectId::server(), "ledger.verified", "ledger", &id).with(result.clone()),
            )?;
            complete(tx, &lease, &result)
        })
        .await;
    recorded.map_err(|e| e.to_string())
}

async fn check(
    db: &Db,
    folders: CheckedFolders,
    blobs: &Blobs,
    key: String,
) -> Result<Verification, LedgerError> {
    let folder = folders.ledger.clone();
    let files = folder.clone();
    let mut report: Report = match aside(move || verify_files(&files, &key, None)).await? {
        Ok(report) => report,
        Err(finding) => return Ok(Err(finding)),
    };
    let mut next = 0;
    while next < report.entries {
        let (folder, so_far) = (folder.clone(), report.clone());
        let stretch = db.read(move |tx: &mut Tx<'_>| {
            let mut report = so_far.clone();
            let found = verify_rows(tx, &folder, next, &mut report)?;
            Ok::<_, LedgerError>(found.map(|next| (next, report)))
        });
        match stretch.await? {
            Ok(found) => (next, report) = found,
            Err(finding) => return Ok(Err(finding)),
        }
    }
    let mut found = look(db, report.clone(), folders.clone()).await?;
    if found.is_err() {
        // What was deleted while it was looked for is told by now.
        found = look(db, report, folders).await?;
    }
    match found {
        Ok(report) => Ok(missing_blob(db, blobs).await?.map_or(Ok(report), Err)),
        found => Ok(found),
    }
}

/// Rows and segments as they are, held against the events up to now.
async fn look(db: &Db, report: Report, folders: CheckedFolders) -> Result<Verification, LedgerError> {
    let state = verify_state(db).await?;
    aside(move || judged(report, &state, &folders)).await
}

/// A blob that something refers to and that is not there.
async fn missing_blob(db: &Db, blobs: &Blobs) -> Result<Option<Finding>, LedgerError> {
    let projects: Vec<Project> = db.read(|tx| all_projects(tx).map_err(unreadable)).await?;
    for project in projects {
        let first = missing(db, blobs, &project.id).await.map_err(unreadable)?;
        if first.is_empty() {
            continue;
        }
        // What was deleted and collected while it was looked for is no longer referred to.
        let second = missing(db, blobs, &project.id).await.map_err(unreadable)?;
        if let Some(problem) = first.into_iter().find(|missing| second.contains(missing)) {
            return Ok(Some(Finding { entry: None, problem }));
        }
    }
    Ok(None)
}

/// The same over one connection, with blobs in a folder.
fn missing_blob_offline(tx: &mut Tx<'_>, root: &Path) -> Result<Option<Finding>, LedgerError> {
    if !root.exists() {
        return Ok(None);
    }
    for project in all_projects(tx).map_err(unreadable)? {
        let namespace = Namespace::new(project.id.as_str());
        let size = |sha256: &str| size_below(root, &namespace, sha256);
        let missing = missing_offline(tx, &project.id, size).map_err(unreadable)?;
        if let Some(problem) = missing.into_iter().next() {
            return Ok(Some(Finding { entry: None, problem }));
        }
    }
    Ok(None)
}

fn unreadable(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Db(DbError::Other(error.to_string()))
}

/// Runs what reads many files where blocking is allowed.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| LedgerError::Diverged(e.to_string()))?
}

/// What the comparison of rows and segments with the events adds to a report.
fn judged(mut report: Report, state: &State, folders: &CheckedFolders) -> Result<Verification, LedgerError> {
    report.unknowable = state.compared.unknowable;
    let told = state.segments.told().iter();
    let (elsewhere, here): (Vec<_>, Vec<_>) = told.partition(|told| told.is_elsewhere(&folders.server));
    report.deleted_segments = here.iter().filter(|told| told.deleted).count() as u64;
    report.segments_elsewhere = elsewhere.iter().filter(|told| !told.deleted).count() as u64;
    let found = match state.compared.disagreements.first() {
        Some(row) => Some(disagreement(row)),
        None => verify_segments(&folders.predictions, &folders.server, &state.segments)?,
    };
    Ok(found.map_or(Ok(report), Err))
}

/// A disagreement in the words of a finding.
fn disagreement(row: &Disagreement) -> Finding {
    let Disagreement { row, ledger, database } = row;
    let problem = format!("{row}: the ledger says {ledger}, the database says {database}");
    Finding { entry: None, problem }
}

/// Checks rows against files and, with `state`, what rows and segments should be, over one connection: for the offline
/// command.
///
/// # Errors
/// What the database or the files say.
pub fn verify_offline(
    tx: &mut Tx<'_>,
    folders: &CheckedFolders,
    report: Report,
    state: bool,
) -> Result<Verification, LedgerError> {
    let mut report = report;
    let mut next = 0;
    while next < report.entries {
        match verify_rows(tx, &folders.ledger, next, &mut report)? {
            Ok(found) => next = found,
            Err(finding) => return Ok(Err(finding)),
        }
    }
    report.waiting = waiting_events(tx, report.entries)?;
    if !state {
        return Ok(Ok(report));
    }
    match judged(report, &verify_state_offline(tx)?, folders)? {
        Ok(report) => Ok(missing_blob_offline(tx, &folders.blobs)?.map_or(Ok(report), Err)),
        found => Ok(found),
    }
}
