//! What was kept for long enough goes: the oldest segments, for good, while others read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::{follow, id, label, open, open_small, record, scan, wait_until};
use trueline_predictions::{
    Cursor, Look, PredictionLog, RecordFilter, Scan, Sealed, StreamName, sealed_segments, verify,
};

const START: i64 = 1_700_000_000_000;

fn stream() -> StreamName {
    StreamName::Predictions { project: "default".into(), endpoint: "flights".into() }
}

/// A hundred predictions, some to a segment, all of them sealed.
async fn sealed(root: &Path) -> (PredictionLog, Vec<Sealed>) {
    let log = open_small(root);
    for n in 0..100 {
        log.append_required(&[record(n)]).await.unwrap();
    }
    log.seal_all().await.unwrap();
    let segments = log.sealed_after(&stream(), 0);
    assert!(segments.len() > 6, "{}", segments.len());
    (log, segments)
}

fn files(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("default/endpoints/flights")).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn old_segments_go_and_readers_go_on_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let (log, segments) = sealed(dir.path()).await;
    let (gone, kept) = segments.split_at(4);
    let mut stays = Cursor::parse("2-0-0").unwrap();
    let before_ms = kept[0].received_at_ms.0;
    assert_eq!(log.expired(&stream(), before_ms, &[]), gone);
    assert_eq!(log.expired(&stream(), i64::MIN, &[]), []);
    assert_eq!(log.expired(&stream(), before_ms, &[stays]), segments[..1], "the second is still to be read");

    log.remove_through(&stream(), gone[3].segment).unwrap();
    let first = (before_ms - START) as u64;
    assert_eq!(follow(&log, &mut Cursor::START.clone(), 7), (first..100).collect::<Vec<_>>());
    assert_eq!(follow(&log, &mut stays, 7), (first..100).collect::<Vec<_>>(), "a position stays good");
    assert_eq!(log.find("default", id(0)).unwrap(), None);
    assert!(log.find("default", id(first)).unwrap().is_some());
    let all =
        Look { filter: RecordFilter::default(), before: None, limit: 1_000, most: u64::MAX, until: None };
    let found = log.look("default", "flights", &all).unwrap();
    assert_eq!((found.items.len() as u64, found.next), (100 - first, None));

    let stats = log.stats_of("default", "flights").unwrap();
    assert_eq!((stats.records, stats.segments), (100 - first, kept.len() as u64));
    assert_eq!(stats.bytes, kept.iter().map(|s| s.bytes).sum::<u64>());
    assert_eq!((stats.oldest_ms, stats.deleted_until_ms), (Some(before_ms), Some(gone[3].received_at_ms.1)));
    assert_eq!(verify(dir.path()).unwrap(), kept);
    let unheard_of = StreamName::Labels { project: "nobody".into() };
    assert_eq!(log.remove_through(&unheard_of, 9), Ok(()));
}

#[tokio::test]
async fn when_everything_is_gone_numbers_and_positions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (log, segments) = sealed(dir.path()).await;
    let last = segments.last().unwrap().segment;
    let mut at = Cursor::START;
    follow(&log, &mut at, 100);
    log.remove_through(&stream(), u64::MAX).unwrap();
    assert_eq!(files(dir.path()), [format!("{last:020}.gone")]);
    assert_eq!(follow(&log, &mut at, 100), []);
    drop(log);

    let log = open_small(dir.path());
    assert_eq!(follow(&log, &mut at, 100), [], "after a start, too");
    assert_eq!(
        log.deleted_until_ms("default", Some("flights")),
        Some(segments.last().unwrap().received_at_ms.1)
    );
    log.append_required(&[record(100)]).await.unwrap();
    log.seal_all().await.unwrap();
    assert_eq!(log.sealed_after(&stream(), 0)[0].segment, last + 1, "no number is given twice");
    assert_eq!(follow(&log, &mut at, 100), [100]);
}

#[tokio::test]
async fn a_crash_after_the_mark_is_completed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (log, segments) = sealed(dir.path()).await;
    drop(log);
    let mark = segments[2].path.with_extension("gone");
    std::fs::write(&mark, segments[2].received_at_ms.1.to_string()).unwrap();
    std::fs::write(segments[0].path.with_extension("cut-7-9"), "a torn tail that was put aside").unwrap();
    let log = open_small(dir.path());
    assert_eq!(log.sealed_after(&stream(), 0), segments[3..]);
    assert_eq!(sealed_segments(dir.path()).unwrap().len(), segments.len() - 3);
    let left = files(dir.path());
    assert_eq!(left[0], format!("{:020}.gone", segments[2].segment), "{left:?}");
    drop(log);
    std::fs::write(&mark, "soon").unwrap();
    let refused = PredictionLog::open(dir.path(), Default::default()).unwrap_err().to_string();
    assert!(refused.contains("tells no time"), "{refused}");
}

#[tokio::test]
async fn a_segment_that_nobody_appends_to_is_closed_when_it_is_old_after_a_start_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append_required(&[record(1)]).await.unwrap();
    assert_eq!(log.expired(&stream(), START, &[]), [], "it is too young");
    drop(log);
    let log = open(dir.path());
    wait_until(|| !log.expired(&stream(), START + 2, &[]).is_empty());
    log.append_required(&[record(2)]).await.unwrap();
    log.remove_through(&stream(), 1).unwrap();
    assert_eq!(follow(&log, &mut Cursor::START.clone(), 10), [2]);
}

#[tokio::test]
async fn labels_go_like_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    for n in 0..150 {
        log.label("default", vec![label(n, 1, n as i64)]).await.unwrap();
    }
    log.seal_all().await.unwrap();
    let labels = StreamName::Labels { project: "default".into() };
    let segments = log.sealed_after(&labels, 0);
    assert!(segments.len() > 2);
    log.remove_through(&labels, segments[0].segment).unwrap();
    let page = log.scan_labels("default", &scan(Cursor::START, 1_000)).unwrap();
    assert_eq!(page.items.len() as u64, 150 - segments[0].records);
    assert!(log.labels_of("default", id(0)).unwrap().is_empty());
}

#[tokio::test]
async fn whoever_reads_while_segments_go_sees_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let (log, segments) = sealed(dir.path()).await;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (log, over) = (&log, &over);
            scope.spawn(move || {
                let all = Look {
                    filter: RecordFilter::default(),
                    before: None,
                    limit: 9,
                    most: u64::MAX,
                    until: None,
                };
                let mut finder = log.finder("default", None);
                while !over.load(Relaxed) {
                    match reader {
                        0 => drop(follow(log, &mut Cursor::START.clone(), 3)),
                        1 => drop(log.look("default", "flights", &all).unwrap()),
                        _ => (0..100).for_each(|n| drop(finder.find(id(n)).unwrap())),
                    }
                }
            });
        }
        for segment in &segments {
            log.remove_through(&stream(), segment.segment).unwrap();
        }
        over.store(true, Relaxed);
    });
    assert_eq!(log.stats_of("default", "flights").unwrap().bytes, 0);
}

#[tokio::test]
async fn a_page_that_is_out_of_time_ends_where_it_stands_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _segments) = sealed(dir.path()).await;
    let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
    let mut what = Scan { until: Some(late), ..scan(Cursor::START, 1_000) };
    let (mut pages, mut seen) = (0, 0);
    loop {
        let page = log.scan("default", "flights", &what).unwrap();
        pages += 1;
        seen += page.items.len();
        what.from = page.next;
        if page.end {
            break;
        }
    }
    assert_eq!(seen, 100);
    assert!(pages > 50, "each page read one frame: {pages}");
}
