//! Made-up traffic for tests of whole rollouts: requests second by second, their labels later, and the judge's sitting after
//! each second. What an arm is like and what the traffic is like are told apart.

use super::{
    Evidence, InSegments, LabelSeen, Move, Observation, Outcome, Plan, Progress, Report, Said, decide,
    segments_of,
};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use trueline_stats::hash::mix64;
use trueline_stats::prng::SplitMix64;
use trueline_stats::sequential::Arm;

/// How an arm does.
#[derive(Clone, Copy)]
pub(super) struct Nature {
    pub(super) failures: f64,
    pub(super) mean: f64,
    pub(super) latency_ms: f64,
    /// How often its answer is not what the label will say.
    pub(super) wrong: f64,
}

/// Where requests come from, when they do: every fifth from DE, every fifth from FR.
pub(super) const COUNTRIES: [&str; 5] = ["DE", "FR", "IT", "ES", "IT"];

/// Seconds of a day in the rough world.
const DAY: f64 = 100.0;

/// Traffic as it comes.
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    /// Requests in a second.
    pub(super) each_second: u64,
    /// Each comes from one of so many sticky keys; none where each request draws its own lot.
    pub(super) keys: Option<u64>,
    /// Whether requests come from countries.
    pub(super) countries: bool,
    /// The share that gets a label.
    pub(super) labelled: f64,
    /// Within so many seconds.
    pub(super) latest: u64,
    /// Whether it is as traffic is, which falls on both arms alike: few keys ask most and each has its own nature and country,
    /// a day has its cycle, latency comes in bursts that last, and labels of what was wrong come later.
    pub(super) rough: bool,
}

/// So many requests a second, and nothing else.
pub(super) fn requests(each_second: u64, keys: Option<u64>) -> Traffic {
    Traffic { each_second, keys, countries: false, labelled: 0.0, latest: 1, rough: false }
}

pub(super) struct Run {
    pub(super) end: Move,
    pub(super) step: usize,
    pub(super) seconds: i64,
    pub(super) report: Report,
}

/// A request that was assigned.
struct Request {
    key: Option<u64>,
    arm: Arm,
    country: Option<&'static str>,
}

/// What the world adds to the natures of both arms.
struct Weather {
    cycle: f64,
    burst: f64,
}

impl Weather {
    const CALM: Self = Self { cycle: 0.0, burst: 0.0 };

    /// A second later: the day goes on, and a burst keeps most of what it was.
    #[allow(clippy::cast_precision_loss)]
    fn after(&self, second: i64, random: &mut SplitMix64) -> Self {
        let news: f64 = (0..4).map(|_| random.next_f64() - 0.5).sum();
        Self {
            cycle: (std::f64::consts::TAU * second as f64 / DAY).sin(),
            burst: 0.95 * self.burst + 0.5 * news,
        }
    }

    fn over(&self, nature: Nature, key: Option<u64>) -> Nature {
        let own = |of: u64| key.map_or(0.5, |key| SplitMix64::new(mix64(key) ^ of).next_f64());
        Nature {
            failures: (nature.failures * (1.0 + 0.8 * self.cycle) * 2.0 * own(1)).min(1.0),
            mean: nature.mean + 0.1 * self.cycle + 0.2 * (own(2) - 0.5),
            latency_ms: nature.latency_ms * self.burst.exp() * (0.5 + own(3)),
            wrong: (nature.wrong * 2.0 * own(4)).min(1.0),
        }
    }
}

impl Traffic {
    fn request(&self, random: &mut SplitMix64, salt: u64, share: f64) -> Request {
        let key =
            self.keys.map(|n| if self.rough { skewed(random.next_f64(), n) } else { random.next_u64() % n });
        let lot = key.map_or_else(
            || random.next_f64(),
            |k| SplitMix64::new(salt ^ k.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_f64(),
        );
        let arm = if lot >= 1.0 - share { Arm::Canary } else { Arm::Champion };
        let country = self.countries.then(|| {
            let place = key.filter(|_| self.rough).map_or_else(|| random.next_u64(), mix64);
            COUNTRIES[usize::try_from(place % 5).unwrap()]
        });
        Request { key, arm, country }
    }

    /// After how many seconds the label comes, if one does.
    fn label_in(&self, random: &mut SplitMix64, wrong: bool) -> Option<i64> {
        let comes = self.labelled > 0.0 && random.next_f64() < self.labelled;
        let later = if self.rough && wrong { self.latest } else { 0 };
        comes.then(|| i64::try_from(later + random.next_u64() % self.latest).unwrap())
    }
}

/// The place of a key of which few ask most: the first tenth asks nearly half.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn skewed(drawn: f64, keys: u64) -> u64 {
    (drawn.powi(3) * keys as f64) as u64
}

