//! Runs as they were read last, kept in memory: a search shows the same ones again and again. Each run has an edition, a
//! number that whoever changes what is told of it counts up in the same transaction, so that a run that is known is shown
//! when it is of the edition that the database tells, whichever server changed it.

use crate::model::{ExperimentId, Lifecycle, RunData};
use crate::{TrackingError, many, points, runs};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use trueline_db::Tx;
use trueline_ledger::ProjectId;

/// Bytes of runs that are kept, about.
const MOST_BYTES: u64 = 32 << 20;
/// What a run has at least, in bytes.
const LEAST_WEIGHT: u64 = 1024;

/// What becomes of a run's edition when it has one.
const ONE_MORE: &str = "ON CONFLICT (run) DO UPDATE SET edition = run_editions.edition + 1";

/// Counts a run's edition up; called with every change of what a [`RunData`] tells, but for points that wait to be folded.
pub(crate) fn changed(tx: &mut Tx<'_>, run: i64) -> Result<(), TrackingError> {
    let sql = format!("INSERT INTO run_editions (run, edition) VALUES (?1, 1) {ONE_MORE}");
    tx.execute(&sql, &[run.into()])?;
    Ok(())
}

/// The same for several runs.
pub(crate) fn all_changed(tx: &mut Tx<'_>, runs: &[i64]) -> Result<(), TrackingError> {
    let rows = runs.iter().map(|run| vec![(*run).into(), 1i64.into()]);
    tx.insert_rows("INSERT INTO run_editions (run, edition)", rows.collect(), ONE_MORE)?;
    Ok(())
}

/// The same for all runs of an experiment that are about to come into another lifecycle.
pub(crate) fn turning(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    experiment: ExperimentId,
    to: Lifecycle,
) -> Result<(), TrackingError> {
    let sql = format!(
        "INSERT INTO run_editions (run, edition)
         SELECT n, 1 FROM runs WHERE project = ?1 AND experiment = ?2 AND lifecycle <> ?3 {ONE_MORE}"
    );
    tx.execute(&sql, &[project.into(), experiment.into(), to.as_str().into()])?;
    Ok(())
}

/// A run with its data as it was read, and with the form in which a face tells it, which is made once.
#[derive(Debug)]
pub struct KnownRun {
    data: RunData,
    form: OnceLock<Box<RawValue>>,
}

impl KnownRun {
    /// What `make` made of the run when it was first asked for. One face alone keeps its form here.
    ///
    /// # Errors
    /// What `make` says.
    pub fn form<E>(&self, make: impl FnOnce(&RunData) -> Result<Box<RawValue>, E>) -> Result<&RawValue, E> {
        match self.form.get() {
            Some(form) => Ok(form),
            None => {
                let made = make(&self.data)?;
                Ok(self.form.get_or_init(|| made))
            }
        }
    }
}

impl From<RunData> for KnownRun {
    fn from(data: RunData) -> Self {
        Self { data, form: OnceLock::new() }
    }
}

impl Deref for KnownRun {
    type Target = RunData;

    fn deref(&self) -> &RunData {
        &self.data
    }
}

/// A run of an edition.
#[derive(Clone, Debug)]
struct Known {
    edition: i64,
    run: Arc<KnownRun>,
}

/// By the bytes that it holds, roughly; its form has about as many as its data.
#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<i64, Known> for ByBytes {
    fn weight(&self, _: &i64, known: &Known) -> u64 {
        let data = &known.run.data;
        let pairs = data.params.iter().chain(&data.tags).map(|pair| pair.key.len() + pair.value.len() + 64);
        let metrics = data.metrics.iter().map(|metric| metric.key.len() + 64);
        let inputs = data.dataset_inputs.iter().map(|input| {
            let of = &input.dataset;
            let texts = [Some(&of.source), of.schema.as_ref(), of.profile.as_ref()];
            texts.into_iter().flatten().map(String::len).sum::<usize>() + 256
        });
        LEAST_WEIGHT + 2 * pairs.chain(metrics).chain(inputs).sum::<usize>() as u64
    }
}

/// The runs that are known.
#[derive(Debug)]
pub(crate) struct KnownRuns(Cache<i64, Known, ByBytes>);

