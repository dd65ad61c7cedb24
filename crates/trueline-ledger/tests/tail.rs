//! Positions in the log that nobody stores: each of several reactors sees every event after it began.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;
use tokio::sync::watch;
use trueline_db::{Config, Db, Durability, Limits};
use trueline_ledger::{
    Actor, Ledger, LedgerError, LedgerFiles, LedgerKey, LedgerTx, NewEvent, ProjectId, Sources, Tail,
};

const ACTIONS: &[&str] = &["alias.set"];

async fn happens(ledger: &Ledger, id: &'static str) {
    let job = move |tx: &mut LedgerTx<'_, '_>| {
        tx.emit(NewEvent::new(&ProjectId::server(), "alias.set", "alias", id))?;
        Ok::<_, LedgerError>(())
    };
    ledger.write(&Actor::system("test"), job).await.unwrap();
}

/// The next events that a reactor sees, once there are any; it goes on behind them.
async fn seen(tail: &mut Tail) -> Vec<String> {
    let mut all = Vec::new();
    while all.is_empty() {
        match tail.next_of(ACTIONS, 10).await.unwrap() {
            Some((events, until)) => {
                all.extend(events.into_iter().map(|event| event.resource.id));
                tail.advance(until);
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_two_reactors_sees_every_event_after_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let config = Config::Sqlite { path, durability: Durability::Full, limits: Limits::default() };
    let db = Db::open(&config, &[trueline_ledger::MODULE]).unwrap();
    let ledger = Ledger::new(db.clone(), Sources::system());
    let place = folder.path().join("ledger");
    let key = LedgerKey::open(&folder.path().join("key"), &place, ledger.sources()).unwrap();
    let files = LedgerFiles::open(&place, key).unwrap();
    let (stop, stopping) = watch::channel(false);
    let sequencer = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.run_sequencer(files, stopping).await }
    });

    let mut one = Tail::at_end(db.clone()).await.unwrap();
    happens(&ledger, "first").await;
    assert_eq!(seen(&mut one).await, ["first"]);
    let mut other = Tail::at_end(db).await.unwrap();
    happens(&ledger, "second").await;
    assert_eq!(seen(&mut one).await, ["second"]);
    assert_eq!(seen(&mut other).await, ["second"], "that another one saw it takes nothing away");
    assert!(one.next_of(ACTIONS, 10).await.unwrap().is_none());
    stop.send_replace(true);
    sequencer.await.unwrap().unwrap();
}
