//! The thread that writes: whatever waits goes into one transaction and one fsync.

use super::store::{ROWS, Shared};
use super::{OnlineError, OnlineRow};
use crossbeam_channel::Receiver;
use redb::ReadableTable;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Rows that one transaction takes at most, but for the last job.
const GROUP_ROWS: usize = 20_000;

/// What came of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Rows that replaced what was there.
    pub written: u64,
    /// Rows that were older than what was there, or the same.
    pub skipped: u64,
}

pub(super) type Entry = (Box<[u8]>, OnlineRow);

/// Rows to be written, and who waits for it.
pub(super) struct Job {
    pub(super) rows: Vec<Entry>,
    pub(super) done: oneshot::Sender<Result<Pushed, OnlineError>>,
}

/// Works until nobody can send any more.
pub(super) fn run(shared: &Shared, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        let mut rows = group[0].rows.len();
        while rows < GROUP_ROWS
            && let Ok(next) = jobs.try_recv()
        {
            rows += next.rows.len();
            group.push(next);
        }
        let (batches, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|j| (j.rows, j.done)).unzip();
        match write(shared, batches) {
            // A caller that has gone does not want to know.
            Ok(done) => waiting.into_iter().zip(done).for_each(|(w, pushed)| drop(w.send(Ok(pushed)))),
            Err(error) => waiting.into_iter().for_each(|w| drop(w.send(Err(error.clone())))),
        }
    }
}

fn write(shared: &Shared, batches: Vec<Vec<Entry>>) -> Result<Vec<Pushed>, OnlineError> {
    let mut transaction = shared.db.begin_write()?;
    // The state of the allocator goes with every commit, so that a start after a crash need not read the whole file.
    transaction.set_quick_repair(true);
    let mut newest: HashMap<Box<[u8]>, OnlineRow> = HashMap::new();
    let mut done = Vec::new();
    {
        let mut table = transaction.open_table(ROWS)?;
        for batch in batches {
            let mut pushed = Pushed::default();
            for (key, row) in batch {
                let keeps = match newest.get(&key) {
                    Some(before) => before.keeps_place_of(&row),
                    None => {
                        let before = table.get(&*key)?;
                        // A row whose bytes are broken gives way.
                        let before = before.and_then(|bytes| OnlineRow::decode(bytes.value()));
                        before.is_some_and(|before| before.keeps_place_of(&row))
                    }
                };
                if keeps {
                    pushed.skipped += 1;
                    continue;
                }
                pushed.written += 1;
                newest.insert(key, row);
            }
            done.push(pushed);
        }
        for (key, row) in &newest {
            table.insert(&**key, row.encode().as_slice())?;
        }
    }
    if newest.is_empty() {
        transaction.abort()?;
        return Ok(done);
    }
    transaction.commit()?;
    shared.committed(newest.into_iter().map(|(key, row)| (key, Arc::new(row))));
    Ok(done)
}
