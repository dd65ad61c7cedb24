//! What answers right now: an immutable state that requests read and a change replaces whole.

use crate::bandit::race;
use crate::cache::Slot;
use crate::error::ServingError;
use crate::frame::Frame;
use crate::log_rules::LogRules;
use crate::meters::Meters;
use crate::model::LoadedModel;
use crate::recent::Lately;
use crate::rollout::{
    Drawn, InSegments, LiveShadow, Observation, Outcome, SegmentColumn, Share, Watch, segments_of,
};
use crate::served::Served;
use crate::snapshot::{Access, EndpointSnapshot};
use crate::status::VariantStatus;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use trueline_ledger::ProjectId;
use trueline_stats::hash::mix64;
use trueline_stats::sequential::Arm;

/// Endpoints by the name of the project and by their own, which are looked up without a text being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints(HashMap<String, HashMap<String, Arc<LiveEndpoint>>>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub(crate) endpoints: Endpoints,
    /// Those that should answer and do not.
    pub(crate) left_out: Vec<Arc<LeftOut>>,
    pub(crate) access: Access,
}

/// An endpoint whose models can't be loaded.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) snapshot: EndpointSnapshot,
    pub(crate) reason: String,
    /// What is counted of requests to it.
    pub(crate) meters: Arc<Meters>,
}

impl LeftOut {
    fn is(&self, project: &str, endpoint: &str) -> bool {
        self.snapshot.project_name == project && self.snapshot.name == endpoint
    }
}

#[derive(Debug)]
pub(crate) struct LiveEndpoint {
    pub(crate) snapshot: EndpointSnapshot,
    pub(crate) variants: Vec<LiveVariant>,
    /// What is counted of requests that reach no version.
    pub(crate) meters: Arc<Meters>,
    /// How its predictions are logged; none where they are as they come.
    pub(crate) log_rules: Option<Arc<LogRules>>,
    total: u64,
    /// Where the answers of a rollout are observed.
    watch: Option<Arc<Watch>>,
    /// The candidate of a rollout that is asked as well.
    shadow: Option<Arc<LiveShadow>>,
    /// The models of its variants while a rollout is under way, so that none is unloaded: what judges them would take the
    /// loading for their own slowness.
    _pinned: Vec<Arc<LoadedModel>>,
}

/// A variant that is to answer, and what it means to a rollout that is under way.
pub(crate) struct Picked<'l> {
    pub(crate) variant: &'l LiveVariant,
    trial: Option<Trial<'l>>,
    /// The lot of a bandit.
    allotted: Option<Drawn>,
}

struct Trial<'l> {
    rollout: &'l str,
    watch: &'l Watch,
    arm: Arm,
    share: Share,
    key: Option<u64>,
    segments: &'l [SegmentColumn],
}

impl Picked<'_> {
    /// Has the rollout that is under way, if any, take note of what came of the request.
    pub(crate) fn observe(&self, frame: &Frame, outcome: impl FnOnce() -> Outcome) {
        if let Some(Trial { watch, arm, share, key, segments, .. }) = self.trial {
            let segments = match segments {
                [] => InSegments::default(),
                declared => segments_of(declared, |column| Some(frame.first_of(column))),
            };
            watch.put(Observation { arm, share, key, segments, outcome: outcome() });
        }
    }

    /// The lot that picked it for the rollout that is under way, if any.
    pub(crate) fn drawn(&self) -> Option<Drawn> {
        let trial = self.trial.as_ref().map(|t| Drawn::new(t.rollout, t.arm, t.share, t.key.is_some()));
        trial.or_else(|| self.allotted.clone())
    }
}

