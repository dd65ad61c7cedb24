//! Quality once labels arrive: the mean loss of both arms over the predictions whose truth is known by now, as a confidence
//! sequence and an e-value for what the candidate adds to it.

use super::Arms;
use super::loss::{Measure, Said};
use super::segment_tests::metric;
use super::segments::{InSegments, Segment};
use super::units::admit;
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{
    AllocatedDifference, Arm, BoundedMean, Decision, FirstPerKey, Interval, Judge, MetricEvidence, MetricRule,
};

/// The name of the metric.
const QUALITY: &str = "quality";
/// More losses out of range than this, as a share of all, and nothing is said to be safe; the same for answers of the baseline
/// that can't be compared.
const MOST_ODD: f64 = 0.01;
/// The largest number of labels that promotion may wait for.
const MOST_LABELS: u64 = 1_000_000_000;

/// How much quality a candidate may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLimit {
    /// How an answer is measured against its label.
    pub measure: Measure,
    /// By how much the candidate's mean loss may be above the baseline's, in the unit of the loss.
    pub margin: f64,
    /// The range in which losses lie; those beyond are taken as its ends. Needed for absolute errors; else from 0 to 1, and to 5
    /// for log loss.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
    /// Labelled units of the candidate before promotion.
    #[serde(default = "QualityLimit::least_labels")]
    pub least_labels: u64,
    /// Whether promotion waits until harm is excluded. Harm takes the candidate off in either case.
    #[serde(default = "QualityLimit::required")]
    pub required: bool,
}

/// A prediction whose label has come, as the test takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelSeen {
    /// Which arm answered.
    pub arm: Arm,
    /// The candidate's share when it was assigned, as a fraction of 1.
    pub share: f64,
    /// The hash of what was assigned as one, where that may have several predictions; none where it has this one alone.
    pub unit: Option<u64>,
    /// The segments in which it lies.
    pub segments: InSegments,
    /// What was answered; none where it is nothing that a label could say.
    pub answered: Option<Said>,
    /// What was true.
    pub truth: Said,
}

/// Labels that say nothing of quality, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsLeftOut {
    /// They correct an earlier one, which has counted.
    pub corrections: u64,
    /// Their prediction failed.
    pub failed: u64,
    /// The measure can compare no answer with them.
    pub incomparable: u64,
    /// The key that was assigned is not in the log.
    pub without_key: u64,
    /// The answer is not in the log.
    #[serde(default)]
    pub redacted: u64,
}

impl LabelsLeftOut {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.corrections + self.failed + self.incomparable + self.without_key + self.redacted
    }

    fn add(&mut self, more: Self) {
        self.corrections += more.corrections;
        self.failed += more.failed;
        self.incomparable += more.incomparable;
        self.without_key += more.without_key;
        self.redacted += more.redacted;
    }
}

/// The quality of both arms at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    /// How answers are measured against labels.
    pub measure: Measure,
    /// Whether promotion waits for it.
    pub required: bool,
    /// The whole.
    #[serde(flatten)]
    pub loss: LossReport,
    /// Each segment, in the order of the plan's.
    pub segments: Vec<SegmentLoss>,
    /// What was not taken in.
    pub left_out: LabelsLeftOut,
    /// The same by arm, as far as it was counted so.
    #[serde(default)]
    pub left_out_by_arm: Arms<LabelsLeftOut>,
}

/// The quality in one segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentLoss {
    /// The segment, as people read it.
    pub name: String,
    /// Its losses.
    #[serde(flatten)]
    pub loss: LossReport,
}

/// Losses of both arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossReport {
    /// Units with a label.
    pub units: Arms<u64>,
    /// The mean loss, each as a confidence sequence.
    pub mean: Arms<Interval>,
    /// What the candidate adds to it.
    pub difference: Interval,
    /// What it may add.
    pub allowed_difference: f64,
    /// Losses out of range.
    pub outside: Arms<u64>,
    /// Whether those are few enough.
    pub range_fits: bool,
    /// Units whose answer can't be compared with their label: they count as the largest loss.
    #[serde(default)]
    pub incomparable: Arms<u64>,
    /// Whether the baseline has few enough of them.
    #[serde(default = "yes")]
    pub comparable: bool,
    /// ln of the e-value.
    pub log_e: f64,
}

fn yes() -> bool {
    true
}

impl LossReport {
    /// Whether the numbers may speak for the candidate.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.range_fits && self.comparable
    }
}

impl QualityLimit {
    fn least_labels() -> u64 {
        100
    }

    fn required() -> bool {
        true
    }

