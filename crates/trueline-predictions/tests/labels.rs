//! Labels: any order, any number of times, before or after their predictions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, in its helpers too")]

mod support;

use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use support::{id, label, open, open_small, record, scan};
use trueline_predictions::{Cursor, Label, Labelled, PredictionLog, Scalar};

fn values(log: &PredictionLog, n: u64) -> Vec<Scalar> {
    log.labels_of("default", id(n)).unwrap().into_iter().map(|l| l.value).collect()
}

#[tokio::test]
async fn a_label_is_new_then_a_duplicate_then_a_correction() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append_required(&[record(1)]).await.unwrap();
    let label_as = |value, at| vec![label(1, value, at)];
    assert_eq!(
        log.label("default", label_as(0, 10)).await.unwrap(),
        Labelled { new: 1, ..Default::default() }
    );
    for restarted in [false, true] {
        if restarted {
            drop(log);
            log = open(dir.path());
        }
        let again = log.label("default", label_as(0, 10)).await.unwrap();
        assert_eq!(again, Labelled { duplicates: 1, ..Default::default() });
    }
    let corrected = log.label("default", label_as(1, 20)).await.unwrap();
    assert_eq!(corrected, Labelled { corrections: 1, ..Default::default() });
    let late_copy = log.label("default", label_as(0, 10)).await.unwrap();
    assert_eq!(
        late_copy,
        Labelled { duplicates: 1, ..Default::default() },
        "it does not undo the correction"
    );
    assert_eq!(values(&log, 1), [Scalar::Int(0), Scalar::Int(1)]);
    assert_eq!(log.labels_of("elsewhere", id(1)).unwrap(), []);
}

#[tokio::test]
async fn a_label_may_come_before_its_prediction() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let early = log.label("default", vec![label(7, 1, 10), label(7, 0, 20)]).await.unwrap();
    assert_eq!(early, Labelled { new: 1, corrections: 1, duplicates: 0, unknown: vec![id(7)] });
    log.append_required(&[record(7)]).await.unwrap();
    let known = log.label("default", vec![label(7, 0, 20)]).await.unwrap();
    assert_eq!(known, Labelled { duplicates: 1, ..Default::default() });
    assert_eq!(values(&log, 7), [Scalar::Int(1), Scalar::Int(0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_label_from_many_callers_at_once_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()));
    let send = |n: u64| {
        let log = log.clone();
        tokio::spawn(async move { log.label("default", vec![label(n % 8, 1, 10)]).await })
    };
    let tasks: Vec<_> = (0..128).map(send).collect();
    let mut sum = Labelled::default();
    for task in tasks {
        let done = task.await.unwrap().unwrap();
        sum.new += done.new;
        sum.duplicates += done.duplicates;
    }
    assert_eq!((sum.new, sum.duplicates), (8, 120));
    assert_eq!(log.scan_labels("default", &scan(Cursor::START, 1000)).unwrap().items.len(), 8);
}

#[tokio::test]
async fn a_bulk_of_many_chunks_is_kept_and_can_be_followed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    log.append_required(&(0..9000).map(record).collect::<Vec<_>>()).await.unwrap();
    let backwards: Vec<_> = (0..10_000).rev().map(|n| label(n, n as i64 % 2, n as i64)).collect();
    let done = log.label("default", backwards.clone()).await.unwrap();
    assert_eq!((done.new, done.unknown.len()), (10_000, 1000));
    let done = log.label("default", backwards.clone()).await.unwrap();
    assert_eq!((done.duplicates, done.unknown.len()), (10_000, 1000));
    let (mut cursor, mut seen) = (Cursor::START, Vec::new());
    loop {
        let page = log.scan_labels("default", &scan(cursor, 999)).unwrap();
        seen.extend(page.items);
        cursor = page.next;
        if page.end {
            break;
        }
    }
    assert_eq!(seen, backwards);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn however_labels_are_sent_and_sent_again_the_last_to_say_something_else_is_true(
        sent in prop::collection::vec((0u64..4, 0i64..3), 1..30),
        sizes in prop::collection::vec(1usize..6, 30),
        restarts in prop::collection::vec(prop::bool::weighted(0.2), 30),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut log = open(dir.path());
        // Event times differ, so that no label repeats an earlier one by chance.
        let labels: Vec<Label> = (0..).zip(&sent).map(|(at, (n, value))| label(*n, *value, at)).collect();
        let mut expected: HashMap<u64, Vec<Scalar>> = HashMap::new();
        for (n, value) in &sent {
            let history = expected.entry(*n).or_default();
            if history.last() != Some(&Scalar::Int(*value)) {
                history.push(Scalar::Int(*value));
            }
        }
        let mut rest = &labels[..];
        for (size, restart) in sizes.into_iter().zip(restarts) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            runtime.block_on(log.label("default", now.to_vec())).unwrap();
            let again = runtime.block_on(log.label("default", now.to_vec())).unwrap();
            prop_assert_eq!(again.duplicates, now.len(), "sent again, it is a duplicate");
            if restart {
                drop(log);
                log = open(dir.path());
            }
        }
        runtime.block_on(log.label("default", rest.to_vec())).unwrap();
        for (n, history) in expected {
            prop_assert_eq!(values(&log, n), history);
        }
    }
}
