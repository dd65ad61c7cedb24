//! A window against its reference and its rules: numbers first, then what they mean.

use crate::MonitoringError;
use crate::quality::Quality;
use crate::reference::{Reference, ReferenceColumn};
use crate::spec::{DriftRule, MonitorSpec};
use crate::window::{Counts, WindowState};
use serde::{Deserialize, Serialize};
use trueline_stats::drift::{calibrated_psi, psi_threshold};

/// What a number means to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Beyond the level at which an alarm begins.
    Breach,
    /// Between that and the level at which it ends: neither begins nor ends one.
    Between,
    /// Back at the level at which it ends, or better.
    Clear,
    /// There is too little to tell.
    Unknown,
}

/// One number of a window, and what it means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was measured: `psi:<feature>`, `missing:<feature>`, `quality:<metric>`; `reference` when inputs can't be compared.
    pub subject: String,
    /// The number; none when it is unknown.
    pub value: Option<f64>,
    /// The level at which an alarm begins.
    pub enter: f64,
    /// The level at which it ends.
    pub exit: f64,
    /// What it means.
    pub level: Level,
    /// Why it is unknown, when that is for another reason than too few numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Finding {
    /// The subject of what is found instead of numbers when there is nothing to compare inputs with.
    pub(crate) const NO_REFERENCE: &str = "reference";

    pub(crate) fn no_reference(reason: String) -> Self {
        let subject = Self::NO_REFERENCE.to_owned();
        Self { subject, value: None, enter: 0.0, exit: 0.0, level: Level::Unknown, reason: Some(reason) }
    }
}

fn level(value: Option<f64>, is_breach: impl Fn(f64) -> bool, is_clear: impl Fn(f64) -> bool) -> Level {
    match value {
        None => Level::Unknown,
        Some(value) if is_breach(value) => Level::Breach,
        Some(value) if is_clear(value) => Level::Clear,
        Some(_) => Level::Between,
    }
}

/// PSI against the larger of two levels: the one that chance exceeds with the declared probability at these sizes, and the
/// one below which a shift does not matter.
fn psi(
    rule: &DriftRule,
    features: usize,
    name: &str,
    reference: &ReferenceColumn,
    counts: &Counts,
) -> Result<Finding, MonitoringError> {
    #[allow(clippy::cast_precision_loss)]
    let share = 1.0 / features.max(1) as f64;
    let current = reference.window_of(counts.bins.clone(), counts.missing)?;
    let (n, m) = (reference.present(), current.present());
    let mut finding = Finding {
        subject: format!("psi:{name}"),
        value: None,
        enter: rule.at_least,
        exit: rule.exit_at_least,
        level: Level::Unknown,
        reason: None,
    };
    if n == 0 || m == 0 || m < rule.minimum {
        return Ok(finding);
    }
    let measured = calibrated_psi(&reference.window()?, &current, rule.alpha * share)?;
    if measured.bins >= 2 {
        finding.enter = rule.at_least.max(measured.threshold);
        let exit = psi_threshold(n, m, measured.bins, rule.exit_alpha * share)?;
        finding.exit = rule.exit_at_least.max(exit);
    }
    finding.value = Some(measured.psi);
    finding.level = level(finding.value, |v| v > finding.enter, |v| v <= finding.exit);
    Ok(finding)
}

#[allow(clippy::cast_precision_loss)]
fn share(missing: u64, rows: u64) -> f64 {
    if rows == 0 { 0.0 } else { missing as f64 / rows as f64 }
}

fn missing(
    spec: &MonitorSpec,
    name: &str,
    reference: &ReferenceColumn,
    counts: &Counts,
    rows: u64,
) -> Finding {
    let usual = share(reference.missing(), reference.missing() + reference.present());
    let (enter, exit) = (usual + spec.missing.enter, usual + spec.missing.exit);
    let value = (rows > 0 && rows >= spec.missing.minimum).then(|| share(counts.missing, rows));
    let level = level(value, |v| v > enter, |v| v <= exit);
    Finding { subject: format!("missing:{name}"), value, enter, exit, level, reason: None }
}

