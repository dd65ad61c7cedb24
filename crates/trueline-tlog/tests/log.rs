//! Whole logs: an untouched one passes; whatever is altered, cut, swapped, rolled back or forked is found and located.
//! Also proof files taken from such logs.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use trueline_tlog::proof::TlogProofError;
use trueline_tlog::tile::entries;
use trueline_tlog::{
    Checkpoint, Fault, Finding, Hash, LogAppender, LogReader, ReadError, Report, SignerKey, TileId,
    TileLevel, TlogProof, check_stale_tile, leaf_hash, tiles_for_size, verify_log,
};

type Files = BTreeMap<String, Vec<u8>>;

const ORIGIN: &str = "trueline.example/ledger";

fn signer() -> SignerKey {
    SignerKey::from_seed(ORIGIN, &[42; 32]).unwrap()
}

struct Log {
    files: Files,
    checkpoint: Checkpoint,
    signed: Vec<u8>,
}

impl Log {
    /// Written with a checkpoint after each of the steps.
    fn of<E: AsRef<[u8]>>(entries: &[E], steps: &[usize]) -> Log {
        let (mut files, mut log) = (Files::new(), LogAppender::new());
        for (index, entry) in entries.iter().enumerate() {
            log.push(entry.as_ref()).unwrap();
            if steps.contains(&index) || index + 1 == entries.len() {
                files.extend(log.take_tiles().into_iter().map(|tile| (tile.id.path(), tile.bytes)));
            }
        }
        let checkpoint = Checkpoint::new(ORIGIN, log.size(), log.root());
        let signed = checkpoint.sign(&[&signer()]).unwrap().to_string().into_bytes();
        Log { files, checkpoint, signed }
    }

    fn numbered(count: usize) -> Log {
        Log::of(&numbered(count), &[])
    }

    fn verify(&self) -> Result<Report, Finding> {
        self.verify_since(None)
    }

    fn verify_since(&self, earlier: Option<&Checkpoint>) -> Result<Report, Finding> {
        verify_log(&self.files, &self.signed, signer().verifier(), earlier, |_, _| {})
    }

    fn changed(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<Report, Finding> {
        let mut files = self.files.clone();
        change(files.get_mut(path).unwrap());
        verify_log(&files, &self.signed, signer().verifier(), None, |_, _| {})
    }
}

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| format!("entry {index}").into_bytes()).collect()
}

/// Which entry owns a byte of a file.
fn owner(path: &str, bytes: &[u8], offset: usize) -> u64 {
    let tile: TileId = path.parse().unwrap();
    let position = match tile.level() {
        TileLevel::Hashes(_) => offset / 32,
        TileLevel::Entries => {
            let ends = entries(bytes).scan(0, |end, entry| {
                *end += 2 + entry.unwrap().len();
                Some(*end)
            });
            ends.take_while(|end| *end <= offset).count()
        }
    };
    tile.first_entry(position as u16)
}

fn found_at(verdict: Result<Report, Finding>, entry: u64) -> Fault {
    let finding = verdict.unwrap_err();
    assert_eq!(finding.first_bad_entry, entry, "{finding}");
    finding.fault
}

#[test]
fn an_untouched_log_passes_and_shows_its_entries_in_order() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 600] {
        let log = Log::numbered(size);
        let mut seen = Vec::new();
        let report = verify_log(&log.files, &log.signed, signer().verifier(), None, |index, entry| {
            assert_eq!(index, seen.len() as u64);
            seen.push(entry.to_vec());
        })
        .unwrap();
        assert_eq!(seen, numbered(size));
        assert_eq!(report.checkpoint, log.checkpoint);
        assert_eq!(report.files, tiles_for_size(size as u64).count() as u64);
        assert_eq!(report.entry_bytes, seen.iter().map(|entry| entry.len() as u64).sum::<u64>());
    }
}

