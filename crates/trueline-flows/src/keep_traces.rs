//! Traces, scorers, issues and evaluation datasets belong to experiments, which tracking keeps: each story here looks the experiment
//! up before the domain of traces is asked.

use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_search::Expr;
use trueline_traces::{
    EvaluationDataset, Home, Issue, NewIssue, NewSpan, NewTrace, Pairs, ScorerVersion,
    TraceError as TracesError, TraceInfo, Traces,
};
use trueline_tracking::{
    ExperimentId, ExperimentPlace, ExperimentSearch, Lifecycle, RunId, Tracking, TrackingError, ViewType,
};

/// How many experiments are read at a time.
const PAGE: u64 = 1000;

/// What can go wrong when traces are kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The experiment is not there or was deleted.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// The domain of traces refused or failed.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

/// Leave to read experiments and to write what belongs to them.
#[derive(Clone, Debug)]
pub struct KeepLeave {
    /// To read.
    pub read: Authorized<ReadProject>,
    /// To write.
    pub write: Authorized<WriteTracking>,
}

/// Traces beside the experiments that they belong to.
#[derive(Clone, Debug)]
pub struct TraceKeeper {
    /// Experiments.
    pub tracking: Tracking,
    /// Traces.
    pub traces: Traces,
}

fn home(experiment: ExperimentPlace) -> Home {
    Home { experiment: experiment.id.0, artifact_location: experiment.artifact_location }
}

impl TraceKeeper {
    async fn found(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<ExperimentPlace, KeepError> {
        Ok(self.tracking.experiment_place(leave, ExperimentId::parse(id)?).await?)
    }

    async fn active(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<ExperimentPlace, KeepError> {
        let found = self.found(leave, id).await?;
        match found.lifecycle {
            Lifecycle::Active => Ok(found),
            other => Err(KeepError::Tracking(TrackingError::Invalid(format!(
                "The experiment {} must be in the 'active' state. Current state is {}.",
                found.id,
                other.as_str()
            )))),
        }
    }

    /// The number of an experiment that is not deleted.
    ///
    /// # Errors
    /// [`KeepError::Tracking`].
    pub async fn experiment(&self, leave: &Authorized<ReadProject>, id: &str) -> Result<i64, KeepError> {
        Ok(self.active(leave, id).await?.id.0)
    }

    /// Keeps spans in an experiment; see [`Traces::log_spans`].
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn log_spans(
        &self,
        leave: &KeepLeave,
        experiment: &str,
        spans: &[NewSpan],
        run: Option<String>,
    ) -> Result<(), KeepError> {
        let home = home(self.found(&leave.read, experiment).await?);
        Ok(self.traces.log_spans(&leave.write, home, spans, run).await?)
    }

    /// Keeps what a client says of a trace; see [`Traces::start`].
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn start(
        &self,
        leave: &KeepLeave,
        experiment: &str,
        new: NewTrace,
    ) -> Result<TraceInfo, KeepError> {
        let home = home(self.active(&leave.read, experiment).await?);
        Ok(self.traces.start(&leave.write, home, new).await?)
    }

    /// Begins a trace as clients of MLflow 2 do; see [`Traces::begin_v2`].
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn begin_v2(
        &self,
        leave: &KeepLeave,
        experiment: &str,
        started_ms: i64,
        metadata: Pairs,
        tags: Pairs,
    ) -> Result<TraceInfo, KeepError> {
        let home = home(self.active(&leave.read, experiment).await?);
        Ok(self.traces.begin_v2(&leave.write, home, started_ms, metadata, tags).await?)
    }

    /// Registers the next version of a scorer; see [`Traces::register_scorer`].
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn register_scorer(
        &self,
        leave: &KeepLeave,
        experiment: &str,
        name: String,
        body: String,
    ) -> Result<ScorerVersion, KeepError> {
        let experiment = self.experiment(&leave.read, experiment).await?;
        Ok(self.traces.register_scorer(&leave.write, experiment, name, body).await?)
    }

    /// Makes an issue; the run that found it must be there. See [`Traces::create_issue`].
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn create_issue(
        &self,
        leave: &KeepLeave,
        experiment: &str,
        told: NewIssue,
    ) -> Result<Issue, KeepError> {
        let experiment = self.experiment(&leave.read, experiment).await?;
        if let Some(run) = &told.source_run {
            self.tracking.run(&leave.read, &RunId::new(run.clone())).await?;
        }
        Ok(self.traces.create_issue(&leave.write, experiment, told).await?)
    }

    /// The newest version of each scorer: of one experiment, which must be there; of those of a list that are not deleted;
    /// or of all.
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn scorers(
        &self,
        leave: &Authorized<ReadProject>,
        one: Option<&str>,
        list: Option<&[String]>,
    ) -> Result<Vec<ScorerVersion>, KeepError> {
        let experiments = match (one, list) {
            (Some(id), _) => vec![self.experiment(leave, id).await?],
            (None, Some(ids)) => {
                let asked: Result<Vec<ExperimentId>, TrackingError> =
                    ids.iter().map(|id| ExperimentId::parse(id)).collect();
                let (asked, active) = (asked?, self.all_active(leave).await?);
                active.into_iter().filter(|id| asked.contains(&ExperimentId(*id))).collect()
            }
            (None, None) => self.all_active(leave).await?,
        };
        Ok(self.traces.scorers(leave, experiments).await?)
    }

    async fn all_active(&self, leave: &Authorized<ReadProject>) -> Result<Vec<i64>, KeepError> {
        let mut found = Vec::new();
        for page in 0.. {
            let search = ExperimentSearch {
                filter: Expr::always(),
                order_by: Vec::new(),
                view: ViewType::ActiveOnly,
                offset: page * PAGE,
                limit: PAGE,
            };
            let page = self.tracking.search_experiments(leave, search).await?;
            found.extend(page.items.iter().map(|experiment| experiment.id.0));
            if !page.more {
                break;
            }
        }
        Ok(found)
    }

    /// Adds an evaluation dataset to experiments, all of which must be there.
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn add_dataset(
        &self,
        leave: &KeepLeave,
        dataset: String,
        experiments: Vec<String>,
    ) -> Result<EvaluationDataset, KeepError> {
        // A dataset that is not there is told of before its experiments are.
        if let Err(TracesError::NotFound(_)) = self.traces.dataset(&leave.read, dataset.clone()).await {
            return Err(TracesError::NotFound(format!("Dataset '{dataset}' not found")).into());
        }
        for id in &experiments {
            let missing = || TracesError::NotFound(format!("No Experiment with id={id}"));
            match self.found(&leave.read, id).await {
                Err(KeepError::Tracking(TrackingError::NotFound(_) | TrackingError::Invalid(_))) => {
                    return Err(missing().into());
                }
                other => drop(other?),
            }
        }
        Ok(self.traces.associate_dataset(&leave.write, dataset, experiments, true).await?)
    }
}
