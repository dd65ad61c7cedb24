//! How a monitor follows the prediction log: what it has read and what it has counted are committed together, so a crash
//! anywhere loses nothing and counts nothing twice.

use crate::error::{stored, to_store};
use crate::monitors::{Monitor, Monitoring, by_id, set_reference};
use crate::reference::Learner;
use crate::training::Against;
use crate::window::{Labelled, Observation, WindowState};
use crate::{MonitorSpec, MonitoringError, Reference};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_db::Tx;
use trueline_ledger::{Actor, Millis};

/// A clock that is wrong by more than this does not make windows close.
const CLOCKS_DIFFER: Millis = 5 * 60_000;
/// A window with fewer predictions teaches no reference.
const ENOUGH_TO_LEARN: u64 = 100;

/// What a monitor has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it stands in its endpoint's predictions; empty at the beginning.
    pub records: String,
    /// Where it stands in the project's labels; empty at the beginning.
    pub labels: String,
    /// The newest event time that it has seen.
    pub watermark: Option<Millis>,
    /// Records and labels that came after the horizon and count in no window.
    pub too_late: u64,
    /// Windows from which a reference is learnt.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    learning: BTreeMap<Millis, Learner>,
}

/// What was read next, and where that leaves the monitor.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Predictions.
    pub records: Vec<Observation>,
    /// Where the predictions end.
    pub records_next: String,
    /// Labels of this endpoint's predictions.
    pub labels: Vec<Labelled>,
    /// Where the labels end.
    pub labels_next: String,
}

/// Counts of several windows, by start and version.
pub(crate) type Windows = BTreeMap<(Millis, String), WindowState>;

/// Its revision, so that two that follow at once can't both commit, and what it has read.
pub(crate) fn progress(tx: &mut Tx<'_>, monitor: &str) -> Result<(i64, Progress), MonitoringError> {
    let sql = "SELECT revision, progress FROM monitor_progress WHERE monitor = ?1";
    let mut row = tx
        .query_opt(sql, &[monitor.into()])?
        .ok_or_else(|| MonitoringError::NotFound(format!("there is no monitor `{monitor}`")))?;
    Ok((row.take(0)?, stored("a monitor's progress", &row.take::<String>(1)?)?))
}

fn save(tx: &mut Tx<'_>, monitor: &str, revision: i64, progress: &Progress) -> Result<(), MonitoringError> {
    let touched = tx.execute(
        "UPDATE monitor_progress SET revision = ?3, progress = ?4 WHERE monitor = ?1 AND revision = ?2",
        &[
            monitor.into(),
            revision.into(),
            (revision + 1).into(),
            to_store("a monitor's progress", progress)?.into(),
        ],
    )?;
    match touched {
        1 => Ok(()),
        _ => Err(MonitoringError::State("the monitor was moved on by another server".to_owned())),
    }
}

/// Has a monitor begin anew: what it counted, learnt and looked up goes, and it reads the log from its beginning.
pub(crate) fn restart(tx: &mut Tx<'_>, monitor: &str) -> Result<(), MonitoringError> {
    tx.execute("UPDATE monitors SET reference = NULL WHERE id = ?1", &[monitor.into()])?;
    for table in ["monitor_windows", "monitor_training"] {
        tx.execute(&format!("DELETE FROM {table} WHERE monitor = ?1"), &[monitor.into()])?;
    }
    let (revision, _) = progress(tx, monitor)?;
    save(tx, monitor, revision, &Progress::default())
}

impl Progress {
    fn see(&mut self, observation: &Observation) {
        let at = observation.event_time_ms.min(observation.received_at_ms.saturating_add(CLOCKS_DIFFER));
        self.watermark = Some(self.watermark.map_or(at, |w| w.max(at)));
    }

    fn is_too_late(&mut self, spec: &MonitorSpec, event_time_ms: Millis) -> bool {
        let late = self.watermark.is_some_and(|w| spec.is_too_old(event_time_ms, w));
        self.too_late += u64::from(late);
        late
    }

    /// Counts what was read.
    pub(crate) fn count(&mut self, spec: &MonitorSpec, against: Against<'_>, batch: &Batch) -> Windows {
        let mut windows = Windows::new();
        for record in &batch.records {
            self.see(record);
            if !self.is_too_late(spec, record.event_time_ms) {
                let key = (spec.window_of(record.event_time_ms), record.variant.clone());
                windows.entry(key).or_default().observe(against.of(&record.variant).ok(), record);
            }
        }
        for labelled in &batch.labels {
            if !self.is_too_late(spec, labelled.event_time_ms) {
                let key = (spec.window_of(labelled.event_time_ms), labelled.variant.clone());
                windows.entry(key).or_default().label(labelled);
            }
        }
        self.records.clone_from(&batch.records_next);
        self.labels.clone_from(&batch.labels_next);
        windows
    }

