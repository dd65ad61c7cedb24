//! Whether a run gave the same again: its metrics against those of a run that did the same, step by step, and the verdict
//! as a record of its own. How it is run again is the caller's matter.

use crate::metrics::MetricPoint;
use crate::model::RunId;
use crate::{Tracking, TrackingError, metrics, points, runs};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{Edge, Millis, NewEvent, Node};

/// The most names that a verdict lists.
const MOST_NAMED: usize = 1_000;
/// Metrics of the machine rather than of the model.
const OF_THE_MACHINE: &str = "system/";

/// What may differ: `|a − b| ≤ atol + rtol·|a|`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// In proportion to the first value.
    pub rtol: f64,
    /// In the metric's own unit.
    pub atol: f64,
}

/// What came of running it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every point of every metric has the same bits.
    Identical,
    /// Some differ, all within the tolerance.
    WithinTolerance,
    /// Some differ by more, or one run has points that the other lacks.
    Drifted,
    /// It could not be run again, or there is nothing to compare.
    Unreplayable,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::WithinTolerance => "within_tolerance",
            Self::Drifted => "drifted",
            Self::Unreplayable => "unreplayable",
        }
    }
}

/// The first place where two runs differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The metric.
    pub metric: String,
    /// The step.
    pub step: i64,
    /// What the run had there; none for no point, or for NaN.
    pub was: Option<f64>,
    /// What the other has.
    pub is: Option<f64>,
}

/// A verdict with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReproductionReport {
    /// The verdict.
    pub verdict: Verdict,
    /// The first difference: of the verdict's own kind.
    pub first: Option<Difference>,
    /// Metrics compared.
    pub metrics: u64,
    /// Points compared.
    pub points: u64,
    /// The largest difference of two values.
    pub largest_difference: f64,
    /// What may differ.
    pub tolerance: Tolerance,
    /// What was missing.
    pub missing: Vec<String>,
    /// How the environment differed.
    pub environment: Vec<String>,
}

/// A verdict to be recorded.
#[derive(Clone, Debug, Default)]
pub struct NewReproduction {
    /// The run that did the same again.
    pub again: Option<RunId>,
    /// What may differ.
    pub tolerance: Tolerance,
    /// What was missing to run it again.
    pub missing: Vec<String>,
    /// How the environment differed.
    pub environment: Vec<String>,
}

/// A verdict as it was recorded.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// Its id.
    pub id: String,
    /// The run.
    pub run: String,
    /// The run that did the same again.
    pub again: Option<String>,
    /// What was found.
    pub report: ReproductionReport,
    /// Who had it done.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
}

/// The points of all metrics of a run, in the order of steps.
pub type Series = BTreeMap<String, Vec<MetricPoint>>;

/// Compares two runs point by point. Points belong together by metric, step and their order within the step; clocks are not
/// compared.
#[must_use]
pub fn compare(was: &Series, is: &Series, tolerance: Tolerance) -> ReproductionReport {
    let mut report = ReproductionReport {
        verdict: Verdict::Identical,
        first: None,
        metrics: 0,
        points: 0,
        largest_difference: 0.0,
        tolerance,
        missing: Vec::new(),
        environment: Vec::new(),
    };
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut differences: Vec<(Verdict, Difference)> = Vec::new();
    for metric in names {
        report.metrics += 1;
        let (a, b) = (keyed(was.get(metric)), keyed(is.get(metric)));
        let steps: std::collections::BTreeSet<&(i64, usize)> = a.keys().chain(b.keys()).collect();
        for at in steps {
            report.points += 1;
            let (was, is) = (a.get(at).copied(), b.get(at).copied());
            if let (Some(was), Some(is)) = (was, is) {
                let far = (was - is).abs();
                if far.is_finite() {
                    report.largest_difference = report.largest_difference.max(far);
                }
            }
            let kind = judge(was, is, tolerance);
            if kind != Verdict::Identical {
                let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
                differences.push((
                    kind,
                    Difference { metric: metric.clone(), step: at.0, was: finite(was), is: finite(is) },
                ));
            }
        }
    }
    if report.points == 0 {
        report.verdict = Verdict::Unreplayable;
        report.missing.push("metrics: the run logged none, so there is nothing to compare".to_owned());
        return report;
    }
    let drifted = differences.iter().any(|(kind, _)| *kind == Verdict::Drifted);
    report.verdict = match (drifted, differences.is_empty()) {
        (true, _) => Verdict::Drifted,
        (false, false) => Verdict::WithinTolerance,
        (false, true) => Verdict::Identical,
    };
    let own = differences.into_iter().filter(|(kind, _)| *kind == report.verdict).map(|(_, d)| d);
    report.first = own.min_by(|a, b| (a.step, &a.metric).cmp(&(b.step, &b.metric)));
    report
}

