//! Assessments are made, read, changed and deleted. One that takes another's place makes that invalid, until it is deleted
//! itself.

use crate::assessment::{Assessment, COLUMNS, Judgement, NewAssessment, kept_metadata, number};
use crate::model::Pairs;
use crate::rows::TraceRow;
use crate::value::to_json;
use crate::{TraceError, Traces, rules};
use serde_json::{Value as Json, json};
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{LedgerTx, NewEvent, ProjectId};

/// What of an assessment is to change.
#[derive(Clone, Debug, Default)]
pub struct AssessmentChange {
    /// Another name.
    pub name: Option<String>,
    /// Another judgement, of the same kind.
    pub judgement: Option<Judgement>,
    /// Another reason.
    pub rationale: Option<String>,
    /// More metadata.
    pub metadata: Option<Pairs>,
}

fn find(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    trace: &str,
    id: &str,
) -> Result<Option<Assessment>, TraceError> {
    let sql =
        format!("SELECT {COLUMNS} FROM assessments a WHERE a.project = ?1 AND a.trace = ?2 AND a.id = ?3");
    let row = tx.query_opt(&sql, &[project.into(), trace.into(), id.into()])?;
    row.map(|mut row| Assessment::read(&mut row)).transpose()
}

fn get(tx: &mut Tx<'_>, project: &ProjectId, trace: &str, id: &str) -> Result<Assessment, TraceError> {
    if let Some(found) = find(tx, project, trace, id)? {
        return Ok(found);
    }
    Err(TraceError::NotFound(match TraceRow::find(tx, project, trace)? {
        None => format!("Trace with request_id '{trace}' not found"),
        Some(_) => format!("Assessment with ID '{id}' not found for trace '{trace}'"),
    }))
}

fn set_valid(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    trace: &str,
    id: &str,
    valid: bool,
) -> Result<bool, TraceError> {
    let sql = "UPDATE assessments SET valid = ?4 WHERE project = ?1 AND trace = ?2 AND id = ?3";
    Ok(tx.execute(sql, &[project.into(), trace.into(), id.into(), valid.into()])? > 0)
}

/// Writes an assessment as it is; one of another trace is not written over.
pub(crate) fn save(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    row: &TraceRow,
    assessment: &Assessment,
) -> Result<(), TraceError> {
    let (value, error) = assessment.judgement.kept();
    let (number, is_number) = number(&value);
    let (metadata, of_session) = kept_metadata(&assessment.metadata);
    let touched = tx.execute(
        "INSERT INTO assessments (project, id, trace, experiment, trace_started_ms, name, kind, value, error,
             created_at_ms, updated_at_ms, source_type, source_id, span, rationale, overrides, valid, metadata,
             of_session, number, is_number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)
         ON CONFLICT (project, id) DO UPDATE SET name = excluded.name, value = excluded.value, error = excluded.error,
             updated_at_ms = excluded.updated_at_ms, source_type = excluded.source_type,
             source_id = excluded.source_id, span = excluded.span, rationale = excluded.rationale,
             overrides = excluded.overrides, valid = excluded.valid, metadata = excluded.metadata,
             of_session = excluded.of_session, number = excluded.number, is_number = excluded.is_number
         WHERE assessments.trace = excluded.trace",
        &[
            project.into(),
            (&assessment.id).into(),
            (&assessment.trace).into(),
            row.experiment.into(),
            row.started_ms.into(),
            (&assessment.name).into(),
            assessment.judgement.kind().into(),
            to_json(&value).into(),
            error.as_ref().map(to_json).into(),
            assessment.created_at_ms.into(),
            assessment.updated_at_ms.into(),
            (&assessment.source.kind).into(),
            assessment.source.id.as_ref().into(),
            assessment.span.as_ref().into(),
            assessment.rationale.as_ref().into(),
            assessment.overrides.as_ref().into(),
            assessment.valid.into(),
            metadata.into(),
            of_session.into(),
            number.into(),
            is_number.into(),
        ],
    )?;
    if touched == 0 {
        return TraceError::invalid(format!(
            "Assessment ID '{}' belongs to another trace; choose another or leave it out.",
            assessment.id
        ));
    }
    Ok(())
}