    /// Learns from what was read; the reference, once its window is over.
    fn learn(&mut self, spec: &MonitorSpec, batch: &Batch) -> Result<Option<Reference>, MonitoringError> {
        for record in &batch.records {
            self.see(record);
            if !record.failed {
                self.learning
                    .entry(spec.window_of(record.event_time_ms))
                    .or_default()
                    .observe(&record.values);
            }
        }
        self.records.clone_from(&batch.records_next);
        let watermark = self.watermark.unwrap_or(Millis::MIN);
        let over: Vec<Millis> =
            self.learning.keys().copied().filter(|s| spec.is_over(*s, watermark)).collect();
        for start in over {
            let Some(learner) = self.learning.remove(&start) else { continue };
            if learner.rows() >= ENOUGH_TO_LEARN {
                let source = format!("the first complete window, of {} predictions", learner.rows());
                return Ok(Some(learner.finish(source)?.only(spec.features.as_deref())));
            }
        }
        Ok(None)
    }
}

fn add(tx: &mut Tx<'_>, monitor: &str, windows: &Windows) -> Result<(), MonitoringError> {
    for ((start, variant), counted) in windows {
        let known: Option<String> = tx.scalar(
            "SELECT state FROM monitor_windows WHERE monitor = ?1 AND start_ms = ?2 AND variant = ?3",
            &[monitor.into(), (*start).into(), variant.into()],
        )?;
        let mut state: WindowState = match &known {
            Some(text) => stored("a window", text)?,
            None => WindowState::default(),
        };
        state.merge(counted);
        tx.execute(
            "INSERT INTO monitor_windows (monitor, start_ms, variant, state) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (monitor, start_ms, variant) DO UPDATE SET state = excluded.state",
            &[monitor.into(), (*start).into(), variant.into(), to_store("a window", &state)?.into()],
        )?;
    }
    Ok(())
}

impl Monitoring {
    /// A monitor and how far it has read.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`].
    pub async fn follow(&self, id: &str) -> Result<(Monitor, Progress), MonitoringError> {
        let id = id.to_owned();
        self.ledger.db().read(move |tx| Ok((by_id(tx, &id)?, progress(tx, &id)?.1))).await
    }

    /// Takes in what was read from where `seen` stands. When another has moved the monitor on meanwhile, nothing changes.
    ///
    /// # Errors
    /// [`MonitoringError::State`] when it was moved on; what the database says.
    pub async fn absorb(
        &self,
        monitor: &Monitor,
        seen: &Progress,
        batch: Batch,
    ) -> Result<(), MonitoringError> {
        let mut next = seen.clone();
        let Some(against) = monitor.against() else {
            return match next.learn(&monitor.spec, &batch)? {
                Some(reference) => self.begin(monitor.clone(), reference).await,
                None => self.move_on(monitor, seen, next, Windows::new()).await,
            };
        };
        let windows = next.count(&monitor.spec, against, &batch);
        self.move_on(monitor, seen, next, windows).await
    }

