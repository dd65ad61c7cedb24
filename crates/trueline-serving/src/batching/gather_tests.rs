//! The queue of a model against a clock that stands where it is put.

use super::gather::{Alike, Full, Gather, Limits, Next};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// A request by its kind and its number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Load(char, usize);

impl Alike for Load {
    fn alike(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

const LIMITS: Limits = Limits { rows: 8, requests: 4, waiting_rows: 100, waiting_requests: 10, lanes: 1 };

struct House {
    gather: Gather<Load>,
    now: Instant,
}

impl House {
    fn new(limits: Limits) -> Self {
        Self { gather: Gather::new(limits), now: Instant::now() }
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn comes(&mut self, kind: char, number: usize, rows: usize) -> Result<u64, Full> {
        self.gather.arrive(self.now, rows, self.now + Duration::from_secs(60), Load(kind, number))
    }

    /// The numbers of those who go now.
    fn sent(&mut self) -> Option<Vec<usize>> {
        match self.gather.next(self.now) {
            Next::Send(batch) => Some(batch.iter().map(|w| w.load.1).collect()),
            _ => None,
        }
    }

    /// Has it learn that a call takes 100 ms and 1 ms more for each row, and that requests wait for `waited` anyway.
    fn taught(mut self, waited: u64) -> Self {
        for i in 0..8 {
            let rows = 1 + i % 4;
            let took = Duration::from_millis(100 + u64::try_from(rows).unwrap());
            self.gather.note(self.now, rows, took, Duration::from_millis(waited));
        }
        self
    }
}

#[test]
fn a_request_that_finds_nobody_passes_at_once() {
    let mut house = House::new(LIMITS).taught(50);
    assert!(house.gather.pass());
    assert!(!house.gather.pass(), "it is busy now");
    house.gather.done();
    assert!(house.gather.pass());
    let mut two = House::new(Limits { lanes: 2, ..LIMITS });
    assert!(two.gather.pass() && two.gather.pass() && !two.gather.pass());
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let mut house = House::new(LIMITS);
    house.comes('a', 1, 1).unwrap();
    assert!(!house.gather.pass());
}

#[test]
fn requests_gather_while_it_is_busy_and_go_together() {
    let mut house = House::new(LIMITS);
    assert!(house.gather.pass());
    for i in 0..3 {
        house.comes('a', i, 1).unwrap();
        assert_eq!(house.sent(), None);
    }
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![0, 1, 2]));
    assert_eq!(house.sent(), None);
}

#[test]
fn what_is_not_alike_waits_its_turn_oldest_first() {
    let mut house = House::new(LIMITS);
    assert!(house.gather.pass());
    for (i, kind) in ['a', 'b', 'a', 'b', 'a'].into_iter().enumerate() {
        house.comes(kind, i, 1).unwrap();
    }
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![0, 2, 4]));
    // More of the first kind come all the time, and are behind the second.
    house.comes('a', 5, 1).unwrap();
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![1, 3]));
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![5]));
}

#[test]
fn a_batch_has_no_more_requests_and_rows_than_it_may() {
    let mut house = House::new(LIMITS);
    for i in 0..6 {
        house.comes('a', i, 1).unwrap();
    }
    assert_eq!(house.sent(), Some(vec![0, 1, 2, 3]));
    house.gather.done();
    house.comes('a', 6, 6).unwrap();
    house.comes('a', 7, 1).unwrap();
    assert_eq!(house.sent(), Some(vec![4, 5, 6]), "8 rows");
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![7]));
}

#[test]
fn a_request_is_not_split_nor_overtaken_by_a_smaller_one() {
    let mut house = House::new(LIMITS);
    for (i, rows) in [5, 5, 1, 30, 1].into_iter().enumerate() {
        house.comes('a', i, rows).unwrap();
    }
    for expected in [vec![0], vec![1, 2], vec![3], vec![4]] {
        assert_eq!(house.sent(), Some(expected));
        house.gather.done();
    }
}

#[test]
fn a_request_without_rows_goes_alone() {
    let mut house = House::new(LIMITS);
    for (i, rows) in [1, 0, 1].into_iter().enumerate() {
        house.comes('a', i, rows).unwrap();
    }
    for expected in [vec![0, 2], vec![1]] {
        assert_eq!(house.sent(), Some(expected));
        house.gather.done();
    }
}

#[test]
fn others_are_waited_for_where_that_pays() {
    let mut house = House::new(LIMITS).taught(50);
    house.comes('a', 0, 1).unwrap();
    let Next::WaitUntil(until) = house.gather.next(house.now) else { panic!("it does not wait") };
    // 0.95 · 50 ms, less the tick and a row.
    assert_eq!((until - house.now).as_millis(), 45);
    house.later(10);
    house.comes('a', 1, 1).unwrap();
    let Next::WaitUntil(sooner) = house.gather.next(house.now) else { panic!("it does not wait") };
    assert!(sooner < until, "two who wait cost twice as much");
    house.now = sooner;
    assert_eq!(house.sent(), Some(vec![0, 1]));
}

#[test]
fn others_are_not_waited_for_by_a_full_batch_nor_at_the_cost_of_another_kind() {
    let mut house = House::new(LIMITS).taught(50);
    house.comes('a', 0, 8).unwrap();
    assert_eq!(house.sent(), Some(vec![0]));
    house.gather.done();
    house.comes('a', 1, 1).unwrap();
    house.comes('b', 2, 1).unwrap();
    assert_eq!(house.sent(), Some(vec![1]));
}

