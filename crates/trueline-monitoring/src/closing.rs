//! A window that is over is closed: its numbers, what they do to alerts, the incidents and the deliveries that follow, and
//! the events that say so, in one transaction.

use crate::alerts::{Changes, apply};
use crate::error::{stored, to_store};
use crate::following::{Windows, progress};
use crate::judge::{Finding, Level, judge_inputs, judge_quality};
use crate::monitors::{Monitor, Monitoring, by_id};
use crate::quality::Quality;
use crate::training::Against;
use crate::window::WindowState;
use crate::{MonitorSpec, MonitoringError, Reference};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Actor, Millis, NewEvent};

/// How many windows are closed in one transaction.
const AT_ONCE: usize = 20;

/// What of a window is judged: inputs when it is over, quality when labels have had their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Drift and missing values.
    Inputs,
    /// AUC, log loss, Brier score.
    Quality,
}

impl VerdictKind {
    const BOTH: [Self; 2] = [Self::Inputs, Self::Quality];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Quality => "quality",
        }
    }

    /// Whether it is this that judges a subject.
    pub(crate) fn judges(self, subject: &str) -> bool {
        subject.starts_with("quality:") == (self == Self::Quality)
    }
}

/// The numbers of a window, of all versions together or of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The version, `model/3`; none for all together.
    pub variant: Option<String>,
    /// Predictions that were answered and logged.
    pub predictions: u64,
    /// Where the log has a sample: how many were answered, as the sample lets expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// Requests that were refused.
    pub errors: u64,
    /// What labels tell.
    pub quality: Quality,
    /// The version whose training data the inputs were compared with, where each version has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<String>,
    /// Number by number; empty for a window that is open.
    pub findings: Vec<Finding>,
}

/// What closing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseOutcome {
    /// Windows that were closed.
    pub closed: usize,
    /// Whether there may be more to close.
    pub more: bool,
}

fn load(tx: &mut Tx<'_>, monitor: &str, from: Millis, until: Millis) -> Result<Windows, MonitoringError> {
    let rows = tx.query(
        "SELECT start_ms, variant, state FROM monitor_windows
         WHERE monitor = ?1 AND start_ms >= ?2 AND start_ms <= ?3 ORDER BY start_ms, variant",
        &[monitor.into(), from.into(), until.into()],
    )?;
    let mut windows = Windows::new();
    for mut row in rows {
        let key = (row.take(0)?, row.take(1)?);
        windows.insert(key, stored("a window", &row.take::<String>(2)?)?);
    }
    Ok(windows)
}

/// Versions by what was counted of them, of each window.
fn by_start(windows: Windows) -> BTreeMap<Millis, BTreeMap<String, WindowState>> {
    let mut out: BTreeMap<Millis, BTreeMap<String, WindowState>> = BTreeMap::new();
    for ((start, variant), state) in windows {
        out.entry(start).or_default().insert(variant, state);
    }
    out
}

fn compared(
    spec: &MonitorSpec,
    reference: Result<&Reference, &str>,
    state: &WindowState,
) -> Result<Vec<Finding>, MonitoringError> {
    match reference {
        Ok(reference) => judge_inputs(spec, reference, state),
        Err(reason) => Ok(vec![Finding::no_reference(reason.to_owned())]),
    }
}

/// What the inputs of all versions together say, and the version that speaks for them: where each has a reference of its
/// own, there is none of all together, and it is the one that answered most of the window.
fn compared_together(
    spec: &MonitorSpec,
    against: Against<'_>,
    window: &BTreeMap<String, WindowState>,
    together: &WindowState,
) -> Result<(Vec<Finding>, Option<String>), MonitoringError> {
    match (against, window.iter().max_by_key(|(_, state)| state.predictions)) {
        (Against::Each(_), Some((variant, state))) => {
            Ok((compared(spec, against.of(variant), state)?, Some(variant.clone())))
        }
        (Against::One(reference), _) => Ok((judge_inputs(spec, reference, together)?, None)),
        (Against::Each(_), None) => Ok((Vec::new(), None)),
    }
}

