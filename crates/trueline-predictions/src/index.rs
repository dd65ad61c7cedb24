//! The index beside a sealed segment: what a scan skips it by, and where each id lies. It can be rebuilt.
//!
//! ```text
//! header: magic and version | bytes | records | SHA-256 | event times | receipt times | ids (each min, max) | CRC-32s
//! fence:  the first id of every block
//! blocks: 204 × (id, 16 bytes | u32 offset of its frame), sorted, then CRC-32: one block fits a page
//! ```
//!
//! A lookup reads the fence and one block, so it costs two small reads whatever the segment's size.

use crate::files::replace;
use crate::frame::Placed;
use crate::{LogError, PredictionId};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"tlpidx\0\x01";
const HEADER: usize = 8 + 8 + 8 + 32 + 4 * 8 + 2 * 16 + 4 + 4;
const ENTRY: usize = 20;
const PER_BLOCK: usize = 204;

/// Every id with the place of its frame.
pub(crate) type Entries = Vec<(PredictionId, u32)>;

/// What is known of a segment without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) spans: Spans,
}

/// The least and greatest of each, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) event_ms: (i64, i64),
    pub(crate) received_ms: (i64, i64),
    pub(crate) ids: (PredictionId, PredictionId),
}

impl Spans {
    /// Of nothing: grows to the first thing it is shown.
    pub(crate) fn empty() -> Self {
        let (least, greatest) = (PredictionId::from_bytes([0; 16]), PredictionId::from_bytes([255; 16]));
        Self { event_ms: (i64::MAX, i64::MIN), received_ms: (i64::MAX, i64::MIN), ids: (greatest, least) }
    }

    pub(crate) fn take_in(&mut self, placed: &Placed) {
        let head = &placed.head;
        widen(&mut self.event_ms, head.event_ms);
        widen(&mut self.received_ms, head.received_ms);
        widen(&mut self.ids, head.id);
    }
}

fn widen<T: Ord + Copy>(span: &mut (T, T), value: T) {
    *span = (span.0.min(value), span.1.max(value));
}

