//! What came to a variant in the last quarter of an hour: requests and failures by cause in slots of five seconds, latencies in
//! slots of a minute. A request adds to two counters and waits for nobody; whoever looks adds the slots up.

use crate::cause::Cause;
use serde::Serialize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How far back it is told what came.
pub(crate) const KEPT: Duration = Duration::from_mins(15);
/// Seconds of a slot of counts.
const COUNTED: u64 = 5;
/// Slots of counts that are kept.
const COUNTS: usize = (KEPT.as_secs() / COUNTED) as usize;
/// Seconds of a slot of latencies.
const TIMED: u64 = 60;
/// Slots of latencies that are kept: the minute that goes on, and those before it.
const TIMES: usize = (KEPT.as_secs() / TIMED) as usize + 1;
/// Slots of counts that a point of the line of requests stands for.
const POINT: usize = 3;
/// Bins of each doubling of the time that a request takes: the middle of a bin is off by a sixteenth at the most.
const PARTS: usize = 8;
/// Bins of times, from a microsecond to beyond a minute.
const BINS: usize = 24 * PARTS;

/// Slots are counted from the same moment everywhere, so that those of several variants can be added up.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

fn since_beginning(now: Instant) -> Duration {
    now.saturating_duration_since(*BEGINNING)
}

/// The number of the slot that goes on, from 1.
fn number_at(now: Instant, seconds: u64) -> u64 {
    since_beginning(now).as_secs() / seconds + 1
}

/// The bin of a time: whole microseconds below [`PARTS`], beyond that so many bins in each doubling.
fn bin(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if us < PARTS as u64 {
        return us as usize;
    }
    let doubling = us.ilog2() as usize;
    let part = (us >> (doubling - 3)) as usize & (PARTS - 1);
    ((doubling - 2) * PARTS + part).min(BINS - 1)
}

/// The middle of a bin in milliseconds.
#[allow(clippy::cast_precision_loss)]
fn middle_ms(bin: usize) -> f64 {
    let (doubling, part) = (bin / PARTS, bin % PARTS);
    let (low, width) = match doubling {
        0 => (part as u64, 1),
        _ => ((PARTS + part) as u64 * (1 << (doubling - 1)), 1 << (doubling - 1)),
    };
    (low as f64 + f64::from(width) / 2.0) / 1_000.0
}

/// Counters of a stretch of time, which are used again when that is long over.
#[derive(Debug)]
struct Slot<const N: usize> {
    /// Which stretch since the beginning it counts; 0 before it was used.
    number: AtomicU64,
    counters: [AtomicU32; N],
}

/// Slots in a ring.
#[derive(Debug)]
struct Ring<const N: usize> {
    seconds: u64,
    slots: Box<[Slot<N>]>,
    /// Held by who empties a slot.
    turning: Mutex<()>,
}

impl<const N: usize> Ring<N> {
    fn new(seconds: u64, slots: usize) -> Self {
        let slot = |_| Slot { number: AtomicU64::new(0), counters: [const { AtomicU32::new(0) }; N] };
        Self { seconds, slots: (0..slots).map(slot).collect(), turning: Mutex::new(()) }
    }

    fn count(&self, counter: usize, now: Instant) {
        let number = number_at(now, self.seconds);
        let slot = &self.slots[number as usize % self.slots.len()];
        if slot.number.load(Acquire) == number || self.turn(slot, number) {
            slot.counters[counter].fetch_add(1, Relaxed);
        }
    }

    /// Empties a slot for the time that begins now; `false` when that time is long over.
    #[cold]
    fn turn(&self, slot: &Slot<N>, number: u64) -> bool {
        let _guard = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let before = slot.number.load(Relaxed);
        if before >= number {
            return before == number;
        }
        slot.counters.iter().for_each(|counter| counter.store(0, Relaxed));
        // Whoever sees the number sees the counters empty.
        slot.number.store(number, Release);
        true
    }

    /// Shows the counters of each of the newest slots, with how many slots ago they were.
    fn each(&self, newest: usize, now: Instant, mut show: impl FnMut(usize, &[AtomicU32; N])) {
        let current = number_at(now, self.seconds);
        for slot in &self.slots {
            let number = slot.number.load(Acquire);
            if number > 0 && number <= current && current - number < newest as u64 {
                show((current - number) as usize, &slot.counters);
            }
        }
    }
}

/// The counter of requests that were answered; those of causes follow.
const ANSWERED: usize = 0;

#[derive(Debug)]
struct Rings {
    /// Requests that were answered, and those that were not by cause.
    counts: Ring<{ Cause::COUNT + 1 }>,
    /// Requests, answered or not, by the bin of the time that they took.
    times: Ring<BINS>,
}

/// The last quarter of an hour of a variant, or of what reached none. It takes no memory before the first request, and some 22 kB
/// from then on.
#[derive(Debug, Default)]
pub(crate) struct Recent(OnceLock<Box<Rings>>);