/// Writes an assessment of a trace; `n` tells those of one request apart.
pub(crate) fn put(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    row: &TraceRow,
    new: &NewAssessment,
    n: usize,
) -> Result<Assessment, TraceError> {
    rules::id("assessment_name", &new.name)?;
    let id = new.id.clone().filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| format!("a-{}", tx.derived_id(&format!("assessment {n}"))));
    let now = tx.now();
    let assessment = Assessment {
        id,
        trace: row.id.clone(),
        name: new.name.clone(),
        judgement: new.judgement.clone(),
        source: new.source.clone(),
        span: new.span.clone(),
        rationale: new.rationale.clone(),
        metadata: new.metadata.clone(),
        overrides: new.overrides.clone(),
        valid: true,
        created_at_ms: new.created_at_ms.filter(|at| *at != 0).unwrap_or(now),
        updated_at_ms: new.updated_at_ms.filter(|at| *at != 0).unwrap_or(now),
    };
    save(tx, project, row, &assessment)?;
    Ok(assessment)
}

fn event(project: &ProjectId, action: &'static str, assessment: &Assessment) -> NewEvent {
    let (value, _) = assessment.judgement.kept();
    let told: Json = json!({
        "trace": assessment.trace, "name": assessment.name, "kind": assessment.judgement.kind(), "value": value,
        "source": assessment.source.kind, "source_id": assessment.source.id, "overrides": assessment.overrides,
    });
    NewEvent::new(project, action, "assessment", assessment.id.clone()).with(told)
}

impl Assessment {
    fn change(&mut self, change: &AssessmentChange) -> Result<(), TraceError> {
        match (&change.judgement, &self.judgement) {
            (None, _) => {}
            (Some(Judgement::Expectation { .. }), Judgement::Expectation { .. })
            | (Some(Judgement::Feedback { .. }), Judgement::Feedback { .. }) => {
                self.judgement = change.judgement.clone().unwrap_or_else(|| self.judgement.clone());
            }
            (Some(Judgement::Expectation { .. }), _) => {
                return TraceError::invalid("Cannot update expectation value on a Feedback assessment.");
            }
            (Some(_), _) => {
                return TraceError::invalid("Cannot update feedback value on an Expectation assessment.");
            }
        }
        if let Some(name) = &change.name {
            rules::id("assessment_name", name)?;
            self.name.clone_from(name);
        }
        self.rationale = change.rationale.clone().or_else(|| self.rationale.take());
        self.metadata.extend(change.metadata.clone().unwrap_or_default());
        Ok(())
    }
}

impl Traces {
    /// Makes an assessment of a trace.
    ///
    /// # Errors
    /// [`TraceError::NotFound`] for the trace or the assessment to be overridden, [`TraceError::Invalid`].
    pub async fn assess(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        new: NewAssessment,
    ) -> Result<Assessment, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let row = TraceRow::get(tx, &project, &trace)?;
                if let Some(old) = &new.overrides
                    && !set_valid(tx, &project, &trace, old, false)?
                {
                    return Err(TraceError::NotFound(format!(
                        "Assessment with ID '{old}' not found for trace '{trace}'"
                    )));
                }
                let made = put(tx, &project, &row, &new, 0)?;
                tx.emit(event(&project, "assessment.logged", &made))?;
                Ok(made)
            })
            .await
    }

    /// One assessment of a trace.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn assessment(
        &self,
        leave: &Authorized<ReadProject>,
        trace: String,
        id: String,
    ) -> Result<Assessment, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| get(tx, &project, &trace, &id)).await
    }

    /// Changes an assessment. Its source and span stay; metadata is merged.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`] for a judgement of another kind.
    pub async fn change_assessment(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        id: String,
        change: AssessmentChange,
    ) -> Result<Assessment, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let mut assessment = get(tx, &project, &trace, &id)?;
                assessment.change(&change)?;
                assessment.updated_at_ms = tx.now();
                let row = TraceRow::get(tx, &project, &trace)?;
                save(tx, &project, &row, &assessment)?;
                tx.emit(event(&project, "assessment.changed", &assessment))?;
                Ok(assessment)
            })
            .await
    }

    /// Deletes an assessment; the one that it took the place of is valid again. One that is not there is no error.
    ///
    /// # Errors
    /// [`TraceError::NotFound`] for the trace.
    pub async fn delete_assessment(
        &self,
        leave: &Authorized<WriteTracking>,
        trace: String,
        id: String,
    ) -> Result<(), TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                TraceRow::get(tx, &project, &trace)?;
                let Some(assessment) = find(tx, &project, &trace, &id)? else { return Ok(()) };
                if let Some(old) = &assessment.overrides {
                    set_valid(tx, &project, &trace, old, true)?;
                }
                let sql = "DELETE FROM assessments WHERE project = ?1 AND trace = ?2 AND id = ?3";
                tx.execute(sql, &[(&project).into(), (&trace).into(), (&id).into()])?;
                tx.emit(event(&project, "assessment.deleted", &assessment))?;
                Ok(())
            })
            .await
    }
}
