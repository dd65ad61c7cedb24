//! The mean prediction of both arms, and how far the candidate moves it: a confidence sequence and an e-value for the
//! effect, read off the randomisation, so that the day's cycle falls on both arms alike.

use super::plan::Limits;
use super::report::MeanReport;
use super::{Arms, either_side};
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{AllocatedDifference, Arm, BoundedMean, Interval, MetricEvidence};

/// Predictions of the baseline from which a relative margin is taken.
const FIRST_SEEN: u64 = 200;
/// Predictions beyond this, either way, are taken as this where a margin is fixed: the sum of the first ones is a number then.
const LARGEST: f64 = f64::MAX / 256.0;
/// The widest margin, in units of the width: nothing can move the mean by more than one of them.
const WIDEST: f64 = 1e6;
/// So many predictions out of range, as a share of all, and nothing is said to be safe.
const MOST_OUTSIDE: f64 = 0.01;

/// The shift of the mean prediction.
///
/// A margin that is relative to the baseline's mean is fixed by the first predictions of the baseline, and only what comes
/// after them is evidence: so it was fixed before what it judges, which keeps the test exact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct MeanTest {
    low: f64,
    width: f64,
    shift: f64,
    relative: f64,
    /// In units of the width; none while the first predictions are gathered.
    margin: Option<f64>,
    first: (u64, f64),
    effect: AllocatedDifference,
    means: Arms<BoundedMean>,
    outside: Arms<u64>,
    seen: Arms<u64>,
}

impl MeanTest {
    pub(super) fn new(limits: &Limits, first_share: f64) -> Result<Self, StatsError> {
        let mean = || BoundedMean::new(limits.alpha);
        let width = limits.width();
        let at_once = limits.prediction_shift_relative <= 0.0;
        Ok(Self {
            low: limits.prediction_range[0],
            width,
            shift: limits.prediction_shift,
            relative: limits.prediction_shift_relative,
            margin: at_once.then_some(limits.prediction_shift / width),
            first: (0, 0.0),
            effect: AllocatedDifference::new(limits.alpha, first_share)?,
            means: Arms { baseline: mean()?, candidate: mean()? },
            outside: Arms::default(),
            seen: Arms::default(),
        })
    }

    /// A unit's prediction.
    pub(super) fn observe(&mut self, arm: Arm, prediction: f64, share: f64) -> Result<(), StatsError> {
        let scaled = (prediction - self.low) / self.width;
        let value = scaled.clamp(0.0, 1.0);
        *self.seen.of(arm) += 1;
        *self.outside.of(arm) += u64::from(!(0.0..=1.0).contains(&scaled));
        self.means.of(arm).observe(value)?;
        if self.margin.is_some() {
            return self.effect.observe(arm, value, share);
        }
        if arm == Arm::Champion {
            self.first = (self.first.0 + 1, self.first.1 + prediction.clamp(-LARGEST, LARGEST));
            if self.first.0 == FIRST_SEEN {
                #[allow(clippy::cast_precision_loss)]
                let mean = self.first.1 / self.first.0 as f64;
                let margin = self.shift.max(self.relative * mean.abs()) / self.width;
                // It is told in the predictions' own unit, too, where it must be a number as well.
                self.margin = Some(margin.min(WIDEST).min(f64::MAX / self.width.max(1.0)));
            }
        }
        Ok(())
    }

    pub(super) fn evidence(&self, name: &str) -> Result<MetricEvidence, StatsError> {
        let Some(margin) = self.margin else {
            let nothing = Interval::UNKNOWN;
            return Ok(MetricEvidence { name: name.to_owned(), log_e: 0.0, harm: nothing, observations: 0 });
        };
        let harm = match self.mostly_inside() {
            true => either_side(self.effect.interval(), margin),
            false => Interval::UNKNOWN,
        };
        let observations = self.effect.counts().1;
        Ok(MetricEvidence {
            name: name.to_owned(),
            log_e: self.effect.log_e_moved(margin)?,
            harm,
            observations,
        })
    }

    /// What is cut off is not compared: a range that fits badly must not pass a candidate.
    #[allow(clippy::cast_precision_loss)]
    fn mostly_inside(&self) -> bool {
        let few = |outside: u64, seen: u64| outside as f64 <= MOST_OUTSIDE * seen as f64;
        few(self.outside.baseline, self.seen.baseline) && few(self.outside.candidate, self.seen.candidate)
    }

    pub(super) fn report(&self) -> Result<MeanReport, StatsError> {
        let own = |i: Interval, from: f64| Interval {
            lower: i.lower.map(|v| from + v * self.width),
            upper: i.upper.map(|v| from + v * self.width),
        };
        let means = &self.means;
        Ok(MeanReport {
            units: self.seen,
            mean: Arms {
                baseline: own(means.baseline.interval(), self.low),
                candidate: own(means.candidate.interval(), self.low),
            },
            shift: own(self.effect.interval(), 0.0),
            allowed_shift: self.margin.map(|m| m * self.width),
            outside: self.outside,
            range_fits: self.mostly_inside(),
            log_e: self.evidence("")?.log_e,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_margin_is_fixed_by_the_first_predictions_alone() {
        let limits = Limits {
            prediction_shift: 0.001,
            prediction_shift_relative: 0.1,
            prediction_range: [0.0, 200.0],
            ..Limits::default()
        };
        let mut test = MeanTest::new(&limits, 0.5).unwrap();
        for i in 0..FIRST_SEEN {
            assert_eq!(test.report().unwrap().allowed_shift, None, "{i}");
            test.observe(Arm::Champion, 100.0, 0.5).unwrap();
        }
        assert!((test.report().unwrap().allowed_shift.unwrap() - 10.0).abs() < 1e-9);
        test.observe(Arm::Champion, 0.0, 0.5).unwrap();
        assert!((test.report().unwrap().allowed_shift.unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn predictions_out_of_range_say_nothing_for_the_candidate() {
        let mut test = MeanTest::new(&Limits::default(), 0.5).unwrap();
        for _ in 0..5_000 {
            test.observe(Arm::Champion, 140.0, 0.5).unwrap();
            test.observe(Arm::Canary, 180.0, 0.5).unwrap();
        }
        assert_eq!(test.evidence("prediction").unwrap().harm, Interval::UNKNOWN);
        assert!(!test.report().unwrap().range_fits);
    }
}