#[derive(Debug)]
pub(crate) struct LiveVariant {
    pub(crate) slot: Arc<Slot>,
    pub(crate) served: Arc<Served>,
    weight: u32,
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Endpoints {
    pub(crate) fn get(&self, project: &str, endpoint: &str) -> Option<&Arc<LiveEndpoint>> {
        self.0.get(project)?.get(endpoint)
    }

    /// Puts an endpoint in its place, unless one that is as new is there.
    pub(crate) fn put(&mut self, live: &Arc<LiveEndpoint>) {
        let LiveEndpoint { snapshot, .. } = &**live;
        let project = self.0.entry(snapshot.project_name.clone()).or_default();
        let place = project.entry(snapshot.name.clone()).or_insert_with(|| Arc::clone(live));
        if place.snapshot.edition() < snapshot.edition() {
            *place = Arc::clone(live);
        }
    }

    /// Keeps those of which it is said, by the names of project and endpoint, that they are there.
    pub(crate) fn retain(&mut self, there: impl Fn(&str, &str) -> bool) {
        for (project, endpoints) in &mut self.0 {
            endpoints.retain(|name, _| there(project, name));
        }
        self.0.retain(|_, endpoints| !endpoints.is_empty());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<LiveEndpoint>> {
        self.0.values().flat_map(HashMap::values)
    }

    /// The names of a project's endpoints.
    pub(crate) fn names(&self, project: &str) -> impl Iterator<Item = &String> {
        self.0.get(project).into_iter().flat_map(HashMap::keys)
    }
}

impl Live {
    pub(crate) fn endpoint(&self, project: &str, endpoint: &str) -> Option<&Arc<LiveEndpoint>> {
        self.endpoints.get(project, endpoint)
    }

    /// Has an endpoint answer, unless a newer generation of it does.
    pub(crate) fn put(&mut self, live: &Arc<LiveEndpoint>) {
        self.left_out.retain(|out| !out.is(&live.snapshot.project_name, &live.snapshot.name));
        self.endpoints.put(live);
    }

    /// Notes that an endpoint can't answer; one that does goes on.
    pub(crate) fn leave_out(&mut self, snapshot: EndpointSnapshot, reason: String, meters: Arc<Meters>) {
        if self.endpoint(&snapshot.project_name, &snapshot.name).is_none() {
            self.left_out.retain(|out| !out.is(&snapshot.project_name, &snapshot.name));
            self.left_out.push(Arc::new(LeftOut { snapshot, reason, meters }));
        }
    }

    /// The id of the project of an endpoint that answers, or should.
    pub(crate) fn project_of(&self, project: &str, endpoint: &str) -> Option<&ProjectId> {
        let out = || self.left_out.iter().find(|out| out.is(project, endpoint)).map(|out| &out.snapshot);
        self.endpoint(project, endpoint).map(|e| &e.snapshot).or_else(out).map(|snapshot| &snapshot.project)
    }

    /// Why an endpoint that should answer does not.
    pub(crate) fn why_left_out(&self, project: &str, endpoint: &str) -> Option<&str> {
        self.left_out.iter().find(|out| out.is(project, endpoint)).map(|out| out.reason.as_str())
    }

    /// What is counted of requests to an endpoint that reach no version.
    pub(crate) fn meters(&self, project: &str, endpoint: &str) -> Option<&Meters> {
        let out = || self.left_out.iter().find(|out| out.is(project, endpoint)).map(|out| &*out.meters);
        self.endpoint(project, endpoint).map(|e| &*e.meters).or_else(out)
    }

    /// Keeps those of which it is said, by the names of project and endpoint, that they are there.
    pub(crate) fn retain(&mut self, there: impl Fn(&str, &str) -> bool) {
        self.endpoints.retain(&there);
        self.left_out.retain(|out| there(&out.snapshot.project_name, &out.snapshot.name));
    }

    /// All that should answer, by what they would be restored from.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &EndpointSnapshot> {
        self.endpoints.iter().map(|e| &e.snapshot).chain(self.left_out.iter().map(|out| &out.snapshot))
    }

    /// Where a rollout's answers are observed, if it is under way.
    pub(crate) fn watch(&self, rollout: &str) -> Option<Arc<Watch>> {
        self.endpoints.iter().find_map(|e| e.watch(rollout)).map(Arc::clone)
    }

    /// The places of models of endpoints that `next` has no longer or answers otherwise.
    pub(crate) fn left_by<'l>(&'l self, next: &Self) -> impl Iterator<Item = &'l Arc<Slot>> {
        let gone = |e: &&Arc<LiveEndpoint>| {
            let own = &e.snapshot;
            next.endpoint(&own.project_name, &own.name).is_none_or(|n| !Arc::ptr_eq(n, e))
        };
        self.endpoints.iter().filter(gone).flat_map(|e| e.slots())
    }
}

impl LiveEndpoint {
    pub(crate) fn new(
        snapshot: EndpointSnapshot,
        variants: Vec<LiveVariant>,
        meters: Arc<Meters>,
        watch: Option<Arc<Watch>>,
        shadow: Option<Arc<LiveShadow>>,
        pinned: Vec<Arc<LoadedModel>>,
    ) -> Result<Self, ServingError> {
        let total = variants.iter().map(|v| u64::from(v.weight)).sum();
        if total == 0 {
            return Err(ServingError::State(format!("endpoint `{}` has no variants", snapshot.name)));
        }
        let log_rules = snapshot.log_rules.change_records().then(|| Arc::new(snapshot.log_rules.clone()));
        Ok(Self { snapshot, variants, meters, log_rules, total, watch, shadow, _pinned: pinned })
    }