/// All versions together first; each by itself when there are several.
fn verdicts(
    kind: VerdictKind,
    spec: &MonitorSpec,
    against: Against<'_>,
    window: &BTreeMap<String, WindowState>,
) -> Result<Vec<Verdict>, MonitoringError> {
    let mut together = WindowState::default();
    window.values().for_each(|state| together.merge(state));
    let each = window.iter().filter(|_| window.len() > 1).map(|(variant, state)| (Some(variant), state));
    let mut out = Vec::new();
    for (variant, state) in std::iter::once((None, &together)).chain(each) {
        let quality = state.quality()?;
        let (mut findings, compared_with) = match (kind, variant) {
            (VerdictKind::Quality, _) => (judge_quality(spec, &quality), None),
            (VerdictKind::Inputs, None) => compared_together(spec, against, window, state)?,
            (VerdictKind::Inputs, Some(variant)) => (compared(spec, against.of(variant), state)?, None),
        };
        if let Some(variant) = variant {
            findings.iter_mut().for_each(|f| f.subject = format!("{}@{variant}", f.subject));
        }
        let (predictions, errors) = (state.predictions, state.errors);
        out.push(Verdict {
            variant: variant.cloned(),
            predictions,
            answered: state.answered(),
            errors,
            quality,
            compared_with,
            findings,
        });
    }
    Ok(out)
}

/// Quality that is unknown is not closed: labels may still come.
fn is_known(verdict: &Verdict) -> bool {
    verdict.quality.labelled > 0 && verdict.findings.iter().all(|f| f.level != Level::Unknown)
}

fn closed(tx: &mut Tx<'_>, monitor: &str, kind: VerdictKind) -> Result<BTreeSet<Millis>, MonitoringError> {
    let rows = tx.query(
        "SELECT start_ms FROM monitor_verdicts WHERE monitor = ?1 AND kind = ?2",
        &[monitor.into(), kind.as_str().into()],
    )?;
    rows.into_iter().map(|mut row| Ok(row.take(0)?)).collect()
}

/// What can be closed now, oldest first, and whether it is newer than all that were closed before.
struct Due {
    kind: VerdictKind,
    start: Millis,
    verdicts: Vec<Verdict>,
    is_newest: bool,
}

fn due(tx: &mut Tx<'_>, monitor: &Monitor) -> Result<Vec<Due>, MonitoringError> {
    let (_, progress) = progress(tx, &monitor.id)?;
    let (Some(against), Some(watermark)) = (monitor.against(), progress.watermark) else {
        return Ok(Vec::new());
    };
    let spec = &monitor.spec;
    let oldest = watermark.saturating_sub(spec.horizon());
    let mut out = Vec::new();
    let rows = tx.query(
        "SELECT DISTINCT start_ms FROM monitor_windows WHERE monitor = ?1 AND start_ms >= ?2 ORDER BY start_ms",
        &[(&monitor.id).into(), oldest.into()],
    )?;
    let starts: Vec<Millis> = rows.into_iter().map(|mut row| row.take(0)).collect::<Result<_, _>>()?;
    for kind in VerdictKind::BOTH {
        let closed = closed(tx, &monitor.id, kind)?;
        let mut newest = closed.iter().next_back().copied();
        for start in &starts {
            let over = match kind {
                VerdictKind::Inputs => spec.is_over(*start, watermark),
                VerdictKind::Quality => spec.has_waited_for_labels(*start, watermark),
            };
            if !over || closed.contains(start) {
                continue;
            }
            let window = by_start(load(tx, &monitor.id, *start, *start)?).remove(start).unwrap_or_default();
            let verdicts = verdicts(kind, spec, against, &window)?;
            if kind == VerdictKind::Quality && !verdicts.first().is_some_and(is_known) {
                continue;
            }
            let is_newest = newest.is_none_or(|n| *start > n);
            if is_newest {
                newest = Some(*start);
            }
            out.push(Due { kind, start: *start, verdicts, is_newest });
        }
    }
    // By time, so that what belongs together is told together.
    out.sort_by_key(|d| (d.start, d.kind));
    Ok(out)
}