    /// The range of losses; none where it must be declared and is not.
    fn range(&self) -> Option<[f64; 2]> {
        self.range.or_else(|| self.measure.usual_range())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let Some([low, high]) = self.range() else {
            return Err(format!(
                "quality by {} needs a range: the smallest and the largest loss that occur",
                self.measure.as_str()
            ));
        };
        let width = high - low;
        if !(low.is_finite() && high.is_finite() && low >= 0.0 && low < high && width.is_finite()) {
            return Err(format!(
                "the range of quality is 0 or more and a higher number, not {low} and {high}"
            ));
        }
        if !(self.margin > 0.0 && self.margin < width) {
            return Err(format!(
                "the margin of quality lies between 0 and {width}, both excluded, not at {}",
                self.margin
            ));
        }
        if self.least_labels > MOST_LABELS {
            return Err(format!(
                "least_labels of quality is at most {MOST_LABELS}, not {}",
                self.least_labels
            ));
        }
        Ok(())
    }
}

/// Losses of one arm beside those of the other, over everything or in a segment.
///
/// **Answers that can't be compared** with a label that others can be compared with are missing for what the arm said, not for
/// what the request was. Leaving them out would compare the requests that one arm chose with all of the other's, and a
/// candidate that is silent where it would be wrong would look good. So they count, as the largest loss: what the worst answer
/// costs. That inflates the loss of whichever arm has them; the candidate's own can only speak against it, but many of the
/// baseline's would hide what the candidate adds, so with many of those nothing is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LossTest {
    effect: AllocatedDifference,
    means: Arms<BoundedMean>,
    outside: Arms<u64>,
    #[serde(default)]
    incomparable: Arms<u64>,
}

impl LossTest {
    fn new(alpha: f64, first_share: f64) -> Result<Self, StatsError> {
        let mean = || BoundedMean::new(alpha);
        Ok(Self {
            effect: AllocatedDifference::new(alpha, first_share)?,
            means: Arms { baseline: mean()?, candidate: mean()? },
            outside: Arms::default(),
            incomparable: Arms::default(),
        })
    }

    /// A unit's loss, scaled to its range; none where its answer can't be compared.
    fn observe(&mut self, arm: Arm, scaled: Option<f64>, share: f64) -> Result<(), StatsError> {
        *self.incomparable.of(arm) += u64::from(scaled.is_none());
        let scaled = scaled.unwrap_or(1.0);
        let value = scaled.clamp(0.0, 1.0);
        *self.outside.of(arm) += u64::from(!(0.0..=1.0).contains(&scaled));
        self.means.of(arm).observe(value)?;
        self.effect.observe(arm, value, share)
    }

    /// What is cut off is not compared: a range that fits badly must not pass a candidate.
    fn mostly_inside(&self) -> bool {
        let (baseline, candidate) = self.effect.counts();
        few(self.outside.baseline, baseline) && few(self.outside.candidate, candidate)
    }

    /// Whether the baseline's answers can be compared: what it loses for others can't stand for what it is worth.
    fn mostly_comparable(&self) -> bool {
        few(self.incomparable.baseline, self.effect.counts().0)
    }

    /// With a margin in units of the width.
    fn evidence(&self, name: String, margin: f64) -> Result<MetricEvidence, StatsError> {
        let effect = self.effect.interval();
        let multiple = |side: Option<f64>| side.map(|value| value / margin);
        let harm = match self.mostly_inside() && self.mostly_comparable() {
            true => Interval { lower: multiple(effect.lower), upper: multiple(effect.upper) },
            false => Interval::UNKNOWN,
        };
        let (log_e, observations) = (self.effect.log_e_raised(margin)?, self.effect.counts().1);
        Ok(MetricEvidence { name, log_e, harm, observations })
    }

    fn report(&self, [low, high]: [f64; 2], margin: f64) -> Result<LossReport, StatsError> {
        let width = high - low;
        let own = |i: Interval, from: f64| Interval {
            lower: i.lower.map(|v| from + v * width),
            upper: i.upper.map(|v| from + v * width),
        };
        let (baseline, candidate) = self.effect.counts();
        let means = &self.means;
        Ok(LossReport {
            units: Arms { baseline, candidate },
            mean: Arms {
                baseline: own(means.baseline.interval(), low),
                candidate: own(means.candidate.interval(), low),
            },
            difference: own(self.effect.interval(), 0.0),
            allowed_difference: margin,
            outside: self.outside,
            range_fits: self.mostly_inside(),
            incomparable: self.incomparable,
            comparable: self.mostly_comparable(),
            log_e: self.effect.log_e_raised(margin / width)?,
        })
    }
}

/// Whether so many are so few of all that they say little.
#[allow(clippy::cast_precision_loss)]
fn few(odd: u64, seen: u64) -> bool {
    odd as f64 <= MOST_ODD * seen as f64
}

/// The state of the test.
///
/// **Units.** As for requests: what was assigned at random, with the first of its predictions whose label comes.
///
/// **Its own share of alpha.** Requests are taken in as they come, labels as they come, which is another order: by the time a
/// label is there, the arm of its prediction has long been seen. An average of e-values holds at any time only where all of
/// them are told in one order, so what labels say is not averaged with what requests say: each of the two has a share of alpha
/// by the weights of their metrics, and the shares add up to it (a union bound). Where one metric alone speaks, that asks the
/// same of it as the average does.
///
/// **What is assumed.** That a label comes, and when, may depend on the request, but not on which arm answered it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct QualityTest {
    measure: Measure,
    range: [f64; 2],
    margin: f64,
    required: bool,
    whole: LossTest,
    segments: Vec<(String, LossTest)>,
    keys: Option<FirstPerKey>,
    /// As that of the whole evidence.
    #[serde(default)]
    salt: u64,
    left_out: LabelsLeftOut,
    #[serde(default)]
    left_out_by_arm: Arms<LabelsLeftOut>,
    judge: Judge,
    /// Where the labels are read on, as it was kept here once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cursor: String,
}