#[test]
fn no_wait_outlasts_the_earliest_deadline() {
    let mut house = House::new(LIMITS).taught(50);
    let in_millis = |house: &House, millis| house.now + Duration::from_millis(millis);
    house.gather.arrive(house.now, 1, in_millis(&house, 5_000), Load('a', 0)).unwrap();
    house.gather.arrive(house.now, 1, in_millis(&house, 112), Load('a', 1)).unwrap();
    let Next::WaitUntil(until) = house.gather.next(house.now) else { panic!("it does not wait") };
    // The call of two rows takes 102 ms of the 112.
    assert!((9..=10).contains(&(until - house.now).as_millis()), "{:?}", until - house.now);
    let mut late = House::new(LIMITS).taught(50);
    late.gather.arrive(late.now, 1, in_millis(&late, 80), Load('a', 0)).unwrap();
    assert_eq!(late.sent(), Some(vec![0]), "there is no time left to wait");
}

#[test]
fn what_is_too_late_is_not_sent() {
    let mut house = House::new(LIMITS);
    assert!(house.gather.pass());
    house.gather.arrive(house.now, 1, house.now + Duration::from_millis(5), Load('a', 0)).unwrap();
    house.comes('a', 1, 1).unwrap();
    house.later(6);
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![1]));
}

#[test]
fn who_leaves_is_not_sent_and_makes_room() {
    let mut house = House::new(LIMITS);
    assert!(house.gather.pass());
    let tickets: Vec<u64> = (0..10).map(|i| house.comes('a', i, 1).unwrap()).collect();
    assert_eq!(house.comes('a', 10, 1), Err(Full { requests: 10, rows: 10 }));
    assert_eq!(house.gather.leave(tickets[1]), Some(Load('a', 1)));
    assert_eq!(house.gather.leave(tickets[1]), None);
    house.comes('a', 11, 1).unwrap();
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![0, 2, 3, 4]));
    assert_eq!(house.gather.leave(tickets[0]), None, "it was sent");
    assert_eq!(house.gather.leave(tickets[5]), Some(Load('a', 5)));
}

#[test]
fn rows_that_wait_are_bounded_but_for_the_first() {
    let mut house = House::new(LIMITS);
    house.comes('a', 0, 1_000).unwrap();
    assert_eq!(house.comes('a', 1, 1), Err(Full { requests: 1, rows: 1_000 }));
    assert_eq!(house.sent(), Some(vec![0]));
    house.comes('a', 2, 60).unwrap();
    assert_eq!(house.comes('a', 3, 41), Err(Full { requests: 1, rows: 60 }));
    house.comes('a', 4, 40).unwrap();
}

#[test]
fn after_batching_was_switched_off_each_goes_alone() {
    let mut house = House::new(LIMITS).taught(50);
    house.comes('a', 0, 1).unwrap();
    house.comes('a', 1, 1).unwrap();
    house.gather.go_alone();
    assert_eq!(house.sent(), Some(vec![0]));
    house.gather.done();
    assert_eq!(house.sent(), Some(vec![1]));
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Comes(bool, usize),
    Leaves(usize),
    Done,
    Later(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<bool>(), 0..12_usize).prop_map(|(kind, rows)| Event::Comes(kind, rows)),
        1 => (0..40_usize).prop_map(Event::Leaves),
        2 => Just(Event::Done),
        2 => (0..80_u64).prop_map(Event::Later),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_everybody_goes_once_within_limits_and_in_order(
        events in proptest::collection::vec(event(), 0..200),
        lanes in 1..4_usize,
    ) {
        let mut house = House::new(Limits { lanes, ..LIMITS }).taught(40);
        let (mut busy, mut number) = (0, 0);
        let (mut waits, mut gone) = (Vec::<(u64, Load, usize)>::new(), Vec::new());
        // At the end all time passes, and all lanes come back.
        let end = (0..400).flat_map(|_| [Event::Done, Event::Later(50)]);
        for event in events.into_iter().chain(end) {
            match event {
                Event::Comes(kind, rows) => {
                    number += 1;
                    let load = Load(if kind { 'a' } else { 'b' }, number);
                    if let Ok(ticket) = house.comes(load.0, load.1, rows) {
                        waits.push((ticket, load, rows));
                    }
                }
                Event::Leaves(place) if place < waits.len() => {
                    let (ticket, load, _) = waits.remove(place);
                    prop_assert_eq!(house.gather.leave(ticket), Some(load));
                }
                Event::Done if busy > 0 => {
                    busy -= 1;
                    house.gather.done();
                }
                Event::Later(millis) => house.later(millis),
                Event::Leaves(_) | Event::Done => {}
            }
            while let Next::Send(batch) = house.gather.next(house.now) {
                busy += 1;
                prop_assert!(busy <= lanes);
                let loads: Vec<Load> = batch.iter().map(|w| w.load).collect();
                let rows: usize = batch.iter().map(|w| w.rows).sum();
                prop_assert!(loads.len() <= LIMITS.requests && (rows <= LIMITS.rows || loads.len() == 1));
                prop_assert!(loads.iter().all(|l| l.0 == loads[0].0), "one kind");
                prop_assert_eq!(Some(loads[0]), waits.first().map(|w| w.1), "the oldest goes first");
                prop_assert!(loads.windows(2).all(|w| w[0].1 < w[1].1), "in order");
                waits.retain(|(_, load, _)| !loads.contains(load));
                gone.extend(loads);
            }
        }
        prop_assert!(waits.is_empty(), "nobody waits for ever: {waits:?}");
        let mut once: Vec<usize> = gone.iter().map(|l| l.1).collect();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), gone.len());
    }
}