impl Monitoring {
    /// Closes windows that are over, and lets them change alerts.
    ///
    /// # Errors
    /// What the database says; nothing is closed then.
    pub async fn close(&self, id: &str) -> Result<CloseOutcome, MonitoringError> {
        let name = id.to_owned();
        let waiting = self
            .ledger
            .db()
            .read(move |tx| {
                let monitor = by_id(tx, &name)?;
                Ok::<_, MonitoringError>(due(tx, &monitor)?.len())
            })
            .await?;
        if waiting == 0 {
            return Ok(CloseOutcome::default());
        }
        let id = id.to_owned();
        self.ledger
            .write(&Actor::system("monitoring"), move |tx| {
                let monitor = by_id(tx, &id)?;
                let due = due(tx, &monitor)?;
                let more = due.len() > AT_ONCE;
                let mut outcome = CloseOutcome { closed: 0, more };
                for due in due.into_iter().take(AT_ONCE) {
                    let (now, spec) = (tx.now(), &monitor.spec);
                    tx.execute(
                        "INSERT INTO monitor_verdicts (monitor, start_ms, kind, verdict, closed_at_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                        &[
                            (&monitor.id).into(),
                            due.start.into(),
                            due.kind.as_str().into(),
                            to_store("a window's numbers", &due.verdicts)?.into(),
                            now.into(),
                        ],
                    )?;
                    let event =
                        NewEvent::new(&monitor.project, "monitor.window_closed", "monitor", &monitor.id);
                    tx.emit(event.with(json!({
                        "name": monitor.name, "endpoint": monitor.endpoint, "judged": due.kind.as_str(),
                        "start_ms": due.start, "end_ms": due.start + spec.window_ms, "verdicts": due.verdicts,
                    })))?;
                    // A window that comes after later ones were judged says nothing about now.
                    if due.is_newest {
                        let changes = Changes {
                            monitor: &monitor,
                            kind: due.kind,
                            start: due.start,
                            verdicts: &due.verdicts,
                        };
                        apply(tx, &changes)?;
                    }
                    outcome.closed += 1;
                }
                Ok(outcome)
            })
            .await
    }

    /// A monitor's windows, newest first, with what is known of them now: a label that comes late changes a closed one too.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`]; what the database says.
    pub async fn windows(
        &self,
        leave: &Authorized<ReadProject>,
        id: &str,
        before: Option<Millis>,
        limit: u32,
    ) -> Result<Vec<MonitorWindow>, MonitoringError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let monitor = by_id(tx, &id)?;
                if monitor.project != project {
                    return Err(MonitoringError::NotFound(format!("there is no monitor `{id}`")));
                }
                let Some(against) = monitor.against() else { return Ok(Vec::new()) };
                let starts = tx.query(
                    "SELECT DISTINCT start_ms FROM monitor_windows WHERE monitor = ?1 AND start_ms < ?2
                     ORDER BY start_ms DESC LIMIT ?3",
                    &[(&id).into(), before.unwrap_or(Millis::MAX).into(), limit.into()],
                )?;
                let starts: Vec<Millis> =
                    starts.into_iter().map(|mut row| row.take(0)).collect::<Result<_, _>>()?;
                let (Some(newest), Some(oldest)) = (starts.first(), starts.last()) else {
                    return Ok(Vec::new());
                };
                let closed = closed(tx, &id, VerdictKind::Inputs)?;
                let windows = by_start(load(tx, &id, *oldest, *newest)?);
                let show = |(start, window): (Millis, BTreeMap<String, WindowState>)| {
                    let mut verdicts_shown = verdicts(VerdictKind::Inputs, &monitor.spec, against, &window)?;
                    let quality = verdicts(VerdictKind::Quality, &monitor.spec, against, &window)?;
                    for (shown, quality) in verdicts_shown.iter_mut().zip(quality) {
                        shown.findings.extend(quality.findings);
                    }
                    Ok(MonitorWindow {
                        start_ms: start,
                        end_ms: start + monitor.spec.window_ms,
                        closed: closed.contains(&start),
                        verdicts: verdicts_shown,
                    })
                };
                windows.into_iter().rev().map(show).collect()
            })
            .await
    }
}

