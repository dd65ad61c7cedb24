//! Simulated traffic: who asks, when, what comes back. In the null worlds nothing depends on the arm.
//! Each world is a stream of requests that follows from its seed.

use trueline_stats::hash::mix64;
use trueline_stats::prng::SplitMix64;
use trueline_stats::sequential::Arm;

pub(crate) struct Request {
    pub(crate) key: u64,
    pub(crate) arm: Arm,
    pub(crate) canary_share: f64,
    pub(crate) error: bool,
    pub(crate) latency: f64,
    pub(crate) prediction: f64,
    pub(crate) at: u64,
}

/// What the canary does worse: nothing, in the null worlds.
#[derive(Clone, Copy)]
pub(crate) struct Harm {
    pub(crate) error_ratio: f64,
    pub(crate) slowdown: f64,
    pub(crate) shift: f64,
}

pub(crate) const NO_HARM: Harm = Harm { error_ratio: 1.0, slowdown: 1.0, shift: 0.0 };

pub(crate) fn normal(random: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * (1.0 - random.next_f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.next_f64()).cos()
}

/// Each request is assigned for itself; errors 1 %, log-normal latency (median 20 ms), predictions around
/// 0.4.
pub(crate) struct Plain {
    random: SplitMix64,
    share: f64,
    harm: Harm,
    at: u64,
}

impl Plain {
    pub(crate) fn new(seed: u64, share: f64, harm: Harm) -> Self {
        Self { random: SplitMix64::new(mix64(seed)), share, harm, at: 0 }
    }
}

impl Iterator for Plain {
    type Item = Request;
    fn next(&mut self) -> Option<Request> {
        let canary = self.random.next_f64() < self.share;
        let harm = if canary { self.harm } else { NO_HARM };
        self.at += 1;
        Some(Request {
            key: self.random.next_u64(),
            arm: if canary { Arm::Canary } else { Arm::Champion },
            canary_share: self.share,
            error: self.random.next_f64() < 0.01 * harm.error_ratio,
            latency: (3.0 + 0.5 * normal(&mut self.random)).exp() * harm.slowdown,
            prediction: (0.4 + harm.shift + 0.2 * normal(&mut self.random)).clamp(0.0, 1.0),
            at: self.at,
        })
    }
}

/// Skewed sticky keys, daily cycles, bursts shared by both arms, and a share that rises 5 -> 25 -> 50 %.
///
/// 2,000 keys, Zipf with exponent 1.1 (the heaviest sends a sixth of all). Each key has its own error rate
/// (one in thirty errs half of the time), speed and taste; a cycle of 4,000 requests moves all three, and an
/// AR(1) load (memory 200 requests) moves latency. The share's steps are at 1/3 and 2/3 of the `length`.
pub(crate) struct Hard {
    random: SplitMix64,
    seed: u64,
    length: u64,
    at: u64,
    load: f64,
}

const KEYS: usize = 2_000;

pub(crate) fn zipf() -> Vec<f64> {
    let mut sum = 0.0;
    let mut table: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-1.1);
            sum
        })
        .collect();
    table.iter_mut().for_each(|upto| *upto /= sum);
    table
}

impl Hard {
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        Self { random: SplitMix64::new(mix64(seed ^ 0xabcd)), seed: mix64(seed), length, at: 0, load: 0.0 }
    }

    fn trait_of(&self, key: u64, which: u64) -> f64 {
        (mix64(key ^ mix64(self.seed ^ which)) >> 11) as f64 / 9_007_199_254_740_992.0
    }

    pub(crate) fn next(&mut self, zipf: &[f64]) -> Request {
        let at = self.at;
        self.at += 1;
        let canary_share = [0.05, 0.25, 0.5][(3 * at / self.length).min(2) as usize];
        let draw = self.random.next_f64();
        let key = zipf.partition_point(|&upto| upto < draw) as u64;
        let arm = if self.trait_of(key, 1) < canary_share { Arm::Canary } else { Arm::Champion };
        let wave = (std::f64::consts::TAU * at as f64 / 4_000.0).sin();
        self.load = 0.995 * self.load + 0.1 * normal(&mut self.random);
        let error_rate = if self.trait_of(key, 2) < 1.0 / 30.0 { 0.5 } else { 0.004 * (1.0 + 0.8 * wave) };
        let speed = 0.8 * (self.trait_of(key, 3) - 0.5);
        let taste = self.trait_of(key, 4);
        Request {
            key,
            arm,
            canary_share,
            error: self.random.next_f64() < error_rate,
            latency: (3.0 + speed + 0.4 * wave + 0.5 * self.load + 0.3 * normal(&mut self.random)).exp(),
            prediction: (0.6 * taste + 0.15 + 0.1 * wave + 0.1 * normal(&mut self.random)).clamp(0.0, 1.0),
            at,
        }
    }
}

/// Each arm has bursts of its own: an AR(1) load per arm (memory 100 requests), no keys, 10 % on the canary.
pub(crate) struct OwnBursts {
    random: SplitMix64,
    loads: [f64; 2],
    at: u64,
}

impl OwnBursts {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(mix64(seed ^ 0x5555)), loads: [0.0; 2], at: 0 }
    }
}

impl Iterator for OwnBursts {
    type Item = Request;
    fn next(&mut self) -> Option<Request> {
        for load in &mut self.loads {
            *load = 0.99 * *load + 0.141 * normal(&mut self.random);
        }
        let canary = self.random.next_f64() < 0.1;
        self.at += 1;
        Some(Request {
            key: self.random.next_u64(),
            arm: if canary { Arm::Canary } else { Arm::Champion },
            canary_share: 0.1,
            error: self.random.next_f64() < 0.01,
            latency: (3.0 + 0.4 * self.loads[usize::from(canary)] + 0.3 * normal(&mut self.random)).exp(),
            prediction: self.random.next_f64(),
            at: self.at,
        })
    }
}
