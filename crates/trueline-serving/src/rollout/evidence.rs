//! What was seen of both arms since a rollout began, and what it says: the state behind the verdict. It only takes
//! observations in and looks; when to look and what to do is `course`.

use super::Arms;
use super::mean::MeanTest;
use super::plan::{Plan, Share};
use super::quality::{LabelSeen, LabelsLeftOut, QualityTest, precise};
use super::rate::RateTest;
use super::report::{LatencyReport, Report};
use super::segment_tests::{Noted, SegmentTest, metric};
use super::segments::{self, Segment};
use super::shadow::{DIFFERING, FAILING, ShadowObservation, ShadowTest};
use super::units::{admit, salt_of};
use super::watch::{Observation, Outcome};
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::sequential::{
    Arm, Decision, FirstPerKey, Judge, LatencyBins, LatencyHistogram, MetricEvidence, MetricRule, Missing,
    SlowThreshold, Verdict,
};

const ERRORS: &str = "errors";
const PREDICTION: &str = "prediction";
const LATENCY: &str = "latency";
const METRICS: [&str; 3] = [ERRORS, PREDICTION, LATENCY];

/// Requests after which a threshold for slow ones is drawn.
const LEAST_PAST: u64 = 500;
/// What an event of a key is to the filter.
#[derive(Clone, Copy)]
enum First {
    Request = 1,
    Failure = 2,
    Slow = 3,
    Shadow = 4,
}

/// The state of the tests.
///
/// **Units.** What was assigned at random is the unit of analysis: a request, or, where a sticky key drew the variant, the
/// key, of which only the first request counts (and the first failure, and the first slow request).
///
/// **Errors.** Every request that a variant does not answer with finite numbers counts, also one that was refused for its
/// own bad input: the arms are drawn at random, so bad input falls on both in proportion to their shares, and the ratio
/// of the counts stays that of the variants. A variant that refuses what the other takes is seen by just that.
///
/// **Shadow.** What it shows is two more metrics in the average of e-values, so that alpha is spent once over all of a
/// rollout. After it they stay as they are: the average of e-values stays one.
///
/// **Segments.** The same metrics again on each part of the traffic that the plan names, in the same average. All segments of a
/// metric together weigh as much as the whole: an average of e-values is never weaker than a union bound with the same weights,
/// and what harms everybody needs but twice the evidence, however many segments there are.
///
/// **Labels.** What they say comes in another order, and has its own part of alpha; see `quality`.
///
/// **Restarts.** The state is written down every few seconds, as a whole. What came after the last time is lost at a
/// crash, and the state goes on from there: every test here is a supermartingale given the past, whatever stretch of
/// the past it has seen, as long as what is left out was not chosen by what it showed. Requests that fell between two
/// writes are chosen by the clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    step: usize,
    in_step: u64,
    requests: Arms<u64>,
    uncounted: u64,
    #[serde(default)]
    unreadable_batches: u64,
    errors: RateTest,
    prediction: MeanTest,
    slow_from: SlowThreshold,
    slow_floor: f64,
    slow: RateTest,
    latencies: Arms<LatencyHistogram>,
    latency_ratio: f64,
    quantile: f64,
    alpha: f64,
    keys: Option<FirstPerKey>,
    judge: Judge,
    #[serde(default)]
    shadowing: bool,
    #[serde(default)]
    shadow: Option<ShadowTest>,
    #[serde(default)]
    segments: Vec<SegmentTest>,
    /// Those of the segments, apart, so that they don't fill the filter of the whole.
    #[serde(default)]
    segment_keys: Option<FirstPerKey>,
    #[serde(default)]
    quality: Option<QualityTest>,
    /// The part of alpha of what requests show; all of it without labels.
    #[serde(default = "all")]
    part: f64,
    /// Of the filters of keys. None was taken before there were salts; a filter that is there keeps its own.
    #[serde(default)]
    salt: u64,
}

fn all() -> f64 {
    1.0
}

/// 1 µs to 120 s in steps of 2 %.
fn bins() -> Result<LatencyBins, StatsError> {
    LatencyBins::new(0.001, 1.02, 940)
}

/// Whether a metric is one of the shadow's.
fn of_shadow(name: &str) -> bool {
    [DIFFERING, FAILING].contains(&name)
}

