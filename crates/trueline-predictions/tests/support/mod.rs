//! Records and logs for the tests.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use trueline_predictions::{
    Cursor, EVERY, Label, Options, Outputs, PredictionId, PredictionLog, Record, Scalar, Scan, Stage, Status,
    Variant,
};

pub(crate) fn id(n: u64) -> PredictionId {
    PredictionId::new(1_700_000_000_000 + n, u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// The n-th prediction of an endpoint; a second of event time lies between two.
pub(crate) fn record_of(project: &str, endpoint: &str, n: u64) -> Record {
    Record {
        prediction_id: id(n),
        project: project.into(),
        endpoint: endpoint.into(),
        variant: Variant { model: "flights".into(), version: "3".into() },
        event_time_ms: n as i64 * 1000,
        received_at_ms: 1_700_000_000_000 + n as i64,
        key: n.is_multiple_of(2).then(|| format!("N{n}")),
        request_id: format!("request-{n}"),
        inputs: vec![
            ("origin".into(), Scalar::Text("JFK".into())),
            ("hour".into(), Scalar::Int(n as i64 % 24)),
        ],
        features: vec![("late_7d".into(), Scalar::Float(0.25)), ("temp".into(), Scalar::Null)],
        outputs: Outputs::One(Scalar::Float(n as f64 / 7.0)),
        status: Status::Ok,
        timings: vec![(Stage::Total, 900)],
        share: EVERY,
        redacted: Vec::new(),
        assignment: None,
    }
}

pub(crate) fn record(n: u64) -> Record {
    record_of("default", "flights", n)
}

pub(crate) fn label(n: u64, value: i64, event_time_ms: i64) -> Label {
    let (prediction_id, value) = (id(n), Scalar::Int(value));
    Label { prediction_id, value, event_time_ms, received_at_ms: event_time_ms + 5, source: "test".into() }
}

pub(crate) fn open(root: &Path) -> PredictionLog {
    PredictionLog::open(root, Options::default()).unwrap()
}

/// With segments that are soon full.
pub(crate) fn open_small(root: &Path) -> PredictionLog {
    PredictionLog::open(root, Options { segment_bytes: 1500, ..Options::default() }).unwrap()
}

pub(crate) fn scan(from: Cursor, limit: usize) -> Scan {
    Scan { from, event_time_ms: None, limit, until: None }
}

/// Follows the log to its end; the numbers of the records, by their event times.
pub(crate) fn follow(log: &PredictionLog, from: &mut Cursor, limit: usize) -> Vec<u64> {
    let mut found = Vec::new();
    loop {
        let page = log.scan("default", "flights", &scan(*from, limit)).unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|r| r.event_time_ms as u64 / 1000));
        *from = page.next;
        if page.end {
            return found;
        }
    }
}

/// Waits for a condition; a minute is never needed.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed().as_secs() < 60, "the condition never came true");
        std::thread::yield_now();
    }
}