fn keyed(points: Option<&Vec<MetricPoint>>) -> BTreeMap<(i64, usize), f64> {
    let mut points: Vec<MetricPoint> = points.cloned().unwrap_or_default();
    points.sort_by_key(|p| (p.step, p.at_ms));
    let mut out = BTreeMap::new();
    for point in points {
        let nth = out.range((point.step, 0)..=(point.step, usize::MAX)).count();
        out.insert((point.step, nth), point.value);
    }
    out
}

fn judge(was: Option<f64>, is: Option<f64>, tolerance: Tolerance) -> Verdict {
    match (was, is) {
        (Some(a), Some(b)) if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) => Verdict::Identical,
        (Some(a), Some(b)) if (a - b).abs() <= tolerance.atol + tolerance.rtol * a.abs() => {
            Verdict::WithinTolerance
        }
        _ => Verdict::Drifted,
    }
}

fn series(tx: &mut Tx<'_>, run: i64) -> Result<Series, TrackingError> {
    let mut all = Series::new();
    for latest in points::latest(tx, run)? {
        if !latest.key.starts_with(OF_THE_MACHINE) {
            let points = metrics::history(tx, run, &latest.key, &metrics::MetricQuery::default())?;
            all.insert(latest.key, points);
        }
    }
    Ok(all)
}

fn check(new: &NewReproduction) -> Result<(), TrackingError> {
    let Tolerance { rtol, atol } = new.tolerance;
    let bad = |message: String| Err(TrackingError::Invalid(message));
    if ![rtol, atol].iter().all(|t| t.is_finite() && *t >= 0.0) {
        return bad("a tolerance is a number from 0".to_owned());
    }
    if new.missing.len().max(new.environment.len()) > MOST_NAMED {
        return bad(format!("a verdict names at most {MOST_NAMED} things"));
    }
    if new.again.is_none() == new.missing.is_empty() {
        return bad("name either the run that did the same again, or what was missing".to_owned());
    }
    Ok(())
}

impl Tracking {
    /// Compares a run with one that did the same again, or takes note of why there is none, and records the verdict.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the runs, [`TrackingError::Invalid`].
    pub async fn record_reproduction(
        &self,
        leave: &Authorized<WriteTracking>,
        run: &RunId,
        new: NewReproduction,
    ) -> Result<Reproduction, TrackingError> {
        check(&new)?;
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let original = runs::get(tx, &project, &run)?;
                let mut report = ReproductionReport {
                    verdict: Verdict::Unreplayable,
                    first: None,
                    metrics: 0,
                    points: 0,
                    largest_difference: 0.0,
                    tolerance: new.tolerance,
                    missing: new.missing.clone(),
                    environment: Vec::new(),
                };
                if let Some(again) = &new.again {
                    let other = runs::get(tx, &project, again)?;
                    let place = |tx: &mut _, run: &RunId| runs::place(tx, &project, run);
                    let (was, is) = (place(tx, &run)?.n, place(tx, again)?.n);
                    let (was, is) = (series(tx, was)?, series(tx, is)?);
                    report = compare(&was, &is, new.tolerance);
                    if original.status.is_terminal() && original.status != other.status {
                        report.verdict = Verdict::Drifted;
                    }
                }
                report.environment.clone_from(&new.environment);
                let id = tx.derived_id("reproduction");
                let (now, by) = (tx.now(), tx.actor().principal.clone());
                let again = new.again.as_ref().map(|r| r.as_str().to_owned());
                tx.execute(
                    "INSERT INTO run_reproductions
                         (project, id, run, again, verdict, body, created_by, created_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    &[
                        (&project).into(),
                        (&id).into(),
                        (&run).into(),
                        again.clone().into(),
                        report.verdict.as_str().into(),
                        json!(report).to_string().into(),
                        (&by).into(),
                        now.into(),
                    ],
                )?;
                let event = NewEvent::new(&project, "run.reproduced", "run", run.as_str());
                let event = tx.emit(event.with(json!({ "again": again, "report": report })))?;
                if let Some(again) = &again {
                    let (other, own) = (Node::new("run", again), Node::new("run", run.as_str()));
                    tx.link(&event, &Edge::new(&project, other, "reproduced", own))?;
                }
                let run = run.as_str().to_owned();
                Ok(Reproduction { id, run, again, report, created_by: by, created_at_ms: now })
            })
            .await
    }

    /// The verdicts on a run, newest first.
    ///
    /// # Errors
    /// [`TrackingError::NotFound`] without the run.
    pub async fn reproductions(
        &self,
        leave: &Authorized<ReadProject>,
        run: &RunId,
    ) -> Result<Vec<Reproduction>, TrackingError> {
        let (project, run) = (leave.project().clone(), run.clone());
        self.ledger
            .db()
            .read(move |tx| {
                runs::get(tx, &project, &run)?;
                let rows = tx.query(
                    "SELECT id, run, again, body, created_by, created_at_ms FROM run_reproductions
                     WHERE project = ?1 AND run = ?2 ORDER BY created_at_ms DESC, id LIMIT 100",
                    &[(&project).into(), (&run).into()],
                )?;
                rows.into_iter().map(|mut row| from_row(&mut row)).collect()
            })
            .await
    }
}

