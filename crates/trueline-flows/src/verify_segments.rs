//! The files of the prediction log against what the ledger says of them: every segment that was sealed is there, byte for
//! byte.

use crate::record_segments::{name_of, segment_of, stream_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use trueline_ledger::{Finding, LedgerError};
use trueline_predictions::{LogError, Sealed, StreamName, sealed_segments, verify_segment};
use trueline_serving::{SealedSegment, SegmentReplay, ToldSegment};

/// Numbers of the segments that events tell of.
type Recorded = BTreeMap<StreamName, BTreeSet<u64>>;

/// Reads every sealed segment under `root`, the log of `server`, and answers the first that is not what the ledger says, in the
/// order of the events; after them those that no event tells of. One whose deletion is told need not be there.
///
/// # Errors
/// When files can't be read at all.
pub(crate) fn verify_segments(
    root: &Path,
    server: &str,
    replay: &SegmentReplay,
) -> Result<Option<Finding>, LedgerError> {
    let mut recorded = Recorded::new();
    for told in replay.told().iter().filter(|told| !told.is_elsewhere(server)) {
        let Some(stream) = stream_of(&told.project, &told.stream) else {
            return Ok(Some(finding(told, "there is no such stream")));
        };
        if told.deleted {
            // Its files go after the event, so some of them may still be there.
            recorded.entry(stream).or_default().insert(told.number);
            continue;
        }
        match read(root, &stream, told.number)? {
            Err(damage) => return Ok(Some(finding(told, damage))),
            Ok(found) => {
                if let Some(problem) = told.segment.as_ref().and_then(|sealed| difference(sealed, &found)) {
                    return Ok(Some(finding(told, problem)));
                }
            }
        }
        recorded.entry(stream).or_default().insert(told.number);
    }
    unrecorded(root, &recorded)
}

/// Segments are recorded in the order of their numbers, a moment after they were sealed: so one that was not may come after
/// those that were, and nowhere else.
fn unrecorded(root: &Path, recorded: &Recorded) -> Result<Option<Finding>, LedgerError> {
    for (stream, number) in sealed_segments(root).map_err(|e| unreadable(root, &e))? {
        let numbers = recorded.get(&stream);
        if numbers.is_some_and(|n| n.contains(&number)) {
            continue;
        }
        let nameless = |problem: String| {
            let (name, project) = (name_of(&stream), stream.project());
            Finding { entry: None, problem: words(&name, number, project, &problem) }
        };
        if numbers.and_then(BTreeSet::last).is_some_and(|last| *last > number) {
            return Ok(Some(nameless("no event tells of it".to_owned())));
        }
        if let Err(damage) = read(root, &stream, number)? {
            return Ok(Some(nameless(damage)));
        }
    }
    Ok(None)
}

/// A segment as it is on the disk, or what is wrong with it in itself.
fn read(root: &Path, stream: &StreamName, number: u64) -> Result<Result<Sealed, String>, LedgerError> {
    match verify_segment(root, stream, number) {
        Ok(found) => Ok(Ok(found)),
        Err(damage @ LogError::Damaged { .. }) => Ok(Err(damage.to_string())),
        Err(other) => Err(unreadable(root, &other)),
    }
}

fn unreadable(root: &Path, error: &LogError) -> LedgerError {
    LedgerError::Files { path: root.display().to_string(), message: error.to_string() }
}

fn difference(told: &SealedSegment, found: &Sealed) -> Option<String> {
    let found = segment_of(found, &told.server);
    let show =
        |s: &SealedSegment| format!("{} records in {} bytes, SHA-256 {}", s.records, s.bytes, s.sha256);
    (found != *told).then(|| format!("the ledger says {}; there are {}", show(told), show(&found)))
}

fn finding(told: &ToldSegment, problem: impl Into<String>) -> Finding {
    let entry = told.entry.and_then(|index| u64::try_from(index).ok());
    let problem = words(&told.stream, told.number, &told.project, &problem.into());
    Finding { entry, problem }
}

fn words(stream: &str, number: u64, project: &str, problem: &str) -> String {
    format!("the prediction segment {stream}/{number} of the project {project}: {problem}")
}
