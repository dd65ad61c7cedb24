//! Checking an export: its log like any other, then each line of its events with the entry that it tells of.

use crate::LedgerError;
use crate::event::Entry;
use crate::export::{EVENTS, Erasures, ExportedEvent};
use crate::files::Folder;
use crate::verify::{Finding, Report, Verification, verify_files};
use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use trueline_tlog::{TileId, TileLevel, tiles_for_size};

/// Checks the export in `folder` with a key that came from outside, and against an earlier checkpoint when there is one.
///
/// # Errors
/// [`LedgerError::Files`] when it can't be read at all.
pub fn verify_export(folder: &Path, key: &str, earlier: Option<&[u8]>) -> Result<Verification, LedgerError> {
    let mut report: Report = match verify_files(folder, key, earlier)? {
        Ok(report) => report,
        Err(finding) => return Ok(Err(finding)),
    };
    let path = folder.join(EVENTS);
    let file = File::open(&path).map_err(|e| LedgerError::files(&path, e))?;
    let mut lines = BufReader::new(file).lines();
    let mut erasures = Erasures::default();
    let bundles = tiles_for_size(report.entries).take_while(|id| id.level() == TileLevel::Entries);
    for bundle in bundles {
        if let Err(finding) = compare_bundle(folder, bundle, &mut lines, &mut erasures)? {
            return Ok(Err(finding));
        }
    }
    if lines.next().is_some() {
        let problem = format!("{EVENTS} goes on beyond the {} entries of the checkpoint", report.entries);
        return Ok(Err(Finding::new(None, problem)));
    }
    if let Some(id) = erasures.unexplained() {
        let problem = format!("the payload of event {id} is missing, and no event says that it was erased");
        return Ok(Err(Finding::new(None, problem)));
    }
    report.erased = erasures.missing();
    Ok(Ok(report))
}

fn compare_bundle(
    folder: &Path,
    bundle: TileId,
    lines: &mut Lines<BufReader<File>>,
    erasures: &mut Erasures,
) -> Result<Result<(), Finding>, LedgerError> {
    let entries = trueline_tlog::read::read_entries(&Folder(folder.to_owned()), bundle)
        .map_err(|e| LedgerError::Diverged(e.to_string()))?;
    for (index, entry) in (bundle.first_entry(0)..).zip(entries) {
        let line = lines.next().transpose().map_err(|e| LedgerError::files(folder, e))?;
        let Some(line) = line else {
            return Ok(Err(Finding::at(index, format!("its line in {EVENTS} is missing"))));
        };
        if let Err(problem) = compare_line(index, &entry, &line, erasures) {
            return Ok(Err(Finding::at(index, problem)));
        }
    }
    Ok(Ok(()))
}

fn compare_line(index: u64, entry: &[u8], line: &str, erasures: &mut Erasures) -> Result<(), String> {
    let told: Entry =
        serde_json::from_slice(entry).map_err(|_| "it is not an event of this ledger".to_owned())?;
    let event: ExportedEvent =
        serde_json::from_str(line).map_err(|e| format!("its line in {EVENTS} can't be read: {e}"))?;
    if event.index != index || event.event.get().as_bytes() != entry {
        return Err(format!("its line in {EVENTS} is not what the log holds"));
    }
    erasures.see(&told, event.body.is_some());
    match (&event.salt, &event.body) {
        (Some(salt), Some(body)) => told.check_payload(salt.as_bytes(), body),
        (None, None) => Ok(()),
        _ => Err("it has a salt without a payload, or a payload without a salt".to_owned()),
    }
}