fn rule(name: &str) -> MetricRule {
    // Harm is told as a multiple of what is allowed. Each required metric wants to have been seen at all. Promotion does not
    // wait for the shadow's: the first step did.
    let required = !of_shadow(name);
    MetricRule { name: name.to_owned(), margin: 1.0, weight: 1.0, required, least_observations: 1 }
}

/// What the judge weighs: each metric of the whole as 1, those of the segments together as much again.
fn rules(shadow: bool, segments: &[Segment]) -> Vec<MetricRule> {
    let whole = METRICS.into_iter().chain([DIFFERING, FAILING].into_iter().filter(|_| shadow)).map(rule);
    let weight = 1.0 / precise(segments.len());
    let apart = |s: &Segment| {
        METRICS.map(|name| MetricRule { weight, required: s.required, ..rule(&metric(name, &s.name)) })
    };
    whole.chain(segments.iter().flat_map(apart)).collect()
}

/// What requests and labels say together. Each has its part of alpha, so an e-value of one counts as that part of it: the larger
/// reaches 1/alpha when one of the two has reached its own bound.
fn together(requests: Decision, labels: Option<Decision>, alpha: f64, part: f64) -> Decision {
    let Some(labels) = labels else { return requests };
    let one = |decision: &Decision, part: f64| (decision.log_e + part.ln(), decision.p_value / part);
    let (own, other) = (one(&requests, part), one(&labels, 1.0 - part));
    let missing: Vec<Missing> = requests.missing.into_iter().chain(labels.missing).collect();
    let verdict = match [requests.verdict, labels.verdict].contains(&Verdict::RollBack) {
        true => Verdict::RollBack,
        false if missing.is_empty() => Verdict::Promote,
        false => Verdict::Hold,
    };
    Decision {
        verdict,
        log_e: own.0.max(other.0),
        p_value: own.1.min(other.1).min(1.0),
        alpha,
        metrics: requests.metrics.into_iter().chain(labels.metrics).collect(),
        missing,
    }
}

impl Evidence {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// A limit that the tests do not take; a plan that was checked has none.
    pub fn new(plan: &Plan) -> Result<Self, StatsError> {
        let limits = &plan.limits;
        let first_share = plan.share(0).map_or(0.5, Share::fraction);
        let (alpha, bins) = (limits.alpha, bins()?);
        let margin = limits.latency_ratio.max(1.0) - 1.0;
        let shadow = plan.shadow.as_ref();
        let shadow = shadow.map(|s| ShadowTest::new(s, alpha, limits.latency_quantile, bins)).transpose()?;
        let declared = segments::all(&plan.segments);
        let rules = rules(shadow.is_some(), &declared);
        let own: f64 = rules.iter().map(|rule| rule.weight).sum();
        let part = limits.quality.as_ref().map_or(1.0, |_| own / (own + QualityTest::weight(&declared)));
        let quality = limits.quality.as_ref();
        let quality = quality
            .map(|q| QualityTest::new(q, &declared, alpha, alpha * (1.0 - part), first_share))
            .transpose()?;
        let segment = |s: Segment| SegmentTest::new(s.name, s.required, limits, first_share);
        Ok(Self {
            step: 0,
            in_step: 0,
            requests: Arms::default(),
            uncounted: 0,
            unreadable_batches: 0,
            errors: RateTest::new(alpha, limits.error_ratio, limits.error_difference, first_share)?,
            prediction: MeanTest::new(limits, first_share)?,
            slow_from: SlowThreshold::new(limits.latency_quantile, margin, LEAST_PAST, bins)?,
            slow_floor: limits.latency_floor_ms,
            // The allowed ratio is in the threshold: beyond it the candidate may not be slow more often at all.
            slow: RateTest::new(alpha, 1.0, limits.slow_difference, first_share)?,
            latencies: Arms { baseline: LatencyHistogram::new(bins), candidate: LatencyHistogram::new(bins) },
            latency_ratio: limits.latency_ratio,
            quantile: limits.latency_quantile,
            alpha,
            keys: None,
            judge: Judge::new(alpha * part, rules)?,
            shadowing: false,
            shadow,
            segments: declared.into_iter().map(segment).collect::<Result<_, StatsError>>()?,
            segment_keys: None,
            quality,
            part,
            salt: 0,
        })
    }

    /// The same for one rollout, whose filters of keys overlook other keys than those of the rollouts before it: else the same
    /// callers would be missing from each.
    #[must_use]
    pub fn of_rollout(mut self, id: &str) -> Self {
        self.salt = salt_of(id);
        if let Some(quality) = &mut self.quality {
            quality.set_salt(self.salt);
        }
        self
    }