impl Recent {
    /// Counts a request that ended now: answered, or why not.
    pub(crate) fn count(&self, cause: Option<Cause>, took: Duration, now: Instant) {
        let rings = self.rings();
        rings.counts.count(cause.map_or(ANSWERED, |cause| cause as usize + 1), now);
        rings.times.count(bin(took), now);
    }

    /// Counts a request that was refused before it was asked of a version, and so took no time that is worth telling.
    pub(crate) fn refuse(&self, cause: Cause, now: Instant) {
        self.rings().counts.count(cause as usize + 1, now);
    }

    fn rings(&self) -> &Rings {
        self.0.get_or_init(|| {
            Box::new(Rings { counts: Ring::new(COUNTED, COUNTS), times: Ring::new(TIMED, TIMES) })
        })
    }
}

/// What came to several variants.
struct Sum {
    /// By how many slots ago: those that were answered, and those that were not.
    by_slot: Vec<(u64, u64)>,
    errors: [u64; Cause::COUNT],
    times: [u64; BINS],
}

impl Sum {
    fn of<'r>(all: impl Iterator<Item = &'r Recent>, now: Instant, counts: usize, times: usize) -> Self {
        let mut sum = Self { by_slot: vec![(0, 0); counts], errors: [0; Cause::COUNT], times: [0; BINS] };
        for rings in all.filter_map(|recent| recent.0.get()) {
            rings.counts.each(counts, now, |ago, counters| {
                sum.by_slot[ago].0 += u64::from(counters[ANSWERED].load(Relaxed));
                for (total, counter) in sum.errors.iter_mut().zip(&counters[ANSWERED + 1..]) {
                    let here = u64::from(counter.load(Relaxed));
                    *total += here;
                    sum.by_slot[ago].1 += here;
                }
            });
            rings.times.each(times, now, |_, counters| {
                for (total, counter) in sum.times.iter_mut().zip(counters) {
                    *total += u64::from(counter.load(Relaxed));
                }
            });
        }
        sum
    }

    /// By the rank: the least time that so large a part of the requests did not exceed.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn quantile_ms(&self, part: f64) -> Option<f64> {
        let all: u64 = self.times.iter().sum();
        let rank = ((all as f64 * part).ceil() as u64).max(1);
        let mut before = 0;
        self.times.iter().enumerate().find_map(|(bin, count)| {
            before += count;
            (before >= rank).then(|| middle_ms(bin))
        })
    }

    #[allow(clippy::cast_precision_loss)]
    fn stretch(&self, now: Instant) -> Stretch {
        let requests = self.by_slot.iter().map(|(answered, not)| answered + not).sum();
        // The slot that goes on is not over yet.
        let current = since_beginning(now).as_secs_f64() % COUNTED as f64;
        let seconds = (self.by_slot.len() as u64 - 1) as f64 * COUNTED as f64 + current;
        Stretch {
            requests,
            per_second: requests as f64 / seconds,
            errors: Errors(self.errors),
            latency_ms: Quantiles {
                p50: self.quantile_ms(0.5),
                p95: self.quantile_ms(0.95),
                p99: self.quantile_ms(0.99),
            },
        }
    }

    /// Points that are over, oldest first: what `of` a slot in a second.
    #[allow(clippy::cast_precision_loss)]
    fn rates(&self, of: impl Fn(&(u64, u64)) -> u64) -> Vec<f64> {
        let over = self.by_slot[1..].chunks_exact(POINT);
        let rate = |slots: &[(u64, u64)]| {
            slots.iter().map(&of).sum::<u64>() as f64 / (COUNTED * POINT as u64) as f64
        };
        over.rev().map(rate).collect()
    }
}

/// Requests that were not answered, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors([u64; Cause::COUNT]);

impl Errors {
    /// Of one cause.
    #[must_use]
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those that there were.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

impl Serialize for Errors {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.causes().map(|(cause, count)| (cause.as_str(), count)))
    }
}

/// How long whole requests took, in milliseconds, each to a sixteenth; none without requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

/// What came in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stretch {
    /// Requests, answered or not.
    pub requests: u64,
    /// The same in a second.
    pub per_second: f64,
    /// Requests that were not answered, by cause; causes that there were.
    pub errors: Errors,
    /// How long those took that reached a version.
    pub latency_ms: Quantiles,
}

/// The last minutes of a version or of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lately {
    /// The last minute; latencies are those of the minute that goes on and the whole one before it.
    pub last_minute: Stretch,
    /// The last quarter of an hour.
    pub last_15_minutes: Stretch,
    /// Requests in a second in each quarter of a minute of the last quarter of an hour, oldest first.
    pub requests_per_second: Vec<f64>,
    /// Those of them that were not answered.
    pub errors_per_second: Vec<f64>,
}

