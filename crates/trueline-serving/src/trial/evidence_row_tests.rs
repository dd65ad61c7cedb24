//! Two servers on one database: who judges, what of the other's batches counts, and what a late one can't do any more.

use super::*;
use crate::trial::{Batch, Outgoing};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use trueline_db::{Config, Db, Durability, Limits};
use trueline_ledger::{Clock, Entropy, Ledger, Sources};

/// A clock that stands until it is moved on.
#[derive(Debug)]
struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts up; nothing here needs more.
#[derive(Debug)]
struct Counting(AtomicI64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        out.iter_mut().zip(next.iter().cycle()).for_each(|(to, byte)| *to = *byte);
    }
}

struct House {
    clock: Arc<Standing>,
    one: TrialEvidence,
    other: TrialEvidence,
    key: TrialKey,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let modules = [trueline_ledger::MODULE, crate::MODULE];
        let path = folder.path().join("t.db");
        let config = Config::Sqlite { path, durability: Durability::Full, limits: Limits::default() };
        let db = Db::open(&config, &modules).unwrap();
        let clock = Arc::new(Standing(AtomicI64::new(1_000_000)));
        let ledger = Ledger::new(db, Sources::new(clock.clone(), Arc::new(Counting(AtomicI64::new(0)))));
        let server = |name: &str| TrialEvidence::new(ledger.clone(), name.to_owned());
        let key = TrialKey { project: ProjectId::new("p"), id: "t".to_owned() };
        Self { clock, one: server("one"), other: server("other"), key, _folder: folder }
    }

    async fn taken(&self, by: &TrialEvidence) -> (Lease, Kept<Vec<u64>>) {
        match by.hold(&self.key, None).await.unwrap() {
            Hold::Taken(lease, kept) => (lease, kept),
            other => panic!("{other:?}"),
        }
    }

    async fn hold(&self, by: &TrialEvidence, lease: Option<&Lease>) -> Hold<Vec<u64>> {
        by.hold(&self.key, lease).await.unwrap()
    }

    async fn send(&self, from: &TrialEvidence, number: i64, seen: u64) -> bool {
        let position = Position { batch: number, cursor: format!("c{number}"), read_to_ms: Some(number) };
        from.send(&self.key, &Outgoing::new(position, &seen).unwrap()).await.unwrap()
    }

    async fn waiting(&self, positions: &Positions) -> Vec<(String, i64, u64)> {
        let waiting: Vec<Batch<u64>> = self.one.waiting(&self.key, positions).await.unwrap();
        waiting.into_iter().map(|batch| (batch.server, batch.position.batch, batch.seen)).collect()
    }

    fn pass(&self, ms: Millis) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }
}

fn at(server: &str, batch: i64) -> Positions {
    let position = Position { batch, cursor: format!("c{batch}"), read_to_ms: Some(batch) };
    Positions::from([(server.to_owned(), position)])
}

#[tokio::test]
async fn one_judges_until_it_gives_no_sign_of_life_and_a_late_one_writes_and_does_nothing() {
    let house = House::new();
    let (first, kept) = house.taken(&house.one).await;
    assert_eq!(kept, Kept { evidence: None, positions: Positions::new() });
    assert_eq!(house.hold(&house.other, None).await, Hold::Others);
    assert!(house.one.save(&first, (&vec![1_u64], &"so far"), &at("one", 0)).await.unwrap());

    // A sign of life keeps it, also without anything to write.
    for _ in 0..4 {
        house.pass(LEASE - 1);
        assert_eq!(house.hold(&house.one, Some(&first)).await, Hold::Still);
        assert_eq!(house.hold(&house.other, None).await, Hold::Others);
    }
    house.pass(LEASE);
    let (second, kept) = house.taken(&house.other).await;
    assert_eq!((kept.evidence, kept.positions), (Some(vec![1]), at("one", 0)));

    assert!(!house.one.save(&first, (&vec![1_u64, 2], &"late"), &at("one", 0)).await.unwrap());
    assert_eq!(house.hold(&house.one, Some(&first)).await, Hold::Others);
    let leases = (first.clone(), second.clone());
    let read = move |tx: &mut Tx<'_>| Ok::<_, ServingError>((leases.0.holds(tx)?, leases.1.holds(tx)?));
    assert_eq!(house.one.ledger.db().read(read).await.unwrap(), (false, true));
    house.one.release(&first).await.unwrap();
    assert_eq!(house.hold(&house.one, None).await, Hold::Others, "what is not its own it can't give up");

    house.other.release(&second).await.unwrap();
    let (_, kept) = house.taken(&house.one).await;
    assert_eq!(kept.evidence, Some(vec![1]), "nothing of the late one");
}

#[tokio::test]
async fn a_server_that_comes_back_judges_at_once_under_an_epoch_of_its_own() {
    let house = House::new();
    let (before, _) = house.taken(&house.one).await;
    let (after, _) = house.taken(&house.one).await;
    assert!(!house.one.save(&before, (&vec![1_u64], &""), &Positions::new()).await.unwrap());
    assert!(house.one.save(&after, (&vec![2_u64], &""), &Positions::new()).await.unwrap());
}

#[tokio::test]
async fn a_batch_waits_until_it_is_part_of_what_is_written_down_and_counts_once_however_often_it_is_sent() {
    let house = House::new();
    let (lease, _) = house.taken(&house.one).await;
    assert_eq!(house.other.own_position(&house.key).await.unwrap(), None);
    for (number, seen) in [(1, 10), (2, 20), (2, 99)] {
        assert!(house.send(&house.other, number, seen).await);
    }
    let none = Positions::new();
    assert_eq!(house.waiting(&none).await, [("other".into(), 1, 10), ("other".into(), 2, 20)]);
    assert_eq!(house.waiting(&at("other", 1)).await, [("other".into(), 2, 20)]);
    assert_eq!(house.other.own_position(&house.key).await.unwrap(), at("other", 2).remove("other"));

    assert!(house.one.save(&lease, (&vec![10_u64], &""), &at("other", 1)).await.unwrap());
    assert_eq!(house.waiting(&none).await, [("other".into(), 2, 20)], "what is written down waits no more");
    assert!(house.one.save(&lease, (&vec![10_u64, 20], &""), &at("other", 2)).await.unwrap());
    assert!(house.send(&house.other, 1, 10).await);
    assert_eq!(house.waiting(&at("other", 2)).await, []);
    assert_eq!(house.other.own_position(&house.key).await.unwrap(), at("other", 2).remove("other"));
}

#[tokio::test]
async fn a_server_waits_when_nobody_takes_what_it_sends_and_the_end_of_a_trial_leaves_nothing() {
    let house = House::new();
    house.taken(&house.one).await;
    for number in 1..=100 {
        assert!(house.send(&house.other, number, 1).await);
    }
    assert!(!house.send(&house.other, 101, 1).await);
    // There is neither a rollout nor a bandit of this id: it has ended.
    house.one.sweep().await.unwrap();
    assert_eq!(house.waiting(&Positions::new()).await, []);
    let (_, kept) = house.taken(&house.other).await;
    assert_eq!(kept.evidence, None);
}

#[test]
fn what_json_can_t_say_is_not_sent() {
    assert!(Outgoing::new(Position::default(), &f64::NAN).is_err());
}
