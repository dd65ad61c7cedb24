//! Appending, finding and following, through the public door.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::sync::Arc;
use support::{follow, id, open, open_small, record, record_of, scan, wait_until};
use trueline_predictions::{
    Cursor, Dropped, LogError, MAX_RECORD, Options, PredictionLog, Scalar, Scan, StreamName, verify,
};

#[tokio::test]
async fn what_was_appended_is_found_by_id_now_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append_required(&[record(1), record(2)]).await.unwrap();
    log.append_required(&[record_of("default", "other", 3)]).await.unwrap();
    for restarted in [false, true] {
        if restarted {
            drop(log);
            log = open(dir.path());
        }
        for n in [1, 2] {
            assert_eq!(log.find("default", id(n)).unwrap(), Some(record(n)));
        }
        assert_eq!(log.find("default", id(3)).unwrap(), Some(record_of("default", "other", 3)));
        assert_eq!(log.finder("default", Some("flights")).find(id(3)).unwrap(), None, "another endpoint's");
        assert_eq!(log.find("elsewhere", id(1)).unwrap(), None, "another project");
        assert_eq!(log.find("default", id(4)).unwrap(), None);
        assert_eq!(log.cuts(), []);
    }
}

#[tokio::test]
async fn an_append_whose_caller_goes_away_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    drop(log.append_required(&[record(1)]));
    log.append_required(&[record(2)]).await.unwrap();
    assert!(log.find("default", id(1)).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_callers_share_commits_and_each_gets_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open_small(dir.path()));
    let append = |n| {
        let log = log.clone();
        tokio::spawn(async move { log.append_required(&[record(n)]).await })
    };
    let tasks: Vec<_> = (0..500).map(append).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let mut found = follow(&log, &mut Cursor::default(), 7);
    found.sort_unstable();
    assert_eq!(found, (0..500).collect::<Vec<_>>());
    let mut finder = log.finder("default", None);
    assert!((0..500).all(|n| finder.find(id(n)).unwrap() == Some(record(n))));
}

#[test]
fn best_effort_records_become_durable_without_anybody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append_best_effort(&[record(1)]).unwrap();
    wait_until(|| log.find("default", id(1)).unwrap().is_some());
}

#[test]
fn a_full_queue_drops_best_effort_and_counts_each_record() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { queue: 1, ..Options::default() };
    let log = PredictionLog::open(dir.path(), options).unwrap();
    let (mut tried, mut dropped) = (0, 0);
    while dropped < 10 {
        tried += 3;
        match log.append_best_effort(&[record(tried), record(tried + 1), record(tried + 2)]) {
            Ok(()) => {}
            Err(Dropped::QueueFull) => dropped += 3,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(log.stats()[0].dropped, dropped);
    drop(log);
    assert_eq!(open(dir.path()).stats()[0].records, tried - dropped, "all others were kept");
}

#[tokio::test]
async fn a_full_queue_answers_busy_and_takes_more_later() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { queue_bytes: 1, ..Options::default() };
    let log = PredictionLog::open(dir.path(), options).unwrap();
    let (mut n, mut kept, mut busy) = (0, Vec::new(), None);
    while busy.is_none() {
        // All are in the queue before one is waited for, unless the writer was quicker.
        let sent: Vec<_> = (n..n + 8).map(|n| (n, log.append_required(&[record(n)]))).collect();
        for (n, answer) in sent {
            match answer.await {
                Ok(()) => kept.push(n),
                Err(error) => busy = Some(error),
            }
        }
        n += 8;
    }
    assert!(matches!(busy, Some(LogError::Busy { .. })), "{busy:?}");
    wait_until(|| log.waiting().bytes == 0);
    log.append_required(&[record(n)]).await.unwrap();
    assert!(kept.iter().all(|n| log.find("default", id(*n)).unwrap().is_some()));
}

#[tokio::test]
async fn what_can_not_be_logged_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mixed = log.append_required(&[record(1), record_of("default", "other", 2)]).await;
    assert!(matches!(mixed, Err(LogError::Mixed { .. })), "{mixed:?}");
    let mut large = record(1);
    large.inputs.push(("essay".into(), Scalar::Text("x".repeat(MAX_RECORD))));
    let large = log.append_required(&[record(3), large]).await;
    assert!(matches!(large, Err(LogError::TooLarge { .. })), "{large:?}");
    let nameless = log.append_best_effort(&[record_of("", "flights", 1)]);
    assert_eq!(nameless, Err(Dropped::Refused(LogError::Name(String::new()))));
    assert_eq!(log.append_required(&[]).await, Ok(()));
    assert_eq!(log.find("default", id(3)).unwrap(), None);
}

#[test]
fn a_second_log_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert!(matches!(PredictionLog::open(dir.path(), Options::default()), Err(LogError::InUse(_))));
    drop(first);
    open(dir.path());
}

