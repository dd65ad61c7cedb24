//! Where a version stands before its release: which gates hold, whose decisions count, and so whether a protected alias
//! or an endpoint may take it. Everything is derived here from rows, at the moment of asking.

use crate::approvals::{self, Approval, Decision};
use crate::error::NotReleasable;
use crate::gate_runs::{self, GateResult, GateRun};
use crate::gates::Outcome;
use crate::model::VersionNumber;
use crate::policies::{self, DeclaredPolicy};
use crate::policy::Gate;
use crate::{Registry, RegistryError, Version, VersionKey, models, versions};
use serde::Serialize;
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Millis, ProjectId};

const DAY_MS: Millis = 24 * 60 * 60 * 1000;
/// Models that are looked through for what waits.
const MOST_MODELS: u32 = 50;

/// How a gate stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It could not be known.
    Undecided,
    /// What it said is about another gate, other files or another champion.
    Stale,
    /// It was never judged.
    NotRun,
}

impl GateState {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Undecided => "undecided",
            Self::Stale => "stale",
            Self::NotRun => "not run",
        }
    }
}

/// A declared gate with what it said last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateStanding {
    /// The gate as it is declared now.
    #[serde(flatten)]
    pub gate: Gate,
    /// How it stands.
    pub state: GateState,
    /// Why, in words with the numbers.
    pub reason: String,
    /// What it said last, whether that still counts or not.
    pub last: Option<GateResult>,
}

/// A decision, with whether it counts now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountedApproval {
    /// The decision.
    #[serde(flatten)]
    pub approval: Approval,
    /// Until when it holds.
    #[serde(skip)]
    pub expires_at_ms: Millis,
    /// Whether it counts.
    pub counts: bool,
    /// Why it does not.
    pub because: Option<String>,
}

/// Where a version stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReleaseState {
    /// The version.
    #[serde(flatten)]
    pub version: VersionKey,
    /// The digest of its frozen files.
    pub manifest_digest: Option<String>,
    /// What its model's versions must pass; none when nothing was declared.
    pub policy: Option<DeclaredPolicy>,
    /// The version that the champion's alias points at.
    pub champion: Option<VersionNumber>,
    /// The newest run of its gates.
    pub last_run: Option<GateRun>,
    /// The declared gates.
    pub gates: Vec<GateStanding>,
    /// What people decided.
    pub approvals: Vec<CountedApproval>,
    /// How many approvals count.
    pub approved: u32,
    /// How many are asked for.
    pub required: u32,
    /// Whether a protected alias or an endpoint may take it.
    pub releasable: bool,
    /// Why not, a sentence each.
    pub missing: Vec<String>,
    /// What to do, with the command to type.
    pub advice: Vec<String>,
}

impl ReleaseState {
    /// Whether nothing but approvals is missing, and nobody has said no.
    #[must_use]
    pub fn awaits_approval(&self) -> bool {
        let rejected = self.approvals.iter().any(|a| a.counts && a.approval.decision == Decision::Rejected);
        let passed = self.gates.iter().all(|g| g.state == GateState::Passed);
        self.manifest_digest.is_some() && passed && !rejected && self.approved < self.required
    }

    /// Whether a decision of this person counts.
    #[must_use]
    pub fn is_decided_by(&self, principal: &str) -> bool {
        self.approvals.iter().any(|a| a.counts && a.approval.approver == principal)
    }

    /// Passes when the version is releasable.
    ///
    /// # Errors
    /// [`NotReleasable`], with what is missing for `taker`.
    pub fn require(&self, taker: impl Into<String>) -> Result<(), NotReleasable> {
        if self.releasable {
            return Ok(());
        }
        Err(NotReleasable {
            version: self.version.clone(),
            taker: taker.into(),
            missing: self.missing.clone(),
            advice: self.advice.clone(),
        })
    }
}

