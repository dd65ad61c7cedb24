//! Databases of before, brought forward: a rollout and a bandit that were under way before evidence was one row of each trial go on
//! from what was seen, and segments that were recorded before they had a server are claimed by the one that has them. PostgreSQL
//! is asked when `TRUELINE_TEST_POSTGRES` names one.

use super::MODULE;
use crate::bandit::{BanditEvidence, BanditPlan};
use crate::rollout::{Evidence, Plan};
use crate::trial::{Hold, Kept, Positions, TrialEvidence, TrialKey, numbers};
use crate::{SealedSegment, SealedSegments, SegmentReplay, ServingError};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use trueline_db::{Config, Db, Durability, Limits, Module, Tx};
use trueline_ledger::{Actor, EventRow, Ledger, NewEvent, ProjectId, Sources, unsequenced_events_of};

/// An empty database of each kind, and the folder that the first lies in.
fn configs(what: &str) -> (tempfile::TempDir, Vec<Config>) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { readers: 1, postgres_writers: 1, ..Limits::default() };
    let path = folder.path().join("test.db");
    let mut configs = vec![Config::Sqlite { path, durability: Durability::Full, limits }];
    if let Ok(base) = std::env::var("TRUELINE_TEST_POSTGRES") {
        let name = format!("serving_migration_{what}_{}", std::process::id());
        let mut client = postgres::Client::connect(&base, postgres::NoTls).unwrap();
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let (server, _) = base.rsplit_once('/').unwrap();
        configs.push(Config::Postgres { url: format!("{server}/{name}"), limits });
    }
    (folder, configs)
}

/// As the server of before wrote them.
fn fill(tx: &mut Tx<'_>, rollout: &str, bandit: &str) -> Result<(), ServingError> {
    tx.execute(
        "INSERT INTO rollouts (project, id, endpoint, candidate, baseline, plan, state, step, step_since_ms, reason,
                               started_by, started_at_ms, shadowing)
         VALUES ('p', 'r', 'e', '{}', '[]', '{}', 'running', 0, 1, '', 'ann', 1, 0)",
        &[],
    )?;
    tx.execute(
        "INSERT INTO bandits (project, id, endpoint, arms, plan, state, shares, generation, allotted_at_ms, log_cursor,
                              reason, started_by, started_at_ms)
         VALUES ('p', 'b', 'f', '[]', '{}', 'running', '[]', 1, 1, '', '', 'ann', 1)",
        &[],
    )?;
    let evidence = |table: &str, of: &str| {
        format!(
            "INSERT INTO {table} (project, {of}, state, numbers, saved_at_ms) VALUES ('p', ?1, ?2, '\"so far\"', 7)"
        )
    };
    tx.execute(&evidence("rollout_evidence", "rollout"), &["r".into(), rollout.into()])?;
    tx.execute(&evidence("bandit_evidence", "bandit"), &["b".into(), bandit.into()])?;
    Ok(())
}

fn key(id: &str) -> TrialKey {
    TrialKey { project: ProjectId::new("p"), id: id.to_owned() }
}