fn from_row(row: &mut Row) -> Result<Reproduction, TrackingError> {
    let body: String = row.take(3)?;
    let report = serde_json::from_str(&body)
        .map_err(|e| TrackingError::State(format!("a verdict can't be read: {e}")))?;
    Ok(Reproduction {
        id: row.take(0)?,
        run: row.take(1)?,
        again: row.take(2)?,
        report,
        created_by: row.take(4)?,
        created_at_ms: row.take(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(&str, i64, f64)]) -> Series {
        let mut all = Series::new();
        for (i, (metric, step, value)) in points.iter().enumerate() {
            let at_ms = i64::try_from(i).unwrap();
            all.entry((*metric).to_owned()).or_default().push(MetricPoint {
                step: *step,
                at_ms,
                value: *value,
            });
        }
        all
    }

    #[test]
    fn the_same_bits_are_identical_and_the_clock_does_not_matter() {
        let a = series(&[("auc", 0, 0.5), ("auc", 1, f64::NAN), ("loss", 0, 1.0)]);
        let b = series(&[("loss", 0, 1.0), ("auc", 0, 0.5), ("auc", 1, f64::NAN)]);
        let report = compare(&a, &b, Tolerance::default());
        assert_eq!((report.verdict, report.metrics, report.points), (Verdict::Identical, 2, 3));
    }

    #[test]
    fn the_first_difference_is_that_of_the_earliest_step() {
        let a = series(&[("auc", 0, 0.5), ("auc", 1, 0.6), ("loss", 0, 1.0)]);
        let b = series(&[("auc", 0, 0.5), ("auc", 1, 0.7), ("loss", 0, 1.5)]);
        let report = compare(&a, &b, Tolerance { rtol: 0.0, atol: 0.01 });
        assert_eq!(report.verdict, Verdict::Drifted);
        let first = Difference { metric: "loss".to_owned(), step: 0, was: Some(1.0), is: Some(1.5) };
        assert_eq!(report.first, Some(first));
        assert!((report.largest_difference - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_tolerance_admits_what_lies_within_it_and_no_missing_point() {
        let a = series(&[("auc", 0, 0.5)]);
        let near = compare(&a, &series(&[("auc", 0, 0.500_01)]), Tolerance { rtol: 1e-4, atol: 0.0 });
        assert_eq!(near.verdict, Verdict::WithinTolerance);
        assert_eq!(near.first.unwrap().metric, "auc");
        let more = series(&[("auc", 0, 0.5), ("auc", 1, 0.5)]);
        let lacking = compare(&more, &a, Tolerance { rtol: 1.0, atol: 1.0 });
        assert_eq!(lacking.verdict, Verdict::Drifted);
        assert_eq!(lacking.first.unwrap().step, 1);
    }

    #[test]
    fn a_run_without_metrics_proves_nothing() {
        let report = compare(&Series::new(), &Series::new(), Tolerance::default());
        assert_eq!(report.verdict, Verdict::Unreplayable);
        assert!(report.missing[0].starts_with("metrics"));
    }
}
