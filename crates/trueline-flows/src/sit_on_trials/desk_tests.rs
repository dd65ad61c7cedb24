//! What the server that judges has in memory: nothing is reckoned again while nothing comes, and what can't be taken in leaves no
//! trace.

use super::*;
use crate::allot_bandits::BanditSeen;
use crate::read_rewards::DrawnReward;
use trueline_db::{Config, Db, Durability, Limits};
use trueline_ledger::{Ledger, ProjectId, Sources};
use trueline_serving::bandit::{Bandit, BanditPlan, BanditState, UnitOutcome, UnitReward};
use trueline_serving::trial::TrialEvidence;
use trueline_serving::{EndpointName, ModelSpec};

fn bandit() -> Bandit {
    let arm = |version| ModelSpec {
        id: String::new(),
        model: "m".into(),
        version,
        manifest_digest: String::new(),
        files: Vec::new(),
    };
    Bandit {
        id: "b".into(),
        project: ProjectId::new("p"),
        endpoint: EndpointName::parse("e").unwrap(),
        arms: vec![arm(1), arm(2)],
        plan: BanditPlan::default(),
        state: BanditState::Running,
        shares: vec![5_000, 5_000],
        generation: 2,
        allotted_at_ms: 0,
        reason: String::new(),
        started_by: String::new(),
        started_at_ms: 0,
        ended_at_ms: None,
    }
}

/// The reward 1 of a request that went to an arm.
fn seen(arm: usize, unit: u64) -> BanditSeen {
    let outcome = UnitOutcome::Rewarded(1.0);
    let reward = UnitReward { arm, unit, by_key: false, at_ms: 1, outcome };
    BanditSeen { rewards: vec![DrawnReward { reward, shares: vec![5_000, 5_000] }], read_to_ms: Some(1) }
}

async fn judging(folder: &tempfile::TempDir) -> Judging<Bandit> {
    let path = folder.path().join("t.db");
    let config = Config::Sqlite { path, durability: Durability::Full, limits: Limits::default() };
    let db = Db::open(&config, &[trueline_ledger::MODULE, trueline_serving::MODULE]).unwrap();
    let shared = TrialEvidence::new(Ledger::new(db, Sources::system()), "one".to_owned());
    let trial = bandit();
    match shared.hold(&trial.key(), None).await.unwrap() {
        Hold::Taken(lease, kept) => Judging::go_on(&trial, lease, kept).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_reckoned_again_while_nothing_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (trial, mut judging) = (bandit(), judging(&folder).await);
    let first = judging.look(&trial).unwrap();
    // Evidence that nobody told the desk of shows whether it looks.
    trial.take_in(&mut judging.evidence, "one", seen(0, 1)).unwrap();
    assert_eq!(judging.look(&trial).unwrap(), first);

    let at = Position { batch: 1, ..Position::default() };
    judging.take_in(&trial, "other", at.clone(), seen(1, 2)).unwrap();
    let second = judging.look(&trial).unwrap();
    assert_eq!((second.tally.rewards, judging.own("other")), (2, at));
}

#[tokio::test]
async fn what_can_not_be_taken_in_whole_is_not_taken_in_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (trial, mut judging) = (bandit(), judging(&folder).await);
    let mut wrong = seen(0, 1);
    wrong.rewards.extend(seen(7, 2).rewards);
    let at = Position { batch: 1, ..Position::default() };
    assert!(judging.take_in(&trial, "other", at, wrong).is_err(), "there is no arm 7");
    assert_eq!(judging.look(&trial).unwrap().tally.rewards, 0);
    assert_eq!(judging.own("other"), Position::default());
}

#[tokio::test]
async fn a_batch_that_can_not_be_taken_in_is_told_and_those_behind_it_count() {
    let folder = tempfile::tempdir().unwrap();
    let (trial, mut judging) = (bandit(), judging(&folder).await);
    let batch = |number: i64, seen: Result<BanditSeen, String>| {
        let position = Position { batch: number, ..Position::default() };
        Batch { server: "other".to_owned(), position, seen }
    };
    judging.take_in_batch(&trial, batch(1, Err("it is no JSON, at column 1".to_owned())));
    judging.take_in_batch(&trial, batch(2, Ok(seen(7, 1))));
    judging.take_in_batch(&trial, batch(3, Ok(seen(1, 2))));
    let numbers = judging.look(&trial).unwrap();
    assert_eq!((numbers.tally.unreadable_batches, numbers.tally.rewards), (2, 1), "there is no arm 7");
    assert!(numbers.words().contains("2 batches of other servers"), "{}", numbers.words());
    assert_eq!(judging.own("other").batch, 3);
    let aside: Vec<_> = judging.aside.iter().map(|one| (one.server.as_str(), one.number)).collect();
    assert_eq!(aside, [("other", 1), ("other", 2)]);
    assert!(judging.unsaved);
}
