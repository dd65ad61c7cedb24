//! What was seen of both arms since a rollout began, and what it says: the state behind the verdict. It only takes
//! observations in and looks; when to look and what to do is `course`.

use super::Arms;
use super::mean::MeanTest;
use super::plan::{Plan, Share};
use super::rate::RateTest;
use super::report::{LatencyReport, Report};
use super::shadow::{DIFFERING, FAILING, ShadowObservation, ShadowTest};
use super::watch::{Observation, Outcome};
use serde::{Deserialize, Serialize};
use trueline_stats::StatsError;
use trueline_stats::hash::mix64;
use trueline_stats::sequential::{
    Arm, FirstPerKey, Judge, LatencyBins, LatencyHistogram, MetricEvidence, MetricRule, Missing,
    SlowThreshold,
};

const ERRORS: &str = "errors";
const PREDICTION: &str = "prediction";
const LATENCY: &str = "latency";

/// Requests after which a threshold for slow ones is drawn.
const LEAST_PAST: u64 = 500;
/// Bits of the filter of keys as a power of 2: 128 KiB, good for some 130,000 keys; beyond, new ones are overlooked more
/// and more, which costs power, not validity.
const FILTER_BITS: u32 = 20;
/// Apart from what routes a key, so that which keys the filter overlooks says nothing of their arm.
const FILTER_SEED: u64 = 0x7275_6e6e_656c_6521;

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
        let metrics = [ERRORS, PREDICTION, LATENCY].into_iter();
        let metrics = metrics.chain([DIFFERING, FAILING].into_iter().filter(|_| shadow.is_some()));
        Ok(Self {
            step: 0,
            in_step: 0,
            requests: Arms::default(),
            uncounted: 0,
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
            judge: Judge::new(alpha, metrics.map(rule).collect())?,
            shadowing: false,
            shadow,
        })
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
        self.keys.is_some()
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
        let Outcome::Answered { prediction, latency_ms } = seen.outcome else { return Ok(()) };
        if first {
            self.prediction.observe(arm, prediction, share)?;
        }
        self.latencies.of(arm).observe(latency_ms)?;
        let known = self.slow_from.threshold().is_some();
        // The floor is the same for both arms, so it takes as much from either.
        let slow = self.slow_from.is_slow(arm, latency_ms)? && latency_ms > self.slow_floor;
        if first && known {
            self.slow.unit(arm, slow, share)?;
        }
        if slow && self.first(seen.key, First::Slow)? {
            self.slow.bad(arm, share)?;
        }
        Ok(())
    }

    /// Whether this is the first of its kind of its key; without a key it always is.
    fn first(&mut self, key: Option<u64>, kind: First) -> Result<bool, StatsError> {
        let Some(key) = key else { return Ok(true) };
        if self.keys.is_none() {
            self.keys = Some(FirstPerKey::new(FILTER_BITS, FILTER_SEED)?);
        }
        Ok(self.keys.as_mut().is_none_or(|keys| keys.admit(mix64(key ^ mix64(kind as u64)))))
    }

    /// Looks at it all: what it says, with its numbers. The evidence of harm is kept: a later look can't take it back.
    ///
    /// # Errors
    /// As for [`Evidence::observe`].
    pub fn look(&mut self) -> Result<Report, StatsError> {
        let mut seen = vec![
            self.errors.evidence(ERRORS)?,
            self.prediction.evidence(PREDICTION)?,
            self.slow.evidence(LATENCY)?,
        ];
        if let Some(shadow) = &self.shadow {
            seen.extend(shadow.evidence()?);
        }
        let decision = self.judge.look(&seen)?;
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
            errors: self.errors.report()?,
            prediction: self.prediction.report()?,
            latency: self.latency()?,
            shadow: self.shadow.as_ref().map(ShadowTest::report).transpose()?,
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
