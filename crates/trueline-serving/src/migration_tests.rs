//! A database of before evidence was one row of each trial, with a rollout and a bandit under way: brought forward, both go on from
//! what was seen. PostgreSQL is asked when `TRUELINE_TEST_POSTGRES` names one.

use super::MODULE;
use crate::ServingError;
use crate::bandit::{BanditEvidence, BanditPlan};
use crate::rollout::{Evidence, Plan};
use crate::trial::{Hold, Kept, Positions, TrialEvidence, TrialKey, numbers};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use trueline_db::{Config, Db, Durability, Limits, Module, Tx};
use trueline_ledger::{Ledger, ProjectId, Sources};

/// An empty database of each kind, and the folder that the first lies in.
fn configs() -> (tempfile::TempDir, Vec<Config>) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { readers: 1, postgres_writers: 1, ..Limits::default() };
    let path = folder.path().join("test.db");
    let mut configs = vec![Config::Sqlite { path, durability: Durability::Full, limits }];
    if let Ok(base) = std::env::var("TRUELINE_TEST_POSTGRES") {
        let name = format!("serving_migration_{}", std::process::id());
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

    let (_folder, configs) = configs();
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
