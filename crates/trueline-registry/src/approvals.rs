//! What people decided on a version: approved or rejected by one who is not its author, bound to the digests of its
//! frozen files, of the policy and of the evidence that was there. Whether a decision still counts, `standing` tells.

use crate::gate_runs::{self, not_frozen};
use crate::{Registry, RegistryError, Version, VersionKey, policies, versions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Approve, Authorized};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};

/// The longest comment, in characters.
const LONGEST_COMMENT: usize = 10_000;

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may be released.
    Approved,
    /// It may not, whatever others say, until this is withdrawn or runs out.
    Rejected,
}

impl Decision {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Approved, Self::Rejected].into_iter().find(|d| d.as_str() == word)
    }

    fn action(self) -> &'static str {
        match self {
            Self::Approved => "version.approved",
            Self::Rejected => "version.rejected",
        }
    }
}

/// A decision to be made by the caller.
#[derive(Clone, Debug)]
pub struct NewDecision {
    /// What is decided.
    pub decision: Decision,
    /// Why; may be empty.
    pub comment: String,
    /// Who made the version: besides who registered it, who started its run and logged its model.
    pub authors: Vec<String>,
}

/// A decision as it was made. One person has one on a version; a new one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Who, as authenticated.
    pub approver: String,
    /// What.
    pub decision: Decision,
    /// Why.
    pub comment: String,
    /// The digest of the frozen files that it is about.
    pub manifest_digest: String,
    /// The digest of the policy then.
    pub policy_digest: String,
    /// The digest of the newest run of gates then; none when the policy had no gates.
    pub evidence_digest: Option<String>,
    /// When.
    #[serde(skip)]
    pub decided_at_ms: Millis,
}

impl Approval {
    fn from_row(row: &mut Row) -> Result<Self, RegistryError> {
        let word: String = row.take(1)?;
        Ok(Self {
            approver: row.take(0)?,
            // A row that says neither was written by hand; it must not let a version through.
            decision: Decision::parse(&word).unwrap_or(Decision::Rejected),
            comment: row.take(2)?,
            manifest_digest: row.take(3)?,
            policy_digest: row.take(4)?,
            evidence_digest: row.take(5)?,
            decided_at_ms: row.take(6)?,
        })
    }
}

const COLUMNS: &str = "approver, decision, comment, manifest_digest, policy_digest, evidence_digest, decided_at_ms FROM approvals";

/// All decisions on a version, in the order in which they were made.
pub(crate) fn all(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    key: &VersionKey,
) -> Result<Vec<Approval>, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE project = ?1 AND name = ?2 AND version = ?3 ORDER BY decided_at_ms, approver"
    );
    let mut rows = tx.query(&sql, &[project.into(), (&key.model).into(), key.version.into()])?;
    rows.iter_mut().map(Approval::from_row).collect()
}

impl Registry {
    /// Records what the caller decides on a version.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Invalid`] for a comment that is too long,
    /// [`RegistryError::State`] when the caller is an author of the version, when no policy asks for a decision, when the
    /// files are not frozen, or when the gates have not been judged by the policy as it is now.
    pub async fn decide(
        &self,
        leave: &Authorized<Approve>,
        key: &VersionKey,
        new: NewDecision,
    ) -> Result<Approval, RegistryError> {
        if new.comment.chars().count() > LONGEST_COMMENT {
            return Err(RegistryError::Invalid(format!(
                "A comment has at most {LONGEST_COMMENT} characters."
            )));
        }
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger.write(leave.actor(), move |tx| decide(tx, &project, &key, &new)).await
    }

