//! False rollbacks: nothing is wrong with the canary, and still somebody looks after every request.
//! And the other error: a canary at the margin is promoted.

use trueline_stats::sequential::{
    AllocatedDifference, Arm, AsymptoticMean, BlockDifference, ErrorRatioTest, ErrorShareTest, FirstPerKey,
    Interval, Judge, KeyMean, KeyMeans, LatencyBins, MeanDifference, MetricEvidence, MetricRule,
    QuantileDifference, SlowThreshold, Verdict,
};

use crate::worlds::{Hard, Harm, NO_HARM, OwnBursts, Plain, Request, zipf};
use crate::{count, upper_99};

const ALPHA: f64 = 0.05;

/// Asserted rates belong to tests whose true rate is at most alpha, with slack at finite horizons: the upper 99 % bound of
/// what was observed must be at most alpha plus `tolerance`.
fn report(world: &str, rollouts: u64, tolerance: f64, asserted: &[(&str, u64)], shown: &[(&str, u64)]) {
    for &(name, k) in asserted {
        let (rate, bound) = (k as f64 / rollouts as f64, upper_99(k, rollouts));
        println!("{world:>12} {name:<44} {rate:.4} (upper 99 % bound {bound:.4}) of {rollouts}");
        let limit = ALPHA + tolerance;
        assert!(bound <= limit, "{world}, {name}: {rate} of {rollouts}, upper bound {bound} over {limit}");
    }
    for &(name, k) in shown {
        let rate = k as f64 / rollouts as f64;
        println!("{world:>12} {name:<44} {rate:.4} of {rollouts} (assumptions broken on purpose)");
    }
}

fn judge(names: &[&str]) -> Judge {
    let rule = |name: &&str| MetricRule {
        name: (*name).to_owned(),
        margin: 0.1,
        weight: 1.0,
        required: true,
        least_observations: 100,
    };
    Judge::new(ALPHA, names.iter().map(rule).collect()).unwrap()
}

fn evidence(name: &str, log_e: f64) -> MetricEvidence {
    MetricEvidence { name: name.to_owned(), log_e, harm: Interval::UNKNOWN, observations: 0 }
}

fn plain(rollouts: u64) {
    let needed = -ALPHA.ln();
    let counts = count(rollouts, |seed| {
        let mut share = ErrorShareTest::new(0.1, 1.0, 20.0).unwrap();
        let mut ratio = ErrorRatioTest::new(1.0).unwrap();
        let mut means = MeanDifference::new(ALPHA).unwrap();
        let mut allocated = AllocatedDifference::new(ALPHA, 0.1).unwrap();
        let mut quantile = QuantileDifference::new(0.95, 0.0, LatencyBins::default()).unwrap();
        let arm_mean = || AsymptoticMean::new(ALPHA / 2.0, 1_000.0, 200).unwrap();
        let (mut champion, mut canary) = (arm_mean(), arm_mean());
        let mut raised = [false; 7];
        for request in Plain::new(seed, 0.1, NO_HARM).take(20_000) {
            if request.error {
                share.observe(request.arm);
                ratio.observe(request.arm, 0.1).unwrap();
                raised[6] |= !ratio.ratio_interval(ALPHA).unwrap().contains(1.0);
            }
            means.observe(request.arm, request.prediction).unwrap();
            allocated.observe(request.arm, request.prediction, 0.1).unwrap();
            quantile.observe(request.arm, request.latency).unwrap();
            let side = if request.arm == Arm::Canary { &mut canary } else { &mut champion };
            side.observe(request.latency).unwrap();
            raised[2] |= !means.interval().contains(0.0);
            raised[3] |= allocated.log_e_moved(0.0).unwrap() >= needed;
            raised[5] |= !AsymptoticMean::difference(&champion, &canary).contains(0.0);
            if request.at % 500 == 0 {
                raised[4] |= quantile.log_e() >= needed;
            }
        }
        raised[0] = share.p_value() <= ALPHA;
        raised[1] = ratio.p_value() <= ALPHA;
        raised
    });
    let names = [
        "error share, closed form",
        "error ratio, mixture",
        "prediction mean, two streams",
        "prediction mean, allocated",
        "p95 latency, two streams (every 500)",
        "mean latency, asymptotic",
        "error ratio interval excludes 1",
    ];
    let rows: Vec<(&str, u64)> = names.into_iter().zip(counts).collect();
    report("plain", rollouts, 0.0, &rows, &[]);
}

