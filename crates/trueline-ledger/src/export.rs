//! The ledger as a folder that can be taken elsewhere and checked without a server or a database: the log's files, made
//! anew from the entries, and each event with its payload, a line of JSON each.
//!
//! ```text
//! checkpoint       the signed checkpoint
//! ledger.vkey      the public key that signed it
//! tile/…           entry bundles and hash tiles of exactly that size
//! events.jsonl     {"index":0,"event":{…},"salt":"…","body":"…"}; an erased event has neither salt nor body
//! ```

use crate::event::Entry;
use crate::files::CHECKPOINT;
use crate::{LedgerError, LedgerHead};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use trueline_db::Tx;
use trueline_tlog::{LogAppender, Tile};

pub(crate) const EVENTS: &str = "events.jsonl";
const KEY: &str = "ledger.vkey";

/// An event as it is taken elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportedEvent {
    /// Its index in the log.
    pub index: u64,
    /// The entry, byte for byte.
    pub event: Box<RawValue>,
    /// The salt of its payload; none when it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Its payload, byte for byte; none when it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The events from index `from` on, at most `limit`, in order.
///
/// # Errors
/// What the database says, [`LedgerError::Diverged`] when a row is not an event.
pub fn exported_events(tx: &mut Tx<'_>, from: u64, limit: u32) -> Result<Vec<ExportedEvent>, LedgerError> {
    let rows = tx.query(
        "SELECT e.idx, e.entry, p.salt, p.body
         FROM ledger_events e LEFT JOIN ledger_payloads p ON p.event_id = e.id
         WHERE e.idx >= ?1 ORDER BY e.idx LIMIT ?2",
        &[i64::try_from(from).unwrap_or(i64::MAX).into(), limit.into()],
    )?;
    let mut out = Vec::with_capacity(rows.len());
    for mut row in rows {
        let index = row.take::<i64>(0)?.unsigned_abs();
        let entry = String::from_utf8(row.take(1)?).ok().and_then(|text| RawValue::from_string(text).ok());
        let event = entry.ok_or_else(|| LedgerError::Diverged(format!("entry {index} is not an event")))?;
        let salt = row.take::<Option<Vec<u8>>>(2)?.map(|s| String::from_utf8_lossy(&s).into_owned());
        out.push(ExportedEvent { index, event, salt, body: row.take(3)? });
    }
    Ok(out)
}

/// Payloads that are missing and the erasures that explain it, whichever comes first.
#[derive(Debug, Default)]
pub(crate) struct Erasures {
    missing: BTreeSet<(String, String)>,
    told: BTreeSet<(String, String)>,
}

impl Erasures {
    pub(crate) fn see(&mut self, entry: &Entry, has_payload: bool) {
        if entry.action == "event.erased" {
            self.told.insert((entry.project.clone(), entry.resource.id.clone()));
        }
        if !has_payload {
            self.missing.insert((entry.project.clone(), entry.id.clone()));
        }
    }

    /// How many payloads are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.missing.len() as u64
    }

    /// The id of an event whose payload is missing without an erasure.
    pub(crate) fn unexplained(&self) -> Option<&str> {
        self.missing.difference(&self.told).next().map(|(_, id)| id.as_str())
    }
}

/// Writes an export from the first event on.
#[derive(Debug)]
pub struct Export {
    folder: PathBuf,
    events: BufWriter<fs::File>,
    log: LogAppender,
    erasures: Erasures,
}

impl Export {
    /// Begins one in a folder that must be empty or missing.
    ///
    /// # Errors
    /// [`LedgerError::Files`].
    pub fn begin(folder: &Path) -> Result<Self, LedgerError> {
        let failed = |e: &dyn std::fmt::Display| LedgerError::files(folder, e);
        fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        if fs::read_dir(folder).map_err(|e| failed(&e))?.next().is_some() {
            return Err(failed(&"the folder is not empty; name another one for the export"));
        }
        let events = BufWriter::new(fs::File::create_new(folder.join(EVENTS)).map_err(|e| failed(&e))?);
        let (log, erasures) = (LogAppender::new(), Erasures::default());
        Ok(Self { folder: folder.to_owned(), events, log, erasures })
    }

    /// How many events are in.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// [`LedgerError::Files`], [`LedgerError::Diverged`] when it is not the next one.
    pub fn push(&mut self, event: &ExportedEvent) -> Result<(), LedgerError> {
        let diverged = |e: &dyn std::fmt::Display| LedgerError::Diverged(e.to_string());
        let next = self.size();
        if event.index != next {
            return Err(diverged(&format!("entry {next} is missing")));
        }
        let told: Entry = serde_json::from_str(event.event.get()).map_err(|e| diverged(&e))?;
        self.erasures.see(&told, event.body.is_some());
        // Full tiles need not wait in memory; of the partial ones only the last count.
        if next > 0 && next.is_multiple_of(65_536) {
            let tiles = self.log.take_tiles();
            tiles.iter().filter(|tile| !tile.id.is_partial()).try_for_each(|tile| self.write_tile(tile))?;
        }
        self.log.push(event.event.get().as_bytes()).map_err(|e| diverged(&e))?;
        let failed = |e: &dyn std::fmt::Display| LedgerError::files(&self.folder, e);
        serde_json::to_writer(&mut self.events, event).map_err(|e| failed(&e))?;
        self.events.write_all(b"\n").map_err(|e| failed(&e))
    }

    /// Whether every missing payload was erased by an event that is in. If not, that event has still to come.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.erasures.unexplained().is_none()
    }

    /// Ends it under a checkpoint of exactly the events that are in.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] when the events are not those under the checkpoint, [`LedgerError::Files`].
    pub fn finish(mut self, head: &LedgerHead, key: &str) -> Result<(), LedgerError> {
        let root = self.log.root().to_hex();
        if self.log.size() != head.size || root != head.root {
            let (size, signed) = (self.log.size(), &head.root);
            let told =
                format!("{size} events have root {root}, the checkpoint over {} says {signed}", head.size);
            return Err(LedgerError::Diverged(told));
        }
        if let Some(id) = self.erasures.unexplained() {
            let told = format!("the payload of event {id} is missing, and no event says that it was erased");
            return Err(LedgerError::Diverged(told));
        }
        let tiles = self.log.take_tiles();
        tiles.iter().try_for_each(|tile| self.write_tile(tile))?;
        let failed = |e: &dyn std::fmt::Display| LedgerError::files(&self.folder, e);
        self.events.flush().map_err(|e| failed(&e))?;
        fs::write(self.folder.join(KEY), format!("{key}\n")).map_err(|e| failed(&e))?;
        fs::write(self.folder.join(CHECKPOINT), &head.note).map_err(|e| failed(&e))
    }

    fn write_tile(&self, tile: &Tile) -> Result<(), LedgerError> {
        let path = self.folder.join(tile.id.path());
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(|e| LedgerError::files(parent, e))?;
        fs::write(&path, &tile.bytes).map_err(|e| LedgerError::files(&path, e))
    }
}
