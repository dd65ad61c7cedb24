//! The online store: the newest row wins, whatever the order, and stays after a restart.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use trueline_features::{
    Cell, KeyPart, Keys, OnlineError, OnlineRow, OnlineStore, OnlineView, Status, Ttl, ViewRef,
};
use trueline_ledger::ProjectId;

const SECOND: i64 = 1_000_000;

fn view() -> OnlineView {
    OnlineView {
        name: "weather".to_owned(),
        version: 1,
        join_keys: vec!["origin".to_owned()],
        features: vec!["temp".to_owned()],
        timestamp: Some("time".to_owned()),
        created: None,
        ttl: Some(Ttl::parse("10s").unwrap()),
    }
}

fn project() -> ProjectId {
    ProjectId::default_project()
}

fn keys(origin: &str) -> Keys {
    Keys::new([("origin".to_owned(), KeyPart::Text(origin.to_owned()))])
}

fn row(event_us: i64, created_us: Option<i64>, temp: i64) -> OnlineRow {
    OnlineRow { event_us, created_us, values: vec![Cell::Int(temp)] }
}

fn weather() -> ViewRef {
    ViewRef::parse("weather").unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn rows_in_any_order_and_any_batches_leave_the_newest_of_each_key(
        rows in prop::collection::vec((0_u8..3, 0_i64..6, prop::option::of(0_i64..3)), 1..40), size in 1_usize..8
    ) {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("online.redb");
            let store = OnlineStore::open(&path).unwrap();
            store.declare(&project(), view()).await.unwrap();
            let mut expected: BTreeMap<u8, OnlineRow> = BTreeMap::new();
            let mut written = 0;
            let rows: Vec<_> =
                rows.iter().zip(0..).map(|((key, event, created), n)| (*key, row(*event, *created, n))).collect();
            for batch in rows.chunks(size) {
                let entries = batch.iter().map(|(key, row)| (keys(&key.to_string()), row.clone())).collect();
                written += store.push(&project(), &weather(), entries).await.unwrap().written;
            }
            let mut newer = 0;
            for (key, row) in &rows {
                let age = |r: &OnlineRow| (r.event_us, r.created_us);
                if expected.get(key).is_none_or(|known| age(known) <= age(row)) {
                    newer += 1;
                    expected.insert(*key, row.clone());
                }
            }
            assert_eq!(written, newer);
            for key in 0..3 {
                let found = store.get(&project(), &weather(), &keys(&key.to_string())).unwrap();
                assert_eq!(found.as_deref(), expected.get(&key));
            }
            // What is in memory and what is on disk agree; the view is known again without anybody telling.
            drop(store);
            let again = OnlineStore::open(&path).unwrap();
            for key in 0..3 {
                let found = again.get(&project(), &weather(), &keys(&key.to_string())).unwrap();
                assert_eq!(found.as_deref(), expected.get(&key));
            }
        });
    }
}

#[tokio::test]
async fn a_lookup_tells_present_from_too_old_from_missing() {
    let folder = tempfile::tempdir().unwrap();
    let store = OnlineStore::open(&folder.path().join("o")).unwrap();
    store.declare(&project(), view()).await.unwrap();
    store.push(&project(), &weather(), vec![(keys("EWR"), row(100 * SECOND, None, 5))]).await.unwrap();
    let asked = [keys("EWR"), keys("JFK")];
    let at = |at| {
        let (store, asked) = (store.clone(), asked.clone());
        async move {
            let found =
                store.lookup(&project(), &weather(), &asked, at, Duration::from_secs(5)).await.unwrap();
            found.iter().map(|f| f.status).collect::<Vec<_>>()
        }
    };
    assert_eq!(at(Some(110 * SECOND)).await, [Status::Present, Status::NotFound]);
    assert_eq!(at(Some(110 * SECOND + 1)).await, [Status::OutsideMaxAge, Status::NotFound]);
    assert_eq!(at(None).await, [Status::Present, Status::NotFound]);
}

#[tokio::test]
async fn a_store_that_was_killed_while_it_was_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("online.redb");
    // As the file is when its first page is not there yet.
    std::fs::write(path.with_extension("unfinished"), vec![0; 4096]).unwrap();
    let store = OnlineStore::open(&path).unwrap();
    store.declare(&project(), view()).await.unwrap();
    drop(store);
    let again = OnlineStore::open(&path).unwrap();
    assert!(again.view(&project(), &weather()).is_some());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn versions_and_projects_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = OnlineStore::open(&folder.path().join("o")).unwrap();
    store.declare(&project(), view()).await.unwrap();
    store.declare(&project(), OnlineView { version: 2, ..view() }).await.unwrap();
    let one = ViewRef::parse("weather@1").unwrap();
    store.push(&project(), &one, vec![(keys("EWR"), row(1, None, 1))]).await.unwrap();
    assert!(store.get(&project(), &one, &keys("EWR")).unwrap().is_some());
    assert!(store.get(&project(), &weather(), &keys("EWR")).unwrap().is_none(), "the newest version is 2");
    let other = store.get(&ProjectId::new("other"), &one, &keys("EWR"));
    assert!(matches!(other, Err(OnlineError::UnknownView(_))));
}

#[tokio::test]
async fn a_key_that_is_not_the_views_is_refused_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = OnlineStore::open(&folder.path().join("o")).unwrap();
    store.declare(&project(), view()).await.unwrap();
    let wrong = Keys::new([("tailnum".to_owned(), KeyPart::Text("N1".to_owned()))]);
    let error = store.get(&project(), &weather(), &wrong).unwrap_err().to_string();
    assert_eq!(error, "view weather is read by origin, not by tailnum");
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn rows_of_json_are_read_by_the_names_of_the_view() {
    let read = |value| view().row_from_json(&object(value), 7);
    let (found, row) =
        read(json!({ "origin": "EWR", "temp": 39.5, "time": "2013-01-01T06:00:00-05:00" })).unwrap();
    assert_eq!((found, row.values), (keys("EWR"), vec![Cell::Float(39.5)]));
    assert_eq!(row.event_us, 1_357_038_000 * SECOND);
    let utc = read(json!({ "origin": "EWR", "event_timestamp": "2013-01-01T11:00:00" })).unwrap().1;
    assert_eq!((utc.event_us, utc.values), (row.event_us, vec![Cell::Null]));
    for (bad, told) in [
        (json!({ "temp": 1, "time": "2013-01-01T00:00:00Z" }), "lacks its key `origin`"),
        (json!({ "origin": "EWR", "temp": 1 }), "lacks its time `time`"),
        (json!({ "origin": "EWR", "tmep": 1, "time": "2013-01-01T00:00:00Z" }), "no column `tmep`"),
        (json!({ "origin": "EWR", "time": "yesterday" }), "RFC 3339"),
        (json!({ "origin": 1.5, "time": "2013-01-01T00:00:00Z" }), "lacks its key"),
    ] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let always = OnlineView { timestamp: None, ttl: None, ..view() };
    assert_eq!(always.row_from_json(&object(json!({ "origin": "EWR" })), 7).unwrap().1.event_us, 7);
}