/// The tests of one rollout in the hard world, fed as the product feeds them: one observation per key.
struct HardRollout {
    errors: ErrorRatioTest,
    slow: ErrorRatioTest,
    naive: ErrorRatioTest,
    first_error: FirstPerKey,
    first_slow: FirstPerKey,
    threshold: SlowThreshold,
    keys: KeyMeans,
    shift: AllocatedDifference,
    quantile: QuantileDifference,
    judge: Judge,
    share: f64,
    shift_raised: bool,
    quantile_raised: bool,
    rolled_back: bool,
}

impl HardRollout {
    fn new() -> Self {
        let test = || ErrorRatioTest::new(1.0).unwrap();
        Self {
            errors: test(),
            slow: test(),
            naive: test(),
            first_error: FirstPerKey::new(14, 1).unwrap(),
            first_slow: FirstPerKey::new(14, 2).unwrap(),
            threshold: SlowThreshold::new(0.95, 0.0, 500, LatencyBins::default()).unwrap(),
            keys: KeyMeans::new(5, 2_000, 4_000, 14, 3).unwrap(),
            shift: AllocatedDifference::new(ALPHA, 0.05).unwrap(),
            quantile: QuantileDifference::new(0.95, 0.0, LatencyBins::default()).unwrap(),
            judge: judge(&["errors", "slow", "shift"]),
            share: 0.05,
            shift_raised: false,
            quantile_raised: false,
            rolled_back: false,
        }
    }

    fn take(&mut self, request: &Request) {
        let mut closed = self.close_keys(request);
        let (key, arm) = (request.key, request.arm);
        closed.extend(self.keys.observe(key, arm, request.prediction, self.share, request.at).unwrap());
        let mut news = !closed.is_empty();
        for mean in closed {
            self.shift.observe(mean.arm, mean.mean, mean.canary_share).unwrap();
            self.shift_raised |= self.shift.log_e_moved(0.0).unwrap() >= -ALPHA.ln();
        }
        if request.error {
            self.naive.observe(arm, self.share).unwrap();
            if self.first_error.admit(key) {
                self.errors.observe(arm, self.share).unwrap();
                news = true;
            }
        }
        if self.threshold.is_slow(arm, request.latency).unwrap() && self.first_slow.admit(key) {
            self.slow.observe(arm, self.share).unwrap();
            news = true;
        }
        self.quantile.observe(arm, request.latency).unwrap();
        if request.at % 1_000 == 999 {
            self.quantile_raised |= self.quantile.log_e() >= -ALPHA.ln();
        }
        if news {
            self.look();
        }
    }

    fn close_keys(&mut self, request: &Request) -> Vec<KeyMean> {
        if (request.canary_share - self.share).abs() > 1e-9 {
            self.share = request.canary_share;
            self.keys.drain()
        } else if request.at.is_multiple_of(500) {
            self.keys.expire(request.at)
        } else {
            Vec::new()
        }
    }

    fn look(&mut self) {
        let metrics = [
            evidence("errors", self.errors.log_e()),
            evidence("slow", self.slow.log_e()),
            evidence("shift", self.shift.log_e_moved(0.0).unwrap()),
        ];
        self.rolled_back |= self.judge.look(&metrics).unwrap().verdict == Verdict::RollBack;
    }

    fn raised(&self) -> [bool; 6] {
        [
            self.errors.p_value() <= ALPHA,
            self.slow.p_value() <= ALPHA,
            self.shift_raised,
            self.rolled_back,
            self.naive.p_value() <= ALPHA,
            self.quantile_raised,
        ]
    }
}

fn hard(rollouts: u64) {
    const LENGTH: u64 = 20_000;
    let table = zipf();
    let counts = count(rollouts, |seed| {
        let (mut world, mut rollout) = (Hard::new(seed, LENGTH), HardRollout::new());
        (0..LENGTH).for_each(|_| rollout.take(&world.next(&table)));
        rollout.raised()
    });
    let kept = [
        ("errors, first per key", counts[0]),
        ("slow requests, first per key", counts[1]),
        ("prediction mean, key means", counts[2]),
        ("ROLLED BACK: errors, slow and shift averaged", counts[3]),
    ];
    let broken = [
        ("errors, every one of a key counted", counts[4]),
        ("p95, sticky keys and bursts taken as iid", counts[5]),
    ];
    report("hard", rollouts, 0.0, &kept, &broken);
}

