//! The calibrated PSI when nothing has drifted: false alarms at every window size, beside what a fixed
//! threshold does. Run with `--nocapture` to read the rates.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use trueline_stats::drift::{ReferenceBins, Window, calibrated_psi, evidently, two_proportion_z};
use trueline_stats::prng::SplitMix64;

struct Rates {
    calibrated: f64,
    fixed_tenth: f64,
    filled: f64,
    trustworthy: bool,
}

/// `trials` pairs of a reference and a window from one skewed distribution (`drift` = 0) or a shifted one.
fn rates(reference_rows: usize, window_rows: usize, alpha: f64, drift: f64, trials: u64) -> Rates {
    let (mut calibrated, mut fixed, mut filled, mut trustworthy) = (0, 0, 0, true);
    for trial in 0..trials {
        let mut random = SplitMix64::new(trial * 7 + window_rows as u64);
        let mut draw = |shift: f64| -(1.0 - random.next_f64()).ln() + shift;
        let sample: Vec<f64> = (0..reference_rows).map(|_| draw(0.0)).collect();
        let bins = ReferenceBins::quantiles(&sample, 10).unwrap();
        let (mut reference, mut window) = (Window::new(bins.clone()), Window::new(bins));
        sample.iter().for_each(|&x| reference.observe(Some(x)));
        (0..window_rows).for_each(|_| window.observe(Some(draw(drift))));
        let judged = calibrated_psi(&reference, &window, alpha).unwrap();
        let shares =
            |w: &Window| w.counts().iter().map(|&c| c as f64 / w.present() as f64).collect::<Vec<f64>>();
        let psi = evidently::filled_psi((shares(&reference), shares(&window))).unwrap();
        calibrated += u64::from(judged.drifted);
        fixed += u64::from(psi > 0.1);
        filled += u64::from(psi > judged.threshold);
        trustworthy &= judged.trustworthy;
    }
    let share = |k: u64| k as f64 / trials as f64;
    Rates { calibrated: share(calibrated), fixed_tenth: share(fixed), filled: share(filled), trustworthy }
}

#[test]
fn false_alarms_stay_at_alpha_from_a_hundred_rows_to_ten_thousand() {
    for (reference, window, trials) in [
        (10_000, 30, 600),
        (10_000, 100, 600),
        (500, 100, 3_000),
        (1_000, 1_000, 1_500),
        (10_000, 1_000, 600),
        (10_000, 10_000, 300),
    ] {
        for alpha in [0.05, 0.01] {
            let found = rates(reference, window, alpha, 0.0, trials);
            println!(
                "reference {reference:>6} window {window:>6} alpha {alpha}: calibrated {:.4}, with 1e-4 fill {:.4}, fixed 0.1 {:.4}",
                found.calibrated, found.filled, found.fixed_tenth
            );
            // Three standard errors of the count, and a tenth of alpha for the χ² approximation.
            let tolerance = 3.0 * (alpha * (1.0 - alpha) / trials as f64).sqrt() + 0.1 * alpha;
            assert!(
                found.calibrated <= alpha + tolerance,
                "{reference} {window} {alpha}: {}",
                found.calibrated
            );
            assert_eq!(found.trustworthy, window >= 100, "{window}");
        }
    }
}

#[test]
fn a_shift_of_a_tenth_of_a_deviation_is_seen_where_there_are_rows_to_see_it() {
    let small = rates(10_000, 1_000, 0.01, 0.1, 100);
    println!("shift 0.1 at 1,000 rows: calibrated {}, fixed 0.1 {}", small.calibrated, small.fixed_tenth);
    assert!(small.calibrated > 0.99);
}

#[test]
fn the_z_test_of_missing_values_holds_its_level() {
    let mut random = SplitMix64::new(4);
    let mut missing = |rows: u64| (0..rows).filter(|_| random.next_f64() < 0.03).count() as u64;
    let alarms = (0..2_000)
        .filter(|_| two_proportion_z((missing(5_000), 5_000), (missing(500), 500)).unwrap().p_value < 0.01)
        .count();
    println!("z test of missing values at 0.01: {alarms} of 2000");
    assert!(alarms <= 45, "{alarms}");
}
