//! Answers, labels and differences that are any number at all, or none: what is made of them can be handed over and written down,
//! and is read again as it was.

use super::*;
use crate::Predictions;
use crate::comparison::{Comparison, Tolerance};
use crate::trial::{Outgoing, Position};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;
use trueline_tensors::Values;

/// Any number by its bits, and often one of those that go wrong.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![f64::MAX, f64::MIN, 1e308, -1e308, f64::NAN, f64::INFINITY, 5e-324, 0.0]),
        -2.0..2.0,
    ]
}

/// A range of predictions: usual, as wide as there can be, and as narrow.
fn range() -> impl Strategy<Value = [f64; 2]> {
    prop::sample::select(vec![[0.0, 1.0], [-8e307, 8e307], [1.0, 1.0 + f64::EPSILON], [0.0, 1e-300]])
}

fn plan(range: [f64; 2], relative: f64) -> Plan {
    let quality = json!({ "measure": "absolute_error", "margin": 0.5, "range": [0.0, 1.0] });
    let limits = Limits {
        prediction_range: range,
        prediction_shift: (range[1] - range[0]) / 2.0,
        prediction_shift_relative: relative,
        quality: serde_json::from_value(quality).unwrap(),
        ..Limits::default()
    };
    Plan { shadow: Some(ShadowPhase::default()), limits, ..Plan::default() }
}

fn column(values: &[f64]) -> Predictions {
    Predictions::column(Values::Fp64(values.to_vec()))
}

fn shadowed(now: &[f64], then: &[f64]) -> ShadowObservation {
    let found = Comparison::of(&column(now), &column(then), now.len(), Tolerance::default());
    let Comparison { rows, differing, largest, worst } = found;
    let worst = worst.map(|(row, difference)| (row.to_string(), difference));
    let outcome = ShadowOutcome::Compared { rows, differing, largest, worst };
    ShadowObservation { key: None, baseline_ms: 1.0, candidate_ms: 2.0, outcome }
}

fn observed(arm: Arm, values: &[f64]) -> Observation {
    let outcome = Outcome::of(Some(&column(values)), Duration::from_millis(3));
    Observation { arm, share: Step::to(50.0).share(), key: None, segments: InSegments::default(), outcome }
}

/// A label of a prediction that was logged; what is no finite number is in no log.
fn labelled(arm: Arm, answered: f64, truth: f64) -> LabelSeen {
    let said = |number: f64| Said::Number(if number.is_finite() { number } else { 0.0 });
    let answered = answered.is_finite().then(|| said(answered));
    LabelSeen { arm, share: 0.5, unit: None, segments: InSegments::default(), answered, truth: said(truth) }
}

/// Written down, read, and written down again.
fn again<T: Serialize + serde::de::DeserializeOwned>(what: &T) -> Result<T, TestCaseError> {
    let text = serde_json::to_string(what).unwrap();
    let read = serde_json::from_str::<T>(&text);
    prop_assert!(read.is_ok(), "{}", read.err().unwrap());
    let read = read.unwrap();
    prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
    Ok(read)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn evidence_of_any_numbers_is_handed_over_and_written_down_and_goes_on(
        values in prop::collection::vec((number(), number()), 1..6),
        range in range(),
        relative in prop::sample::select(vec![0.0, 0.1, 1e308]),
    ) {
        let mut evidence = Evidence::new(&plan(range, relative)).unwrap();
        let arms = [Arm::Champion, Arm::Canary];
        evidence.set_shadowing(true);
        let shadows: Vec<_> = values.iter().map(|(a, b)| shadowed(&[*a, 0.5], &[*b, 0.5])).collect();
        let (mut answers, mut labels) = (Vec::new(), Vec::new());
        // So many that a margin is fixed by the first of them.
        for (a, b) in values.iter().cycle().take(210) {
            answers.extend(arms.map(|arm| observed(arm, &[*a, *b])));
            labels.extend(arms.map(|arm| labelled(arm, *a, *b)));
        }
        Outgoing::new(Position::default(), &(shadows.clone(), answers.clone(), labels.clone())).unwrap();

        shadows.iter().for_each(|one| evidence.observe_shadow(one).unwrap());
        evidence.set_shadowing(false);
        for round in 0..2 {
            answers.iter().for_each(|one| evidence.observe(one).unwrap());
            labels.iter().for_each(|one| evidence.observe_label(one).unwrap());
            again(&evidence.look().unwrap())?;
            evidence = again(&evidence)?;
            prop_assert_eq!(evidence.look().unwrap().requests.candidate, 210 * (round + 1));
        }
    }
}
