//! Quality measures against scikit-learn 1.9.1; the calls are in `tests/golden/quality.py`.
//! The data is made here by the same arithmetic as there.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use trueline_stats::quality::{BinaryQuality, auc};

fn close(ours: f64, golden: f64) {
    assert!((ours - golden).abs() <= 1e-12 * golden.abs(), "{ours:e} against {golden:e}");
}

fn unit(i: u64, a: u64) -> f64 {
    ((i * a) % 10_007) as f64 / 10_007.0
}

#[test]
fn measures_match_scikit_learn() {
    let scores: Vec<f64> = (0..700).map(|i| (unit(i, 7_919) * 50.0).floor() / 50.0).collect();
    let labels: Vec<Option<bool>> =
        (0..700).zip(&scores).map(|(i, score)| Some(unit(i, 104_729) < 0.15 + 0.6 * score)).collect();
    let ranked = auc(&scores, &labels).unwrap().unwrap();
    close(ranked.value, AUC);
    close(ranked.standard_error.unwrap(), DELONG);
    let mut quality = BinaryQuality::new(0.5, 10).unwrap();
    scores.iter().zip(&labels).for_each(|(&score, &label)| quality.observe(score, label).unwrap());
    close(quality.log_loss().unwrap().value, LOG_LOSS);
    close(quality.brier().unwrap().value, BRIER);
    close(quality.accuracy().unwrap().value, ACCURACY);
    close(quality.precision().unwrap().value, PRECISION);
    close(quality.recall().unwrap().value, RECALL);
    close(quality.expected_calibration_error().unwrap().value, ECE);
    assert_eq!(quality.confusion(), CONFUSION);
}

const AUC: f64 = 0.7011796193497224;
const DELONG: f64 = 0.01971738936065461;
const LOG_LOSS: f64 = 0.8212635680536756;
const BRIER: f64 = 0.23291828571428572;
const ACCURACY: f64 = 0.6528571428571428;
const PRECISION: f64 = 0.5988538681948424;
const RECALL: f64 = 0.6698717948717948;
const ECE: f64 = 0.11231428571428574;
const CONFUSION: (u64, u64, u64, u64) = (209, 140, 248, 103);
