//! How soon a bad canary is rolled back, and a good one promoted: medians over simulated rollouts.
//! Requests are counted on both arms together.

use trueline_stats::sequential::{
    AllocatedDifference, ErrorRatioTest, LatencyBins, QuantileDifference, SlowThreshold,
};

use crate::worlds::{Harm, NO_HARM, Plain};

const ALPHA: f64 = 0.05;
const SHARE: f64 = 0.1;
const LONGEST: usize = 400_000;

/// Median and 90 % point of the requests (both arms) until `rollout` stops, over `rollouts` seeds; `LONGEST`
/// when it does not.
fn delays(rollouts: u64, rollout: impl Fn(u64) -> Option<u64>) -> (u64, u64) {
    let mut delays: Vec<u64> = (0..rollouts).map(|seed| rollout(seed).unwrap_or(LONGEST as u64)).collect();
    delays.sort_unstable();
    (delays[delays.len() / 2], delays[delays.len() * 9 / 10])
}

fn errors(seed: u64, harm: Harm) -> Option<u64> {
    let mut test = ErrorRatioTest::new(1.0).unwrap();
    Plain::new(seed, SHARE, harm).take(LONGEST).find_map(|request| {
        if request.error {
            test.observe(request.arm, SHARE).unwrap();
        }
        (test.p_value() <= ALPHA).then_some(request.at)
    })
}

fn slow(seed: u64, harm: Harm) -> Option<u64> {
    let mut threshold = SlowThreshold::new(0.95, 0.0, 500, LatencyBins::default()).unwrap();
    let mut test = ErrorRatioTest::new(1.0).unwrap();
    Plain::new(seed, SHARE, harm).take(LONGEST).find_map(|request| {
        if threshold.is_slow(request.arm, request.latency).unwrap() {
            test.observe(request.arm, SHARE).unwrap();
        }
        (test.p_value() <= ALPHA).then_some(request.at)
    })
}

fn quantile(seed: u64, harm: Harm, p: f64) -> Option<u64> {
    let mut test = QuantileDifference::new(p, 0.0, LatencyBins::default()).unwrap();
    let mut next = 100;
    Plain::new(seed, SHARE, harm).take(LONGEST).find_map(|request| {
        test.observe(request.arm, request.latency).unwrap();
        if request.at < next {
            return None;
        }
        next += 100 + next / 50;
        (test.log_e() >= -ALPHA.ln()).then_some(request.at)
    })
}

fn shift(seed: u64, harm: Harm) -> Option<u64> {
    let mut test = AllocatedDifference::new(ALPHA, SHARE).unwrap();
    Plain::new(seed, SHARE, harm).take(LONGEST).find_map(|request| {
        test.observe(request.arm, request.prediction, SHARE).unwrap();
        (test.log_e_moved(0.0).unwrap() >= -ALPHA.ln()).then_some(request.at)
    })
}

/// Requests until the error ratio is shown to be below 2 and the prediction shift below 0.05 for a good
/// canary.
fn promotion(seed: u64) -> Option<u64> {
    let mut ratio = ErrorRatioTest::new(1.0).unwrap();
    let mut effect = AllocatedDifference::new(ALPHA, SHARE).unwrap();
    Plain::new(seed, SHARE, NO_HARM).take(LONGEST).find_map(|request| {
        if request.error {
            ratio.observe(request.arm, SHARE).unwrap();
        }
        effect.observe(request.arm, request.prediction, SHARE).unwrap();
        let safe = request.at % 200 == 0
            && effect.interval().is_below(0.05)
            && ratio.ratio_interval(ALPHA).unwrap().is_below(2.0);
        safe.then_some(request.at)
    })
}

fn table(rollouts: u64) -> Vec<(String, u64, u64)> {
    let mut rows = Vec::new();
    let mut add = |name: String, (median, late): (u64, u64)| {
        println!("{name:<40} median {median:>7}, 90 % {late:>7} requests, {:>6} on the canary", median / 10);
        rows.push((name, median, late));
    };
    for error_ratio in [1.5, 2.0, 3.0, 5.0, 10.0] {
        let harm = Harm { error_ratio, ..NO_HARM };
        add(format!("errors 1 % x {error_ratio}"), delays(rollouts, |seed| errors(seed, harm)));
    }
    for slowdown in [1.05, 1.1, 1.25, 1.5, 2.0] {
        let harm = Harm { slowdown, ..NO_HARM };
        add(format!("latency x {slowdown}, slow requests"), delays(rollouts, |seed| slow(seed, harm)));
    }
    for (slowdown, p) in [(1.25, 0.95), (1.5, 0.95), (2.0, 0.95), (1.25, 0.99), (1.5, 0.99), (2.0, 0.99)] {
        let harm = Harm { slowdown, ..NO_HARM };
        add(format!("latency x {slowdown}, quantile {p}"), delays(rollouts, |seed| quantile(seed, harm, p)));
    }
    for amount in [0.01, 0.02, 0.05, 0.1, -0.05] {
        let harm = Harm { shift: amount, ..NO_HARM };
        add(format!("prediction mean {amount:+} (sd 0.2)"), delays(rollouts, |seed| shift(seed, harm)));
    }
    add("promotion of a good canary".to_owned(), delays(rollouts, promotion));
    rows
}

#[test]
fn bad_canaries_are_noticed_sooner_the_worse_they_are() {
    let rows = table(15);
    let median = |name: &str| rows.iter().find(|row| row.0 == name).unwrap().1;
    assert!(median("errors 1 % x 10") < median("errors 1 % x 2"));
    assert!(median("errors 1 % x 10") < 2_500 && median("errors 1 % x 2") < 40_000);
    assert!(median("latency x 1.5, slow requests") < 5_000);
    assert!(median("latency x 1.5, quantile 0.95") < 20_000);
    assert!(median("prediction mean +0.05 (sd 0.2)") < 10_000);
    assert!(median("promotion of a good canary") < LONGEST as u64);
}

#[test]
#[ignore = "two hundred rollouts of each degradation: a minute or more"]
fn detection_delays() {
    println!("each request assigned at random, {SHARE} on the canary, alpha {ALPHA}");
    table(200);
}
