//! How gates are judged: pure functions from what a flow has observed to an outcome with its numbers. Nothing is
//! read or written here.

use crate::model::VersionNumber;
use crate::policy::{Better, Gate, GateRule, SchemaMode, Side};
use crate::signature::Signature;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Something that a flow went to find out, or why it can't be known.
pub type Known<T> = Result<T, String>;

/// A dataset that a run has logged as its input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatasetFact {
    /// Its name.
    pub name: String,
    /// Its digest, as the client computed it.
    pub digest: String,
    /// What it was used for.
    pub context: Option<String>,
}

/// What is known of the run that made a version.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// Its id.
    pub run: String,
    /// The latest value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// What it read.
    pub datasets: Vec<DatasetFact>,
}

/// A version as the gates see it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its number.
    pub version: VersionNumber,
    /// The digest of its frozen files.
    pub manifest_digest: Option<String>,
    /// Its run.
    pub run: Known<RunFacts>,
    /// Its signature.
    pub signature: Known<Signature>,
}

/// All that gates are judged by.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The version at the gates.
    pub candidate: Subject,
    /// The version that the champion's alias points at, when there is one.
    pub champion: Option<Subject>,
    /// By the name of each latency gate: how long every request took, in milliseconds.
    pub latencies: BTreeMap<String, Known<Vec<f64>>>,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It can't be known, which does not let the version through.
    Undecided,
}

impl Outcome {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Undecided => "undecided",
        }
    }
}

/// The champion as a gate compared with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChampionFact {
    /// Its number.
    pub version: VersionNumber,
    /// The digest of its frozen files.
    pub manifest_digest: Option<String>,
    /// Its value of what was compared.
    pub value: Option<f64>,
}

/// What a gate said, with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The outcome.
    pub outcome: Outcome,
    /// What was measured, in `unit`; for a difference, candidate minus champion.
    pub value: Option<f64>,
    /// What it was held against, in `unit`.
    pub bound: Option<f64>,
    /// The unit of value and bound: `metric`, `ms` or `columns`.
    pub unit: String,
    /// Whom it was compared with, for gates that compare.
    pub champion: Option<ChampionFact>,
    /// Why, in words with the numbers.
    pub reason: String,
}

impl Judgement {
    fn new(outcome: Outcome, unit: &str, reason: String) -> Self {
        Self { outcome, value: None, bound: None, unit: unit.to_owned(), champion: None, reason }
    }

    fn measured(mut self, value: f64, bound: f64) -> Self {
        (self.value, self.bound) = (Some(value), Some(bound));
        self
    }

    fn against(mut self, champion: &Subject, value: Option<f64>) -> Self {
        self.champion = Some(ChampionFact {
            version: champion.version,
            manifest_digest: champion.manifest_digest.clone(),
            value,
        });
        self
    }
}

fn passed_if(holds: bool) -> Outcome {
    if holds { Outcome::Passed } else { Outcome::Failed }
}

/// A number for a person: six decimals at most.
pub(crate) fn shown(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 || value.abs() >= 1e15 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

impl Subject {
    fn metric(&self, name: &str) -> Known<f64> {
        let run = self.run.as_ref().map_err(Clone::clone)?;
        let value = run.metrics.get(name).copied();
        let value = value
            .ok_or_else(|| format!("run {} of version {} has no metric `{name}`", run.run, self.version))?;
        if value.is_nan() {
            return Err(format!("metric `{name}` of run {} is NaN", run.run));
        }
        Ok(value)
    }

    /// The inputs of one context, or all, by name and digest.
    fn datasets(&self, context: Option<&str>) -> Known<BTreeSet<(&str, &str)>> {
        let run = self.run.as_ref().map_err(Clone::clone)?;
        let wanted = run.datasets.iter().filter(|d| context.is_none() || d.context.as_deref() == context);
        Ok(wanted.map(|d| (d.name.as_str(), d.digest.as_str())).collect())
    }
}

impl Gate {
    /// What this gate says of the candidate.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Judgement {
        match &self.rule {
            GateRule::Metric { metric, must_be, bound } => {
                absolute(&facts.candidate, metric, *must_be, *bound)
            }
            GateRule::ChampionDifference { metric, better, max_drop, context } => {
                match rival(facts, "metric") {
                    Ok(champion) => {
                        difference(&facts.candidate, champion, metric, *better, *max_drop, context.as_deref())
                    }
                    Err(judgement) => *judgement,
                }
            }
            GateRule::SchemaMatch { mode } => match rival(facts, "columns") {
                Ok(champion) => schema(&facts.candidate, champion, *mode),
                Err(judgement) => *judgement,
            },
            GateRule::Latency { quantile, bound_ms, .. } => {
                latency(facts.latencies.get(&self.name), *quantile, *bound_ms)
            }
        }
    }
}