/// How a gate stands, given what it said when it was judged last.
fn stand(
    gate: &Gate,
    own: VersionNumber,
    manifest: Option<&str>,
    champion: Option<VersionNumber>,
    run: Option<&GateRun>,
) -> GateStanding {
    let last = run.and_then(|r| r.results.iter().find(|result| result.gate == gate.name));
    let standing = |state, reason: &str| GateStanding {
        gate: gate.clone(),
        state,
        reason: reason.to_owned(),
        last: last.cloned(),
    };
    let (Some(run), Some(result)) = (run, last) else {
        return standing(GateState::NotRun, "it was not judged yet");
    };
    if manifest != Some(run.manifest_digest.as_str()) {
        return standing(GateState::Stale, "other files were judged");
    }
    if result.gate_digest != gate.digest() {
        return standing(GateState::Stale, "the gate was changed after it was judged");
    }
    let rival = champion.filter(|number| *number != own);
    let compared = result.judgement.champion.as_ref().map(|c| c.version).filter(|number| *number != own);
    // Who has become the champion since was compared with the one before, which is what counted.
    if gate.compares() && champion != Some(own) && rival != compared {
        let told = |number: Option<i64>| number.map_or("none".to_owned(), |n| format!("version {n}"));
        let reason = format!("the champion was {} then and is {} now", told(compared), told(rival));
        return standing(GateState::Stale, &reason);
    }
    let state = match result.judgement.outcome {
        Outcome::Passed => GateState::Passed,
        Outcome::Failed => GateState::Failed,
        Outcome::Undecided => GateState::Undecided,
    };
    standing(state, &result.judgement.reason)
}

/// Whether a decision counts for a version under a policy at a time.
fn count(approval: Approval, version: &Version, declared: &DeclaredPolicy, now: Millis) -> CountedApproval {
    let days = declared.policy.approvals.valid_days;
    let expires_at_ms = approval.decided_at_ms + Millis::from(days) * DAY_MS;
    let because = match () {
        () if Some(&approval.manifest_digest) != version.manifest_digest.as_ref() => {
            Some("it is about other files than the version has".to_owned())
        }
        () if approval.policy_digest != declared.digest => Some("the policy was changed since".to_owned()),
        () if approval.approver == version.created_by => Some("it is by the version's author".to_owned()),
        () if now >= expires_at_ms => Some(format!("it held for {days} days")),
        () => None,
    };
    CountedApproval { approval, expires_at_ms, counts: because.is_none(), because }
}

/// A principal as people call it.
fn person(principal: &str) -> &str {
    principal.strip_prefix("user:").unwrap_or(principal)
}

fn missing_gates(gates: &[GateStanding]) -> Vec<String> {
    let open = gates.iter().filter(|g| g.state != GateState::Passed);
    open.map(|g| match g.state {
        GateState::NotRun => format!("gate `{}` was not judged yet", g.gate.name),
        state => format!("gate `{}` is {}: {}", g.gate.name, state.as_str(), g.reason),
    })
    .collect()
}

fn missing_approvals(approvals: &[CountedApproval], approved: u32, required: u32) -> Vec<String> {
    let rejections = approvals.iter().filter(|a| a.counts && a.approval.decision == Decision::Rejected);
    let mut out: Vec<String> = rejections
        .map(|a| match a.approval.comment.trim() {
            "" => format!("{} rejected it", person(&a.approval.approver)),
            why => format!("{} rejected it ({why})", person(&a.approval.approver)),
        })
        .collect();
    if approved < required {
        let lapsed = approvals.iter().filter_map(|a| {
            let why = a.because.as_ref()?;
            Some(format!("that of {} does not count: {why}", person(&a.approval.approver)))
        });
        let lapsed: Vec<String> = lapsed.collect();
        let lapsed = if lapsed.is_empty() { String::new() } else { format!(" ({})", lapsed.join(", ")) };
        out.push(format!("it has {approved} of {required} approvals{lapsed}"));
    }
    out
}

fn advice(state: &ReleaseState) -> Vec<String> {
    let mut out = Vec::new();
    if state.gates.iter().any(|g| g.state != GateState::Passed) {
        out.push(format!("`trueline gate run {}` judges its gates", state.version));
    }
    if state.approved < state.required {
        out.push(format!(
            "a reviewer who is not its author approves it with `trueline approve {}`",
            state.version
        ));
    }
    out
}

