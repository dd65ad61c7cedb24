//! Takes what a source is read as, gathers it into batches, and has them written while the next one is read.

use crate::artifacts::Copying;
use crate::{ImportError, Report};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::mem;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use trueline_flows::import_model;
use trueline_identity::{Authorized, ReadProject, RegisterModel, WriteTracking};
use trueline_registry::{ImportedRegisteredModel, ModelImport, Registry};
use trueline_traces::Traces;
use trueline_tracking::{
    Experiment, ExperimentId, ImportedModel, ImportedPoints, ImportedRun, Lifecycle, Placing, RunId, Tracking,
};

/// Runs in one batch at the most,
const RUNS: usize = 500;
/// and their points.
const POINTS: usize = 100_000;
/// A run with more points than this comes in parts of about as many.
pub(crate) const PART: usize = 400_000;
/// Logged models in one batch.
const MODELS: usize = 200;

/// Leave to do what an import does.
#[derive(Debug)]
pub struct Leaves {
    /// To see what is there.
    pub read: Authorized<ReadProject>,
    /// To write runs.
    pub write: Authorized<WriteTracking>,
    /// To register models.
    pub register: Authorized<RegisterModel>,
}

/// Where an import goes to.
pub struct Target {
    /// Experiments and runs.
    pub tracking: Tracking,
    /// Models and versions.
    pub registry: Registry,
    /// Traces, evaluation datasets, scorers.
    pub traces: Traces,
    /// Leave for it.
    pub leaves: Leaves,
}

/// Is told how far an import is.
pub type Progress = Box<dyn FnMut(&Report) + Send>;

/// An import under way. Its methods block, and are called from a thread that may.
pub(crate) struct Importer {
    runtime: Handle,
    pub(crate) target: std::sync::Arc<Target>,
    pub(crate) source: String,
    pub(crate) report: Report,
    progress: Progress,
    places: HashMap<i64, ExperimentId>,
    runs: Vec<ImportedRun>,
    points: usize,
    writing: Option<JoinHandle<Result<Vec<RunId>, ImportError>>>,
    models: Vec<ImportedModel>,
    arriving: Option<(RunId, Lifecycle, u64)>,
    pub(crate) copying: Copying,
}