fn own_bursts(rollouts: u64) {
    let needed = -ALPHA.ln();
    let counts = count(rollouts, |seed| {
        let mut blocks = BlockDifference::new(ALPHA, 20).unwrap();
        let mut errors = ErrorRatioTest::new(1.0).unwrap();
        let mut slow = ErrorRatioTest::new(1.0).unwrap();
        let mut quantile = QuantileDifference::new(0.95, 0.0, LatencyBins::default()).unwrap();
        let mut judge = judge(&["errors", "latency"]);
        let mut raised = [false; 4];
        for request in OwnBursts::new(seed).take(50_000) {
            // e^3.82: slow in about 5 % of requests over the long run.
            let is_slow = request.latency > 45.0;
            blocks.observe(request.arm, f64::from(u8::from(is_slow))).unwrap();
            quantile.observe(request.arm, request.latency).unwrap();
            if is_slow {
                slow.observe(request.arm, 0.1).unwrap();
            }
            let mut news = false;
            if request.error {
                errors.observe(request.arm, 0.1).unwrap();
                news = true;
            }
            if request.at % 1_000 == 0 {
                blocks.close_block();
                raised[0] |= blocks.log_e_raised(0.0).unwrap() >= needed;
                raised[3] |= quantile.log_e() >= needed;
                news = true;
            }
            if news {
                let latency = blocks.log_e_raised(0.0).unwrap();
                let metrics = [evidence("errors", errors.log_e()), evidence("latency", latency)];
                raised[1] |= judge.look(&metrics).unwrap().verdict == Verdict::RollBack;
            }
        }
        raised[2] = slow.p_value() <= ALPHA;
        raised
    });
    let kept =
        [("slow share by blocks", counts[0]), ("ROLLED BACK: errors and slow blocks averaged", counts[1])];
    let broken = [("slow requests taken as randomised", counts[2]), ("p95 taken as iid", counts[3])];
    report("own bursts", rollouts, 0.0, &kept, &broken);
}

/// The other error: a canary whose harm is exactly the margin must not be shown to be below it.
fn at_the_margin(rollouts: u64) {
    let harm = Harm { error_ratio: 2.0, slowdown: 1.25, shift: 0.0 };
    let counts = count(rollouts, |seed| {
        let mut ratio = ErrorRatioTest::new(1.0).unwrap();
        let mut quantile = QuantileDifference::new(0.95, 0.0, LatencyBins::default()).unwrap();
        let mut promoted = [false; 2];
        for request in Plain::new(seed, 0.1, harm).take(20_000) {
            quantile.observe(request.arm, request.latency).unwrap();
            if request.error {
                ratio.observe(request.arm, 0.1).unwrap();
                promoted[0] |= ratio.ratio_interval(ALPHA).unwrap().is_below(2.0);
            }
            if request.at % 500 == 0 {
                promoted[1] |= quantile.ratio_interval(ALPHA).unwrap().is_below(1.25);
            }
        }
        promoted
    });
    let rows =
        [("PROMOTED: error ratio exactly 2", counts[0]), ("PROMOTED: p95 ratio exactly 1.25", counts[1])];
    // The true rate of the first is 0.037 to 0.0385 by exact counting (see `error_ratio`), so near alpha that the bound over
    // few rollouts passes it by chance alone. A test at exactly alpha would pass this limit in 99 of 100 runs.
    let tolerance = 2.0 * 2.326 * (ALPHA * (1.0 - ALPHA) / rollouts as f64).sqrt();
    report("at margin", rollouts, tolerance, &rows, &[]);
}

#[test]
fn a_canary_at_the_margin_is_not_promoted() {
    at_the_margin(500);
}

#[test]
fn a_good_canary_stays_in_the_plain_world() {
    plain(500);
}

#[test]
fn a_good_canary_stays_with_skewed_sticky_keys_cycles_bursts_and_a_rising_share() {
    hard(700);
}

#[test]
fn a_good_canary_stays_when_each_arm_has_bursts_of_its_own() {
    own_bursts(300);
}

#[test]
#[ignore = "ten thousand rollouts: a minute or more"]
fn ten_thousand_rollouts_of_the_hard_world() {
    hard(10_000);
}

#[test]
#[ignore = "ten thousand rollouts: a minute or more"]
fn ten_thousand_rollouts_with_bursts_of_each_arm() {
    own_bursts(10_000);
}

#[test]
#[ignore = "ten thousand rollouts: a minute or more"]
fn ten_thousand_rollouts_of_the_plain_world() {
    plain(10_000);
}

#[test]
#[ignore = "ten thousand rollouts: a minute or more"]
fn ten_thousand_rollouts_at_the_margin() {
    at_the_margin(10_000);
}