    async fn move_on(
        &self,
        monitor: &Monitor,
        seen: &Progress,
        next: Progress,
        windows: Windows,
    ) -> Result<(), MonitoringError> {
        let (id, spec, seen) = (monitor.id.clone(), monitor.spec.clone(), seen.clone());
        self.ledger
            .db()
            .bookkeep(move |tx: &mut Tx<'_>| {
                let (revision, now) = progress(tx, &id)?;
                if now != seen || by_id(tx, &id)?.spec != spec {
                    return Err(MonitoringError::State(
                        "the monitor was moved on by another server, or declared otherwise".to_owned(),
                    ));
                }
                add(tx, &id, &windows)?;
                save(tx, &id, revision, &next)
            })
            .await
    }

    /// Begins to count over a reference that was learnt, from the beginning of the log.
    async fn begin(&self, monitor: Monitor, reference: Reference) -> Result<(), MonitoringError> {
        self.ledger
            .write(&Actor::system("monitoring"), move |tx| {
                let now = by_id(tx, &monitor.id)?;
                if now.reference.is_some() || now.spec != monitor.spec {
                    return Ok(());
                }
                set_reference(tx, &monitor, &reference)?;
                let (revision, _) = progress(tx, &monitor.id)?;
                save(tx, &monitor.id, revision, &Progress::default())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FeatureValue;
    use proptest::prelude::*;

    fn record(event_time_ms: Millis, x: f64, variant: bool) -> Observation {
        Observation {
            event_time_ms,
            received_at_ms: 1_000_000,
            variant: if variant { "m/1" } else { "m/2" }.to_owned(),
            failed: false,
            values: vec![("x".into(), FeatureValue::Number(x))],
            share: 1_000_000,
        }
    }

    fn reference() -> Reference {
        let mut learner = Learner::default();
        (0..100).for_each(|i| learner.observe(&record(0, f64::from(i), true).values));
        learner.finish("test".into()).unwrap()
    }

    /// What one reading of everything would come to.
    fn oracle(
        spec: &MonitorSpec,
        reference: &Reference,
        records: &[Observation],
        labels: &[Labelled],
    ) -> Windows {
        let mut windows = Windows::new();
        for record in records {
            let bin = reference.columns["x"].index(&record.values[0].1).unwrap();
            let start = record.event_time_ms / spec.window_ms * spec.window_ms;
            let state = windows.entry((start, record.variant.clone())).or_default();
            state.predictions += 1;
            let counts = state.columns.entry("x".to_owned()).or_default();
            counts.bins.resize(10, 0);
            counts.bins[bin] += 1;
        }
        for labelled in labels {
            let start = labelled.event_time_ms / spec.window_ms * spec.window_ms;
            let state = windows.entry((start, labelled.variant.clone())).or_default();
            state.quality.add(labelled.score, labelled.label.unwrap());
        }
        windows
    }

    proptest! {
        #[test]
        fn records_and_late_labels_in_any_order_and_pages_count_as_in_one_reading(
            rows in prop::collection::vec(
                (0_i64..10_000, 0.0_f64..100.0, any::<bool>(), 0.0_f64..=1.0, any::<bool>(), any::<bool>()), 1..120),
            page in 1_usize..30, turn in 0_usize..120
        ) {
            let (spec, reference) = (MonitorSpec::new(1_000), reference());
            let mut records: Vec<Observation> = rows.iter().map(|r| record(r.0, r.1, r.2)).collect();
            let variant = |v: bool| if v { "m/1" } else { "m/2" }.to_owned();
            let last: Vec<Labelled> = rows.iter().map(|r| Labelled {
                event_time_ms: r.0, variant: variant(r.2), score: r.3, before: None, label: Some(r.4),
            }).collect();
            // Some were told otherwise first.
            let mut told: Vec<Labelled> = Vec::new();
            for (row, label) in rows.iter().zip(&last) {
                if row.5 {
                    told.push(Labelled { label: Some(!row.4), ..label.clone() });
                    told.push(Labelled { before: Some(!row.4), ..label.clone() });
                } else {
                    told.push(label.clone());
                }
            }
            let at = turn % records.len();
            records.rotate_left(at);
            let at = turn % told.len();
            told.rotate_right(at);
            let (mut progress, mut windows) = (Progress::default(), Windows::new());
            let pages = records.len().max(told.len()).div_ceil(page);
            for i in 0..pages {
                let of = |len: usize| (i * page).min(len)..((i + 1) * page).min(len);
                let batch = Batch {
                    records: records[of(records.len())].to_vec(),
                    labels: told[of(told.len())].to_vec(),
                    ..Batch::default()
                };
                for (key, counted) in progress.count(&spec, Against::One(&reference), &batch) {
                    windows.entry(key).or_default().merge(&counted);
                }
            }
            prop_assert_eq!(progress.watermark, records.iter().map(|r| r.event_time_ms).max());
            prop_assert_eq!(windows, oracle(&spec, &reference, &records, &last));
        }
    }

    #[test]
    fn a_clock_that_is_years_ahead_closes_no_window() {
        let mut progress = Progress::default();
        progress.see(&record(Millis::MAX, 0.0, true));
        assert_eq!(progress.watermark, Some(1_000_000 + CLOCKS_DIFFER));
    }

    #[test]
    fn what_is_older_than_the_horizon_is_told_and_not_counted() {
        let spec = MonitorSpec { horizon_ms: Some(2_000), ..MonitorSpec::new(1_000) };
        let batch =
            Batch { records: vec![record(9_500, 1.0, true), record(1_000, 1.0, true)], ..Batch::default() };
        let mut progress = Progress::default();
        let windows = progress.count(&spec, Against::One(&reference()), &batch);
        assert_eq!((windows.len(), progress.too_late), (1, 1));
    }

    #[test]
    fn the_first_window_that_is_over_and_has_enough_becomes_the_reference() {
        let spec = MonitorSpec::new(1_000);
        let mut progress = Progress::default();
        let some = |from: Millis, n: Millis| Batch {
            records: (0..n).map(|i| record(from + i, 1.0, true)).collect(),
            ..Batch::default()
        };
        assert_eq!(progress.learn(&spec, &some(0, 10)).unwrap(), None);
        assert_eq!(progress.learn(&spec, &some(1_000, 200)).unwrap(), None, "too few in the first");
        let learnt = progress.learn(&spec, &some(2_000, 1)).unwrap().unwrap();
        assert_eq!(learnt.columns["x"].present(), 200);
    }
}
