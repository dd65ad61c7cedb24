//! Promote, roll back or hold: several metrics, one error bound, and the numbers behind the verdict.
//! The tests are computed elsewhere; this file only weighs what they say.

use serde::{Deserialize, Serialize};

use super::Interval;
use crate::error::{StatsError, finite, open_unit, positive};
use crate::special::log_sum_exp;

/// What a rollout declares about one metric before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// The metric's name, unique in the rollout.
    pub name: String,
    /// Harm above this rules out promotion, in the unit of the metric's harm interval (a ratio, a
    /// difference).
    pub margin: f64,
    /// Share in the average e-value, relative to the other metrics' weights.
    pub weight: f64,
    /// Whether promotion waits for this metric.
    pub required: bool,
    /// Promotion waits for this many observations on the canary.
    pub least_observations: u64,
}

/// What a metric's test says at one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricEvidence {
    /// The metric's name.
    pub name: String,
    /// ln of the e-value against "the canary does no harm beyond what is tolerated".
    pub log_e: f64,
    /// The confidence sequence for the harm, larger being worse.
    pub harm: Interval,
    /// Observations on the canary so far.
    pub observations: u64,
}

/// The verdict alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every required metric excludes harm above its margin.
    Promote,
    /// The averaged evidence of harm crossed 1/alpha.
    RollBack,
    /// Neither; see what is missing.
    Hold,
}

/// One metric's numbers at a look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// The metric's name.
    pub name: String,
    /// Its latest ln e-value.
    pub log_e: f64,
    /// Its harm interval.
    pub harm: Interval,
    /// Its margin.
    pub margin: f64,
    /// Observations on the canary.
    pub observations: u64,
}

/// Why a required metric does not yet allow promotion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MissingReason {
    /// Fewer observations than declared.
    Observations {
        /// Observations still needed.
        needed: u64,
    },
    /// The interval still reaches the margin.
    Precision {
        /// How many observations, in all, would bring the upper bound under the margin if the centre stays,
        /// since widths shrink like 1/√n; `None` when the centre itself is at or above the margin, or a side
        /// is open.
        expected_observations: Option<u64>,
    },
}

/// A required metric that does not yet allow promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The metric's name.
    pub name: String,
    /// Why.
    pub reason: MissingReason,
}

/// A verdict with its numbers, fit for an event of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// ln of the weighted average of the e-values at this look.
    pub log_e: f64,
    /// The smallest 1/e over all looks, at most 1: the anytime-valid p-value of "no metric is harmed".
    pub p_value: f64,
    /// Roll back when the p-value reaches this.
    pub alpha: f64,
    /// Every declared metric, in the order declared.
    pub metrics: Vec<MetricReport>,
    /// What promotion waits for; empty when promoted.
    pub missing: Vec<Missing>,
}

/// Weighs several metrics at every look, as often as wanted.
///
/// * Roll back when the weighted average Σ w_i e_i of the metrics' e-values reaches 1/α at any look. Averages
///   of e-values are e-values under any dependence (Vovk & Wang 2021), so one bound α covers all metrics and
///   all looks.
/// * Promote when every required metric's upper bound of harm is below its margin. If any metric's harm
///   exceeds its margin, that needs this metric's own sequence to fail: the error is at most that sequence's
///   α, with no correction for the number of metrics (an intersection-union test).
/// * Otherwise hold. A rollback is final: later looks repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    alpha: f64,
    rules: Vec<MetricRule>,
    latest: Vec<Option<MetricEvidence>>,
    largest_log_e: f64,
    rolled_back: bool,
}

impl Judge {
    /// A judge with the false-rollback bound `alpha` over all metrics and looks.
    ///
    /// # Errors
    /// `alpha` outside (0, 1); no rule; a weight not positive; a margin not finite; a name twice.
    pub fn new(alpha: f64, rules: Vec<MetricRule>) -> Result<Self, StatsError> {
        open_unit("alpha", alpha)?;
        if rules.is_empty() {
            return Err(StatsError::Empty { what: "metric rules" });
        }
        for (i, rule) in rules.iter().enumerate() {
            positive("metric weight", rule.weight)?;
            finite("margin", rule.margin)?;
            if rules[..i].iter().any(|earlier| earlier.name == rule.name) {
                return Err(StatsError::Incompatible { what: "two rules with one name" });
            }
        }
        let latest = vec![None; rules.len()];
        Ok(Self { alpha, rules, latest, largest_log_e: 0.0, rolled_back: false })
    }

    /// One look. A metric may be left out when it has nothing new to say: its last evidence stands, and one
    /// that never spoke counts as e = 1. Never leave one out *because of* its value: keeping the old, higher
    /// e-value voids the bound.
    ///
    /// # Errors
    /// A metric that was not declared, or a `log_e` that is NaN; nothing is recorded then.
    pub fn look(&mut self, evidence: &[MetricEvidence]) -> Result<Decision, StatsError> {
        let mut latest = self.latest.clone();
        for one in evidence {
            let Some(place) = self.rules.iter().position(|rule| rule.name == one.name) else {
                return Err(StatsError::UnknownMetric { name: one.name.clone() });
            };
            finite("ln e", one.log_e)?;
            latest[place] = Some(one.clone());
        }
        self.latest = latest;
        let log_e = self.average_log_e();
        self.largest_log_e = self.largest_log_e.max(log_e);
        self.rolled_back |= self.largest_log_e >= -self.alpha.ln();
        let missing = self.missing();
        let verdict = if self.rolled_back {
            Verdict::RollBack
        } else if missing.is_empty() {
            Verdict::Promote
        } else {
            Verdict::Hold
        };
        let p_value = super::p_from_log_e(self.largest_log_e);
        Ok(Decision { verdict, log_e, p_value, alpha: self.alpha, metrics: self.reports(), missing })
    }