fn absolute(candidate: &Subject, metric: &str, side: Side, bound: f64) -> Judgement {
    let value = match candidate.metric(metric) {
        Ok(value) => value,
        Err(why) => return Judgement::new(Outcome::Undecided, "metric", why),
    };
    let (holds, word) = match side {
        Side::AtLeast => (value >= bound, "at least"),
        Side::AtMost => (value <= bound, "at most"),
    };
    let reason = format!("{metric} is {}; it must be {word} {}", shown(value), shown(bound));
    Judgement::new(passed_if(holds), "metric", reason).measured(value, bound)
}

/// The champion to compare with; or what is to be said when there is none, or the candidate is the champion itself.
fn rival<'f>(facts: &'f Facts, unit: &str) -> Result<&'f Subject, Box<Judgement>> {
    let Some(champion) = &facts.champion else {
        let reason = "there is no champion yet, so there is nothing to compare with".to_owned();
        return Err(Box::new(Judgement::new(Outcome::Passed, unit, reason)));
    };
    if champion.version == facts.candidate.version {
        let reason = "it is the champion itself".to_owned();
        return Err(Box::new(Judgement::new(Outcome::Passed, unit, reason).against(champion, None)));
    }
    Ok(champion)
}

fn difference(
    candidate: &Subject,
    champion: &Subject,
    metric: &str,
    better: Better,
    max_drop: f64,
    context: Option<&str>,
) -> Judgement {
    let undecided = |why: String| Judgement::new(Outcome::Undecided, "metric", why).against(champion, None);
    let (own, theirs) = match (candidate.metric(metric), champion.metric(metric)) {
        (Ok(own), Ok(theirs)) => (own, theirs),
        (Err(why), _) => return undecided(why),
        (_, Err(why)) => return undecided(format!("of the champion: {why}")),
    };
    if let Err(why) = same_data(candidate, champion, context) {
        return undecided(why);
    }
    let (value, bound, holds, worse) = match better {
        Better::Higher => (own - theirs, -max_drop, own - theirs >= -max_drop, "lower"),
        Better::Lower => (own - theirs, max_drop, own - theirs <= max_drop, "higher"),
    };
    let reason = format!(
        "{metric} is {} against {} of the champion, version {}: a difference of {}; it may be {worse} by {} at most",
        shown(own),
        shown(theirs),
        champion.version,
        shown(value),
        shown(max_drop)
    );
    Judgement::new(passed_if(holds), "metric", reason).measured(value, bound).against(champion, Some(theirs))
}

/// Two metrics can be compared when both runs read the same data: the same digests, told by `mlflow.log_input`.
fn same_data(candidate: &Subject, champion: &Subject, context: Option<&str>) -> Known<()> {
    let (own, theirs) = (candidate.datasets(context)?, champion.datasets(context)?);
    let of = context.map(|c| format!(" in context `{c}`")).unwrap_or_default();
    let list = |some: Vec<&(&str, &str)>| {
        some.iter().map(|(name, digest)| format!("{name}@{digest}")).collect::<Vec<_>>().join(", ")
    };
    let log = "log it with mlflow.log_input, or declare the gate's `context`";
    if theirs.is_empty() {
        return Err(format!(
            "the run of the champion, version {}, has logged no dataset{of}, so nobody knows what its metric was \
             measured on: {log}",
            champion.version
        ));
    }
    let lacking: Vec<_> = theirs.difference(&own).collect();
    if !lacking.is_empty() {
        return Err(format!(
            "the run of version {} has not read {}{of}, which the champion, version {}, was measured on: {log}",
            candidate.version,
            list(lacking),
            champion.version
        ));
    }
    let extra: Vec<_> = own.difference(&theirs).collect();
    if !extra.is_empty() {
        return Err(format!(
            "the run of the champion, version {}, has not read {}{of}, which version {} was measured on: {log}",
            champion.version,
            list(extra),
            candidate.version
        ));
    }
    Ok(())
}