#[test]
fn every_flipped_bit_of_a_small_log_is_found() {
    let log = Log::of(&["", "a", "bc", "", "def"], &[]);
    for (path, bytes) in &log.files {
        for bit in 0..bytes.len() * 8 {
            let verdict = log.changed(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let fault = found_at(verdict, owner(path, bytes, bit / 8));
            assert!(matches!(fault, Fault::EntryMismatch { .. } | Fault::FewerEntries { .. }), "{fault}");
        }
    }
    for bit in 0..log.signed.len() * 8 {
        let mut signed = log.signed.clone();
        signed[bit / 8] ^= 1 << (bit % 8);
        let verdict = verify_log(&log.files, &signed, signer().verifier(), None, |_, _| {});
        assert!(matches!(found_at(verdict, 0), Fault::Checkpoint(_)));
    }
}

#[test]
fn a_flipped_byte_anywhere_in_a_larger_log_is_found() {
    let log = Log::numbered(600);
    for (path, bytes) in &log.files {
        for offset in (0..bytes.len()).step_by(if path.starts_with("tile/1") { 1 } else { 37 }) {
            let fault =
                found_at(log.changed(path, |bytes| bytes[offset] ^= 0x04), owner(path, bytes, offset));
            assert_eq!(matches!(fault, Fault::NodeMismatch { level: 1, .. }), path.starts_with("tile/1"));
        }
    }
}

#[test]
fn three_levels_are_compared() {
    let log = Log::numbered(66_000);
    assert_eq!(log.verify().unwrap().files, 258 + 258 + 2 + 1);
    let top = found_at(log.changed("tile/2/000.p/1", |bytes| bytes[31] ^= 1), 0);
    assert!(matches!(top, Fault::NodeMismatch { level: 2, index: 0, position: 0, .. }), "{top}");
    let middle = found_at(log.changed("tile/1/000", |bytes| bytes[255 * 32] ^= 1), 255 * 256);
    assert!(matches!(middle, Fault::NodeMismatch { level: 1, position: 255, .. }), "{middle}");
    let edge = found_at(log.changed("tile/1/001.p/1", |bytes| bytes[0] ^= 1), 65_536);
    assert!(matches!(edge, Fault::NodeMismatch { level: 1, index: 1, .. }), "{edge}");
    found_at(log.changed("tile/entries/257.p/208", |bytes| *bytes.last_mut().unwrap() ^= 1), 65_999);
    let proof = TlogProof::prove(&log.files, str::from_utf8(&log.signed).unwrap(), 65_535).unwrap();
    assert!(proof.verify(b"entry 65535", signer().verifier()).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let log = Log::numbered(600);
    for path in log.files.keys() {
        let mut files = log.files.clone();
        files.remove(path);
        let verdict = verify_log(&files, &log.signed, signer().verifier(), None, |_, _| {});
        let first = path.parse::<TileId>().unwrap().first_entry(0);
        assert_eq!(found_at(verdict, first), Fault::Missing { path: path.clone() });
    }
}

#[test]
fn files_cut_short_or_too_long_are_found() {
    let log = Log::numbered(300);
    for (path, bytes) in &log.files {
        for length in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
            let fault =
                found_at(log.changed(path, |bytes| bytes.truncate(length)), owner(path, bytes, length));
            assert!(matches!(fault, Fault::FewerEntries { .. } | Fault::TileLength { .. }), "{fault}");
        }
        for more in [&[0][..], &[0, 0], &[0; 32]] {
            let finding = log.changed(path, |bytes| bytes.extend(more)).unwrap_err();
            assert!(
                matches!(finding.fault, Fault::TrailingBytes { .. } | Fault::TileLength { .. }),
                "{finding}"
            );
        }
    }
}

#[test]
fn swapped_entries_are_found_even_with_their_tiles_made_to_fit() {
    let mut swapped = numbered(300);
    swapped.swap(20, 21);
    let (log, forged) = (Log::numbered(300), Log::of(&swapped, &[]));
    let mut mixed = Log { files: log.files.clone(), checkpoint: log.checkpoint.clone(), signed: log.signed };
    let mut step = |path: &str| {
        mixed.files.insert(path.into(), forged.files[path].clone());
        mixed.verify()
    };
    assert!(matches!(found_at(step("tile/entries/000"), 20), Fault::EntryMismatch { .. }));
    assert!(matches!(found_at(step("tile/0/000"), 0), Fault::NodeMismatch { level: 1, .. }));
    assert!(matches!(found_at(step("tile/1/000.p/1"), 0), Fault::RootMismatch { .. }));
}

#[test]
fn a_wrong_root_is_laid_to_what_came_after_the_confirmed_checkpoint() {
    let mut altered = numbered(300);
    altered[299] = b"altered".to_vec();
    let (log, forged) = (Log::numbered(300), Log::of(&altered, &[]));
    let mixed = Log { files: forged.files, checkpoint: log.checkpoint, signed: log.signed };
    let earlier = Log::numbered(299).checkpoint;
    assert!(matches!(found_at(mixed.verify_since(Some(&earlier)), 299), Fault::RootMismatch { .. }));
}

#[test]
fn rollbacks_and_forks_against_an_earlier_checkpoint_are_found() {
    let (old, log) = (Log::numbered(280), Log::numbered(300));
    assert_eq!(log.verify_since(Some(&old.checkpoint)).unwrap().extends, Some(280));
    assert!(log.verify_since(Some(&log.checkpoint)).is_ok());
    assert!(log.verify_since(Some(&Log::numbered(0).checkpoint)).is_ok());
    let rolled_back = found_at(old.verify_since(Some(&log.checkpoint)), 280);
    assert_eq!(rolled_back, Fault::RolledBack { earlier: 300, size: 280 });

    let mut other = numbered(300);
    other[100] = b"rewritten".to_vec();
    let fork = Log::of(&other, &[]);
    assert!(fork.verify().is_ok(), "whoever holds the key can rewrite, without an earlier checkpoint");
    for earlier in [&old.checkpoint, &log.checkpoint] {
        assert!(matches!(found_at(fork.verify_since(Some(earlier)), 0), Fault::Forked { .. }));
    }
    let before = Log::numbered(100).checkpoint;
    assert!(fork.verify_since(Some(&before)).is_ok());
    let not_empty = Checkpoint::new(ORIGIN, 0, leaf_hash(b""));
    assert!(matches!(found_at(log.verify_since(Some(&not_empty)), 0), Fault::Forked { size: 0, .. }));
    let elsewhere = Checkpoint::new("other.example", 0, Hash::EMPTY_ROOT);
    assert!(matches!(found_at(log.verify_since(Some(&elsewhere)), 0), Fault::OtherLog { .. }));
}

#[test]
fn a_checkpoint_that_promises_more_entries_than_there_are_is_found() {
    let mut log = Log::numbered(300);
    log.checkpoint.size = 301;
    log.signed = log.checkpoint.sign(&[&signer()]).unwrap().to_string().into_bytes();
    let fault = found_at(log.verify(), 256);
    assert_eq!(fault, Fault::Missing { path: "tile/entries/001.p/45".into() });
    let mut empty = Log::numbered(0);
    empty.checkpoint.root = leaf_hash(b"");
    empty.signed = empty.checkpoint.sign(&[&signer()]).unwrap().to_string().into_bytes();
    assert!(matches!(found_at(empty.verify(), 0), Fault::RootMismatch { .. }));
}

#[test]
fn another_key_is_not_trusted() {
    let log = Log::numbered(3);
    let stranger = SignerKey::from_seed(ORIGIN, &[7; 32]).unwrap();
    let verdict = verify_log(&log.files, &log.signed, stranger.verifier(), None, |_, _| {});
    assert!(matches!(found_at(verdict, 0), Fault::Checkpoint(_)));
}

#[test]
fn a_failing_store_is_not_taken_for_a_bad_log() {
    struct Failing;
    impl LogReader for Failing {
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
            Err(ReadError::failed(path, &"disk on fire"))
        }
    }
    let verdict = verify_log(&Failing, &Log::numbered(3).signed, signer().verifier(), None, |_, _| {});
    let finding = verdict.unwrap_err();
    assert!(matches!(finding.fault, Fault::Unreadable(_)));
    assert_eq!(finding.to_string(), "from entry 0 on: cannot read tile/entries/000.p/3: disk on fire");
}