impl Lately {
    /// Of several variants together.
    pub(crate) fn of<'r>(all: impl Iterator<Item = &'r Recent> + Clone, now: Instant) -> Self {
        let minute = Sum::of(all.clone(), now, (60 / COUNTED) as usize, 2);
        let whole = Sum::of(all, now, COUNTS, TIMES);
        Self {
            last_minute: minute.stretch(now),
            last_15_minutes: whole.stretch(now),
            requests_per_second: whole.rates(|(answered, not)| answered + not),
            errors_per_second: whole.rates(|(_, not)| *not),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOT: Duration = Duration::from_secs(COUNTED);

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// A moment at the beginning of a slot and of a minute, far enough from the beginning for all slots to lie behind it.
    fn noon() -> Instant {
        *BEGINNING + Duration::from_hours(12)
    }

    fn told(recent: &Recent, now: Instant) -> Lately {
        Lately::of(std::iter::once(recent), now)
    }

    proptest! {
        #[test]
        fn the_middle_of_a_bin_is_within_a_sixteenth_of_what_it_holds(time in 8_u64..60_000_000) {
            let middle = middle_ms(bin(us(time))) * 1_000.0;
            prop_assert!((middle - time as f64).abs() <= time as f64 / 16.0, "{time} µs are told as {middle}");
        }

        #[test]
        fn longer_times_lie_in_later_bins(a: u64, b: u64) {
            prop_assert!(bin(us(a.min(b))) <= bin(us(a.max(b))));
        }
    }

    #[test]
    fn what_came_is_told_by_minute_and_quarter_of_an_hour() {
        let recent = Recent::default();
        recent.count(None, us(1_000), noon());
        recent.count(Some(Cause::Input), us(10), noon() + SLOT * 12);
        recent.refuse(Cause::Unreadable, noon() + SLOT * 12);
        let lately = told(&recent, noon() + SLOT * 12 + Duration::from_secs(3));
        assert_eq!(lately.last_minute.requests, 2);
        assert_eq!(lately.last_minute.per_second, 2.0 / 58.0, "the slot that goes on is three seconds old");
        assert_eq!(lately.last_minute.errors.of(Cause::Input), 1);
        assert_eq!(lately.last_15_minutes.requests, 3);
        let causes: Vec<_> = lately.last_15_minutes.errors.causes().collect();
        assert_eq!(causes, [(Cause::Unreadable, 1), (Cause::Input, 1)]);
    }

    #[test]
    fn rates_are_those_of_points_that_are_over() {
        let recent = Recent::default();
        (0..30).for_each(|_| recent.count(None, us(5), noon()));
        (0..15).for_each(|_| recent.count(Some(Cause::Failed), us(5), noon() + SLOT * 2));
        recent.count(None, us(5), noon() + SLOT * 3);
        let lately = told(&recent, noon() + SLOT * 3);
        assert_eq!(lately.requests_per_second.len(), 59, "the point that goes on is not told");
        assert_eq!(lately.requests_per_second[57..], [0.0, 3.0]);
        assert_eq!(lately.errors_per_second[57..], [0.0, 1.0]);
    }

    #[test]
    fn what_is_older_is_forgotten_and_its_slot_is_used_again() {
        let recent = Recent::default();
        recent.count(None, us(1_000), noon());
        let later = noon() + KEPT;
        assert_eq!(told(&recent, later).last_15_minutes.requests, 0);
        recent.count(Some(Cause::Failed), us(1_000), later);
        let now = told(&recent, later).last_15_minutes;
        assert_eq!((now.requests, now.errors.total()), (1, 1), "the slot was emptied first");
        // Who was held up for a quarter of an hour does not count into what is now.
        recent.count(None, us(1_000), noon());
        assert_eq!(told(&recent, later).last_15_minutes.requests, 1);
    }

    #[test]
    fn quantiles_are_those_of_the_ranks_of_one_variant_and_of_several() {
        let (odd, even) = (Recent::default(), Recent::default());
        assert_eq!(told(&odd, noon()).last_minute.latency_ms.p50, None);
        for n in 1..=100 {
            [&even, &odd][n % 2].count(None, us(n as u64 * 1_000), noon());
        }
        let both = Lately::of([&odd, &even].into_iter(), noon()).last_minute.latency_ms;
        for (got, expected) in [(both.p50, 50.0), (both.p95, 95.0), (both.p99, 99.0)] {
            assert!((got.unwrap() - expected).abs() <= expected / 16.0, "{got:?} for {expected}");
        }
        let minute_after_next = told(&odd, noon() + Duration::from_mins(2));
        assert_eq!(minute_after_next.last_minute.latency_ms.p99, None);
        assert!(minute_after_next.last_15_minutes.latency_ms.p99.is_some());
    }

    #[test]
    fn requests_that_end_at_once_are_all_counted() {
        let recent = Recent::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1_000).for_each(|n| recent.count(None, us(n), noon() + SLOT * (n / 500) as u32));
                });
            }
        });
        assert_eq!(told(&recent, noon() + SLOT).last_minute.requests, 4_000);
    }

    #[test]
    fn what_is_kept_of_a_variant_is_small() {
        let counts = COUNTS * size_of::<Slot<{ Cause::COUNT + 1 }>>();
        let times = TIMES * size_of::<Slot<BINS>>();
        assert!(counts + times < 24_000, "{counts} and {times} bytes");
    }
}