impl Default for KnownRuns {
    fn default() -> Self {
        let about = usize::try_from(MOST_BYTES / LEAST_WEIGHT).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(about, MOST_BYTES, ByBytes))
    }
}

impl KnownRuns {
    /// Runs of a project with their data, by their numbers and in their order.
    pub(crate) fn read(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        numbers: &[i64],
    ) -> Result<Vec<Arc<KnownRun>>, TrackingError> {
        let in_flux = points::waiting_of(tx, numbers)?;
        self.read_but(tx, project, numbers, &in_flux)
    }

    /// The same of runs whose points have all been folded.
    pub(crate) fn read_folded(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        numbers: &[i64],
    ) -> Result<Vec<Arc<KnownRun>>, TrackingError> {
        self.read_but(tx, project, numbers, &HashSet::new())
    }

    /// Those `in_flux` are neither taken from here nor kept.
    fn read_but(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        numbers: &[i64],
        in_flux: &HashSet<i64>,
    ) -> Result<Vec<Arc<KnownRun>>, TrackingError> {
        let editions = editions(tx, numbers)?;
        let edition = |n: &i64| editions.get(n).copied().unwrap_or_default();
        let known = |n: &i64| {
            let known = self.0.get(n).filter(|known| known.edition == edition(n) && !in_flux.contains(n))?;
            Some((*n, known.run))
        };
        let mut found: HashMap<i64, Arc<KnownRun>> = numbers.iter().filter_map(known).collect();
        #[cfg(debug_assertions)]
        for (n, known) in &found {
            let fresh = runs::whole(tx, project, &[*n])?;
            debug_assert_eq!(
                format!("{:?}", fresh[0].1),
                format!("{:?}", known.data),
                "an edition was not counted"
            );
        }
        let unknown: Vec<i64> = numbers.iter().filter(|n| !found.contains_key(n)).copied().collect();
        for (n, data) in runs::whole(tx, project, &unknown)? {
            let run = Arc::new(KnownRun::from(data));
            if !in_flux.contains(&n) {
                self.0.insert(n, Known { edition: edition(&n), run: run.clone() });
            }
            found.insert(n, run);
        }
        Ok(numbers.iter().filter_map(|n| found.get(n).cloned()).collect())
    }
}

