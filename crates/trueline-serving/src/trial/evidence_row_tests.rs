//! Two servers on one database: who judges, what of the other's batches counts, and what a late one can't do any more.

use super::*;
use crate::trial::{Batch, Outgoing, SetAside};
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
        waiting.into_iter().map(|batch| (batch.server, batch.position.batch, batch.seen.unwrap())).collect()
    }

    /// Writes over a column of the other's batch.
    async fn spoil(&self, set: &str, number: i64) {
        let sql = format!("UPDATE trial_batches SET {set} WHERE number = ?1");
        let write = move |tx: &mut Tx<'_>| Ok::<_, ServingError>(tx.execute(&sql, &[number.into()])?);
        assert_eq!(self.one.ledger.db().bookkeep(write).await.unwrap(), 1);
    }

    /// The numbers of batches that are set aside.
    async fn kept(&self) -> Vec<i64> {
        let sql = "SELECT number FROM trial_batches WHERE set_aside = 'why' ORDER BY number";
        let read = |tx: &mut Tx<'_>| {
            let rows = tx.query(sql, &[])?;
            rows.into_iter().map(|mut row| Ok::<i64, ServingError>(row.take(0)?)).collect()
        };
        self.one.ledger.db().read(read).await.unwrap()
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
    assert!(house.one.save(&first, (&vec![1_u64], &"so far"), &at("one", 0), &[]).await.unwrap());

    // A sign of life keeps it, also without anything to write.
    for _ in 0..4 {
        house.pass(LEASE - 1);
        assert_eq!(house.hold(&house.one, Some(&first)).await, Hold::Still);
        assert_eq!(house.hold(&house.other, None).await, Hold::Others);
    }
    house.pass(LEASE);
    let (second, kept) = house.taken(&house.other).await;
    assert_eq!((kept.evidence, kept.positions), (Some(vec![1]), at("one", 0)));

    assert!(!house.one.save(&first, (&vec![1_u64, 2], &"late"), &at("one", 0), &[]).await.unwrap());
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
    assert!(!house.one.save(&before, (&vec![1_u64], &""), &Positions::new(), &[]).await.unwrap());
    assert!(house.one.save(&after, (&vec![2_u64], &""), &Positions::new(), &[]).await.unwrap());
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

    assert!(house.one.save(&lease, (&vec![10_u64], &""), &at("other", 1), &[]).await.unwrap());
    assert_eq!(house.waiting(&none).await, [("other".into(), 2, 20)], "what is written down waits no more");
    assert!(house.one.save(&lease, (&vec![10_u64, 20], &""), &at("other", 2), &[]).await.unwrap());
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

#[tokio::test]
async fn a_batch_that_can_not_be_read_says_so_and_those_behind_it_are_read() {
    let house = House::new();
    let (lease, _) = house.taken(&house.one).await;
    for (number, seen) in [(1, 10), (2, 20), (3, 30)] {
        assert!(house.send(&house.other, number, seen).await);
    }
    house.spoil("body = '{\"label\": \"secret\"}'", 1).await;
    house.spoil("position = 'nowhere'", 2).await;
    let read: Vec<Batch<u64>> = house.one.waiting(&house.key, &Positions::new()).await.unwrap();
    let reasons: Vec<_> = read.iter().map(|batch| batch.seen.clone()).collect();
    assert_eq!(reasons[0], Err("it has another form, at column 0".to_owned()), "and not what is in it");
    assert_eq!(reasons[1], Err("it is no JSON, at column 2".to_owned()));
    assert_eq!(reasons[2], Ok(30));
    let cursors: Vec<_> = read.iter().map(|b| (b.position.batch, b.position.cursor.as_str())).collect();
    assert_eq!(cursors, [(1, "c1"), (2, "c1"), (3, "c3")], "nobody knows how far the second goes");

    let aside = |number| SetAside { server: "other".to_owned(), number, reason: "why".to_owned() };
    let saved = house.one.save(&lease, (&vec![30_u64], &""), &at("other", 3), &[aside(1), aside(2)]).await;
    assert!(saved.unwrap());
    assert_eq!(house.waiting(&Positions::new()).await, [], "neither taken in nor waiting");
    assert_eq!(house.kept().await, [1, 2], "people can look at them");
    assert_eq!(house.other.own_position(&house.key).await.unwrap(), at("other", 3).remove("other"));
}

#[tokio::test]
async fn of_batches_that_can_not_be_read_the_first_ten_of_a_server_are_kept_and_take_nobodys_place() {
    let house = House::new();
    let (lease, _) = house.taken(&house.one).await;
    for number in 1..=100 {
        assert!(house.send(&house.other, number, 1).await);
    }
    let aside = |number| SetAside { server: "other".to_owned(), number, reason: "why".to_owned() };
    let all: Vec<_> = (1..=100).map(aside).collect();
    assert!(house.one.save(&lease, (&vec![0_u64], &""), &at("other", 100), &all).await.unwrap());
    assert_eq!(house.kept().await, (1..=10).collect::<Vec<_>>());
    for number in 101..=200 {
        assert!(house.send(&house.other, number, 1).await);
    }
}
