//! The importer's part for traces, evaluation datasets, scorers and issues.

use crate::ImportError;
use crate::importer::{Importer, Target};
use crate::report::Report;
use std::collections::BTreeSet;
use trueline_traces::{DatasetRecord, EvaluationDataset, Issue, TraceError, WholeScorer, WholeTrace};

/// Tags by which MLflow says where files and spans of a trace lie.
const ARTIFACT_LOCATION: &str = "mlflow.artifactLocation";
const SPANS_LOCATION: &str = "mlflow.trace.spansLocation";

impl Importer {
    /// Of these traces those that are here.
    pub(crate) fn known_traces(&mut self, ids: Vec<String>) -> Result<BTreeSet<String>, ImportError> {
        let Target { traces, leaves, .. } = &*self.target;
        let known = self.wait(traces.known_traces(&leaves.read, ids))?;
        self.report.traces.known += known.len() as u64;
        Ok(known)
    }

    /// Finds a trace's files their place here. Of one whose spans are in the database there hardly ever are files, so
    /// that the report does not speak of any.
    pub(crate) fn place_trace(&mut self, trace: &mut WholeTrace) {
        let own = format!("{}/traces/{}/artifacts", trace.home.experiment, trace.told.id);
        let in_store = trace.told.tags.contains_key(SPANS_LOCATION);
        let uri = trace.told.tags.get(ARTIFACT_LOCATION).filter(|uri| !uri.is_empty());
        let moved = match uri {
            Some(uri) if self.copying.is_nothing(uri) => String::new(),
            Some(uri) if in_store => self.copying.adopt(uri, &own, &mut Report::default()),
            Some(uri) => self.copying.adopt(uri, &own, &mut self.report),
            None => String::new(),
        };
        let place = if moved.is_empty() { format!("mlflow-artifacts:/{own}") } else { moved };
        trace.artifact_location = Some(place);
    }

    /// Takes traces that are not here.
    pub(crate) fn traces(&mut self, batch: Vec<WholeTrace>) -> Result<(), ImportError> {
        if batch.is_empty() {
            return Ok(());
        }
        let Target { traces, leaves, .. } = &*self.target;
        let done = self.wait(traces.import(&leaves.write, &self.source, batch))?;
        let report = &mut self.report;
        report.traces.new += done.traces as u64;
        report.spans += done.spans as u64;
        report.assessments += done.assessments as u64;
        report.miss("spans", done.unread as u64, "what MLflow keeps of them is of no form that is known");
        for (_, why) in done.refused {
            report.miss("traces", 1, why);
        }
        self.tell();
        Ok(())
    }

    /// Takes an evaluation dataset, whose records follow.
    pub(crate) fn evaluation_dataset(
        &mut self,
        dataset: EvaluationDataset,
        experiments: Vec<String>,
    ) -> Result<(), ImportError> {
        let Target { traces, leaves, .. } = &*self.target;
        match self.wait(traces.import_dataset(&leaves.write, &self.source, dataset, experiments))? {
            true => self.report.evaluation_datasets.new += 1,
            false => self.report.evaluation_datasets.known += 1,
        }
        Ok(())
    }

    /// Takes records of an evaluation dataset.
    pub(crate) fn records(&mut self, dataset: &str, page: Vec<DatasetRecord>) -> Result<(), ImportError> {
        if page.is_empty() {
            return Ok(());
        }
        let Target { traces, leaves, .. } = &*self.target;
        let done = traces.import_records(&leaves.write, &self.source, dataset.to_owned(), page);
        self.report.records += self.wait(done)?;
        self.tell();
        Ok(())
    }

    /// Takes a scorer; one that could not be registered here is told of.
    pub(crate) fn scorer(&mut self, scorer: WholeScorer) -> Result<(), ImportError> {
        let all = scorer.versions.len() as u64;
        let Target { traces, leaves, .. } = &*self.target;
        match self.wait(traces.import_scorer(&leaves.write, &self.source, scorer)) {
            Ok(new) => {
                self.report.scorers.new += new;
                self.report.scorers.known += all - new;
            }
            Err(TraceError::Invalid(why) | TraceError::NotFound(why)) => {
                self.report.miss("versions of scorers", all, why);
            }
            Err(other) => return Err(other.into()),
        }
        Ok(())
    }

    /// Takes an issue; one that could not be made here is told of.
    pub(crate) fn issue(&mut self, issue: Issue) -> Result<(), ImportError> {
        let Target { traces, leaves, .. } = &*self.target;
        match self.wait(traces.import_issue(&leaves.write, &self.source, issue)) {
            Ok(true) => self.report.issues.new += 1,
            Ok(false) => self.report.issues.known += 1,
            Err(TraceError::Invalid(why)) => self.report.miss("issues", 1, why),
            Err(other) => return Err(other.into()),
        }
        Ok(())
    }
}
