//! How long a lookup and a push take: `cargo run --release -p trueline-features --example bench_online [rows]`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};
use trueline_features::{Cell, KeyPart, Keys, OnlineRow, OnlineStore, OnlineView, ViewRef};
use trueline_ledger::ProjectId;

const FEATURES: usize = 50;
const LOOKUPS: usize = 50_000;
const PUSHES: usize = 200;

fn key(n: usize) -> Keys {
    Keys::new([("user".to_owned(), KeyPart::Int(i64::try_from(n).unwrap()))])
}

fn row(at: i64) -> OnlineRow {
    let values = (0..FEATURES).map(|i| Cell::Float(i as f64 / 7.0)).collect();
    OnlineRow { event_us: at, created_us: None, values }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |p: usize| times[(times.len() * p / 1000).min(times.len() - 1)];
    println!("{what}: p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}", at(500), at(990), at(999));
}

fn timed(n: usize, mut work: impl FnMut(usize)) -> Vec<Duration> {
    let one = |i| {
        let began = Instant::now();
        work(i);
        began.elapsed()
    };
    (0..n).map(one).collect()
}

fn main() {
    let rows = std::env::args().nth(1).map_or(1_000_000, |a| a.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("online.redb");
    let (project, users) = (ProjectId::default_project(), ViewRef::parse("users").unwrap());
    let view = OnlineView {
        name: "users".to_owned(),
        version: 1,
        join_keys: vec!["user".to_owned()],
        features: (0..FEATURES).map(|i| format!("f{i}")).collect(),
        timestamp: Some("at".to_owned()),
        created: None,
        ttl: None,
    };
    let store = OnlineStore::open(&path).unwrap();
    runtime.block_on(store.declare(&project, view)).unwrap();
    let push =
        |store: &OnlineStore, rows: Vec<_>| runtime.block_on(store.push(&project, &users, rows)).unwrap();
    let began = Instant::now();
    for from in (0..rows).step_by(10_000) {
        push(&store, (from..(from + 10_000).min(rows)).map(|n| (key(n), row(1))).collect());
    }
    let took = began.elapsed();
    println!(
        "load: {rows} rows of {FEATURES} features in {took:.2?}, {:.0} rows/s",
        rows as f64 / took.as_secs_f64()
    );
    report(
        "push of one row, durable",
        timed(PUSHES, |i| assert_eq!(push(&store, vec![(key(i), row(2))]).written, 1)),
    );
    drop(store);

    let began = Instant::now();
    let store = OnlineStore::open(&path).unwrap();
    println!("open: {:.2?}", began.elapsed());
    let place = |i: usize| i.wrapping_mul(2_654_435_761) % rows;
    let found = |n: usize| assert!(store.get(&project, &users, &key(n)).unwrap().is_some());
    report("lookup, first time", timed(LOOKUPS, |i| found(place(i))));
    report("lookup, hot", timed(LOOKUPS, |i| found(place(i % 1_000))));
}