    fn average_log_e(&self) -> f64 {
        let total: f64 = self.rules.iter().map(|rule| rule.weight).sum();
        let terms: Vec<f64> = self
            .rules
            .iter()
            .zip(&self.latest)
            .map(|(rule, latest)| (rule.weight / total).ln() + latest.as_ref().map_or(0.0, |one| one.log_e))
            .collect();
        log_sum_exp(&terms)
    }

    fn reports(&self) -> Vec<MetricReport> {
        let report = |(rule, latest): (&MetricRule, &Option<MetricEvidence>)| MetricReport {
            name: rule.name.clone(),
            log_e: latest.as_ref().map_or(0.0, |one| one.log_e),
            harm: latest.as_ref().map_or(Interval::UNKNOWN, |one| one.harm),
            margin: rule.margin,
            observations: latest.as_ref().map_or(0, |one| one.observations),
        };
        self.rules.iter().zip(&self.latest).map(report).collect()
    }

    fn missing(&self) -> Vec<Missing> {
        let lacking = |(rule, latest): (&MetricRule, &Option<MetricEvidence>)| {
            let reason = rule.required.then(|| rule.missing(latest.as_ref())).flatten()?;
            Some(Missing { name: rule.name.clone(), reason })
        };
        let mut missing: Vec<Missing> = self.rules.iter().zip(&self.latest).filter_map(lacking).collect();
        // With no required metric nothing could ever be shown to be safe: hold, and say so for each.
        if self.rules.iter().all(|rule| !rule.required) {
            let open = |rule: &MetricRule| Missing {
                name: rule.name.clone(),
                reason: MissingReason::Precision { expected_observations: None },
            };
            missing.extend(self.rules.iter().map(open));
        }
        missing
    }
}

impl MetricRule {
    /// What still stands between the newest evidence and "harm above the margin is excluded"; none when nothing does.
    #[must_use]
    pub fn missing(&self, latest: Option<&MetricEvidence>) -> Option<MissingReason> {
        let seen = latest.map_or(0, |one| one.observations);
        if seen < self.least_observations {
            return Some(MissingReason::Observations { needed: self.least_observations - seen });
        }
        let Some(latest) = latest else {
            return Some(MissingReason::Precision { expected_observations: None });
        };
        if latest.harm.is_below(self.margin) {
            return None;
        }
        let expected_observations = latest.harm.lower.zip(latest.harm.upper).and_then(|(lower, upper)| {
            let centre = 0.5 * (lower + upper);
            let room = self.margin - centre;
            let widths = 0.5 * (upper - lower) / room;
            (room > 0.0 && widths.is_finite()).then(|| (seen.max(1) as f64 * widths * widths).ceil() as u64)
        });
        Some(MissingReason::Precision { expected_observations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, required: bool) -> MetricRule {
        MetricRule { name: name.into(), margin: 0.02, weight: 1.0, required, least_observations: 100 }
    }

    fn says(name: &str, log_e: f64, lower: f64, upper: f64, observations: u64) -> MetricEvidence {
        let harm = Interval { lower: Some(lower), upper: Some(upper) };
        MetricEvidence { name: name.into(), log_e, harm, observations }
    }

    #[test]
    fn holds_until_every_required_metric_is_safe_then_promotes() {
        let mut judge =
            Judge::new(0.05, vec![rule("errors", true), rule("latency", true), rule("shift", false)])
                .unwrap();
        let decision = judge.look(&[says("errors", -1.0, -0.01, 0.01, 500)]).unwrap();
        assert_eq!(decision.verdict, Verdict::Hold);
        assert_eq!(decision.missing.len(), 1);
        assert_eq!(decision.missing[0].reason, MissingReason::Observations { needed: 100 });
        let decision = judge.look(&[says("latency", 0.0, -0.04, 0.04, 500)]).unwrap();
        let expected_observations = Some(2_000);
        assert_eq!(decision.missing[0].reason, MissingReason::Precision { expected_observations });
        let decision = judge.look(&[says("latency", 0.0, -0.015, 0.015, 2_500)]).unwrap();
        assert_eq!((decision.verdict, decision.missing.len()), (Verdict::Promote, 0));
    }

    #[test]
    fn rolls_back_on_the_average_and_does_not_change_its_mind() {
        let mut judge = Judge::new(0.05, vec![rule("errors", true), rule("latency", true)]).unwrap();
        let needed = 40_f64.ln();
        assert_eq!(
            judge.look(&[says("errors", needed - 0.1, 0.0, 1.0, 500)]).unwrap().verdict,
            Verdict::Hold
        );
        let decision = judge.look(&[says("errors", needed + 0.01, 0.0, 1.0, 500)]).unwrap();
        assert_eq!(decision.verdict, Verdict::RollBack);
        assert!(decision.p_value <= 0.05);
        let calm = [says("errors", -5.0, -0.01, 0.0, 900), says("latency", -5.0, -0.01, 0.0, 900)];
        assert_eq!(judge.look(&calm).unwrap().verdict, Verdict::RollBack);
    }

    #[test]
    fn refuses_what_was_not_declared_and_never_promotes_on_nothing() {
        let mut judge = Judge::new(0.05, vec![rule("shift", false)]).unwrap();
        assert!(matches!(
            judge.look(&[says("typo", 0.0, 0.0, 1.0, 1)]),
            Err(StatsError::UnknownMetric { .. })
        ));
        assert_eq!(judge.look(&[says("shift", 0.0, 0.0, 0.001, 900)]).unwrap().verdict, Verdict::Hold);
        assert!(Judge::new(0.05, vec![rule("a", true), rule("a", true)]).is_err());
        assert!(Judge::new(0.05, vec![]).is_err());
    }
}
