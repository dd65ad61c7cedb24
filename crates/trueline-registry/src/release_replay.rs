//! What the ledger says of releases: policies, the newest run of each version's gates, and decisions, replayed from
//! their events and compared with the rows. An approval that was written by hand is found here.

use crate::RegistryError;
use crate::gate_runs::evidence_digest;
use crate::replay::{Compared, ModelKey, Replay, VersionKey, text, version_key};
use std::collections::BTreeMap;
use trueline_db::Tx;
use trueline_ledger::EventRow;

type RunKey = (VersionKey, i64);
type DecisionKey = (VersionKey, String);

/// Decision and the digests that it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    decision: String,
    manifest: String,
    policy: String,
    evidence: String,
    at_ms: i64,
}

/// What the events say so far. `None` stands for what an erased payload said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Releases {
    /// By model: the policy's digest.
    policies: BTreeMap<ModelKey, Option<String>>,
    /// By version and number of the run: the digest of the evidence.
    runs: BTreeMap<RunKey, Option<String>>,
    /// By version and approver, who is the actor of the event.
    decisions: BTreeMap<DecisionKey, Option<Told>>,
}

impl Releases {
    pub(crate) fn apply(&mut self, event: &EventRow) {
        let payload = event.payload.as_ref();
        let model: ModelKey = (event.project.clone(), event.resource.id.clone());
        match event.action.as_str() {
            "release_policy.declared" => {
                self.policies.insert(model, payload.map(|p| text(p, "digest")));
                return;
            }
            "model.deleted" => return self.forget(&model),
            "model.renamed" => match payload {
                Some(payload) => {
                    return self.rename(&model, &(event.project.clone(), text(payload, "after")));
                }
                None => return self.forget(&model),
            },
            _ => {}
        }
        let Some(version) = version_key(event) else { return };
        match event.action.as_str() {
            "version.judged" => {
                // Numbers are given one after another, so that an erased one is known too.
                let last = self.runs.keys().filter(|(v, _)| *v == version).map(|(_, run)| *run).max();
                let run = last.unwrap_or(0) + 1;
                self.runs.insert((version, run), payload.map(|p| text(p, "evidence_digest")));
            }
            "version.approved" | "version.rejected" => {
                let told = payload.map(|payload| Told {
                    decision: event.action.trim_start_matches("version.").to_owned(),
                    manifest: text(payload, "manifest_digest"),
                    policy: text(payload, "policy_digest"),
                    evidence: text(payload, "evidence_digest"),
                    at_ms: event.at_ms,
                });
                self.decisions.insert((version, event.actor.clone()), told);
            }
            "version.decision_withdrawn" => {
                self.decisions.remove(&(version, event.actor.clone()));
            }
            "version.deleted" => {
                self.runs.retain(|(v, _), _| *v != version);
                self.decisions.retain(|(v, _), _| *v != version);
            }
            _ => {}
        }
    }

    fn forget(&mut self, model: &ModelKey) {
        self.policies.remove(model);
        self.runs.retain(|((m, _), _), _| m != model);
        self.decisions.retain(|((m, _), _), _| m != model);
    }

    fn rename(&mut self, old: &ModelKey, new: &ModelKey) {
        let renamed = |m: ModelKey| if m == *old { new.clone() } else { m };
        let policies = std::mem::take(&mut self.policies);
        self.policies = policies.into_iter().map(|(m, p)| (renamed(m), p)).collect();
        let runs = std::mem::take(&mut self.runs);
        self.runs = runs.into_iter().map(|(((m, v), r), e)| (((renamed(m), v), r), e)).collect();
        let decisions = std::mem::take(&mut self.decisions);
        self.decisions = decisions.into_iter().map(|(((m, v), a), d)| (((renamed(m), v), a), d)).collect();
    }

    /// Compares with the rows. Digests are computed anew from the rows, so that a changed body is found too.
    pub(crate) fn compare(
        &self,
        tx: &mut Tx<'_>,
        replay: &Replay,
        out: &mut Compared,
    ) -> Result<(), RegistryError> {
        let name = |(project, model): &ModelKey| format!("release policy {project}: {model}");
        replay.compare_rows(&self.policies, &policies(tx)?, name, |model| model, out);
        let name = |(((project, model), version), run): &RunKey| {
            format!("gate run {project}: {model}/{version} run {run}")
        };
        replay.compare_rows(&self.runs, &runs(tx)?, name, |((model, _), _)| model, out);
        let name = |(((project, model), version), by): &DecisionKey| {
            format!("approval {project}: {model}/{version} by {by}")
        };
        replay.compare_rows(&self.decisions, &decisions(tx)?, name, |((model, _), _)| model, out);
        Ok(())
    }
}

fn policies(tx: &mut Tx<'_>) -> Result<BTreeMap<ModelKey, String>, RegistryError> {
    let mut found = BTreeMap::new();
    for mut row in tx.query("SELECT project, name, body, digest FROM release_policies", &[])? {
        let key: ModelKey = (row.take(0)?, row.take(1)?);
        found.insert(key, agreed(crate::policies::digest(&row.take::<String>(2)?), row.take(3)?));
    }
    Ok(found)
}

fn runs(tx: &mut Tx<'_>) -> Result<BTreeMap<RunKey, String>, RegistryError> {
    let mut found = BTreeMap::new();
    let rows = tx.query(
        "SELECT project, name, version, run, manifest_digest, policy_digest, results, evidence_digest FROM gate_runs",
        &[],
    )?;
    for mut row in rows {
        let key: RunKey = (((row.take(0)?, row.take(1)?), row.take(2)?), row.take(3)?);
        let (manifest, policy, results): (String, String, String) =
            (row.take(4)?, row.take(5)?, row.take(6)?);
        found.insert(key, agreed(evidence_digest(&manifest, &policy, &results), row.take(7)?));
    }
    Ok(found)
}

/// The digest of a row's contents, when it is the one that the row names.
fn agreed(computed: String, named: String) -> String {
    if computed == named { computed } else { format!("{named}, but its contents are {computed}") }
}

fn decisions(tx: &mut Tx<'_>) -> Result<BTreeMap<DecisionKey, Told>, RegistryError> {
    let mut found = BTreeMap::new();
    let rows = tx.query(
        "SELECT project, name, version, approver, decision, manifest_digest, policy_digest, evidence_digest,
                decided_at_ms FROM approvals",
        &[],
    )?;
    for mut row in rows {
        let key: DecisionKey = (((row.take(0)?, row.take(1)?), row.take(2)?), row.take(3)?);
        let told = Told {
            decision: row.take(4)?,
            manifest: row.take(5)?,
            policy: row.take(6)?,
            evidence: row.take::<Option<String>>(7)?.unwrap_or_default(),
            at_ms: row.take(8)?,
        };
        found.insert(key, told);
    }
    Ok(found)
}