    /// Requests of the candidate since this step began.
    #[must_use]
    pub fn in_step(&self) -> u64 {
        self.in_step
    }

    /// Requests that the candidate was asked in shadow.
    #[must_use]
    pub fn in_shadow(&self) -> u64 {
        self.shadow.as_ref().map_or(0, ShadowTest::asked)
    }

    /// Whether something was observed in keys, which makes the state large.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.is_some() || self.quality.as_ref().is_some_and(QualityTest::has_keys)
    }

    /// Drops how far labels were read, of a state from before that was kept by server: nobody knows any more which server's
    /// log it was. Each log is read on from its end then.
    pub fn forget_cursor(&mut self) {
        if let Some(quality) = &mut self.quality {
            quality.forget_cursor();
        }
    }

    /// Says what of the labels was not taken in.
    pub fn leave_out(&mut self, labels: Arms<LabelsLeftOut>) {
        if let Some(quality) = &mut self.quality {
            quality.leave_out(Arm::Champion, labels.baseline);
            quality.leave_out(Arm::Canary, labels.candidate);
        }
    }

    /// Takes in a prediction whose label has come; the first label of each, or those who correct one would choose what counts.
    ///
    /// # Errors
    /// As for [`Evidence::observe`].
    pub fn observe_label(&mut self, seen: &LabelSeen) -> Result<(), StatsError> {
        self.quality.as_mut().map_or(Ok(()), |quality| quality.observe(seen))
    }

    /// Says whether the rollout is in shadow.
    pub fn set_shadowing(&mut self, shadowing: bool) {
        if self.shadowing && !shadowing {
            // Keys that were seen in shadow alone would fill the filter that the steps need.
            self.keys = None;
        }
        self.shadowing = shadowing;
    }

    /// Counts requests of the step from here on, unless it is at that step already.
    pub fn begin_step(&mut self, step: usize) {
        if self.step != step {
            (self.step, self.in_step) = (step, 0);
        }
    }

    /// Says that so many requests were not observed.
    pub fn overlooked(&mut self, requests: u64) {
        self.uncounted += requests;
    }

    /// Says that a batch of another server could not be read. Unlike what is overlooked, it may be missing for what it showed.
    pub fn lose_batch(&mut self) {
        self.unreadable_batches += 1;
    }

    /// Takes in what the candidate would have answered to a request, while the rollout is in shadow.
    ///
    /// # Errors
    /// As for [`Evidence::observe`].
    pub fn observe_shadow(&mut self, seen: &ShadowObservation) -> Result<(), StatsError> {
        if !self.shadowing {
            return Ok(());
        }
        let first = self.first(seen.key, First::Shadow)?;
        self.shadow.as_mut().map_or(Ok(()), |shadow| shadow.observe(seen, first))
    }

    /// Says that so many requests were not asked in shadow, because too many waited.
    pub fn shed(&mut self, requests: u64) {
        if let Some(shadow) = &mut self.shadow {
            shadow.shed(requests);
        }
    }

    /// Takes in a request.
    ///
    /// # Errors
    /// A value that the tests do not take; the data plane makes none.
    pub fn observe(&mut self, seen: &Observation) -> Result<(), StatsError> {
        let (arm, share) = (seen.arm, seen.share.fraction());
        *self.requests.of(arm) += 1;
        self.in_step += u64::from(arm == Arm::Canary);
        let first = self.first(seen.key, First::Request)?;
        let failed = matches!(seen.outcome, Outcome::Failed);
        if first {
            self.errors.unit(arm, failed, share)?;
        }
        if failed && self.first(seen.key, First::Failure)? {
            self.errors.bad(arm, share)?;
        }
        let mut slow = None;
        if let Outcome::Answered { prediction, latency_ms } = seen.outcome {
            if first {
                self.prediction.observe(arm, prediction, share)?;
            }
            slow = self.observe_latency(seen, latency_ms, first)?;
        }
        for place in seen.segments.places(self.segments.len()) {
            self.observe_segment(seen, place, slow)?;
        }
        Ok(())
    }

    /// Takes in how long it took; whether it was slow, once that can be said.
    fn observe_latency(
        &mut self,
        seen: &Observation,
        ms: f64,
        first: bool,
    ) -> Result<Option<bool>, StatsError> {
        let (arm, share) = (seen.arm, seen.share.fraction());
        self.latencies.of(arm).observe(ms)?;
        let known = self.slow_from.threshold().is_some();
        // The floor is the same for both arms, so it takes as much from either.
        let slow = self.slow_from.is_slow(arm, ms)? && ms > self.slow_floor;
        if first && known {
            self.slow.unit(arm, slow, share)?;
        }
        if slow && self.first(seen.key, First::Slow)? {
            self.slow.bad(arm, share)?;
        }
        Ok(known.then_some(slow))
    }

    fn observe_segment(
        &mut self,
        seen: &Observation,
        place: usize,
        slow: Option<bool>,
    ) -> Result<(), StatsError> {
        let prediction = match seen.outcome {
            Outcome::Failed => None,
            Outcome::Answered { prediction, .. } => Some(prediction),
        };
        let failed = prediction.is_none();
        let noted = Noted {
            arm: seen.arm,
            share: seen.share.fraction(),
            first: self.first_in(place, seen.key, First::Request)?,
            first_failure: failed && self.first_in(place, seen.key, First::Failure)?,
            first_slow: slow == Some(true) && self.first_in(place, seen.key, First::Slow)?,
            failed,
            slow,
            prediction,
        };
        self.segments[place].observe(&noted)
    }

    /// Whether this is the first of its kind of its key; without a key it always is.
    fn first(&mut self, key: Option<u64>, kind: First) -> Result<bool, StatsError> {
        admit(&mut self.keys, self.salt, key, kind as u64)
    }

    /// The same in a segment.
    fn first_in(&mut self, place: usize, key: Option<u64>, kind: First) -> Result<bool, StatsError> {
        admit(&mut self.segment_keys, self.salt, key, (place as u64 + 1) << 8 | kind as u64)
    }

    /// Looks at it all: what it says, with its numbers. The evidence of harm is kept: a later look can't take it back.
    ///
    /// # Errors
    /// As for [`Evidence::observe`].
    pub fn look(&mut self) -> Result<Report, StatsError> {
        // The intervals of rates are the dearest of it, and are reckoned once, for the verdict and for the report.
        let (errors, latency) = (self.errors.report()?, self.latency()?);
        let segments: Vec<_> = self.segments.iter().map(SegmentTest::report).collect::<Result<_, _>>()?;
        let mut seen = vec![
            errors.evidence(ERRORS),
            self.prediction.evidence(PREDICTION)?,
            latency.slow.evidence(LATENCY),
        ];
        if let Some(shadow) = &self.shadow {
            seen.extend(shadow.evidence()?);
        }
        for (segment, report) in self.segments.iter().zip(&segments) {
            seen.extend(segment.evidence(report, METRICS)?);
        }
        let decision = self.judge.look(&seen)?;
        let labels = self.quality.as_mut().map(QualityTest::look).transpose()?;
        let decision = together(decision, labels, self.alpha, self.part);
        // In shadow nothing else can be seen, so nothing else is waited for.
        let lacking = |one: &MetricEvidence| {
            Some(Missing { name: one.name.clone(), reason: rule(&one.name).missing(Some(one))? })
        };
        let missing = match self.shadowing {
            true => seen.iter().filter(|one| of_shadow(&one.name)).filter_map(lacking).collect(),
            false => decision.missing,
        };
        Ok(Report {
            verdict: decision.verdict,
            log_e: decision.log_e,
            p_value: decision.p_value,
            alpha: decision.alpha,
            requests: self.requests,
            uncounted: self.uncounted,
            unreadable_batches: self.unreadable_batches,
            errors,
            prediction: self.prediction.report()?,
            latency,
            shadow: self.shadow.as_ref().map(ShadowTest::report).transpose()?,
            segments,
            quality: self.quality.as_ref().map(QualityTest::report).transpose()?,
            missing,
        })
    }

    fn latency(&self) -> Result<LatencyReport, StatsError> {
        let at = |h: &LatencyHistogram| h.quantile_interval(self.quantile, self.alpha);
        Ok(LatencyReport {
            quantile: self.quantile,
            at_quantile_ms: Arms {
                baseline: at(&self.latencies.baseline)?,
                candidate: at(&self.latencies.candidate)?,
            },
            slow_ms: self.slow_from.threshold().map(|t| t.max(self.slow_floor)),
            allowed_latency_ratio: self.latency_ratio,
            slow: self.slow.report()?,
        })
    }
}