pub(super) fn draw(random: &mut SplitMix64, nature: Nature) -> Outcome {
    if random.next_f64() < nature.failures {
        return Outcome::Failed;
    }
    let prediction = nature.mean + 0.3 * (random.next_f64() - 0.5);
    Outcome::Answered { prediction, latency_ms: -nature.latency_ms * (1.0 - random.next_f64()).ln() }
}

/// A rollout under way, with the labels that are still to come by the second in which they do.
struct Course<'p> {
    plan: &'p Plan,
    traffic: Traffic,
    evidence: Evidence,
    progress: Progress,
    to_come: VecDeque<Vec<LabelSeen>>,
}

impl Course<'_> {
    /// Takes in a request, and sets its label aside.
    fn take(&mut self, random: &mut SplitMix64, request: &Request, nature: Nature) {
        let share = self.plan.share(self.progress.step).unwrap();
        let segments = request.country.map_or_else(InSegments::default, |country| {
            segments_of(&self.plan.segments, |_| Some(json!(country)))
        });
        let (arm, key) = (request.arm, request.key);
        let outcome = draw(random, nature);
        self.evidence.observe(&Observation { arm, share, key, segments, outcome }).unwrap();
        if self.plan.limits.quality.is_none() || outcome == Outcome::Failed {
            return;
        }
        let wrong = random.next_f64() < nature.wrong;
        let Some(later) = self.traffic.label_in(random, wrong) else { return };
        let (answered, truth) = (Some(Said::Truth(true)), Said::Truth(!wrong));
        let label = LabelSeen { arm, share: share.fraction(), unit: key, segments, answered, truth };
        let later = usize::try_from(later).unwrap();
        if self.to_come.len() <= later {
            self.to_come.resize_with(later + 1, Vec::new);
        }
        self.to_come[later].push(label);
    }

    /// A sitting of the judge at the end of a second; what ends the rollout, if something does.
    fn sit(&mut self, second: i64) -> Option<(Move, Report)> {
        let labels = self.to_come.pop_front().unwrap_or_default();
        labels.iter().for_each(|label| self.evidence.observe_label(label).unwrap());
        self.progress.in_step = self.evidence.in_step();
        let report = self.evidence.look().unwrap();
        match decide(self.plan, &self.progress, &report, second * 1_000) {
            Move::Stay => None,
            Move::Step(step) => {
                self.evidence.begin_step(step);
                self.progress = Progress { step, step_since_ms: second * 1_000, in_step: 0, ..self.progress };
                None
            }
            end => Some((end, report)),
        }
    }
}

/// Until something ends it, or for so many seconds.
pub(super) fn run(
    plan: &Plan,
    seed: u64,
    traffic: Traffic,
    seconds: i64,
    natures: impl Fn(Arm, Option<&str>) -> Nature,
) -> Run {
    let mut random = SplitMix64::new(seed);
    let salt = random.next_u64();
    let progress =
        Progress { shadowing: false, step: 0, step_since_ms: 0, in_step: 0, started_at_ms: 0, held: false };
    let evidence = Evidence::new(plan).unwrap();
    let mut course = Course { plan, traffic, evidence, progress, to_come: VecDeque::new() };
    let mut weather = Weather::CALM;
    for second in 1..=seconds {
        if traffic.rough {
            weather = weather.after(second, &mut random);
        }
        let share = plan.share(course.progress.step).unwrap().fraction();
        for _ in 0..traffic.each_second {
            let request = traffic.request(&mut random, salt, share);
            let own = natures(request.arm, request.country);
            let nature = if traffic.rough { weather.over(own, request.key) } else { own };
            course.take(&mut random, &request, nature);
        }
        if let Some((end, report)) = course.sit(second) {
            return Run { end, step: course.progress.step, seconds: second, report };
        }
    }
    let report = course.evidence.look().unwrap();
    Run { end: Move::Stay, step: course.progress.step, seconds, report }
}

/// Of how many seeds this holds, on two threads.
pub(super) fn count(seeds: u64, holds: impl Fn(u64) -> bool + Sync) -> u64 {
    let (next, count) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            count.fetch_add(u64::from(holds(seed)), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    count.into_inner()
}