impl QualityTest {
    /// With the part of alpha that bounds false rollbacks by what labels say.
    pub(super) fn new(
        limit: &QualityLimit,
        segments: &[Segment],
        alpha: f64,
        part: f64,
        first_share: f64,
    ) -> Result<Self, StatsError> {
        let rule = |name: String, weight: f64, required: bool, least_observations: u64| MetricRule {
            name,
            margin: 1.0,
            weight,
            required,
            least_observations,
        };
        let each = 1.0 / precise(segments.len());
        let whole = rule(QUALITY.to_owned(), 1.0, true, limit.least_labels);
        let apart = segments.iter().map(|s| rule(metric(QUALITY, &s.name), each, s.required, 1));
        let rules = std::iter::once(whole).chain(apart).collect();
        let tests = segments.iter().map(|s| Ok((s.name.clone(), LossTest::new(alpha, first_share)?)));
        Ok(Self {
            measure: limit.measure,
            range: limit.range().ok_or(StatsError::Empty { what: "range of losses" })?,
            margin: limit.margin,
            required: limit.required,
            whole: LossTest::new(alpha, first_share)?,
            segments: tests.collect::<Result<_, StatsError>>()?,
            keys: None,
            salt: 0,
            left_out: LabelsLeftOut::default(),
            left_out_by_arm: Arms::default(),
            judge: Judge::new(part, rules)?,
            cursor: String::new(),
        })
    }

    /// What its metrics weigh beside those of requests, of which each of the whole weighs 1.
    pub(super) fn weight(segments: &[Segment]) -> f64 {
        if segments.is_empty() { 1.0 } else { 2.0 }
    }

    pub(super) fn observe(&mut self, seen: &LabelSeen) -> Result<(), StatsError> {
        if !self.measure.takes(&seen.truth) {
            self.leave_out(seen.arm, LabelsLeftOut { incomparable: 1, ..LabelsLeftOut::default() });
            return Ok(());
        }
        let loss = seen.answered.as_ref().and_then(|answered| self.measure.loss(answered, &seen.truth));
        let [low, high] = self.range;
        let scaled = loss.map(|loss| (loss - low) / (high - low));
        if self.first(seen.unit, 0)? {
            self.whole.observe(seen.arm, scaled, seen.share)?;
        }
        for place in seen.segments.places(self.segments.len()) {
            if self.first(seen.unit, 1 + place as u64)? {
                self.segments[place].1.observe(seen.arm, scaled, seen.share)?;
            }
        }
        Ok(())
    }

    /// Whether this is the first of its unit in the whole, or in a segment.
    fn first(&mut self, unit: Option<u64>, of: u64) -> Result<bool, StatsError> {
        admit(&mut self.keys, self.salt, unit, of)
    }

    pub(super) fn set_salt(&mut self, salt: u64) {
        self.salt = salt;
    }

    pub(super) fn leave_out(&mut self, arm: Arm, more: LabelsLeftOut) {
        self.left_out.add(more);
        self.left_out_by_arm.of(arm).add(more);
    }

    pub(super) fn forget_cursor(&mut self) {
        self.cursor.clear();
    }

    /// Whether units are remembered, which makes the state large.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Looks at it: the decision by its own share of alpha, in which nothing is missing where promotion does not wait.
    pub(super) fn look(&mut self) -> Result<Decision, StatsError> {
        let margin = self.margin / (self.range[1] - self.range[0]);
        let mut seen = vec![self.whole.evidence(QUALITY.to_owned(), margin)?];
        for (name, test) in &self.segments {
            seen.push(test.evidence(metric(QUALITY, name), margin)?);
        }
        let mut decision = self.judge.look(&seen)?;
        if !self.required {
            decision.missing.clear();
        }
        Ok(decision)
    }

    pub(super) fn report(&self) -> Result<QualityReport, StatsError> {
        let of = |(name, test): &(String, LossTest)| {
            Ok(SegmentLoss { name: name.clone(), loss: test.report(self.range, self.margin)? })
        };
        Ok(QualityReport {
            measure: self.measure,
            required: self.required,
            loss: self.whole.report(self.range, self.margin)?,
            segments: self.segments.iter().map(of).collect::<Result<_, StatsError>>()?,
            left_out: self.left_out,
            left_out_by_arm: self.left_out_by_arm,
        })
    }
}

/// A small count as a number that can be divided by.
pub(super) fn precise(count: usize) -> f64 {
    u32::try_from(count.max(1)).map_or(f64::MAX, f64::from)
}