    /// The places of the models that it asks, whether or not callers get what they answer.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.variants.iter().map(|v| &v.slot).chain(self.shadow.as_deref().map(LiveShadow::slot))
    }

    /// Why one of the versions that answer can't be loaded again, if that was tried and failed.
    pub(crate) fn why_not(&self) -> Option<String> {
        self.variants.iter().find_map(|v| v.slot.why_not())
    }

    /// The variant of a sticky value, or of a lot.
    ///
    /// While a rollout is under way, a second lot, of its own, decides between its candidate and the rest, and the first
    /// one among the rest as it did before. So a candidate that grows only takes from the others and never moves anybody
    /// between them, and who is tried first is not the same in each rollout.
    pub(crate) fn pick(&self, sticky: Option<&str>, lot: u64) -> Picked<'_> {
        if let Some(bandit) = &self.snapshot.bandit {
            return self.race(bandit, sticky, lot);
        }
        let first = sticky.map_or(lot, |s| hash_of(&self.snapshot.name, s));
        let weights = self.variants.iter().map(|v| v.weight);
        let (Some(rollout), Some(watch), None, [.., candidate]) =
            (&self.snapshot.rollout, &self.watch, &self.snapshot.shadow, self.variants.as_slice())
        else {
            return Picked {
                variant: &self.variants[at(weights, share(first, self.total))],
                trial: None,
                allotted: None,
            };
        };
        let second = sticky.map_or_else(|| mix64(lot), |s| hash_of(rollout, s));
        let place = drawn(weights, self.total, first, second);
        let tried = place + 1 == self.variants.len();
        let trial = Trial {
            rollout,
            watch,
            arm: if tried { Arm::Canary } else { Arm::Champion },
            share: Share::of(candidate.weight, self.total),
            key: sticky.is_some().then_some(first),
            segments: &self.snapshot.segments,
        };
        Picked { variant: &self.variants[place], trial: Some(trial), allotted: None }
    }

    /// The arm of a bandit that a sticky value, or a lot, draws.
    fn race(&self, bandit: &str, sticky: Option<&str>, lot: u64) -> Picked<'_> {
        let lot = sticky.map_or(lot, |s| hash_of(bandit, s));
        let variant = &self.variants[race(self.variants.iter().map(|v| v.weight), lot)];
        let chance = f64::from(variant.weight) / self.total as f64;
        let drawn = Drawn::of_bandit(bandit, self.snapshot.generation, chance, sticky.is_some());
        Picked { variant, trial: None, allotted: Some(drawn) }
    }

    /// The variant of a version, which no lot has drawn.
    pub(crate) fn named(&self, version: i64) -> Option<Picked<'_>> {
        let variant = self.variants.iter().find(|v| v.slot.spec().version == version)?;
        Some(Picked { variant, trial: None, allotted: None })
    }

    /// The candidate that is asked what this request was answered, if the lot says so: the one by which the rollout will draw
    /// whom it tries first.
    pub(crate) fn shadow(&self, sticky: Option<&str>, lot: u64) -> Option<(&Arc<LiveShadow>, Option<u64>)> {
        let (shadow, rollout) = (self.shadow.as_ref()?, self.snapshot.rollout.as_ref()?);
        let second = sticky.map_or_else(|| mix64(lot), |s| hash_of(rollout, s));
        let all = u64::from(Share::ALL);
        let drawn = share(second, all) >= all - shadow.share();
        drawn.then(|| (shadow, sticky.map(|s| hash_of(&self.snapshot.name, s))))
    }

    /// What was seen in shadow, if this rollout is there.
    pub(crate) fn shadow_of(&self, rollout: &str) -> Option<&Arc<LiveShadow>> {
        self.shadow.as_ref().filter(|_| self.snapshot.rollout.as_deref() == Some(rollout))
    }

    /// Where a rollout's answers are observed, if it is under way here.
    pub(crate) fn watch(&self, rollout: &str) -> Option<&Arc<Watch>> {
        self.watch.as_ref().filter(|_| self.snapshot.rollout.as_deref() == Some(rollout))
    }
}