/// The index's place beside a segment.
pub(crate) fn path_of(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// Writes the index of a segment, whole or not at all.
pub(crate) fn write(segment: &Path, summary: &Summary, entries: Entries) -> Result<(), LogError> {
    replace(&path_of(segment), &render(summary, entries))
}

/// The bytes of an index.
pub(crate) fn render(summary: &Summary, mut entries: Entries) -> Vec<u8> {
    entries.sort_unstable();
    let mut fence = Vec::new();
    let mut blocks = Vec::with_capacity(entries.len() * (ENTRY + 1));
    for block in entries.chunks(PER_BLOCK) {
        fence.extend_from_slice(&block[0].0.to_bytes());
        let start = blocks.len();
        for (id, offset) in block {
            blocks.extend_from_slice(&id.to_bytes());
            blocks.extend_from_slice(&offset.to_le_bytes());
        }
        let crc = crc32fast::hash(&blocks[start..]);
        blocks.extend_from_slice(&crc.to_le_bytes());
    }
    let mut bytes = header(summary, crc32fast::hash(&fence));
    bytes.extend_from_slice(&fence);
    bytes.extend_from_slice(&blocks);
    bytes
}

fn header(summary: &Summary, fence_crc: u32) -> Vec<u8> {
    let Summary { bytes, records, sha256, spans } = summary;
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&records.to_le_bytes());
    out.extend_from_slice(sha256);
    for (min, max) in [spans.event_ms, spans.received_ms] {
        out.extend_from_slice(&min.to_le_bytes());
        out.extend_from_slice(&max.to_le_bytes());
    }
    out.extend_from_slice(&spans.ids.0.to_bytes());
    out.extend_from_slice(&spans.ids.1.to_bytes());
    out.extend_from_slice(&fence_crc.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// Reads the header of a segment's index; none when there is no index, or none that can be used.
pub(crate) fn summary(segment: &Path) -> Result<Option<Summary>, LogError> {
    let path = path_of(segment);
    match File::open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(LogError::io(&path, &e)),
        Ok(file) => Ok(read_header(&file).map(|(summary, _)| summary)),
    }
}

fn read_header(file: &File) -> Option<(Summary, u32)> {
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (body, crc) = bytes.split_at(HEADER - 4);
    if !body.starts_with(MAGIC) || crc32fast::hash(body).to_le_bytes() != crc {
        return None;
    }
    let u64_at = |at: usize| u64::from_le_bytes(array(&body[at..at + 8]));
    let pair_at = |at: usize| (u64_at(at) as i64, u64_at(at + 8) as i64);
    let id_at = |at: usize| PredictionId::from_bytes(array(&body[at..at + 16]));
    let spans = Spans { event_ms: pair_at(56), received_ms: pair_at(72), ids: (id_at(88), id_at(104)) };
    let summary = Summary { bytes: u64_at(8), records: u64_at(16), sha256: array(&body[24..56]), spans };
    Some((summary, u32::from_le_bytes(array(&body[120..124]))))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// An open index; keeps the fence and the block it read last.
#[derive(Debug)]
pub(crate) struct Lookup {
    path: PathBuf,
    file: File,
    fence: Vec<PredictionId>,
    records: usize,
    block: Option<(usize, Vec<u8>)>,
}

impl Lookup {
    pub(crate) fn open(segment: &Path) -> Result<Self, LogError> {
        let path = path_of(segment);
        let io = |e| LogError::io(&path, &e);
        let file = File::open(&path).map_err(io)?;
        let damaged = |what: &str| LogError::damaged(&path, 0, what);
        let (summary, fence_crc) = read_header(&file).ok_or_else(|| damaged("its header is broken"))?;
        // The header's checksum vouches for the count; the length of the file bounds it all the same.
        let records = usize::try_from(summary.records).unwrap_or(usize::MAX);
        let length = file.metadata().map_err(io)?.len();
        let expected = records.checked_mul(ENTRY).map(|table| {
            let blocks = records.div_ceil(PER_BLOCK);
            HEADER + table + blocks * (16 + 4)
        });
        if expected.map(|n| n as u64) != Some(length) {
            return Err(damaged("its length does not fit its header"));
        }
        let mut fence = vec![0; records.div_ceil(PER_BLOCK) * 16];
        file.read_exact_at(&mut fence, HEADER as u64).map_err(io)?;
        if crc32fast::hash(&fence) != fence_crc {
            return Err(damaged("its fence has a wrong checksum"));
        }
        let fence = fence.chunks_exact(16).map(|id| PredictionId::from_bytes(array(id))).collect();
        Ok(Self { path, file, fence, records, block: None })
    }

    /// The frames that hold `id`, in the order of appending.
    pub(crate) fn get(&mut self, id: PredictionId) -> Result<Vec<u32>, LogError> {
        let mut found = Vec::new();
        // Several entries of one id may begin at the end of the block before.
        let mut block = self.fence.partition_point(|first| *first < id).saturating_sub(1);
        while self.fence.get(block).is_some_and(|first| *first <= id) {
            self.load(block)?;
            let Some((_, bytes)) = &self.block else { break };
            let entries = bytes.as_chunks::<ENTRY>().0;
            let start = entries.partition_point(|entry| entry[..16] < id.to_bytes()[..]);
            let same = entries[start..].iter().take_while(|entry| entry[..16] == id.to_bytes());
            found.extend(same.map(|entry| u32::from_le_bytes(array(&entry[16..]))));
            block += 1;
        }
        found.dedup();
        Ok(found)
    }

    fn load(&mut self, block: usize) -> Result<(), LogError> {
        if self.block.as_ref().is_some_and(|(at, _)| *at == block) {
            return Ok(());
        }
        let entries = PER_BLOCK.min(self.records - block * PER_BLOCK);
        let at = (HEADER + self.fence.len() * 16 + block * (PER_BLOCK * ENTRY + 4)) as u64;
        let mut bytes = vec![0; entries * ENTRY + 4];
        self.file.read_exact_at(&mut bytes, at).map_err(|e| LogError::io(&self.path, &e))?;
        let crc = bytes.split_off(entries * ENTRY);
        if crc32fast::hash(&bytes).to_le_bytes() != crc[..] {
            return Err(LogError::damaged(&self.path, at, "a block has a wrong checksum"));
        }
        self.block = Some((block, bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> PredictionId {
        PredictionId::new(1000, u128::from(n))
    }

    fn summary_of(records: u64) -> Summary {
        let spans = Spans { event_ms: (-5, 7), received_ms: (1, 2), ids: (id(0), id(9)) };
        Summary { bytes: 77, records, sha256: [3; 32], spans }
    }

    #[test]
    fn every_id_is_found_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let segment = dir.path().join("1.log");
        for n in [1, 203, 204, 205, 1000] {
            let entries: Vec<_> = (0..n).rev().map(|i| (id(i * 2), i)).collect();
            write(&segment, &summary_of(u64::from(n)), entries).unwrap();
            assert_eq!(summary(&segment).unwrap(), Some(summary_of(u64::from(n))));
            let mut lookup = Lookup::open(&segment).unwrap();
            for i in 0..n {
                assert_eq!(lookup.get(id(i * 2)).unwrap(), [i]);
                assert_eq!(lookup.get(id(i * 2 + 1)).unwrap(), []);
            }
        }
    }

    #[test]
    fn an_id_that_fills_blocks_is_found_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let segment = dir.path().join("1.log");
        let mut entries: Vec<_> = (0..500).map(|i| (id(5), i)).collect();
        entries.extend([(id(1), 900), (id(9), 901)]);
        write(&segment, &summary_of(502), entries).unwrap();
        assert_eq!(Lookup::open(&segment).unwrap().get(id(5)).unwrap(), (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let segment = dir.path().join("1.log");
        write(&segment, &summary_of(3), (0..3).map(|i| (id(i), i)).collect()).unwrap();
        let good = std::fs::read(path_of(&segment)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(path_of(&segment), bad).unwrap();
            let found = Lookup::open(&segment).and_then(|mut l| l.get(id(1)));
            assert!(matches!(found, Err(LogError::Damaged { .. })), "byte {at}: {found:?}");
        }
    }
}
