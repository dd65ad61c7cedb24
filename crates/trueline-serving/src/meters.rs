//! What is counted of each variant and each endpoint, and for how long it is kept: as long as something answers by it, and a
//! while beyond, so that whoever looks now and then sees the last of it. How figures are written down is no matter of this file.

use crate::cause::Cause;
use crate::recent::{KEPT, Lately, Recent};
use crate::served::Cost;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Series of what no longer answers that are kept at a time; the one that went first is the first to go.
const MOST_GONE: usize = 32;

/// Upper bounds of the bins that times are told in, in microseconds.
pub const BOUNDS_US: [u64; 12] =
    [500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// Times that something took, by bins.
#[derive(Debug, Default)]
pub struct Times {
    bins: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Times {
    fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.bins[BOUNDS_US.partition_point(|bound| *bound < us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// How many took as long as each of [`BOUNDS_US`] at the most, and last how many there were.
    #[must_use]
    pub fn up_to(&self) -> [u64; BOUNDS_US.len() + 1] {
        let mut sum = 0;
        self.bins.each_ref().map(|bin| {
            sum += bin.load(Relaxed);
            sum
        })
    }

    /// What they took together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Relaxed)
    }
}

/// The counters of a variant, or of an endpoint for what concerns no variant.
#[derive(Debug, Default)]
pub struct Meters {
    rows: AtomicU64,
    left_out: AtomicU64,
    errors: [AtomicU64; Cause::COUNT],
    took: Times,
    costs: [Times; Cost::ALL.len()],
    pub(crate) recent: Recent,
}

impl Meters {
    /// Counts a request as a whole: how many rows were answered, or why none were.
    pub(crate) fn count(&self, came_to: Result<usize, Cause>, took: Duration, now: Instant) {
        match came_to {
            Ok(rows) => self.rows.fetch_add(rows as u64, Relaxed),
            Err(cause) => self.errors[cause as usize].fetch_add(1, Relaxed),
        };
        self.took.record(took);
        self.recent.count(came_to.err(), took, now);
    }

    /// Counts a request that reached no version.
    pub(crate) fn refuse(&self, cause: Cause, now: Instant) {
        self.errors[cause as usize].fetch_add(1, Relaxed);
        self.recent.refuse(cause, now);
    }

    pub(crate) fn leave_out(&self, predictions: usize) {
        self.left_out.fetch_add(predictions as u64, Relaxed);
    }

    pub(crate) fn cost(&self, of: Cost, took: Duration) {
        self.costs[of as usize].record(took);
    }

    /// Rows that were answered.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Predictions that the endpoint's rules left out of the log.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }

    /// Requests that were not answered, by cause.
    pub fn errors(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().zip(self.errors.iter().map(|counter| counter.load(Relaxed)))
    }

    /// How long whole requests took.
    #[must_use]
    pub fn took(&self) -> &Times {
        &self.took
    }

    /// How long the parts of requests took.
    pub fn costs(&self) -> impl Iterator<Item = (Cost, &Times)> {
        Cost::ALL.into_iter().zip(&self.costs)
    }
}

/// What is counted: a variant of an endpoint, or the endpoint where no variant is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metered {
    /// The project's name.
    pub project: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// The version, `name/number`.
    pub variant: Option<String>,
}

#[derive(Debug)]
struct Kept {
    meters: Arc<Meters>,
    /// Since when nothing answers by it, as far as anybody looked.
    gone_since: Option<Instant>,
}

/// The meters of a data plane.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<Metered, Kept>>);

impl Registry {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<Metered, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The meters to count by. What answers again goes on where it was, if that is still known.
    pub(crate) fn of(&self, metered: Metered, now: Instant) -> Arc<Meters> {
        let mut kept = self.kept();
        let own = kept.entry(metered).or_insert_with(|| Kept { meters: Arc::default(), gone_since: None });
        let meters = Arc::clone(&own.meters);
        sweep(&mut kept, now);
        meters
    }

    /// Shows all that are kept, by project, endpoint and variant, after what has been gone for long is let go of.
    pub(crate) fn show<R>(&self, now: Instant, to: impl FnOnce(&[(&Metered, &Meters)]) -> R) -> R {
        let mut kept = self.kept();
        sweep(&mut kept, now);
        let all: Vec<_> = kept.iter().map(|(metered, own)| (metered, &*own.meters)).collect();
        to(&all)
    }

    /// What came to an endpoint lately, by versions that answer no longer too.
    pub(crate) fn lately(&self, project: &str, endpoint: &str, now: Instant) -> Lately {
        let first = Metered { project: project.to_owned(), endpoint: endpoint.to_owned(), variant: None };
        let kept = self.kept();
        let own = kept.range(&first..).take_while(|(m, _)| m.project == project && m.endpoint == endpoint);
        Lately::of(own.map(|(_, own)| &own.meters.recent), now)
    }
}

/// Lets go of what nobody has answered by for as long as figures go back, and of more than are kept at a time.
fn sweep(kept: &mut BTreeMap<Metered, Kept>, now: Instant) {
    kept.retain(|_, own| {
        // Whoever could answer by it holds it as well, and nobody gets hold of it but through the registry.
        own.gone_since = (Arc::strong_count(&own.meters) == 1).then(|| own.gone_since.unwrap_or(now));
        own.gone_since.is_none_or(|since| now.saturating_duration_since(since) < KEPT)
    });
    let mut gone: Vec<Instant> = kept.values().filter_map(|own| own.gone_since).collect();
    if gone.len() <= MOST_GONE {
        return;
    }
    gone.sort_unstable();
    let mut surplus = gone.len() - MOST_GONE;
    let last = gone[surplus - 1];
    kept.retain(|_, own| {
        let goes = surplus > 0 && own.gone_since.is_some_and(|since| since <= last);
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(number: usize) -> Metered {
        let variant = Some(format!("delays/{number}"));
        Metered { project: "default".to_owned(), endpoint: "delays".to_owned(), variant }
    }

    fn names(registry: &Registry, now: Instant) -> Vec<String> {
        registry.show(now, |all| all.iter().filter_map(|(metered, _)| metered.variant.clone()).collect())
    }

    #[test]
    fn what_nobody_answers_by_is_told_for_a_while_and_then_let_go_of() {
        let (registry, began) = (Registry::default(), Instant::now());
        let first = registry.of(variant(1), began);
        let second = registry.of(variant(2), began);
        first.count(Ok(3), Duration::from_millis(1), began);
        drop(first);
        assert_eq!(names(&registry, began), ["delays/1", "delays/2"]);
        assert_eq!(registry.lately("default", "delays", began).last_minute.requests, 1);
        let nearly = began + KEPT - Duration::from_millis(1);
        assert_eq!(names(&registry, nearly), ["delays/1", "delays/2"]);
        assert_eq!(names(&registry, began + KEPT), ["delays/2"], "what answers stays, asked or not");
        drop(second);
    }

    #[test]
    fn what_answers_again_goes_on_where_it_was() {
        let (registry, began) = (Registry::default(), Instant::now());
        registry.of(variant(1), began).count(Ok(3), Duration::from_millis(1), began);
        assert_eq!(names(&registry, began), ["delays/1"]);
        let again = registry.of(variant(1), began + KEPT / 2);
        assert_eq!(again.rows(), 3);
        assert_eq!(names(&registry, began + KEPT * 2), ["delays/1"]);
        again.count(Ok(4), Duration::from_millis(1), began + KEPT * 2);
        assert_eq!(registry.show(began + KEPT * 2, |all| all[0].1.rows()), 7);
    }

    #[test]
    fn however_many_versions_come_and_go_only_so_many_are_kept() {
        let (registry, began) = (Registry::default(), Instant::now());
        let stays = registry.of(variant(0), began);
        for number in 1..=1_000 {
            let now = began + Duration::from_millis(number);
            registry.of(variant(number as usize), now).count(Ok(1), Duration::from_millis(1), now);
        }
        let names = names(&registry, began + Duration::from_secs(2));
        assert_eq!(names.len(), 1 + MOST_GONE);
        assert!(names.contains(&"delays/0".to_owned()) && names.contains(&"delays/1000".to_owned()));
        assert!(
            !names.contains(&format!("delays/{}", 1_000 - MOST_GONE)),
            "those that went first are the first to go"
        );
        drop(stays);
    }

    #[test]
    fn endpoints_are_told_apart() {
        let (registry, now) = (Registry::default(), Instant::now());
        let other = Metered { endpoint: "delays-2".to_owned(), ..variant(1) };
        registry.of(other, now).count(Ok(1), Duration::from_millis(1), now);
        let whole = Metered { variant: None, ..variant(1) };
        registry.of(whole, now).refuse(Cause::Unreadable, now);
        let lately = registry.lately("default", "delays", now).last_minute;
        assert_eq!((lately.requests, lately.errors.of(Cause::Unreadable)), (1, 1));
    }

    #[test]
    fn times_are_counted_up_to_each_bound() {
        let times = Times::default();
        for us in [1, 500, 501, 20_000_000] {
            times.record(Duration::from_micros(us));
        }
        let up_to = times.up_to();
        assert_eq!((up_to[0], up_to[1], up_to[11], up_to[12]), (2, 3, 3, 4));
        assert_eq!(times.sum_us(), 20_001_002);
    }
}