fn schema(candidate: &Subject, champion: &Subject, mode: SchemaMode) -> Judgement {
    let undecided = |why: String| Judgement::new(Outcome::Undecided, "columns", why).against(champion, None);
    let (own, theirs) = match (&candidate.signature, &champion.signature) {
        (Ok(own), Ok(theirs)) => (own, theirs),
        (Err(why), _) => return undecided(why.clone()),
        (_, Err(why)) => return undecided(format!("of the champion: {why}")),
    };
    let differences = own.differences(theirs, mode);
    let reason = match differences.as_slice() {
        [] => format!("it matches the signature of the champion, version {}", champion.version),
        some => format!("against the champion, version {}: {}", champion.version, some.join("; ")),
    };
    #[allow(clippy::cast_precision_loss)]
    let count = differences.len() as f64;
    Judgement::new(passed_if(differences.is_empty()), "columns", reason)
        .measured(count, 0.0)
        .against(champion, None)
}

fn latency(measured: Option<&Known<Vec<f64>>>, quantile: f64, bound_ms: f64) -> Judgement {
    let undecided = |why: &str| Judgement::new(Outcome::Undecided, "ms", why.to_owned());
    let samples = match measured {
        Some(Ok(samples)) => samples,
        Some(Err(why)) => return undecided(why),
        None => return undecided("it was not measured"),
    };
    let Some(value) = nearest_rank(samples, quantile) else { return undecided("no request was measured") };
    let reason = format!(
        "the quantile {quantile} over {} requests with the input example is {} ms; it must be at most {} ms",
        samples.len(),
        shown(value),
        shown(bound_ms)
    );
    Judgement::new(passed_if(value <= bound_ms), "ms", reason).measured(value, bound_ms)
}