impl Importer {
    pub(crate) fn new(
        runtime: Handle,
        target: Target,
        source: String,
        copying: Copying,
        progress: Progress,
    ) -> Self {
        Self {
            runtime,
            target: std::sync::Arc::new(target),
            report: Report::of(&source),
            source,
            progress,
            places: HashMap::new(),
            runs: Vec::new(),
            points: 0,
            writing: None,
            models: Vec::new(),
            arriving: None,
            copying,
        }
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn tell(&mut self) {
        (self.progress)(&self.report);
    }

    /// Takes experiments, whose ids are those of the source.
    pub(crate) fn experiments(&mut self, batch: Vec<Experiment>) -> Result<(), ImportError> {
        let Target { tracking, leaves, .. } = &*self.target;
        let placed = self.wait(tracking.import_experiments(&leaves.write, &self.source, batch))?;
        for one in placed {
            match one.placing {
                Placing::Known => self.report.experiments.known += 1,
                Placing::New => self.report.experiments.new += 1,
                Placing::Renumbered => {
                    self.report.experiments.new += 1;
                    self.report.renumbered.push((one.was.0, one.id.0));
                }
            }
            self.places.insert(one.was.0, one.id);
        }
        self.tell();
        Ok(())
    }

    /// Where an experiment of the source is now.
    pub(crate) fn place(&self, experiment: i64) -> Option<ExperimentId> {
        self.places.get(&experiment).copied()
    }

    /// Of these runs those that are not here yet.
    pub(crate) fn unknown(&mut self, ids: &[String]) -> Result<HashSet<String>, ImportError> {
        let Target { tracking, leaves, .. } = &*self.target;
        let known = self.wait(tracking.imported_runs(&leaves.read, ids.to_vec()))?;
        self.report.runs.known += known.len() as u64;
        let known: HashSet<String> = known.into_iter().collect();
        Ok(ids.iter().filter(|id| !known.contains(*id)).cloned().collect())
    }

    /// Takes a run that is not here yet; with `more`, its points follow by [`Importer::points`].
    pub(crate) fn run(&mut self, run: ImportedRun) -> Result<(), ImportError> {
        let points: usize = run.points.values().map(Vec::len).sum();
        let report = &mut self.report;
        report.runs.new += 1;
        report.points += points as u64;
        report.params += run.data.params.len() as u64;
        report.tags += run.data.tags.len() as u64;
        self.points += points;
        if run.more {
            self.arriving = Some((run.data.run.id.clone(), run.data.run.lifecycle, 0));
        }
        self.runs.push(run);
        if self.runs.len() >= RUNS || self.points >= POINTS || self.arriving.is_some() {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes a part of the points of the run that came last.
    pub(crate) fn points(&mut self, points: ImportedPoints) -> Result<(), ImportError> {
        self.written()?;
        let Some((run, _, so_far)) = &mut self.arriving else { return Ok(()) };
        let count = points.values().map(Vec::len).sum::<usize>() as u64;
        *so_far += count;
        let Target { tracking, leaves, .. } = &*self.target;
        self.runtime.block_on(tracking.import_points(&leaves.write, run, points))?;
        self.report.points += count;
        self.tell();
        Ok(())
    }

    /// Ends the run whose points came in parts.
    pub(crate) fn end_of_points(&mut self) -> Result<(), ImportError> {
        let Some((run, lifecycle, points)) = self.arriving.take() else { return Ok(()) };
        let Target { tracking, leaves, .. } = &*self.target;
        let done = tracking.finish_imported_run(&leaves.write, &self.source, &run, lifecycle, points);
        Ok(self.runtime.block_on(done)?)
    }

    /// Has the batch at hand written once the one before is.
    fn flush(&mut self) -> Result<(), ImportError> {
        self.written()?;
        let batch = mem::take(&mut self.runs);
        self.points = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let (target, source) = (std::sync::Arc::clone(&self.target), self.source.clone());
        self.writing = Some(self.runtime.spawn(async move {
            Ok(target.tracking.import_runs(&target.leaves.write, &source, batch).await?)
        }));
        self.tell();
        Ok(())
    }

    /// Waits until the batch that is being written is durable.
    fn written(&mut self) -> Result<(), ImportError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let elsewhere = self.runtime.block_on(writing).map_err(|e| ImportError::Stopped(e.to_string()))??;
        self.report.runs.new -= elsewhere.len() as u64;
        self.report.miss(
            "runs",
            elsewhere.len() as u64,
            "another project of this server has runs of the same ids; import into that project",
        );
        Ok(())
    }

    /// Takes a logged model.
    pub(crate) fn logged_model(&mut self, model: ImportedModel) -> Result<(), ImportError> {
        self.models.push(model);
        if self.models.len() >= MODELS { self.flush_models() } else { Ok(()) }
    }

    fn flush_models(&mut self) -> Result<(), ImportError> {
        let batch = mem::take(&mut self.models);
        if batch.is_empty() {
            return Ok(());
        }
        let all = batch.len() as u64;
        let Target { tracking, leaves, .. } = &*self.target;
        let (elsewhere, new) =
            self.wait(tracking.import_logged_models(&leaves.write, &self.source, batch))?;
        let elsewhere = elsewhere.len() as u64;
        self.report.logged_models.new += new;
        self.report.logged_models.known += all - new - elsewhere;
        let why = "another project of this server has logged models of the same ids";
        self.report.miss("logged models", elsewhere, why);
        self.tell();
        Ok(())
    }

    /// Ends the batches of runs and logged models, so that artifacts and the registry can follow.
    pub(crate) fn settle(&mut self) -> Result<(), ImportError> {
        self.flush()?;
        self.written()?;
        self.flush_models()
    }

    /// Copies what was found of artifacts.
    pub(crate) fn copy_artifacts(&mut self) -> Result<(), ImportError> {
        let mut copying = mem::take(&mut self.copying);
        let done =
            copying.copy(&self.runtime, &self.target, &self.source, &mut self.report, &mut self.progress);
        self.copying = copying;
        done
    }

    /// Takes a registered model with its versions.
    pub(crate) fn registered_model(&mut self, model: ImportedRegisteredModel) -> Result<(), ImportError> {
        let Target { tracking, registry, leaves, .. } = &*self.target;
        let name = model.name.clone();
        let unfrozen = model.versions.iter().filter(|v| !v.deleted).count() as u64;
        let done =
            self.wait(import_model(tracking, registry, &leaves.read, &leaves.register, &self.source, model))?;
        match done {
            ModelImport::New(versions) => {
                self.report.registered_models.new += 1;
                self.report.versions += versions;
            }
            ModelImport::Known(versions) => {
                self.report.registered_models.known += 1;
                self.report.versions += versions;
            }
            ModelImport::NameTaken => self.report.miss(
                "versions",
                unfrozen,
                format!(
                    "another model `{name}` is registered here already; rename one of the two, then import again"
                ),
            ),
        }
        self.tell();
        Ok(())
    }

    /// The report, once all is in.
    pub(crate) fn finish(mut self) -> Result<Report, ImportError> {
        self.settle()?;
        self.tell();
        Ok(self.report.finished())
    }
}
