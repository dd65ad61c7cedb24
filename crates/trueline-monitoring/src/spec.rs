//! What a monitor is told: its windows, its rules with the levels at which they begin and end to alarm, whom it tells.

use crate::MonitoringError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trueline_ledger::Millis;

const SECOND: Millis = 1_000;
const DAY: Millis = 24 * 3_600 * SECOND;
const LONGEST: Millis = 400 * DAY;
/// A monitor keeps this many windows open to what comes late.
const MOST_WINDOWS: Millis = 2_000;
const MOST_WEBHOOKS: usize = 8;
const MOST_FEATURES: usize = 500;

/// What a window is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceSource {
    /// The profile of the data that the version was trained on.
    Training,
    /// The first complete window of predictions.
    #[default]
    FirstWindow,
}

/// When inputs count as drifted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriftRule {
    /// How often a window in which nothing has drifted may alarm; shared out equally among its features.
    pub alpha: f64,
    /// PSI below this never alarms, however many rows make a small shift certain.
    pub at_least: f64,
    /// Level at which an alarm ends, less strict than `alpha`.
    pub exit_alpha: f64,
    /// PSI at or below this ends an alarm, however many rows there are.
    pub exit_at_least: f64,
    /// Fewer values than this are not judged.
    pub minimum: u64,
}

impl Default for DriftRule {
    fn default() -> Self {
        Self { alpha: 0.01, at_least: 0.1, exit_alpha: 0.05, exit_at_least: 0.08, minimum: 100 }
    }
}

/// When a feature is missing too often, beyond its share in the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MissingRule {
    /// Alarms when the share has grown by more than this.
    pub enter: f64,
    /// The alarm ends when it has grown by no more than this.
    pub exit: f64,
    /// Fewer predictions than this are not judged.
    pub minimum: u64,
}

impl Default for MissingRule {
    fn default() -> Self {
        Self { enter: 0.05, exit: 0.02, minimum: 100 }
    }
}

/// A measure of how good the scores were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Area under the ROC curve; more is better.
    Auc,
    /// Log loss in nats; less is better.
    LogLoss,
    /// Brier score; less is better.
    Brier,
}

impl Metric {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::LogLoss => "log_loss",
            Self::Brier => "brier",
        }
    }

    /// Whether `value` is worse than `limit`.
    #[must_use]
    pub fn is_worse(self, value: f64, limit: f64) -> bool {
        if self == Self::Auc { value < limit } else { value > limit }
    }
}

/// When a model is no longer good enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityRule {
    /// What is measured.
    pub metric: Metric,
    /// Alarms when the measure is worse than this.
    pub enter: f64,
    /// The alarm ends when it is at least as good as this.
    pub exit: f64,
    /// With fewer labels than this the measure is unknown.
    #[serde(default = "fifty")]
    pub minimum: u64,
}

fn fifty() -> u64 {
    50
}

fn one() -> u32 {
    1
}

/// What a monitor does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    /// Length of a window in event time, in milliseconds.
    pub window_ms: Millis,
    /// How much later than its end a window is closed, in event time, so that late records still count.
    #[serde(default)]
    pub lateness_ms: Millis,
    /// How much later than its closing a window's quality is judged, in event time: how long labels take.
    #[serde(default)]
    pub label_wait_ms: Millis,
    /// Records and labels that are older than this, by event time, change no window any more; 90 days or 2,000 windows,
    /// whichever is less, if it is not said.
    #[serde(default)]
    pub horizon_ms: Option<Millis>,
    /// What windows are compared with.
    #[serde(default)]
    pub reference: ReferenceSource,
    /// Which features are watched; all that the reference has, if it is not said.
    #[serde(default)]
    pub features: Option<Vec<String>>,
    /// When inputs count as drifted.
    #[serde(default)]
    pub drift: DriftRule,
    /// When a feature is missing too often.
    #[serde(default)]
    pub missing: MissingRule,
    /// When the model is no longer good enough.
    #[serde(default)]
    pub quality: Vec<QualityRule>,
    /// How many windows in a row must alarm before an alert fires.
    #[serde(default = "one", rename = "for")]
    pub consecutive: u32,
    /// Where a firing and its end are told.
    #[serde(default)]
    pub webhooks: Vec<String>,
}

fn check(holds: bool, why: &str) -> Result<(), MonitoringError> {
    if holds { Ok(()) } else { Err(MonitoringError::Invalid(why.to_owned())) }
}

impl MonitorSpec {
    /// Windows of this length, everything else as it is by default.
    #[must_use]
    pub fn new(window_ms: Millis) -> Self {
        Self {
            window_ms,
            lateness_ms: 0,
            label_wait_ms: 0,
            horizon_ms: None,
            reference: ReferenceSource::default(),
            features: None,
            drift: DriftRule::default(),
            missing: MissingRule::default(),
            quality: Vec::new(),
            consecutive: 1,
            webhooks: Vec::new(),
        }
    }