/// The smallest sample that at least the share `quantile` of all samples does not exceed (nearest rank).
fn nearest_rank(samples: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(name: &str, digest: &str, context: &str) -> DatasetFact {
        DatasetFact { name: name.into(), digest: digest.into(), context: Some(context.into()) }
    }

    fn subject(version: VersionNumber, auc: f64, datasets: &[DatasetFact]) -> Subject {
        let metrics = BTreeMap::from([("auc".to_owned(), auc)]);
        Subject {
            version,
            manifest_digest: Some(format!("d{version}")),
            run: Ok(RunFacts { run: format!("r{version}"), metrics, datasets: datasets.to_vec() }),
            signature: Err(format!("version {version} has no signature")),
        }
    }

    fn facts(candidate: Subject, champion: Option<Subject>) -> Facts {
        Facts { candidate, champion, latencies: BTreeMap::new() }
    }

    fn gate(rule: GateRule) -> Gate {
        Gate { name: "g".into(), rule }
    }

    fn no_worse(context: Option<&str>) -> Gate {
        gate(GateRule::ChampionDifference {
            metric: "auc".into(),
            better: Better::Higher,
            max_drop: 0.125,
            context: context.map(ToOwned::to_owned),
        })
    }

    #[test]
    fn a_metric_is_held_against_its_bound_and_tells_both() {
        let at_least = gate(GateRule::Metric { metric: "auc".into(), must_be: Side::AtLeast, bound: 0.75 });
        for (auc, outcome) in
            [(0.75, Outcome::Passed), (0.74, Outcome::Failed), (f64::NAN, Outcome::Undecided)]
        {
            let judged = at_least.judge(&facts(subject(1, auc, &[]), None));
            assert_eq!(judged.outcome, outcome, "{auc}");
        }
        let judged = at_least.judge(&facts(subject(1, 0.5, &[]), None));
        assert_eq!((judged.value, judged.bound), (Some(0.5), Some(0.75)));
        assert_eq!(judged.reason, "auc is 0.5; it must be at least 0.75");
        let other = gate(GateRule::Metric { metric: "f1".into(), must_be: Side::AtMost, bound: 1.0 });
        let judged = other.judge(&facts(subject(1, 0.5, &[]), None));
        assert_eq!(judged.outcome, Outcome::Undecided);
        assert!(judged.reason.contains("no metric `f1`"), "{}", judged.reason);
    }

    #[test]
    fn a_difference_counts_on_the_same_data_alone() {
        let april = dataset("april", "1a2b", "evaluation");
        let data = std::slice::from_ref(&april);
        let judge = |own: f64, data: &[DatasetFact], theirs: f64| {
            no_worse(None)
                .judge(&facts(subject(2, own, data), Some(subject(1, theirs, std::slice::from_ref(&april)))))
        };
        let judged = judge(0.75, data, 0.875);
        assert_eq!(
            (judged.outcome, judged.value, judged.bound),
            (Outcome::Passed, Some(-0.125), Some(-0.125))
        );
        assert_eq!(judged.champion.as_ref().and_then(|c| c.value), Some(0.875));
        assert_eq!(judge(0.5, data, 0.875).outcome, Outcome::Failed);
        let judged = judge(0.75, &[dataset("april", "ffff", "evaluation")], 0.875);
        assert_eq!(judged.outcome, Outcome::Undecided);
        assert!(judged.reason.contains("has not read april@1a2b"), "{}", judged.reason);
        assert_eq!(judged.champion.map(|c| c.version), Some(1));
    }

    #[test]
    fn a_context_leaves_the_training_data_aside() {
        let own = [dataset("q1", "1", "training"), dataset("april", "9", "evaluation")];
        let theirs = [dataset("q2", "2", "training"), dataset("april", "9", "evaluation")];
        let facts = facts(subject(2, 0.9, &own), Some(subject(1, 0.9, &theirs)));
        assert_eq!(no_worse(None).judge(&facts).outcome, Outcome::Undecided);
        assert_eq!(no_worse(Some("evaluation")).judge(&facts).outcome, Outcome::Passed);
        let judged = no_worse(Some("test")).judge(&facts);
        assert!(judged.reason.contains("no dataset in context `test`"), "{}", judged.reason);
    }

    #[test]
    fn less_can_be_better() {
        let april = [dataset("april", "1", "evaluation")];
        let gate = gate(GateRule::ChampionDifference {
            metric: "auc".into(),
            better: Better::Lower,
            max_drop: 0.0,
            context: None,
        });
        let judge = |own| gate.judge(&facts(subject(2, own, &april), Some(subject(1, 0.5, &april)))).outcome;
        assert_eq!(
            (judge(0.5), judge(0.25), judge(0.75)),
            (Outcome::Passed, Outcome::Passed, Outcome::Failed)
        );
    }

    #[test]
    fn the_first_version_has_nobody_to_be_compared_with() {
        let judged = no_worse(None).judge(&facts(subject(1, 0.1, &[]), None));
        assert_eq!((judged.outcome, judged.champion), (Outcome::Passed, None));
        let itself = no_worse(None).judge(&facts(subject(1, 0.1, &[]), Some(subject(1, 0.1, &[]))));
        assert_eq!(itself.outcome, Outcome::Passed);
    }

    #[test]
    fn an_unknown_signature_decides_nothing() {
        let schema = gate(GateRule::SchemaMatch { mode: SchemaMode::Compatible });
        let judged = schema.judge(&facts(subject(2, 0.1, &[]), Some(subject(1, 0.1, &[]))));
        assert_eq!(judged.outcome, Outcome::Undecided);
        assert_eq!(judged.reason, "version 2 has no signature");
    }

    #[test]
    fn latency_is_a_quantile_of_what_was_measured() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(nearest_rank(&samples, 0.99), Some(99.0));
        assert_eq!(nearest_rank(&samples, 1.0), Some(100.0));
        assert_eq!(nearest_rank(&samples, 0.001), Some(1.0));
        assert_eq!(nearest_rank(&[], 0.5), None);
        let fast = gate(GateRule::Latency { quantile: 0.5, bound_ms: 50.0, requests: 100 });
        let mut facts = facts(subject(1, 0.1, &[]), None);
        assert_eq!(fast.judge(&facts).outcome, Outcome::Undecided);
        facts.latencies.insert("g".into(), Ok(samples));
        let judged = fast.judge(&facts);
        assert_eq!((judged.outcome, judged.value, judged.bound), (Outcome::Passed, Some(50.0), Some(50.0)));
        facts.latencies.insert("g".into(), Err("no runtime scores sklearn here".into()));
        assert_eq!(fast.judge(&facts).reason, "no runtime scores sklearn here");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(shown(0.1 + 0.2), "0.3");
        assert_eq!(shown(-0.0), "0");
        assert_eq!(shown(1e-7), "1.000e-7");
        assert_eq!(shown(12.0), "12");
    }
}
