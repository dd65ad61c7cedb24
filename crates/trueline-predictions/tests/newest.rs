//! The newest records of an endpoint, from the end of its log.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, in its helpers too")]

mod support;

use support::{open, open_small, record, record_of};
use trueline_predictions::{Newest, PredictionLog};

fn newest(log: &PredictionLog, what: &Newest) -> Vec<i64> {
    let found = log.newest("default", "flights", what).unwrap();
    found.iter().map(|r| r.event_time_ms / 1000).collect()
}

fn all() -> Newest {
    Newest { event_time_ms: None, limit: 1_000, bytes: usize::MAX }
}

#[tokio::test]
async fn the_newest_come_first_over_all_segments_and_no_more_than_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    assert_eq!(newest(&log, &all()), [] as [i64; 0]);
    for n in 0..60 {
        log.append_required(&[record(n)]).await.unwrap();
        log.append_required(&[record_of("default", "other", n)]).await.unwrap();
    }
    assert_eq!(newest(&log, &all()), (0..60).rev().collect::<Vec<_>>());
    assert_eq!(newest(&log, &Newest { limit: 25, ..all() }), (35..60).rev().collect::<Vec<_>>());
    let within = Newest { event_time_ms: Some(10_000..30_000), limit: 12, ..all() };
    assert_eq!(newest(&log, &within), (18..30).rev().collect::<Vec<_>>());
    log.seal_all().await.unwrap();
    assert_eq!(newest(&log, &all()).len(), 60, "sealed segments are read like open ones");
    assert!(log.newest("default", "nowhere", &all()).unwrap().is_empty());
}

#[tokio::test]
async fn bytes_are_bounded_but_one_record_is_always_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..20 {
        log.append_required(&[record(n)]).await.unwrap();
    }
    let three = (17..20).map(|n| record(n).encode().unwrap().len()).sum();
    assert_eq!(newest(&log, &Newest { bytes: three, ..all() }), [19, 18, 17]);
    assert_eq!(newest(&log, &Newest { bytes: 1, ..all() }), [19]);
}