async fn taken<E: DeserializeOwned + Send + std::fmt::Debug + 'static>(
    shared: &TrialEvidence,
    id: &str,
) -> Kept<E> {
    match shared.hold(&key(id), None).await.unwrap() {
        Hold::Taken(_, kept) => kept,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_rollout_and_a_bandit_had_seen_before_is_gone_on_from() {
    let mut rollout = Evidence::new(&Plan::default()).unwrap();
    rollout.overlooked(5);
    let mut bandit = BanditEvidence::new(&BanditPlan::default(), 2).unwrap();
    bandit.read_to(5_000);
    let mut old = serde_json::to_value(&bandit).unwrap();
    // What has come since is not in a row of before.
    old.as_object_mut().unwrap().remove("last_requests");
    old["cursor"] = serde_json::json!("3:77");
    let texts = (serde_json::to_string(&rollout).unwrap(), old.to_string());

    let (_folder, configs) = configs("trials");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for config in configs {
        let before = Module { name: MODULE.name, migrations: &MODULE.migrations[..6] };
        let db = Db::open(&config, &[trueline_ledger::MODULE, before]).unwrap();
        let own = texts.clone();
        runtime.block_on(db.write(move |tx: &mut Tx<'_>| fill(tx, &own.0, &own.1))).unwrap();
        drop(db);

        let db = Db::open(&config, &[trueline_ledger::MODULE, MODULE]).unwrap();
        let ledger = Ledger::new(db, Sources::system());
        let shared = TrialEvidence::new(ledger.clone(), "one".to_owned());
        runtime.block_on(shared.sweep()).unwrap();
        let told = |tx: &mut Tx<'_>| numbers::<String>(tx, &ProjectId::new("p"), "r");
        assert_eq!(runtime.block_on(ledger.db().read(told)).unwrap(), Some(("so far".to_owned(), 7)));
        let kept: Kept<Evidence> = runtime.block_on(taken(&shared, "r"));
        let mut evidence = kept.evidence.unwrap();
        assert_eq!((evidence.look().unwrap().uncounted, kept.positions), (5, Positions::new()));

        let kept: Kept<BanditEvidence> = runtime.block_on(taken(&shared, "b"));
        let mut evidence = kept.evidence.unwrap();
        evidence.forget_cursor();
        let text = serde_json::to_value(&evidence).unwrap();
        assert_eq!((&text["cursor"], &text["counted_to_ms"]), (&Json::Null, &Json::from(6_000)));
        assert_eq!(kept.positions, Positions::new());
        assert_eq!(runtime.block_on(shared.own_position(&key("b"))).unwrap(), None);
    }
}

fn segment(server: &str, number: u64, sha256: &str) -> SealedSegment {
    SealedSegment {
        project: ProjectId::new("p"),
        stream: "endpoints/e".to_owned(),
        server: server.to_owned(),
        number,
        bytes: 1,
        records: 1,
        sha256: sha256.to_owned(),
        event_time_ms: (1, 2),
    }
}

/// What the events tell of segments, and in how many rows the database tells otherwise.
fn replayed(tx: &mut Tx<'_>) -> Result<(SegmentReplay, Vec<String>), ServingError> {
    let mut replay = SegmentReplay::default();
    let events: Vec<EventRow> = unsequenced_events_of(tx, SegmentReplay::ACTIONS)?;
    events.iter().for_each(|event| replay.apply(event));
    let mismatches = replay.compare(tx)?.0.into_iter().map(|mismatch| mismatch.row).collect();
    Ok((replay, mismatches))
}

/// Servers and numbers of segments that a server looks for on its own disk.
fn looked_for(replay: &SegmentReplay, server: &str) -> Vec<(String, u64)> {
    let here = replay.told().iter().filter(|told| !told.is_elsewhere(server));
    let mut found: Vec<_> = here.map(|told| (told.server.clone(), told.number)).collect();
    found.sort();
    found
}

#[test]
fn a_segment_that_was_recorded_before_is_claimed_by_the_server_that_has_its_bytes() {
    let (_folder, configs) = configs("segments");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for config in configs {
        let before = Module { name: MODULE.name, migrations: &MODULE.migrations[..8] };
        let db = Db::open(&config, &[trueline_ledger::MODULE, before]).unwrap();
        let recorded = |number: u64, sha256: &'static str| {
            let ledger = Ledger::new(db.clone(), Sources::system());
            async move {
                let recorder = Actor::system("prediction-log");
                let write = ledger.write(&recorder, move |tx| {
                    let sql = "INSERT INTO prediction_segments (project, stream, number, sha256)
                               VALUES ('p', 'endpoints/e', ?1, ?2)";
                    tx.execute(sql, &[i64::try_from(number).unwrap_or(0).into(), sha256.into()])?;
                    let (project, id) = (ProjectId::new("p"), format!("endpoints/e/{number}"));
                    let event = NewEvent::new(&project, "predictions.sealed", "prediction_segment", id);
                    let told = serde_json::json!(segment("", number, sha256));
                    assert!(told.get("server").is_none());
                    tx.emit(event.with(told))?;
                    Ok::<_, ServingError>(())
                });
                write.await.unwrap();
            }
        };
        runtime.block_on(recorded(1, "aa"));
        runtime.block_on(recorded(2, "bb"));
        runtime.block_on(recorded(3, "of neither"));
        let copied = |tx: &mut Tx<'_>| {
            tx.execute(
                "UPDATE prediction_segments SET deleted_at_ms = 7, archived = ?1, archived_until_ms = 5 WHERE number = 2",
                &[r#"{"place":"here","received_until_ms":5,"objects":[]}"#.into()],
            )?;
            Ok::<_, ServingError>(())
        };
        runtime.block_on(db.write(copied)).unwrap();
        drop(db);

        let db = Db::open(&config, &[trueline_ledger::MODULE, MODULE]).unwrap();
        let ledger = Ledger::new(db.clone(), Sources::system());
        let (one, two) = (
            SealedSegments::new(ledger.clone(), "one".to_owned()),
            SealedSegments::new(ledger, "two".to_owned()),
        );
        let project = ProjectId::new("p");
        for (server, sealed) in [(&one, ["aa", "cc"]), (&two, ["dd", "bb"])] {
            for (number, sha256) in (1..).zip(sealed) {
                // Twice, as after a crash.
                for _ in 0..2 {
                    runtime.block_on(server.record(segment(server.server(), number, sha256))).unwrap();
                }
            }
            assert_eq!(runtime.block_on(server.last(&project, "endpoints/e")).unwrap(), 2);
        }
        let unarchived =
            |server: &SealedSegments| runtime.block_on(server.unarchived(&project, "endpoints/e")).unwrap();
        assert_eq!(unarchived(&one), [(1, "aa".to_owned()), (2, "cc".to_owned())]);
        assert_eq!(unarchived(&two), [(1, "dd".to_owned())], "what was archived before stays so");
        let held = runtime.block_on(one.archived(&project)).unwrap();
        let held: Vec<_> =
            held.iter().map(|held| (&held.server[..], held.number, &held.sha256[..])).collect();
        assert_eq!(held, [("two", 2, "bb")]);
        let (replay, mismatches) = runtime.block_on(db.read(replayed)).unwrap();
        let of = |server: &str, number| (server.to_owned(), number);
        assert_eq!(looked_for(&replay, "one"), [of("", 3), of("one", 1), of("one", 2)]);
        assert_eq!(looked_for(&replay, "two"), [of("", 3), of("two", 1), of("two", 2)]);
        assert_eq!(looked_for(&replay, "").len(), 5, "all of them where the server is not known");
        runtime.block_on(one.record(segment("one", 3, "changed"))).unwrap();
        let (replay, _) = runtime.block_on(db.read(replayed)).unwrap();
        assert!(
            looked_for(&replay, "one").contains(&of("", 3)),
            "what was changed before the upgrade is found"
        );
        // The rows of before were changed here without events.
        assert_eq!(mismatches, ["prediction segment p: endpoints/e/2@two"]);
    }
}