/// A window as it is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonitorWindow {
    /// Where it begins, in event time.
    pub start_ms: Millis,
    /// Where it ends.
    pub end_ms: Millis,
    /// Whether it is over and its inputs were judged.
    pub closed: bool,
    /// All versions together, then each by itself when there are several.
    pub verdicts: Vec<Verdict>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeatureValue, Learner, Observation, TrainedVersion, TrainingData};

    fn row(variant: &str, x: f64) -> Observation {
        Observation {
            event_time_ms: 0,
            received_at_ms: 0,
            variant: variant.to_owned(),
            failed: false,
            values: vec![("x".into(), FeatureValue::Number(x))],
            share: 1_000_000,
        }
    }

    /// Trained on whole numbers from 0 to 99, moved by `from`.
    fn trained(variant: &str, from: f64) -> TrainedVersion {
        let mut learner = Learner::default();
        (0..1_000).for_each(|i| learner.observe(&row(variant, from + f64::from(i % 100)).values));
        let data = TrainingData::Known(learner.finish("test".into()).unwrap());
        TrainedVersion { variant: variant.to_owned(), data }
    }

    fn answered(against: Against<'_>, shares: &[(&str, i32)]) -> Vec<Verdict> {
        let mut window: BTreeMap<String, WindowState> = BTreeMap::new();
        for (variant, rows) in shares {
            let state = window.entry((*variant).to_owned()).or_default();
            (0..*rows).for_each(|i| {
                state.observe(against.of(variant).ok(), &row(variant, f64::from((i * 37) % 100)));
            });
        }
        verdicts(VerdictKind::Inputs, &MonitorSpec::new(1_000), against, &window).unwrap()
    }

    fn levels(verdicts: &[Verdict]) -> Vec<(&str, Level)> {
        verdicts.iter().map(|v| (v.findings[0].subject.as_str(), v.findings[0].level)).collect()
    }

    #[test]
    fn the_version_that_answered_most_speaks_for_all_when_each_has_a_reference_of_its_own() {
        let known = [trained("m/1", 0.0), trained("m/2", 50.0)];
        let against = Against::Each(&known);
        let first = answered(against, &[("m/1", 400), ("m/2", 300)]);
        let each = [("psi:x@m/1", Level::Clear), ("psi:x@m/2", Level::Breach)];
        assert_eq!(levels(&first), [&[("psi:x", Level::Clear)], &each[..]].concat());
        assert_eq!(first[0].predictions, 700);
        let second = answered(against, &[("m/1", 300), ("m/2", 400)]);
        assert_eq!(levels(&second), [&[("psi:x", Level::Breach)], &each[..]].concat());
    }

    #[test]
    fn a_version_without_known_training_data_is_unknown_with_the_reason() {
        let unknown = TrainedVersion { variant: "m/1".into(), data: TrainingData::Unknown("no run".into()) };
        let told = answered(Against::Each(&[unknown]), &[("m/1", 400)]);
        assert_eq!(levels(&told), [("reference", Level::Unknown)]);
        assert_eq!(told[0].findings[0].reason.as_deref(), Some("no run"));
        assert_eq!((told.len(), told[0].predictions), (1, 400));
    }
}