#[test]
fn a_log_that_has_grown_past_the_checkpoint_still_passes_without_its_partial_tiles() {
    let (old, mut grown) = (Log::numbered(300), Log::numbered(512));
    grown.files.insert("tile/1/000.p/1".into(), old.files["tile/1/000.p/1"].clone());
    grown.signed = old.signed;
    assert_eq!(grown.verify().unwrap().checkpoint.size, 300);
    let fault = grown.changed("tile/0/001", |bytes| bytes[43 * 32] ^= 1);
    assert!(matches!(found_at(fault, 299), Fault::EntryMismatch { .. }));
}

#[test]
fn leftover_partial_tiles_are_compared_with_the_current_ones() {
    let log = Log::of(&numbered(300), &[3, 99, 255, 270]);
    assert!(log.verify().is_ok());
    let current: Vec<_> = tiles_for_size(300).collect();
    let ids = log.files.keys().map(|path| path.parse::<TileId>().unwrap());
    let stale: Vec<_> = ids.filter(|id| !current.contains(id)).collect();
    assert_eq!(stale.len(), 6, "{stale:?}");
    for id in stale {
        let path = id.path();
        assert_eq!(check_stale_tile(&log.files, id, 300), Ok(()));
        let bytes = &log.files[&path];
        for offset in 0..bytes.len() {
            let mut files = log.files.clone();
            files.get_mut(&path).unwrap()[offset] ^= 0x20;
            let finding = check_stale_tile(&files, id, 300).unwrap_err();
            assert_eq!(finding.first_bad_entry, owner(&path, bytes, offset), "{finding}");
        }
        for length in [0, bytes.len() - 1, bytes.len() + 1] {
            let mut files = log.files.clone();
            files.get_mut(&path).unwrap().resize(length, 0);
            assert!(check_stale_tile(&files, id, 300).is_err());
        }
    }
    let beyond = "tile/0/001.p/45".parse().unwrap();
    assert!(matches!(check_stale_tile(&log.files, beyond, 300).unwrap_err().fault, Fault::Beyond { .. }));
}