    /// Takes the caller's own decision on a version back.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the version or without a decision of the caller.
    pub async fn withdraw(&self, leave: &Authorized<Approve>, key: &VersionKey) -> Result<(), RegistryError> {
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                versions::get(tx, &project, &key)?;
                let by = tx.actor().principal.clone();
                let before = all(tx, &project, &key)?.into_iter().find(|a| a.approver == by);
                let Some(before) = before else {
                    return Err(RegistryError::NotFound(format!("{by} has decided nothing on {key}")));
                };
                tx.execute(
                    "DELETE FROM approvals WHERE project = ?1 AND name = ?2 AND version = ?3 AND approver = ?4",
                    &[(&project).into(), (&key.model).into(), key.version.into(), (&by).into()],
                )?;
                let event = NewEvent::new(&project, "version.decision_withdrawn", "version", key.to_string());
                tx.emit(event.with(json!({
                    "model": key.model, "version": key.version, "approver": by, "before": before.decision,
                })))?;
                Ok(())
            })
            .await
    }
}

fn refuse_author(
    key: &VersionKey,
    version: &Version,
    new: &NewDecision,
    by: &str,
) -> Result<(), RegistryError> {
    let what = match () {
        () if version.created_by == by => "registered it",
        () if new.authors.iter().any(|a| a == by) => "made what it was registered from",
        () => return Ok(()),
    };
    Err(RegistryError::State(format!(
        "{by} is an author of {key} ({what}), and nobody decides on their own work: ask another reviewer"
    )))
}

fn decide(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    key: &VersionKey,
    new: &NewDecision,
) -> Result<Approval, RegistryError> {
    let (now, by) = (tx.now(), tx.actor().principal.clone());
    let version = versions::get(tx, project, key)?;
    refuse_author(key, &version, new, &by)?;
    let Some(manifest) = &version.manifest_digest else { return Err(not_frozen(key)) };
    let Some(policy) = policies::get(tx, project, &key.model)? else {
        return Err(RegistryError::State(format!(
            "no release policy is declared for `{model}`, so nothing asks for an approval of {key}: an admin declares one \
             with `trueline model policy set {model} <file>`",
            model = key.model
        )));
    };
    let judged = gate_runs::latest(tx, project, key)?
        .filter(|run| run.policy_digest == policy.digest && run.manifest_digest == *manifest);
    if judged.is_none() && !policy.policy.gates.is_empty() {
        return Err(RegistryError::State(format!(
            "the gates of {key} have not been judged by the policy as it is now, so there is nothing to decide on yet: run \
             them first with `trueline gate run {key}`"
        )));
    }
    let made = Approval {
        approver: by,
        decision: new.decision,
        comment: new.comment.clone(),
        manifest_digest: manifest.clone(),
        policy_digest: policy.digest,
        evidence_digest: judged.map(|run| run.evidence_digest),
        decided_at_ms: now,
    };
    upsert(tx, project, key, &made)?;
    let event = NewEvent::new(project, new.decision.action(), "version", key.to_string());
    tx.emit(event.with(json!({
        "model": key.model,
        "version": key.version,
        "approver": made.approver,
        "comment": made.comment,
        "manifest_digest": made.manifest_digest,
        "policy_digest": made.policy_digest,
        "evidence_digest": made.evidence_digest,
        "created_by": version.created_by,
        "authors": new.authors,
    })))?;
    Ok(made)
}

fn upsert(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    key: &VersionKey,
    made: &Approval,
) -> Result<(), RegistryError> {
    tx.execute(
        "INSERT INTO approvals (project, name, version, approver, decision, manifest_digest, policy_digest,
                                evidence_digest, comment, decided_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (project, name, version, approver) DO UPDATE SET decision = excluded.decision,
             manifest_digest = excluded.manifest_digest, policy_digest = excluded.policy_digest,
             evidence_digest = excluded.evidence_digest, comment = excluded.comment,
             decided_at_ms = excluded.decided_at_ms",
        &[
            project.into(),
            (&key.model).into(),
            key.version.into(),
            (&made.approver).into(),
            made.decision.as_str().into(),
            (&made.manifest_digest).into(),
            (&made.policy_digest).into(),
            made.evidence_digest.clone().into(),
            (&made.comment).into(),
            made.decided_at_ms.into(),
        ],
    )?;
    Ok(())
}