/// Where a version stands at a time.
pub(crate) fn read(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    key: &VersionKey,
    now: Millis,
) -> Result<ReleaseState, RegistryError> {
    let version = versions::get(tx, project, key)?;
    let declared = policies::get(tx, project, &key.model)?;
    let run = gate_runs::latest(tx, project, key)?;
    let decisions = approvals::all(tx, project, key)?;
    let mut state = ReleaseState {
        version: key.clone(),
        manifest_digest: version.manifest_digest.clone(),
        champion: None,
        last_run: run,
        gates: Vec::new(),
        approvals: Vec::new(),
        approved: 0,
        required: 0,
        releasable: true,
        missing: Vec::new(),
        advice: Vec::new(),
        policy: None,
    };
    let Some(declared) = declared else { return Ok(state) };
    let policy = &declared.policy;
    state.champion = models::alias_target(tx, project, &key.model, &policy.champion_alias)?;
    let manifest = version.manifest_digest.as_deref();
    let gate = |g: &Gate| stand(g, key.version, manifest, state.champion, state.last_run.as_ref());
    state.gates = policy.gates.iter().map(gate).collect();
    state.approvals = decisions.into_iter().map(|a| count(a, &version, &declared, now)).collect();
    let agreed = state.approvals.iter().filter(|a| a.counts && a.approval.decision == Decision::Approved);
    state.approved = u32::try_from(agreed.count()).unwrap_or(u32::MAX);
    state.required = policy.approvals.required;
    if manifest.is_none() {
        state
            .missing
            .push("its files lie where this server can't read them, so nothing is frozen".to_owned());
    }
    state.missing.extend(missing_gates(&state.gates));
    state.missing.extend(missing_approvals(&state.approvals, state.approved, state.required));
    state.advice = advice(&state);
    state.releasable = state.missing.is_empty();
    state.policy = Some(declared);
    Ok(state)
}

/// Refuses a version that is not released when `taker`, a kind and a name, is protected.
pub(crate) fn require(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    key: &VersionKey,
    (kind, name): (&str, &str),
    now: Millis,
) -> Result<(), RegistryError> {
    let protected = policies::get(tx, project, &key.model)?.is_some_and(|d| d.policy.protects(name));
    if !protected {
        return Ok(());
    }
    Ok(read(tx, project, key, now)?.require(format!("{kind} `{name}`"))?)
}

