//! The framing of a `.wandb` file: records in the log format of LevelDB, with CRC-32 of the IEEE and a header of its own.
//!
//! ```text
//! file    ":W&B" | u16 0xBEE1 | u8 version | blocks of 32 KiB, in which these 7 bytes count
//! block   chunks; fewer than 7 bytes at its end are padding
//! chunk   u32 CRC over type and payload | u16 length | u8 type | payload       little-endian
//! type    1 whole, 2 first, 3 middle, 4 last
//! ```

const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const MARK: &[u8] = b":W&B\xE1\xBE";

/// Records of a file, as far as they can be read: one that was cut off by a crash is left out, damaged ones are skipped.
pub(super) struct Records<'b> {
    bytes: &'b [u8],
    at: usize,
    /// What came of a record in several chunks.
    parts: Option<Vec<u8>>,
    /// Stretches that could not be read.
    pub(super) damaged: u64,
}

impl<'b> Records<'b> {
    /// None when the bytes are no such file.
    pub(super) fn new(bytes: &'b [u8]) -> Option<Self> {
        let fits = bytes.len() >= HEADER && bytes.starts_with(MARK);
        fits.then_some(Self { bytes, at: HEADER, parts: None, damaged: 0 })
    }

    /// The next chunk's type and payload; `Err` for one that is damaged, none at the end.
    fn chunk(&mut self) -> Option<Result<(u8, &'b [u8]), ()>> {
        loop {
            let left = BLOCK - self.at % BLOCK;
            if left < HEADER {
                self.at += left;
                continue;
            }
            let head = self.bytes.get(self.at..self.at + HEADER)?;
            let crc = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
            let kind = head[6];
            if (crc, length, kind) == (0, 0, 0) {
                // The rest of the block was never written.
                self.at += left;
                continue;
            }
            let begin = self.at + HEADER;
            let payload = self.bytes.get(begin..begin + length)?;
            let fits = HEADER + length <= left;
            let hash = crc32fast::hash(&self.bytes[begin - 1..begin + length]);
            if !fits || hash != crc {
                self.at += left;
                return Some(Err(()));
            }
            self.at = begin + length;
            return Some(Ok((kind, payload)));
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match (self.chunk()?, self.parts.take()) {
                (Ok((1, payload)), _) => return Some(payload.to_vec()),
                (Ok((2, payload)), _) => self.parts = Some(payload.to_vec()),
                (Ok((3, payload)), Some(parts)) => self.parts = Some([&parts, payload].concat()),
                (Ok((4, payload)), Some(parts)) => return Some([&parts, payload].concat()),
                _ => self.damaged += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes records as W&B does.
    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = [MARK, &[0]].concat();
        for record in records {
            let (mut rest, mut first) = (record.as_slice(), true);
            loop {
                let left = BLOCK - out.len() % BLOCK;
                if left < HEADER {
                    out.resize(out.len() + left, 0);
                    continue;
                }
                let (now, later) = rest.split_at(rest.len().min(left - HEADER));
                let kind = match (first, later.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                let body = [&[kind], now].concat();
                out.extend(crc32fast::hash(&body).to_le_bytes());
                out.extend(u16::try_from(now.len()).unwrap().to_le_bytes());
                out.extend(body);
                (rest, first) = (later, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        out
    }

    #[test]
    fn a_damaged_block_costs_only_its_own_records() {
        let records: Vec<Vec<u8>> = (0..200u8).map(|n| vec![n; 1000]).collect();
        let mut bytes = file(&records);
        bytes[BLOCK + 500] ^= 1;
        let mut read = Records::new(&bytes).unwrap();
        let found: Vec<Vec<u8>> = read.by_ref().collect();
        assert!(read.damaged > 0);
        assert!(found.len() > 150 && found.len() < 200, "{}", found.len());
        assert!(found.iter().all(|record| records.contains(record)));
        assert!(Records::new(b":W&B").is_none() && Records::new(b"something else").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_was_written_is_read_and_of_a_file_that_was_cut_its_beginning(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..70_000), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = file(&records);
            let read: Vec<Vec<u8>> = Records::new(&bytes).unwrap().collect();
            prop_assert_eq!(&read, &records);
            let cut = HEADER + cut.index(bytes.len() - HEADER + 1);
            let beginning: Vec<Vec<u8>> = Records::new(&bytes[..cut]).unwrap().collect();
            prop_assert!(records.starts_with(&beginning));
        }

        #[test]
        fn any_bytes_are_read_or_left_out(bytes in prop::collection::vec(any::<u8>(), 0..100_000)) {
            let bytes = [MARK, &[0], &bytes].concat();
            let mut read = Records::new(&bytes).unwrap();
            let _ = read.by_ref().count();
        }
    }
}
