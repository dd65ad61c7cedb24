//! Runs of a version's gates: judged from facts that a flow has gathered, kept with all numbers, one event each.

use crate::gates::{Facts, Judgement, Outcome};
use crate::policies::{self, DeclaredPolicy, read_json};
use crate::policy::Gate;
use crate::{Registry, RegistryError, VersionKey, versions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, JudgeVersion, ReadProject};
use trueline_ledger::{Millis, NewEvent, ProjectId};

/// What one gate said, with its declaration as it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// The gate's name.
    pub gate: String,
    /// SHA-256 of its declaration.
    pub gate_digest: String,
    /// What it said.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// One run of all gates over one version.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateRun {
    /// Its number within the version, from 1.
    pub run: i64,
    /// The digest of the frozen files that were judged.
    pub manifest_digest: String,
    /// The digest of the policy that they were judged by.
    pub policy_digest: String,
    /// SHA-256 over manifest, policy and results: what an approver has seen.
    pub evidence_digest: String,
    /// What the gates said, in the policy's order.
    pub results: Vec<GateResult>,
    /// Who asked for it, as authenticated.
    pub judged_by: String,
    /// When.
    #[serde(skip)]
    pub judged_at_ms: Millis,
}

impl GateRun {
    /// Whether every gate passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.results.iter().all(|r| r.judgement.outcome == Outcome::Passed)
    }

    fn from_row(row: &mut Row) -> Result<Self, RegistryError> {
        Ok(Self {
            run: row.take(0)?,
            manifest_digest: row.take(1)?,
            policy_digest: row.take(2)?,
            evidence_digest: row.take(3)?,
            results: read_json("the results of gates", &row.take::<String>(4)?)?,
            judged_by: row.take(5)?,
            judged_at_ms: row.take(6)?,
        })
    }
}

const COLUMNS: &str =
    "run, manifest_digest, policy_digest, evidence_digest, results, judged_by, judged_at_ms FROM gate_runs";

/// Most runs that a list shows, newest first.
const MOST_SHOWN: u32 = 100;

/// SHA-256 over what was judged, by what, and what came of it.
pub(crate) fn evidence_digest(manifest: &str, policy: &str, results: &str) -> String {
    let mut hash = Sha256::new();
    for part in [manifest, policy, results] {
        hash.update(part.as_bytes());
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

/// The newest run of a version's gates.
pub(crate) fn latest(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    key: &VersionKey,
) -> Result<Option<GateRun>, RegistryError> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE project = ?1 AND name = ?2 AND version = ?3 ORDER BY run DESC LIMIT 1"
    );
    let row = tx.query_opt(&sql, &[project.into(), (&key.model).into(), key.version.into()])?;
    row.map(|mut row| GateRun::from_row(&mut row)).transpose()
}

impl Registry {
    /// Judges a version by the gates of `policy` and keeps what they said.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::State`] when the policy or the version was changed while the facts
    /// were gathered, or its files are not frozen.
    pub async fn judge(
        &self,
        leave: &Authorized<JudgeVersion>,
        key: &VersionKey,
        policy: &DeclaredPolicy,
        facts: &Facts,
    ) -> Result<GateRun, RegistryError> {
        let result = |gate: &Gate| GateResult {
            gate: gate.name.clone(),
            gate_digest: gate.digest(),
            judgement: gate.judge(facts),
        };
        let results: Vec<GateResult> = policy.policy.gates.iter().map(result).collect();
        let results = json!(results).to_string();
        let judged = facts.candidate.manifest_digest.clone();
        let Some(manifest) = judged else { return Err(not_frozen(key)) };
        let evidence = evidence_digest(&manifest, &policy.digest, &results);
        let (project, key, policy) = (leave.project().clone(), key.clone(), policy.digest.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let version = versions::get(tx, &project, &key)?;
                let declared = policies::get(tx, &project, &key.model)?;
                let same_policy = declared.is_some_and(|d| d.digest == policy);
                if version.manifest_digest.as_ref() != Some(&manifest) || !same_policy {
                    return Err(RegistryError::State(format!(
                        "the policy of `{}` was changed while the gates of {key} were judged, so what they said does not \
                         count: run them again with `trueline gate run {key}`",
                        key.model
                    )));
                }
                let (now, by) = (tx.now(), tx.actor().principal.clone());
                let run = latest(tx, &project, &key)?.map_or(1, |last| last.run + 1);
                tx.execute(
                    "INSERT INTO gate_runs (project, name, version, run, manifest_digest, policy_digest,
                                            evidence_digest, results, judged_by, judged_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                    &[
                        (&project).into(),
                        (&key.model).into(),
                        key.version.into(),
                        run.into(),
                        (&manifest).into(),
                        (&policy).into(),
                        (&evidence).into(),
                        (&results).into(),
                        by.into(),
                        now.into(),
                    ],
                )?;
                let judged = latest(tx, &project, &key)?
                    .ok_or_else(|| RegistryError::State("the run was not kept".to_owned()))?;
                let event = NewEvent::new(&project, "version.judged", "version", key.to_string());
                tx.emit(event.with(json!({
                    "model": key.model,
                    "version": key.version,
                    "run": run,
                    "passed": judged.passed(),
                    "manifest_digest": manifest,
                    "policy_digest": policy,
                    "evidence_digest": evidence,
                    "results": judged.results,
                })))?;
                Ok(judged)
            })
            .await
    }

    /// The runs of a version's gates, newest first, at most 100.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn gate_runs(
        &self,
        leave: &Authorized<ReadProject>,
        key: &VersionKey,
    ) -> Result<Vec<GateRun>, RegistryError> {
        let (project, key) = (leave.project().clone(), key.clone());
        self.ledger
            .db()
            .read(move |tx| {
                versions::get(tx, &project, &key)?;
                let sql = format!(
                    "SELECT {COLUMNS} WHERE project = ?1 AND name = ?2 AND version = ?3 ORDER BY run DESC LIMIT ?4"
                );
                let params = [(&project).into(), (&key.model).into(), key.version.into(), MOST_SHOWN.into()];
                tx.query(&sql, &params)?.iter_mut().map(GateRun::from_row).collect()
            })
            .await
    }
}

pub(crate) fn not_frozen(key: &VersionKey) -> RegistryError {
    RegistryError::State(format!(
        "the files of {key} lie where this server can't read them, so nothing is frozen that could be judged, approved or \
         served: log the model to this server and register it again"
    ))
}
