//! Looking through the log from its newest record back, through the public door.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::Instant;
use support::{id, open, open_small, record};
use trueline_predictions::{
    Cursor, Found, LogError, Look, Options, Outcome, Outputs, PredictionLog, Record, RecordFilter, Status,
};

fn look(filter: RecordFilter, limit: usize) -> Look {
    Look { filter, before: None, limit, most: u64::MAX, until: None }
}

fn at(log: &PredictionLog, what: &Look) -> Found {
    log.look("default", "flights", what).unwrap()
}

fn number(record: &Record) -> u64 {
    record.event_time_ms as u64 / 1000
}

/// Goes on until the log's beginning; the numbers of the records, and how many looks it took.
fn all(log: &PredictionLog, mut what: Look) -> (Vec<u64>, usize) {
    let (mut found, mut looks) = (Vec::new(), 0);
    loop {
        let page = at(log, &what);
        looks += 1;
        assert!(page.items.len() <= what.limit);
        assert!(page.looked_at > 0 || page.next.is_none(), "a look gets on");
        found.extend(page.items.iter().map(number));
        if page.next.is_none() {
            return (found, looks);
        }
        what.before = page.next;
    }
}

/// Forty records in batches of one to four, in several segments of which the last is open; each third one failed, each
/// fifth is another version's.
async fn filled(log: &PredictionLog) {
    let one = |n: u64| {
        let mut record = record(n);
        if n.is_multiple_of(3) {
            record.status = Status::Error("the model has no answer".into());
            record.outputs = Outputs::None;
        }
        if n.is_multiple_of(5) {
            record.variant.version = "4".into();
        }
        record
    };
    let mut n = 0;
    for size in [1, 2, 3, 4].into_iter().cycle().take(16) {
        let batch: Vec<_> = (n..n + size).map(one).collect();
        log.append_required(&batch).await.unwrap();
        n += size;
    }
}

#[tokio::test]
async fn the_newest_comes_first_on_pages_of_any_length_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_small(dir.path());
    filled(&log).await;
    let expected: Vec<u64> = (0..40).rev().collect();
    for sealed in [false, true] {
        if sealed {
            log.seal_all().await.unwrap();
            drop(log);
            log = open_small(dir.path());
        }
        for limit in [1, 2, 3, 7, 39, 40, 100] {
            let (found, looks) = all(&log, look(RecordFilter::default(), limit));
            assert_eq!(found, expected, "{limit} on a page");
            assert_eq!(looks, 40_usize.div_ceil(limit), "no empty page at the end with {limit}");
        }
    }
}

#[tokio::test]
async fn a_filter_keeps_what_it_says_and_a_bound_on_the_cost_changes_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    filled(&log).await;
    let text = |t: &str| Some(t.to_owned());
    type Wanted = fn(u64) -> bool;
    let cases: [(RecordFilter, Wanted); 6] = [
        (RecordFilter { outcome: Some(Outcome::Failed), ..RecordFilter::default() }, |n| n % 3 == 0),
        (RecordFilter { outcome: Some(Outcome::Answered), ..RecordFilter::default() }, |n| n % 3 > 0),
        (RecordFilter { model: text("flights"), version: text("4"), ..RecordFilter::default() }, |n| {
            n % 5 == 0
        }),
        (RecordFilter { key: text("N12"), ..RecordFilter::default() }, |n| n == 12),
        (
            RecordFilter {
                received_ms: Some(1_700_000_000_010..1_700_000_000_020),
                ..RecordFilter::default()
            },
            |n| (10..20).contains(&n),
        ),
        (RecordFilter { key: text("nobody"), ..RecordFilter::default() }, |_| false),
    ];
    for (filter, wanted) in cases {
        let expected: Vec<u64> = (0..40).rev().filter(|n| wanted(*n)).collect();
        for most in [1, 3, u64::MAX] {
            let what = Look { most, ..look(filter.clone(), 4) };
            assert_eq!(all(&log, what).0, expected, "{filter:?} looking at {most}");
        }
    }
}

#[tokio::test]
async fn a_look_that_gave_up_says_so_and_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    filled(&log).await;
    let nobody = RecordFilter { key: Some("nobody".into()), ..RecordFilter::default() };
    let found = at(&log, &Look { most: 10, ..look(nobody.clone(), 5) });
    assert!(found.gave_up && found.items.is_empty());
    assert_eq!((found.looked_at, found.back_to_ms), (10, Some(1_700_000_000_030)));
    let rest = at(&log, &Look { before: found.next, ..look(nobody, 5) });
    assert_eq!((rest.looked_at, rest.gave_up, rest.next), (30, false, None));
    // One that found enough did not give up, though there is more.
    let full = at(&log, &look(RecordFilter::default(), 5));
    assert!(!full.gave_up && full.next.is_some());
}

#[tokio::test]
async fn without_time_something_is_looked_at_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    // Several segments, each of which is a block.
    let log = open_small(dir.path());
    filled(&log).await;
    let what = Look { until: Some(Instant::now()), ..look(RecordFilter::default(), 100) };
    let first = at(&log, &what);
    assert!(first.gave_up && !first.items.is_empty() && first.items.len() < 40);
    assert_eq!(all(&log, what).0, (0..40).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn large_records_end_a_page_early() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..6 {
        let mut large = record(n);
        large.request_id = "x".repeat(1 << 20);
        log.append_required(&[large]).await.unwrap();
    }
    let found = at(&log, &look(RecordFilter::default(), 100));
    assert_eq!(found.items.iter().map(number).collect::<Vec<_>>(), [5, 4, 3, 2]);
    assert_eq!(all(&log, look(RecordFilter::default(), 100)).0, [5, 4, 3, 2, 1, 0]);
}

#[tokio::test]
async fn an_id_is_looked_up_and_held_to_the_rest_of_the_filter() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    filled(&log).await;
    let own = |n| RecordFilter { id: Some(id(n)), ..RecordFilter::default() };
    let found = at(&log, &look(own(7), 5));
    assert_eq!(found.items.iter().map(number).collect::<Vec<_>>(), [7]);
    assert_eq!(found.looked_at, 1, "nothing else was read");
    let failed = RecordFilter { outcome: Some(Outcome::Failed), ..own(7) };
    assert_eq!(at(&log, &look(failed, 5)).items, []);
    assert_eq!(log.look("default", "other", &look(own(7), 5)).unwrap().items, [], "another endpoint's");
}

#[tokio::test]
async fn what_is_appended_meanwhile_does_not_shift_the_next_page() {
    let dir = tempfile::tempdir().unwrap();
    let log = PredictionLog::open(dir.path(), Options::default()).unwrap();
    filled(&log).await;
    let first = at(&log, &look(RecordFilter::default(), 10));
    log.append_required(&[record(100), record(101)]).await.unwrap();
    let second = at(&log, &Look { before: first.next, ..look(RecordFilter::default(), 10) });
    assert_eq!(second.items.iter().map(number).collect::<Vec<_>>(), (20..30).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_position_that_this_log_never_gave_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    filled(&log).await;
    for wrong in ["1-5-0", "1-5-2", "1-99999999-0", "1-99999999-1"] {
        let before = Cursor::parse(wrong);
        let what = Look { before, ..look(RecordFilter::default(), 5) };
        let refused = log.look("default", "flights", &what);
        assert_eq!(refused, Err(LogError::Cursor(wrong.into())));
    }
}
