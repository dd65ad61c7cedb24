//! Names and contents of tiles: published paths and counts, strict parsing, and appending in any steps.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use trueline_tlog::merkle::{inclusion_proof, root, tree_root};
use trueline_tlog::tile::{TileError, decode_bundle};
use trueline_tlog::{
    EntryBundle, Hash, LogAppender, ReadError, TileHashes, TileId, TileLevel, leaf_hash, tiles_added,
    tiles_for_size,
};

fn id(level: TileLevel, index: u64, width: u16) -> TileId {
    TileId::new(level, index, width).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    for (tile, path) in [
        (id(TileLevel::Hashes(0), 0, 256), "tile/0/000"),
        (id(TileLevel::Hashes(0), 999, 256), "tile/0/999"),
        (id(TileLevel::Hashes(1), 1000, 256), "tile/1/x001/000"),
        (id(TileLevel::Hashes(63), 1_234_067, 255), "tile/63/x001/x234/067.p/255"),
        (id(TileLevel::Entries, 1_234_067, 256), "tile/entries/x001/x234/067"),
        (id(TileLevel::Entries, 5, 1), "tile/entries/005.p/1"),
        (id(TileLevel::Entries, u64::MAX, 256), "tile/entries/x018/x446/x744/x073/x709/x551/615"),
    ] {
        assert_eq!(tile.path(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
}

#[test]
fn other_paths_are_refused() {
    for path in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/+00",
        "tile/0/x001/x002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries",
        "tile/data/000",
        "tile/0/../000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/xx01/000",
    ] {
        assert!(path.parse::<TileId>().is_err(), "accepted {path:?}");
    }
    assert!(TileId::new(TileLevel::Entries, 0, 0).is_err());
    assert!(TileId::new(TileLevel::Entries, 0, 257).is_err());
    assert!(TileId::new(TileLevel::Hashes(64), 0, 1).is_err());
}

#[test]
fn a_log_of_70_000_has_the_tiles_of_the_specification() {
    let tiles: Vec<_> = tiles_for_size(70_000).collect();
    let count = |level, partial: bool| {
        tiles.iter().filter(|tile| tile.level() == level && tile.is_partial() == partial).count()
    };
    assert_eq!((count(TileLevel::Hashes(0), false), count(TileLevel::Hashes(0), true)), (273, 1));
    assert_eq!((count(TileLevel::Entries, false), count(TileLevel::Entries, true)), (273, 1));
    for tile in
        ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"]
    {
        assert!(tiles.contains(&tile.parse().unwrap()), "{tile} is missing");
    }
    assert_eq!(tiles.len(), 274 + 274 + 2 + 1);
}

#[test]
fn small_and_round_sizes_have_their_tiles() {
    let paths = |size| tiles_for_size(size).map(|tile| tile.path()).collect::<Vec<_>>();
    assert!(paths(0).is_empty());
    assert_eq!(paths(1), ["tile/entries/000.p/1", "tile/0/000.p/1"]);
    assert_eq!(paths(256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(tiles_for_size(1 << 16).last().unwrap().path(), "tile/2/000.p/1");
    assert_eq!(TileId::at(TileLevel::Hashes(7), 0, u64::MAX).unwrap().width(), 255);
    assert_eq!(TileId::at(TileLevel::Hashes(8), 0, u64::MAX), None);
}

#[test]
fn a_tile_knows_which_entries_stand_under_it() {
    assert_eq!(id(TileLevel::Entries, 2, 9).first_entry(3), 515);
    assert_eq!(id(TileLevel::Hashes(0), 2, 9).first_entry(3), 515);
    assert_eq!(id(TileLevel::Hashes(1), 1, 9).first_entry(2), 258 * 256);
    assert_eq!(id(TileLevel::Hashes(63), 1, 9).first_entry(2), u64::MAX);
}

#[test]
fn bundles_hold_what_was_put_in() {
    let long = vec![7; 65_535];
    let entries: [&[u8]; 3] = [b"", b"ab", &long];
    let bundle = EntryBundle::encode(entries).unwrap();
    assert_eq!(bundle.width(), 3);
    assert_eq!(bundle.as_bytes()[..6], [0, 0, 0, 2, b'a', b'b']);
    assert_eq!(decode_bundle(bundle.as_bytes(), 3).unwrap(), entries);
    assert_eq!(decode_bundle(bundle.as_bytes(), 2), Err(TileError::Trailing(65_537)));
    assert_eq!(decode_bundle(bundle.as_bytes(), 4), Err(TileError::Truncated(3)));
    assert_eq!(decode_bundle(&bundle.as_bytes()[..65_000], 3), Err(TileError::Truncated(2)));
    assert_eq!(decode_bundle(&[0], 1), Err(TileError::Truncated(0)));
    assert_eq!(decode_bundle(&[], 0), Ok(vec![]));
}

#[test]
fn entries_over_the_limit_are_refused_and_change_nothing() {
    let mut log = LogAppender::new();
    assert_eq!(log.push(&[0; 65_536]), Err(TileError::EntryTooLong(65_536)));
    assert_eq!((log.size(), log.root()), (0, Hash::EMPTY_ROOT));
    assert!(log.take_tiles().is_empty());
    let mut bundle = EntryBundle::encode([b"e"; 256]).unwrap();
    assert_eq!(bundle.push(b"one more"), Err(TileError::Full));
}

type Files = BTreeMap<String, Vec<u8>>;

fn write(files: &mut Files, log: &mut LogAppender) {
    for tile in log.take_tiles() {
        let earlier = files.insert(tile.id.path(), tile.bytes);
        assert_eq!(earlier, None, "a file is never overwritten");
    }
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

#[test]
fn resuming_without_a_tile_tells_which() {
    let mut files = Files::new();
    let mut log = LogAppender::new();
    for index in 0..300 {
        log.push(&entry(index)).unwrap();
    }
    write(&mut files, &mut log);
    for path in ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"] {
        let mut fewer = files.clone();
        fewer.remove(path);
        let refusal = LogAppender::resume(&fewer, 300).unwrap_err();
        assert_eq!(refusal, ReadError::Missing { path: path.into() });
    }
    let truncated = files.get_mut("tile/0/001.p/44").unwrap();
    truncated.pop();
    assert!(matches!(LogAppender::resume(&files, 300), Err(ReadError::Length { found: 1407, .. })));
}

#[test]
fn a_removed_partial_tile_is_read_from_the_full_one() {
    let mut files = Files::new();
    let mut log = LogAppender::new();
    for index in 0..512 {
        log.push(&entry(index)).unwrap();
    }
    write(&mut files, &mut log);
    files.insert("tile/1/000.p/1".into(), files["tile/1/000.p/2"][..32].to_vec());
    let mut resumed = LogAppender::resume(&files, 300).unwrap();
    for index in 300..512 {
        resumed.push(&entry(index)).unwrap();
    }
    assert_eq!(resumed.root(), log.root());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn appending_in_steps_gives_all_tiles_and_resumes(steps in prop::collection::vec(0u64..400, 1..6)) {
        let mut files = Files::new();
        let mut log = LogAppender::new();
        let mut named = BTreeSet::new();
        for step in steps {
            let from = log.size();
            for index in from..from + step {
                prop_assert_eq!(log.push(&entry(index)), Ok(index));
            }
            named.extend(tiles_added(from, log.size()).map(|tile| tile.path()));
            write(&mut files, &mut log);
            prop_assert!(files.keys().eq(named.iter()));
            for tile in tiles_for_size(log.size()) {
                prop_assert!(files.contains_key(&tile.path()));
            }
            let resumed = LogAppender::resume(&files, log.size()).unwrap();
            prop_assert_eq!(resumed.root(), log.root());
            log = resumed;
        }
    }

    #[test]
    fn nodes_from_tiles_are_those_of_the_tree(size in 1u64..1500, at in any::<u64>()) {
        let mut files = Files::new();
        let mut log = LogAppender::new();
        for index in 0..size {
            log.push(&entry(index)).unwrap();
        }
        write(&mut files, &mut log);
        let leaves: Vec<_> = (0..size).map(|index| leaf_hash(&entry(index))).collect();
        let mut nodes = TileHashes::new(&files, size);
        prop_assert_eq!(tree_root(&mut nodes, size).unwrap(), root(&leaves));
        prop_assert_eq!(
            inclusion_proof(&mut nodes, at % size, size).unwrap(),
            inclusion_proof(&mut leaves.as_slice(), at % size, size).unwrap()
        );
    }

    #[test]
    fn any_tile_path_is_read_back(level in 0u8..=63, index in any::<u64>(), width in 1u16..=256, entries: bool) {
        let level = if entries { TileLevel::Entries } else { TileLevel::Hashes(level) };
        let tile = id(level, index, width);
        prop_assert_eq!(tile.path().parse(), Ok(tile));
    }
}