/// The lot of a sticky value: the same value always draws the same one, apart for each endpoint or rollout.
fn hash_of(drawn_for: &str, sticky: &str) -> u64 {
    let hash = Sha256::new().chain_update(drawn_for).chain_update([0]).chain_update(sticky);
    let bytes: [u8; 32] = hash.finalize().into();
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// A lot's place among `total` shares: proportional rather than a remainder, so that weights which are scaled (1 and 1,
/// 50 and 50) leave every sticky value where it is.
#[allow(clippy::cast_possible_truncation)]
fn share(lot: u64, total: u64) -> u64 {
    ((u128::from(lot) * u128::from(total)) >> 64) as u64
}

/// The variant at a place, when the weights are laid end to end.
fn at(weights: impl Iterator<Item = u32>, place: u64) -> usize {
    let mut end = 0;
    let mut last = 0;
    for (i, weight) in weights.enumerate() {
        end += u64::from(weight);
        last = i;
        if place < end {
            break;
        }
    }
    last
}

/// Which variant takes a request while the last of them is tried: the second lot decides on that one, the first among the
/// others.
fn drawn(
    weights: impl DoubleEndedIterator<Item = u32> + ExactSizeIterator,
    total: u64,
    first: u64,
    second: u64,
) -> usize {
    let mut others = weights;
    let (last, candidate) = (others.len() - 1, others.next_back().unwrap_or_default());
    let rest = total - u64::from(candidate);
    if rest == 0 || share(second, total) >= rest { last } else { at(others, share(first, rest)) }
}

impl LiveVariant {
    pub(crate) fn new(served: Served, slot: Arc<Slot>, weight: u32) -> Self {
        let served = Arc::new(served);
        Self { slot, served, weight, requests: AtomicU64::new(0), errors: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self, failed: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> VariantStatus {
        VariantStatus {
            version: self.slot.spec().name(),
            weight: self.weight,
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            loaded: self.slot.is_loaded(),
            heap_bytes: self.slot.bytes(),
            lately: Lately::of(std::iter::once(&self.served.meters().recent), Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(weights: &[u32]) -> u64 {
        weights.iter().map(|w| u64::from(*w)).sum()
    }

    proptest! {
        #[test]
        fn a_growing_candidate_only_takes_from_the_others(
            baseline in proptest::collection::vec(1_u32..200, 1..5),
            small in 1_u32..9_999,
            more in 1_u32..9_999,
            first: u64,
            second: u64,
        ) {
            let large = (small + more).min(9_999);
            let with = |share: u32| {
                let own = u32::try_from(sum(&baseline)).unwrap() * share;
                let mut weights: Vec<u32> = baseline.iter().map(|w| w * (10_000 - share)).collect();
                weights.push(own);
                drawn(weights.iter().copied(), sum(&weights), first, second)
            };
            let alone = at(baseline.iter().copied(), share(first, sum(&baseline)));
            let candidate = baseline.len();
            let (before, after) = (with(small), with(large));
            // Whoever is on the candidate stays there; whoever is not is where the baseline alone puts them.
            prop_assert!(before == candidate || before == alone);
            prop_assert!(after == candidate || after == alone);
            prop_assert!(before != candidate || after == candidate);
        }
    }

    #[test]
    fn a_candidate_takes_its_share_of_each_of_the_others() {
        let weights = [72_u32, 8, 20];
        let mut counts = [0_u32; 3];
        for i in 0..100_000_u64 {
            let lot = mix64(i);
            counts[drawn(weights.iter().copied(), 100, lot, mix64(lot))] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(weight * 1_000) < 600, "{counts:?}");
        }
    }

    #[test]
    fn who_is_tried_in_one_rollout_says_nothing_of_who_is_tried_in_the_next() {
        const KEYS: u32 = 40_000;
        let weights = [70_u32, 30];
        let tried = |rollout: &str, key: &str| {
            drawn(weights.into_iter(), 100, hash_of("delays", key), hash_of(rollout, key)) == 1
        };
        // Neighbours by their ids, as rollouts that follow one another are.
        let (one, next) = ("0198c1f0-0000-7000-8000-000000000001", "0198c1f0-0000-7000-8000-000000000002");
        let mut cells = [[0_u32; 2]; 2];
        for i in 0..KEYS {
            let key = format!("caller-{i}");
            cells[usize::from(tried(one, &key))][usize::from(tried(next, &key))] += 1;
        }
        let row = |i: usize| f64::from(cells[i][0] + cells[i][1]);
        let column = |j: usize| f64::from(cells[0][j] + cells[1][j]);
        let chi_square: f64 = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(i, j)| {
                let expected = row(i) * column(j) / f64::from(KEYS);
                (f64::from(cells[i][j]) - expected).powi(2) / expected
            })
            .iter()
            .sum();
        // The 99.9 % point of one degree of freedom; with one lot for all rollouts it would be 40,000.
        assert!(chi_square < 10.83, "{chi_square}: {cells:?}");
        assert!((row(1) / f64::from(KEYS) - 0.3).abs() < 0.01, "{cells:?}");
    }

    #[test]
    fn shares_follow_the_weights() {
        let weights = [90_u32, 10];
        let mut counts = [0_u32; 2];
        for i in 0..10_000_u64 {
            // Weyl's sequence: evenly spread lots.
            let lot = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            counts[at(weights.into_iter(), share(lot, 100))] += 1;
        }
        assert!((985..=1015).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn scaled_weights_leave_everybody_in_place() {
        for i in 0..1_000_u64 {
            let lot = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let one = at([3_u32, 1].into_iter(), share(lot, 4));
            assert_eq!(one, at([75_u32, 25].into_iter(), share(lot, 100)));
        }
        assert_eq!(at([1_u32, 1].into_iter(), share(u64::MAX, 2)), 1);
    }
}