/// The editions of runs that were changed since they were made.
fn editions(tx: &mut Tx<'_>, numbers: &[i64]) -> Result<HashMap<i64, i64>, TrackingError> {
    let mut found = HashMap::with_capacity(numbers.len());
    for some in many::batches(numbers) {
        let sql = some.sql("SELECT run, edition FROM run_editions WHERE run IN ({list})");
        tx.each(&sql, some.params(), |row| {
            found.insert(row.take(0)?, row.take(1)?);
            Ok::<_, TrackingError>(())
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::KnownRun;
    use crate::model::{KeyValue, Lifecycle, LoggedMetric, RunId, RunStatus, RunUpdate};
    use crate::test_house::{House, on_both};
    use crate::{Batch, DatasetInput, LoggedDataset, MetricPoint, Tracking};
    use serde_json::value::to_raw_value;
    use std::sync::Arc;

    /// What a server that has known the run all the time tells, which must be what one tells that has just started.
    async fn told(house: &House, run: &RunId) -> Arc<KnownRun> {
        let known = house.tracking.run(&house.leave(), run).await.unwrap();
        let blobs = house.tracking.blobs.clone();
        let other = Tracking::new(house.tracking.ledger.clone(), blobs);
        let fresh = other.run(&house.leave(), run).await.unwrap();
        assert_eq!(format!("{:?}", known.data), format!("{:?}", fresh.data));
        known
    }

    #[test]
    fn what_is_known_of_a_run_is_what_there_is_whoever_changed_it() {
        on_both("known_runs", async |house| {
            let experiment = house.experiment("e").await;
            let run = house.run(experiment).await;
            house.fold(experiment).await;
            let elsewhere = Tracking::new(house.tracking.ledger.clone(), house.tracking.blobs.clone());
            let (leave, pair) = (house.leave(), KeyValue::new);
            let read = told(&house, &run).await;
            assert!(Arc::ptr_eq(&read, &told(&house, &run).await), "it is not read again for nothing");
            let twice = house.tracking.runs(&house.leave(), vec![run.clone(), run.clone()]).await.unwrap();
            assert_eq!(twice.len(), 2);

            let tags = vec![pair("t", "2"), pair("mlflow.runName", "renamed")];
            elsewhere.log_batch(&leave, &run, Batch { tags, ..Batch::default() }).await.unwrap();
            let now = told(&house, &run).await;
            assert_eq!((now.run.name.as_str(), now.tags[1].value.as_str()), ("renamed", "2"));

            let params = vec![pair("q", "1")];
            elsewhere.log_batch(&leave, &run, Batch { params, ..Batch::default() }).await.unwrap();
            assert_eq!(told(&house, &run).await.params.len(), 2);

            let point = MetricPoint { step: 1000, at_ms: 1000, value: 7.0 };
            let metrics = vec![LoggedMetric { key: "loss".to_owned(), point }];
            elsewhere.log_batch(&leave, &run, Batch { metrics, ..Batch::default() }).await.unwrap();
            assert_eq!(told(&house, &run).await.metrics[0].point.step, 1000);
            house.fold(experiment).await;
            assert_eq!(told(&house, &run).await.metrics[0].point.step, 1000);

            elsewhere.delete_tag(&leave, &run, "t".to_owned()).await.unwrap();
            assert_eq!(told(&house, &run).await.tags.len(), 1);

            let text = |text: &str| text.to_owned();
            let (name, digest, source_type, source) = (text("d"), text("1"), text("local"), text("s"));
            let dataset = LoggedDataset { name, digest, source_type, source, schema: None, profile: None };
            let input = DatasetInput { dataset, tags: Vec::new() };
            elsewhere.log_inputs(&leave, &run, vec![input], vec![text("m-1")]).await.unwrap();
            let now = told(&house, &run).await;
            assert_eq!((now.dataset_inputs.len(), now.model_inputs.len()), (1, 1));

            elsewhere.log_outputs(&leave, &run, vec![(text("m-2"), 4)]).await.unwrap();
            assert_eq!(told(&house, &run).await.model_outputs.len(), 1);

            elsewhere.append_model_history(&leave, &run, serde_json::json!({})).await.unwrap();
            assert_eq!(told(&house, &run).await.tags.len(), 2);

            let ended = RunUpdate { status: Some(RunStatus::Finished), end_time: Some(9), name: None };
            elsewhere.update_run(&leave, &run, ended).await.unwrap();
            assert_eq!(told(&house, &run).await.run.end_time, Some(9));

            for to in [Lifecycle::Deleted, Lifecycle::Active] {
                elsewhere.set_run_lifecycle(&leave, &run, to).await.unwrap();
                assert_eq!(told(&house, &run).await.run.lifecycle, to);
            }
            elsewhere.delete_experiment(&leave, experiment).await.unwrap();
            assert_eq!(told(&house, &run).await.run.lifecycle, Lifecycle::Deleted);
            elsewhere.restore_experiment(&leave, experiment).await.unwrap();
            assert_eq!(told(&house, &run).await.run.lifecycle, Lifecycle::Active);
        });
    }

    #[test]
    fn the_form_of_a_run_is_made_once() {
        on_both("known_form", async |house| {
            let experiment = house.experiment("e").await;
            let run = house.run(experiment).await;
            house.fold(experiment).await;
            let first = told(&house, &run).await;
            assert_eq!(first.form(|_| to_raw_value(&1)).unwrap().get(), "1");
            let again = told(&house, &run).await;
            assert_eq!(again.form(|_| to_raw_value(&2)).unwrap().get(), "1");
            assert!(first.form(|_| Err("not asked")).is_ok());
            let tags = vec![KeyValue::new("t", "2")];
            house.tracking.log_batch(&house.leave(), &run, Batch { tags, ..Batch::default() }).await.unwrap();
            assert_eq!(told(&house, &run).await.form(|_| to_raw_value(&2)).unwrap().get(), "2");
        });
    }
}