    /// SHA-256 of it and of the endpoint that is watched, to tell whether a monitor is as declared without its webhooks
    /// being shown.
    #[must_use]
    pub fn digest(&self, endpoint: &str) -> String {
        let text = serde_json::to_string(&(endpoint, self)).unwrap_or_default();
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// Checks that the values make sense together.
    ///
    /// # Errors
    /// [`MonitoringError::Invalid`] with the first that does not.
    pub fn check(&self) -> Result<(), MonitoringError> {
        let span = |ms: Millis| (0..=LONGEST).contains(&ms);
        check((SECOND..=LONGEST).contains(&self.window_ms), "a window lasts 1 second to 400 days")?;
        check(
            span(self.lateness_ms) && span(self.label_wait_ms),
            "the time allowed for what comes late is 0 to 400 days",
        )?;
        let least = self.window_ms + self.lateness_ms + self.label_wait_ms;
        check(
            (least..=self.window_ms.saturating_mul(MOST_WINDOWS)).contains(&self.horizon()),
            "the horizon must not be shorter than window, lateness and the wait for labels together, nor longer than 2,000 \
             windows",
        )?;
        let DriftRule { alpha, exit_alpha, at_least, exit_at_least, .. } = self.drift;
        check(
            alpha > 0.0 && exit_alpha < 1.0 && exit_alpha >= alpha,
            "drift: alpha lies above 0, exit_alpha between alpha and 1",
        )?;
        check(
            exit_at_least >= 0.0 && at_least >= exit_at_least && at_least.is_finite(),
            "drift: exit_at_least lies between 0 and at_least",
        )?;
        check(
            (0.0..=1.0).contains(&self.missing.enter)
                && self.missing.exit >= 0.0
                && self.missing.exit <= self.missing.enter,
            "missing: enter is a share from 0 to 1, exit lies between 0 and enter",
        )?;
        for rule in &self.quality {
            check(
                rule.enter.is_finite()
                    && rule.exit.is_finite()
                    && !rule.metric.is_worse(rule.exit, rule.enter),
                "quality: exit must be as good as enter or better",
            )?;
        }
        let mut metrics: Vec<Metric> = self.quality.iter().map(|r| r.metric).collect();
        metrics.sort_unstable();
        metrics.dedup();
        check(metrics.len() == self.quality.len(), "quality: a metric has one rule")?;
        check((1..=100).contains(&self.consecutive), "`for` is 1 to 100 windows")?;
        check(self.webhooks.len() <= MOST_WEBHOOKS, "a monitor tells at most 8 webhooks")?;
        check(self.webhooks.iter().all(|w| w.len() <= 2_000), "a webhook's address has at most 2,000 bytes")?;
        if let Some(features) = &self.features {
            check(
                !features.is_empty() && features.len() <= MOST_FEATURES,
                "features: name 1 to 500, or leave the list out to watch all",
            )?;
        }
        Ok(())
    }

    /// How old, by event time, a record or a label may be to change a window.
    #[must_use]
    pub fn horizon(&self) -> Millis {
        let usual = (90 * DAY).min(self.window_ms.saturating_mul(MOST_WINDOWS));
        self.horizon_ms.unwrap_or_else(|| usual.max(self.window_ms + self.lateness_ms + self.label_wait_ms))
    }

    /// How long after a prediction its window still waits for it and for its label.
    #[must_use]
    pub fn waits_for(&self) -> Millis {
        self.window_ms.saturating_add(self.lateness_ms).saturating_add(self.label_wait_ms)
    }

    /// The start of the window that a moment falls into.
    #[must_use]
    pub fn window_of(&self, event_time_ms: Millis) -> Millis {
        event_time_ms.saturating_sub(event_time_ms.rem_euclid(self.window_ms))
    }

    /// Whether a window is over, when the newest event is from `watermark`.
    #[must_use]
    pub fn is_over(&self, start: Millis, watermark: Millis) -> bool {
        watermark >= start.saturating_add(self.window_ms).saturating_add(self.lateness_ms)
    }

    /// Whether a window's quality can be judged.
    #[must_use]
    pub fn has_waited_for_labels(&self, start: Millis, watermark: Millis) -> bool {
        self.is_over(start, watermark.saturating_sub(self.label_wait_ms))
    }

    /// Whether something of that moment is too old to count.
    #[must_use]
    pub fn is_too_old(&self, event_time_ms: Millis, watermark: Millis) -> bool {
        event_time_ms < watermark.saturating_sub(self.horizon())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_on_a_fixed_grid_also_before_1970() {
        let spec = MonitorSpec::new(1_000);
        assert_eq!([0, 999, 1_000, -1].map(|t| spec.window_of(t)), [0, 0, 1_000, -1_000]);
        assert!(!spec.is_over(0, 999) && spec.is_over(0, 1_000));
    }

    #[test]
    fn levels_that_would_flap_are_refused() {
        let spec = MonitorSpec::new(DAY);
        spec.check().unwrap();
        let rule = QualityRule { metric: Metric::Auc, enter: 0.8, exit: 0.7, minimum: 50 };
        let flapping = MonitorSpec { quality: vec![rule], ..spec.clone() };
        assert!(flapping.check().unwrap_err().to_string().contains("exit must be as good"));
        let loss = QualityRule { metric: Metric::LogLoss, ..rule };
        MonitorSpec { quality: vec![loss], ..spec.clone() }.check().unwrap();
        let drift = DriftRule { exit_at_least: 0.2, ..DriftRule::default() };
        assert!(MonitorSpec { drift, ..spec }.check().is_err());
    }
}