impl Registry {
    /// Where a version stands now: gates, decisions, and whether it may be released.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn release_state(
        &self,
        leave: &Authorized<ReadProject>,
        key: &VersionKey,
    ) -> Result<ReleaseState, RegistryError> {
        let (project, key, now) = (leave.project().clone(), key.clone(), self.ledger.sources().now());
        self.ledger.db().read(move |tx| read(tx, &project, &key, now)).await
    }

    /// The newest version of each model with a policy, for those that wait for approvals alone; of at most 50 models.
    ///
    /// # Errors
    /// What the database says.
    pub async fn awaiting_approval(
        &self,
        leave: &Authorized<ReadProject>,
    ) -> Result<Vec<(Version, ReleaseState)>, RegistryError> {
        let (project, now) = (leave.project().clone(), self.ledger.sources().now());
        self.ledger
            .db()
            .read(move |tx| {
                let models = tx.query(
                    "SELECT name FROM release_policies WHERE project = ?1 ORDER BY declared_at_ms DESC, name LIMIT ?2",
                    &[(&project).into(), MOST_MODELS.into()],
                )?;
                let mut out = Vec::new();
                for mut row in models {
                    let model: String = row.take(0)?;
                    let Some(newest) = versions::newest(tx, &project, &model)? else { continue };
                    let key = VersionKey::new(model, newest);
                    let state = read(tx, &project, &key, now)?;
                    if state.awaits_approval() {
                        out.push((versions::get(tx, &project, &key)?, state));
                    }
                }
                Ok(out)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::{ChampionFact, Judgement};
    use crate::policy::{GateRule, ReleasePolicy, SchemaMode};
    use serde_json::{from_value, json};

    fn schema_gate() -> Gate {
        Gate { name: "schema".into(), rule: GateRule::SchemaMatch { mode: SchemaMode::Compatible } }
    }

    /// A run of the gate above that passed against this champion.
    fn run(champion: Option<VersionNumber>) -> GateRun {
        let champion =
            champion.map(|version| ChampionFact { version, manifest_digest: Some("c".into()), value: None });
        let judgement = Judgement {
            outcome: Outcome::Passed,
            value: Some(0.0),
            bound: Some(0.0),
            unit: "columns".into(),
            champion,
            reason: "it matches".into(),
        };
        let gate = schema_gate();
        GateRun {
            run: 1,
            manifest_digest: "m".into(),
            policy_digest: "p".into(),
            evidence_digest: "e".into(),
            results: vec![GateResult { gate: gate.name.clone(), gate_digest: gate.digest(), judgement }],
            judged_by: "user:ann".into(),
            judged_at_ms: 1,
        }
    }

    #[test]
    fn a_result_counts_for_the_gate_the_files_and_the_champion_that_it_is_about() {
        let stands = |gate: &Gate, manifest, champion, run: Option<&GateRun>| {
            stand(gate, 2, manifest, champion, run).state
        };
        let gate = schema_gate();
        let against_1 = run(Some(1));
        assert_eq!(stands(&gate, Some("m"), Some(1), Some(&against_1)), GateState::Passed);
        assert_eq!(stands(&gate, Some("m"), Some(1), None), GateState::NotRun);
        assert_eq!(stands(&gate, Some("other"), Some(1), Some(&against_1)), GateState::Stale);
        assert_eq!(stands(&gate, None, Some(1), Some(&against_1)), GateState::Stale);
        assert_eq!(stands(&gate, Some("m"), Some(3), Some(&against_1)), GateState::Stale);
        assert_eq!(stands(&gate, Some("m"), Some(1), Some(&run(None))), GateState::Stale);
        let equal = Gate { rule: GateRule::SchemaMatch { mode: SchemaMode::Equal }, ..gate.clone() };
        assert_eq!(stands(&equal, Some("m"), Some(1), Some(&against_1)), GateState::Stale);
        let renamed = Gate { name: "other".into(), ..gate };
        assert_eq!(stands(&renamed, Some("m"), Some(1), Some(&against_1)), GateState::NotRun);
    }

    #[test]
    fn who_has_become_the_champion_stays_released() {
        assert_eq!(
            stand(&schema_gate(), 2, Some("m"), Some(2), Some(&run(Some(1)))).state,
            GateState::Passed
        );
    }

    fn version() -> Version {
        Version {
            id: "v1".into(),
            key: VersionKey::new("m", 2),
            description: String::new(),
            source: String::new(),
            run_id: None,
            run_link: None,
            model_id: None,
            stage: crate::Stage::None,
            created_by: "user:ann".into(),
            created_at_ms: 0,
            updated_at_ms: 0,
            manifest_digest: Some("m".into()),
            tags: Vec::new(),
            aliases: Vec::new(),
        }
    }

    fn declared() -> DeclaredPolicy {
        let policy: ReleasePolicy = from_value(json!({ "approvals": { "valid_days": 7 } })).unwrap();
        DeclaredPolicy { policy, digest: "p".into(), declared_by: "user:ada".into(), declared_at_ms: 0 }
    }

    fn approval() -> Approval {
        Approval {
            approver: "user:rita".into(),
            decision: Decision::Approved,
            comment: String::new(),
            manifest_digest: "m".into(),
            policy_digest: "p".into(),
            evidence_digest: None,
            decided_at_ms: 1000,
        }
    }

    #[test]
    fn an_approval_counts_for_what_it_is_bound_to_and_for_its_time() {
        let counts = |approval: Approval, now| count(approval, &version(), &declared(), now).counts;
        assert!(counts(approval(), 1000 + 7 * DAY_MS - 1));
        assert!(!counts(approval(), 1000 + 7 * DAY_MS), "it has run out");
        assert!(!counts(Approval { manifest_digest: "x".into(), ..approval() }, 1000), "other files");
        assert!(!counts(Approval { policy_digest: "x".into(), ..approval() }, 1000), "another policy");
        assert!(!counts(Approval { approver: "user:ann".into(), ..approval() }, 1000), "the author");
    }

    #[test]
    fn what_is_missing_is_told_by_name_and_number() {
        let lapsed = count(approval(), &version(), &declared(), 1000 + 8 * DAY_MS);
        let rejected = Approval {
            approver: "user:sam".into(),
            decision: Decision::Rejected,
            comment: "wrong data".into(),
            ..approval()
        };
        let rejected = count(rejected, &version(), &declared(), 1000);
        assert_eq!(
            missing_approvals(&[lapsed, rejected], 0, 1),
            [
                "sam rejected it (wrong data)",
                "it has 0 of 1 approvals (that of rita does not count: it held for 7 days)"
            ]
        );
    }
}
