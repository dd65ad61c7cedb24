//! What is left of the log after its files were cut, filled or changed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, in its helpers too")]

mod support;

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use support::{follow, id, label, open, open_small, record};
use trueline_predictions::{Cursor, LogError, PredictionLog, verify};

fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn append(log: &PredictionLog, from: u64, count: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let records: Vec<_> = (from..from + count).map(record).collect();
    runtime.block_on(log.append_required(&records)).unwrap();
}

fn seal_all(log: &PredictionLog) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.seal_all()).unwrap();
}

fn all_of(log: &PredictionLog) -> Vec<u64> {
    follow(log, &mut Cursor::default(), 100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_tail_cut_or_filled_anywhere_leaves_exactly_the_whole_batches_before_it(
        batches in prop::collection::vec(prop_oneof![4 => 1u64..5, 1 => 200u64..400], 1..6),
        at in any::<prop::sample::Index>(),
        filling in prop_oneof![
            Just(vec![]),
            (1usize..9000).prop_map(|n| vec![0; n]),
            prop::collection::vec(any::<u8>(), 1..300),
        ],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let mut ends = vec![(0, 0)];
        let mut n = 0;
        for count in batches {
            append(&log, n, count);
            n += count;
            ends.push((log.stats()[0].bytes, n));
        }
        drop(log);
        let segment = &files(dir.path(), "log")[0];
        let mut bytes = fs::read(segment).unwrap();
        bytes.truncate(at.index(bytes.len() + 1));
        let (kept_bytes, kept) = *ends.iter().rev().find(|(end, _)| *end <= bytes.len() as u64).unwrap();
        bytes.extend(&filling);
        fs::write(segment, &bytes).unwrap();

        for _ in 0..2 {
            let log = open(dir.path());
            prop_assert_eq!(all_of(&log), (0..kept).collect::<Vec<_>>());
            prop_assert!((0..n).all(|n| log.find("default", id(n)).unwrap().is_some() == (n < kept)));
        }
        prop_assert_eq!(fs::metadata(segment).unwrap().len(), kept_bytes);
        let log = open(dir.path());
        prop_assert_eq!(log.cuts(), []);
        append(&log, kept, 2);
        seal_all(&log);
        prop_assert_eq!(all_of(&log), (0..kept + 2).collect::<Vec<_>>());
        verify(dir.path()).unwrap();
    }
}

#[test]
fn bytes_that_may_be_more_than_a_torn_write_are_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, 3);
    let kept = log.stats()[0].bytes;
    append(&log, 3, 3);
    append(&log, 6, 3);
    drop(log);
    let segment = &files(dir.path(), "log")[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[kept as usize + 50] ^= 1;
    fs::write(segment, &bytes).unwrap();

    let log = open(dir.path());
    assert_eq!(all_of(&log), [0, 1, 2]);
    let [cut] = &log.cuts()[..] else { panic!("one cut, not {:?}", log.cuts()) };
    assert_eq!((cut.kept, cut.cut), (kept, bytes.len() as u64 - kept));
    assert_eq!(fs::read(cut.aside.as_ref().unwrap()).unwrap(), bytes[kept as usize..]);
}

#[test]
fn a_segment_whose_sealing_was_interrupted_is_sealed_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    for n in 0..60 {
        append(&log, n, 1);
    }
    drop(log);
    let indexes = files(dir.path(), "idx");
    assert!(indexes.len() > 2);
    let before: Vec<_> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
    // As if the process had died in the middle of the second one, before any later.
    for index in &indexes[1..] {
        fs::remove_file(index).unwrap();
    }
    fs::write(indexes[1].with_extension("new"), b"half an ind").unwrap();

    let log = open_small(dir.path());
    assert_eq!(all_of(&log), (0..60).collect::<Vec<_>>());
    drop(log);
    let after: Vec<_> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "the same bytes as before");
}

#[test]
fn a_broken_index_is_made_again_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    append(&log, 0, 300);
    seal_all(&log);
    let index = &files(dir.path(), "idx")[0];
    let good = fs::read(index).unwrap();
    for at in [0, 60, 130, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 8;
        fs::write(index, bad).unwrap();
        let found = (0..300).filter(|n| log.find("default", id(*n)).unwrap().is_some());
        assert_eq!(found.count(), 300);
        assert!(fs::read(index).unwrap() == good, "byte {at}");
    }
    fs::write(index, b"").unwrap();
    drop(log);
    assert!(open(dir.path()).find("default", id(7)).unwrap().is_some());
    assert!(fs::read(index).unwrap() == good);
}

#[test]
fn any_changed_byte_of_a_sealed_segment_or_its_index_is_found_and_its_file_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    for n in 0..30 {
        append(&log, n, 1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log.label("default", vec![label(1, 1, 5), label(2, 0, 5)])).unwrap();
    seal_all(&log);
    drop(log);
    let check = || verify(dir.path());
    check().unwrap();
    let all = [files(dir.path(), "log"), files(dir.path(), "idx")].concat();
    assert!(all.len() >= 6);
    for path in all {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            named(check(), &path);
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        named(check(), &path);
        fs::write(&path, &good).unwrap();
    }
    let segment = &files(dir.path(), "log")[0];
    fs::remove_file(segment).unwrap();
    named(check(), segment);
}

#[track_caller]
fn named<T: std::fmt::Debug>(result: Result<T, LogError>, expected: &Path) {
    match result {
        Err(LogError::Damaged { path, .. }) => assert_eq!(Path::new(&path), expected),
        other => panic!("{other:?} for {}", expected.display()),
    }
}

#[test]
fn damage_in_a_sealed_segment_is_an_error_of_its_readers_and_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    append(&log, 0, 20);
    append(&log, 20, 20);
    seal_all(&log);
    let segment = &files(dir.path(), "log")[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[100] ^= 1;
    fs::write(segment, bytes).unwrap();
    assert!(matches!(log.find("default", id(3)), Err(LogError::Damaged { .. })));
    assert!(log.find("default", id(23)).unwrap().is_some());
    append(&log, 40, 1);
}