#[tokio::test]
async fn a_follower_sees_every_record_once_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cursor, mut seen) = (Cursor::START, Vec::new());
    for round in 0..4 {
        let log = open_small(dir.path());
        for batch in 0..10 {
            let start = round * 100 + batch * 10;
            log.append_required(&(start..start + 10).map(record).collect::<Vec<_>>()).await.unwrap();
            let stored = cursor.to_string();
            cursor = Cursor::parse(&stored).unwrap();
            seen.extend(follow(&log, &mut cursor, 3));
        }
        if round == 2 {
            log.seal_all().await.unwrap();
            assert_eq!(follow(&log, &mut cursor, 3), []);
        }
    }
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_scan_by_event_time_gives_exactly_its_window() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    for n in [5, 1, 9, 3, 7, 0, 2, 8, 4, 6].map(|n| n * 10) {
        log.append_required(&(n..n + 10).map(record).collect::<Vec<_>>()).await.unwrap();
    }
    log.seal_all().await.unwrap();
    let window = Scan { event_time_ms: Some(25_000..61_000), ..scan(Cursor::START, 1000) };
    let page = log.scan("default", "flights", &window).unwrap();
    let mut found: Vec<_> = page.items.iter().map(|r| r.event_time_ms / 1000).collect();
    found.sort_unstable();
    assert_eq!(found, (25..61).collect::<Vec<_>>());
    assert!(page.end);
}

#[tokio::test]
async fn a_position_that_the_log_never_gave_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append_required(&[record(1)]).await.unwrap();
    for position in ["9-0-0", "1-100000-0"] {
        let result = log.scan("default", "flights", &scan(Cursor::parse(position).unwrap(), 1));
        assert_eq!(result, Err(LogError::Cursor(position.into())));
    }
    for text in ["", "1-2", "1-2-3-4", "a-0-0", "-1-0-0"] {
        assert_eq!(Cursor::parse(text), None, "{text}");
    }
    let nothing = log.scan("default", "unheard-of", &scan(Cursor::START, 1)).unwrap();
    assert!(nothing.items.is_empty() && nothing.end);
}

#[tokio::test]
async fn sealed_segments_are_told_until_they_are_recorded_and_match_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let stream = StreamName::Predictions { project: "default".into(), endpoint: "flights".into() };
    let log = open_small(dir.path());
    let mut seals = log.seals();
    for n in 0..100 {
        log.append_required(&[record(n)]).await.unwrap();
    }
    log.seal_all().await.unwrap();
    assert!(seals.has_changed().unwrap());
    seals.mark_unchanged();
    let all = log.sealed_after(&stream, 0);
    assert!(all.len() > 3, "{}", all.len());
    assert_eq!(all.iter().map(|s| s.records).sum::<u64>(), 100);
    assert_eq!(all[0].ids.0, id(0));
    assert_eq!(all.last().unwrap().event_time_ms.1, 99_000);
    drop(log);

    let log = open_small(dir.path());
    assert_eq!(log.sealed_after(&stream, 0), all, "told again after a restart");
    assert_eq!(log.sealed_after(&stream, all[1].segment), all[2..]);
    assert_eq!(verify(dir.path()).unwrap(), all);
    assert!(!seals.has_changed().unwrap_or(false));
}

#[tokio::test]
async fn an_old_segment_is_sealed_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { seal_after: std::time::Duration::from_millis(20), ..Options::default() };
    let log = PredictionLog::open(dir.path(), options).unwrap();
    let mut seals = log.seals();
    log.append_required(&[record(1)]).await.unwrap();
    seals.changed().await.unwrap();
    log.append_required(&[record(2)]).await.unwrap();
    seals.changed().await.unwrap();
    assert_eq!(log.sealed_after(&log.streams()[0], 0).len(), 2);
    assert_eq!(follow(&log, &mut Cursor::default(), 10), [1, 2]);
}

#[tokio::test]
async fn a_record_of_the_largest_size_and_a_batch_of_many_frames_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_small(dir.path());
    let mut large = record(1);
    large.inputs.push(("essay".into(), Scalar::Text("x".repeat(MAX_RECORD - 1000))));
    log.append_required(&[record(0), large.clone(), record(2)]).await.unwrap();
    log.append_required(&(3..3000).map(record).collect::<Vec<_>>()).await.unwrap();
    log.seal_all().await.unwrap();
    assert_eq!(log.find("default", id(1)).unwrap(), Some(large));
    assert_eq!(follow(&log, &mut Cursor::default(), 500), (0..3000).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "a million records take a while"]
async fn a_million_records_are_found_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for batch in 0..1000 {
        let records: Vec<_> = (batch * 1000..(batch + 1) * 1000).map(record).collect();
        log.append_required(&records).await.unwrap();
    }
    let started = std::time::Instant::now();
    assert_eq!(follow(&log, &mut Cursor::default(), 1000).len(), 1_000_000);
    println!("followed in {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let mut finder = log.finder("default", None);
    for n in (0..1_000_000).step_by(97) {
        assert_eq!(finder.find(id(n)).unwrap().unwrap().event_time_ms, n as i64 * 1000);
    }
    println!("found one in {:?}", started.elapsed() / (1_000_000 / 97));
    drop(log);
    let started = std::time::Instant::now();
    assert_eq!(open(dir.path()).stats()[0].records, 1_000_000);
    println!("opened in {:?}", started.elapsed());
}