#[test]
fn a_proof_file_is_written_read_and_verified() {
    let log = Log::numbered(300);
    let signed = str::from_utf8(&log.signed).unwrap();
    for index in [0, 1, 255, 256, 298, 299] {
        let mut proof = TlogProof::prove(&log.files, signed, index).unwrap();
        let entry = format!("entry {index}").into_bytes();
        assert_eq!(proof.verify(&entry, signer().verifier()), Ok(log.checkpoint.clone()));
        assert_eq!(proof.to_string().parse(), Ok(proof.clone()));
        assert!(proof.to_string().starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")));
        proof.extra = b"context".to_vec();
        assert_eq!(proof.to_string().parse(), Ok(proof.clone()));
        assert!(proof.to_string().starts_with("c2sp.org/tlog-proof@v1\nextra Y29udGV4dA==\nindex "));

        let refusal = proof.verify(b"another entry", signer().verifier());
        assert!(matches!(refusal, Err(TlogProofError::Inclusion { .. })));
        proof.index ^= 1;
        assert!(proof.verify(&entry, signer().verifier()).is_err());
    }
    assert!(matches!(TlogProof::prove(&log.files, signed, 300), Err(TlogProofError::Prove(_))));
    let lone = Log::numbered(1);
    let proof = TlogProof::prove(&lone.files, str::from_utf8(&lone.signed).unwrap(), 0).unwrap();
    assert!(proof.to_string().starts_with("c2sp.org/tlog-proof@v1\nindex 0\n\ntrueline.example/ledger\n1\n"));
    assert_eq!(proof.to_string().parse(), Ok(proof));
}

#[test]
fn a_proof_is_not_given_from_altered_tiles() {
    let mut log = Log::numbered(300);
    log.files.get_mut("tile/0/000").unwrap()[40] ^= 1;
    let refusal = TlogProof::prove(&log.files, str::from_utf8(&log.signed).unwrap(), 7);
    assert!(matches!(refusal, Err(TlogProofError::Inclusion { index: 7, .. })));
}

#[test]
fn malformed_proof_files_are_refused() {
    let hash = Hash::EMPTY_ROOT;
    let head = "c2sp.org/tlog-proof@v1";
    for text in [
        String::new(),
        format!("{head}\nindex 0\n"),
        format!("{head}\nindex 0\n\n"),
        format!("{head}\n\ncheckpoint\n"),
        "c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n".to_owned(),
        format!("{head}\nindex 00\n\ncheckpoint\n"),
        format!("{head}\nindex -1\n\ncheckpoint\n"),
        format!("{head}\nindex 0\nextra AAAA\n\ncheckpoint\n"),
        format!("{head}\nextra \nindex 0\n\ncheckpoint\n"),
        format!("{head}\nextra AAA\nindex 0\n\ncheckpoint\n"),
        format!("{head}\nextra AAAA\nextra AAAA\nindex 0\n\ncheckpoint\n"),
        format!("{head}\nindex 0\n{hash} \n\ncheckpoint\n"),
        format!("{head}\nindex 0\n{hash:x}\n\ncheckpoint\n"),
        format!("{head}\nindex 0\n{}\ncheckpoint\n", format!("{hash}\n").repeat(65)),
    ] {
        assert!(text.parse::<TlogProof>().is_err(), "accepted {text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_flipped_byte_of_any_log_is_found_and_located(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..600),
        steps in prop::collection::vec(0usize..600, 0..3),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8..), 8),
    ) {
        let log = Log::of(&entries, &steps);
        prop_assert!(log.verify().is_ok());
        let required: Vec<_> = tiles_for_size(entries.len() as u64).map(|id| id.path()).collect();
        for (file, offset, flip) in flips {
            let path = &required[file.index(required.len())];
            let bytes = &log.files[path];
            let offset = offset.index(bytes.len());
            let finding = log.changed(path, |bytes| bytes[offset] ^= flip).unwrap_err();
            prop_assert_eq!(finding.first_bad_entry, owner(path, bytes, offset), "{}", finding);
        }
    }

    #[test]
    fn any_flipped_byte_of_a_proof_file_is_refused(size in 1usize..400, at: u64, offset: prop::sample::Index, flip in 1u8..) {
        let log = Log::numbered(size);
        let index = at % size as u64;
        let proof = TlogProof::prove(&log.files, str::from_utf8(&log.signed).unwrap(), index).unwrap();
        let mut bytes = proof.to_string().into_bytes();
        let offset = offset.index(bytes.len());
        bytes[offset] ^= flip;
        let accepted = str::from_utf8(&bytes).is_ok_and(|text| {
            text.parse::<TlogProof>()
                .is_ok_and(|proof| proof.verify(format!("entry {index}").as_bytes(), signer().verifier()).is_ok())
        });
        prop_assert!(!accepted);
    }
}