/// What a window's inputs say, feature by feature.
///
/// # Errors
/// When counts don't fit the reference.
pub fn judge_inputs(
    spec: &MonitorSpec,
    reference: &Reference,
    window: &WindowState,
) -> Result<Vec<Finding>, MonitoringError> {
    let mut findings = Vec::with_capacity(reference.columns.len() * 2);
    for (name, column) in &reference.columns {
        let mut counts = window.columns.get(name).cloned().unwrap_or_default();
        counts.bins.resize(column.len(), 0);
        findings.push(psi(&spec.drift, reference.columns.len(), name, column, &counts)?);
        // A prediction whose value was redacted says nothing of it.
        let rows = counts.bins.iter().sum::<u64>() + counts.missing;
        findings.push(missing(spec, name, column, &counts, rows));
    }
    Ok(findings)
}

/// What a window's labels say, by the declared rules.
#[must_use]
pub fn judge_quality(spec: &MonitorSpec, quality: &Quality) -> Vec<Finding> {
    let judge = |rule: &crate::QualityRule| {
        let value = quality.of(rule.metric).filter(|_| quality.labelled >= rule.minimum);
        let level =
            level(value, |v| rule.metric.is_worse(v, rule.enter), |v| !rule.metric.is_worse(v, rule.exit));
        let subject = format!("quality:{}", rule.metric.as_str());
        Finding { subject, value, enter: rule.enter, exit: rule.exit, level, reason: None }
    };
    spec.quality.iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeatureValue, Learner, Metric, Observation, QualityRule};

    fn row(x: f64, missing: bool) -> Observation {
        let value = if missing { FeatureValue::Missing } else { FeatureValue::Number(x) };
        Observation {
            event_time_ms: 0,
            received_at_ms: 0,
            variant: "m/1".into(),
            failed: false,
            values: vec![("x".into(), value)],
            share: 1_000_000,
        }
    }

    fn reference() -> Reference {
        let mut learner = Learner::default();
        (0..1_000).for_each(|i| learner.observe(&row(f64::from(i % 100), false).values));
        learner.finish("test".into()).unwrap()
    }

    fn findings(rows: impl Iterator<Item = Observation>) -> Vec<Finding> {
        let (reference, mut window) = (reference(), WindowState::default());
        rows.for_each(|row| window.observe(Some(&reference), &row));
        judge_inputs(&MonitorSpec::new(1_000), &reference, &window).unwrap()
    }

    #[test]
    fn the_same_values_are_clear_and_others_are_a_breach() {
        let same = findings((0..300).map(|i| row(f64::from((i * 37) % 100), false)));
        assert_eq!((same[0].subject.as_str(), same[0].level), ("psi:x", Level::Clear));
        assert_eq!((same[1].subject.as_str(), same[1].level), ("missing:x", Level::Clear));
        let moved = findings((0..300).map(|i| row(f64::from(i % 30), false)));
        assert_eq!(moved[0].level, Level::Breach);
        assert!(moved[0].value.unwrap() > moved[0].enter && moved[0].enter >= moved[0].exit);
    }

    #[test]
    fn missing_values_are_judged_apart_from_drift() {
        let found = findings((0..400).map(|i| row(f64::from((i * 37) % 100), i % 10 == 0)));
        assert_eq!((found[0].level, found[1].level), (Level::Clear, Level::Breach));
        let few = findings((0..20).map(|i| row(f64::from(i), true)));
        assert_eq!((few[0].level, few[1].level), (Level::Unknown, Level::Unknown));
    }

    #[test]
    fn quality_without_labels_is_unknown_and_not_well() {
        let rule = QualityRule { metric: Metric::Auc, enter: 0.7, exit: 0.75, minimum: 50 };
        let spec = MonitorSpec { quality: vec![rule], ..MonitorSpec::new(1_000) };
        let of =
            |auc, labelled| judge_quality(&spec, &Quality { labelled, auc, ..Quality::default() })[0].level;
        assert_eq!(of(None, 0), Level::Unknown);
        assert_eq!(of(Some(0.5), 10), Level::Unknown);
        assert_eq!(
            [of(Some(0.6), 50), of(Some(0.72), 50), of(Some(0.75), 50)],
            [Level::Breach, Level::Between, Level::Clear]
        );
    }
}
