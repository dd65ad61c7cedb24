//! Scorers: records of what judges traces, as clients have serialised it, version by version, and how many traces each is to
//! judge. The server never runs one.

use crate::{TraceError, Traces};
use serde_json::{Value as Json, json};
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};
use trueline_search::mlflow::{Kind, parse_filter};

const COLUMNS: &str = "s.id, s.experiment, s.name, v.version, v.body, v.created_at_ms FROM scorers s \
     JOIN scorer_versions v ON v.project = s.project AND v.scorer = s.id";
const LATEST: &str = "v.version = (SELECT MAX(w.version) FROM scorer_versions w WHERE w.project = s.project \
     AND w.scorer = s.id)";

/// How deep a serialised scorer may nest scorers.
const DEPTH: usize = 100;

const CUSTOM: &str = "Custom scorer registration (using @scorer decorator) is disabled by default outside of Databricks \
     tracking environments due to security concerns. Custom scorers require arbitrary code execution during \
     deserialization. Keep the scorer's code in your repository and call it from there, or register a built-in scorer or \
     a judge made of instructions.";

/// One version of a scorer.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerVersion {
    /// The scorer's id.
    pub id: String,
    /// Its experiment.
    pub experiment: i64,
    /// Its name, unique within the experiment.
    pub name: String,
    /// 1, 2, 3, …
    pub version: i64,
    /// What the client has serialised, as JSON.
    pub body: String,
    /// When it was registered.
    pub created_at_ms: Millis,
}

/// How many traces a scorer is to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Its id.
    pub id: String,
    /// The scorer.
    pub scorer: String,
    /// The scorer's experiment.
    pub experiment: i64,
    /// From 0 to 1.
    pub sample_rate: f64,
    /// Only traces that meet this.
    pub filter: Option<String>,
}

fn read(row: &mut Row) -> Result<ScorerVersion, TraceError> {
    Ok(ScorerVersion {
        id: row.take(0)?,
        experiment: row.take(1)?,
        name: row.take(2)?,
        version: row.take(3)?,
        body: row.take(4)?,
        created_at_ms: row.take(5)?,
    })
}

fn no_scorer(experiment: i64, name: &str, version: Option<i64>) -> TraceError {
    let version = version.map(|version| format!(" and version {version}")).unwrap_or_default();
    TraceError::NotFound(format!("Scorer with name '{name}'{version} not found for experiment {experiment}."))
}

fn id_of(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    experiment: i64,
    name: &str,
) -> Result<Option<String>, TraceError> {
    let sql = "SELECT id FROM scorers WHERE project = ?1 AND experiment = ?2 AND name = ?3";
    Ok(tx.scalar(sql, &[project.into(), experiment.into(), name.into()])?)
}

pub(crate) fn versions(
    tx: &mut Tx<'_>,
    condition: &str,
    params: &[Value],
) -> Result<Vec<ScorerVersion>, TraceError> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE s.project = ?1 AND {condition} ORDER BY s.experiment, s.name, v.version"
    );
    tx.query(&sql, params)?.iter_mut().map(read).collect()
}

fn of_name(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    experiment: i64,
    name: &str,
) -> Result<Vec<ScorerVersion>, TraceError> {
    let params = [project.into(), experiment.into(), name.into()];
    let found = versions(tx, "s.experiment = ?2 AND s.name = ?3", &params)?;
    if found.is_empty() { Err(no_scorer(experiment, name, None)) } else { Ok(found) }
}

/// How many traces a scorer is to judge, where it was said.
pub(crate) fn sampling(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    scorer: &str,
) -> Result<Option<Sampling>, TraceError> {
    let row = tx.query_opt(
        "SELECT p.id, p.scorer, s.experiment, p.sample_rate, p.filter FROM scorer_sampling p
         JOIN scorers s ON s.project = p.project AND s.id = p.scorer
         WHERE p.project = ?1 AND p.scorer = ?2",
        &[project.into(), scorer.into()],
    )?;
    let Some(mut row) = row else { return Ok(None) };
    Ok(Some(Sampling {
        id: row.take(0)?,
        scorer: row.take(1)?,
        experiment: row.take(2)?,
        sample_rate: row.take(3)?,
        filter: row.take(4)?,
    }))
}

/// The id of a scorer of this experiment and name; without one, the scorer is made, under its own id if that is free.
pub(crate) fn place(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    of: &ScorerVersion,
) -> Result<String, TraceError> {
    if let Some(known) = id_of(tx, project, of.experiment, &of.name)? {
        return Ok(known);
    }
    let taken: Option<String> = tx.scalar(
        "SELECT id FROM scorers WHERE project = ?1 AND id = ?2",
        &[project.into(), (&of.id).into()],
    )?;
    let id = if taken.is_some() { tx.derived_id("scorer") } else { of.id.clone() };
    tx.execute(
        "INSERT INTO scorers (project, id, experiment, name) VALUES (?1, ?2, ?3, ?4)",
        &[project.into(), (&id).into(), of.experiment.into(), (&of.name).into()],
    )?;
    Ok(id)
}

/// Writes a version as it is, unless there is one of its number; answers how many that were.
pub(crate) fn insert_version(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    scorer: &str,
    of: &ScorerVersion,
) -> Result<u64, TraceError> {
    let made = tx.execute(
        "INSERT INTO scorer_versions (project, scorer, version, body, created_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
        &[project.into(), scorer.into(), of.version.into(), (&of.body).into(), of.created_at_ms.into()],
    )?;
    Ok(made)
}

/// Writes how many traces a scorer is to judge, unless that was said.
pub(crate) fn insert_sampling(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    scorer: &str,
    of: &Sampling,
) -> Result<(), TraceError> {
    tx.execute(
        "INSERT INTO scorer_sampling (project, scorer, id, sample_rate, filter) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
        &[project.into(), scorer.into(), (&of.id).into(), of.sample_rate.into(), of.filter.as_ref().into()],
    )?;
    Ok(())
}

/// Whether the source of a function is in it, that a server would run.
fn holds_code(value: &Json, depth: usize) -> bool {
    match value {
        _ if depth > DEPTH => true,
        Json::Object(members) => members
            .iter()
            .any(|(key, value)| key == "call_source" && !value.is_null() || holds_code(value, depth + 1)),
        Json::Array(items) => items.iter().any(|item| holds_code(item, depth + 1)),
        _ => false,
    }
}

/// The model that a judge asks, where the client has put it.
fn model(body: &Json) -> Option<&Json> {
    if let Some(judge) = body.get("memory_augmented_judge_data").and_then(|data| data.get("base_judge")) {
        return model(judge);
    }
    let places =
        ["instructions_judge_pydantic_data", "builtin_scorer_pydantic_data", "third_party_scorer_data"];
    places.iter().find_map(|place| body.get(place)?.get("model").filter(|model| !model.is_null()))
}

fn is_gateway(model: &Json) -> bool {
    model.as_str().is_some_and(|model| model.starts_with("gateway:/"))
}

/// Whether a scorer could be registered here.
pub(crate) fn check(name: &str, body: &str) -> Result<(), TraceError> {
    if name.trim().is_empty() {
        return TraceError::invalid("Scorer name cannot be empty or contain only whitespace.");
    }
    crate::rules::id("name", name)?;
    let Ok(parsed) = serde_json::from_str::<Json>(body) else {
        return TraceError::invalid("serialized_scorer must be valid JSON");
    };
    if holds_code(&parsed, 0) {
        return TraceError::invalid(CUSTOM);
    }
    match model(&parsed) {
        Some(Json::String(model)) if model.trim().is_empty() => {
            TraceError::invalid("Scorer model cannot be empty or contain only whitespace.")
        }
        Some(model) if is_gateway(model) => Err(TraceError::NotFound(format!(
            "GatewayEndpoint not found ({}): this server has no gateway. Name the provider's model instead.",
            model.as_str().unwrap_or_default()
        ))),
        Some(Json::String(_)) | None => Ok(()),
        Some(other) => TraceError::invalid(format!("Scorer model must be a string, got {other}.")),
    }
}

impl Traces {
    /// Registers the next version of a scorer. Whether there is such an experiment is for the caller to know.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for one that holds code to be run by a server or is no JSON, [`TraceError::NotFound`] for
    /// one that asks a gateway.
    pub async fn register_scorer(
        &self,
        leave: &Authorized<WriteTracking>,
        experiment: i64,
        name: String,
        body: String,
    ) -> Result<ScorerVersion, TraceError> {
        check(&name, &body)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let id = match id_of(tx, &project, experiment, &name)? {
                    Some(id) => id,
                    None => {
                        let id = tx.derived_id("scorer");
                        tx.execute(
                            "INSERT INTO scorers (project, id, experiment, name) VALUES (?1, ?2, ?3, ?4)",
                            &[(&project).into(), (&id).into(), experiment.into(), (&name).into()],
                        )?;
                        id
                    }
                };
                let sql = "SELECT MAX(version) FROM scorer_versions WHERE project = ?1 AND scorer = ?2";
                let last: Option<Option<i64>> = tx.scalar(sql, &[(&project).into(), (&id).into()])?;
                let (version, now) = (last.flatten().unwrap_or(0) + 1, tx.now());
                tx.execute(
                    "INSERT INTO scorer_versions (project, scorer, version, body, created_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    &[(&project).into(), (&id).into(), version.into(), (&body).into(), now.into()],
                )?;
                let event = NewEvent::new(&project, "scorer.registered", "scorer", id.clone());
                tx.emit(event.with(json!({
                    "experiment": experiment.to_string(), "name": name, "version": version, "body": body,
                })))?;
                Ok(ScorerVersion {
                    id,
                    experiment,
                    name: name.clone(),
                    version,
                    body: body.clone(),
                    created_at_ms: now,
                })
            })
            .await
    }

    /// The newest version of each scorer of these experiments.
    ///
    /// # Errors
    /// What the database says.
    pub async fn scorers(
        &self,
        leave: &Authorized<ReadProject>,
        experiments: Vec<i64>,
    ) -> Result<Vec<ScorerVersion>, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut found = Vec::new();
                for chunk in experiments.chunks(crate::rows::CHUNK) {
                    let mut params: Vec<Value> = vec![(&project).into()];
                    params.extend(chunk.iter().map(|id| Value::from(*id)));
                    let list = crate::rows::placeholders(2, chunk.len());
                    found.extend(versions(tx, &format!("s.experiment IN ({list}) AND {LATEST}"), &params)?);
                }
                Ok(found)
            })
            .await
    }

    /// All versions of a scorer.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn scorer_versions(
        &self,
        leave: &Authorized<ReadProject>,
        experiment: i64,
        name: String,
    ) -> Result<Vec<ScorerVersion>, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| of_name(tx, &project, experiment, &name)).await
    }

    /// One version of a scorer; the newest if none is named.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn scorer(
        &self,
        leave: &Authorized<ReadProject>,
        experiment: i64,
        name: String,
        version: Option<i64>,
    ) -> Result<ScorerVersion, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut found = of_name(tx, &project, experiment, &name)?;
                found.retain(|scorer| version.is_none_or(|version| scorer.version == version));
                found.pop().ok_or_else(|| no_scorer(experiment, &name, version))
            })
            .await
    }

    /// Deletes one version of a scorer, or all of it.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn delete_scorer(
        &self,
        leave: &Authorized<WriteTracking>,
        experiment: i64,
        name: String,
        version: Option<i64>,
    ) -> Result<(), TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let missing = || no_scorer(experiment, &name, version);
                let id = id_of(tx, &project, experiment, &name)?
                    .ok_or_else(|| no_scorer(experiment, &name, None))?;
                let key = [(&project).into(), (&id).into()];
                let deleted = match version {
                    Some(version) => tx.execute(
                        "DELETE FROM scorer_versions WHERE project = ?1 AND scorer = ?2 AND version = ?3",
                        &[(&project).into(), (&id).into(), version.into()],
                    )?,
                    None => {
                        let sql = "DELETE FROM scorer_versions WHERE project = ?1 AND scorer = ?2";
                        let deleted = tx.execute(sql, &key)?;
                        tx.execute("DELETE FROM scorer_sampling WHERE project = ?1 AND scorer = ?2", &key)?;
                        tx.execute("DELETE FROM scorers WHERE project = ?1 AND id = ?2", &key)?;
                        deleted
                    }
                };
                if deleted == 0 {
                    return Err(missing());
                }
                let event = NewEvent::new(&project, "scorer.deleted", "scorer", id);
                tx.emit(event.with(json!({ "name": name, "version": version })))?;
                Ok(())
            })
            .await
    }

    /// How many traces scorers are to judge, where it was said.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sampling(
        &self,
        leave: &Authorized<ReadProject>,
        scorers: Vec<String>,
    ) -> Result<Vec<Sampling>, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut found = Vec::new();
                for scorer in &scorers {
                    found.extend(sampling(tx, &project, scorer)?);
                }
                Ok(found)
            })
            .await
    }

    /// Says how many traces a scorer is to judge. Only a scorer whose model stands behind a gateway can judge by itself, as
    /// MLflow has it, so that without one the rate can only be 0.
    ///
    /// # Errors
    /// [`TraceError::NotFound`], [`TraceError::Invalid`].
    pub async fn sample(
        &self,
        leave: &Authorized<WriteTracking>,
        experiment: i64,
        name: String,
        sample_rate: f64,
        filter: Option<String>,
    ) -> Result<Sampling, TraceError> {
        if !(0.0..=1.0).contains(&sample_rate) {
            return TraceError::invalid(format!(
                "sample_rate must be between 0.0 and 1.0, got {sample_rate}"
            ));
        }
        if let Some(filter) = &filter {
            parse_filter(Kind::Traces, filter)?;
        }
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let versions = of_name(tx, &project, experiment, &name)?;
                let latest = versions.last().ok_or_else(|| no_scorer(experiment, &name, None))?;
                let body: Json = serde_json::from_str(&latest.body).unwrap_or_default();
                if sample_rate > 0.0 && !model(&body).is_some_and(is_gateway) {
                    return TraceError::invalid(format!(
                        "Scorer '{name}' does not use a gateway model. Automatic evaluation is only supported for scorers \
                         that use gateway models."
                    ));
                }
                let (scorer, id) = (latest.id.clone(), tx.derived_id("sampling"));
                tx.execute(
                    "INSERT INTO scorer_sampling (project, scorer, id, sample_rate, filter) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (project, scorer) DO UPDATE SET id = excluded.id, sample_rate = excluded.sample_rate,
                         filter = excluded.filter",
                    &[
                        (&project).into(),
                        (&scorer).into(),
                        (&id).into(),
                        sample_rate.into(),
                        filter.as_ref().into(),
                    ],
                )?;
                let event = NewEvent::new(&project, "scorer.sampled", "scorer", scorer.clone());
                tx.emit(event.with(json!({ "sample_rate": sample_rate, "filter": filter })))?;
                Ok(Sampling { id, scorer, experiment, sample_rate, filter: filter.clone() })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: Json) -> String {
        check("s", &body.to_string()).map_or_else(|e| e.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn a_scorer_that_holds_code_is_refused_however_deep() {
        assert_eq!(told(json!({"name": "s"})), "fine");
        assert!(told(json!({"call_source": "print(1)"})).starts_with("Custom scorer registration"));
        let nested = json!({"ensemble_scorer_data": {"scorers": [{"call_source": "x"}]}});
        assert!(told(nested).starts_with("Custom scorer registration"));
        assert_eq!(told(json!({"call_source": null})), "fine");
    }

    #[test]
    fn the_model_of_a_judge_is_looked_at() {
        let judge = |model: Json| json!({"instructions_judge_pydantic_data": {"model": model}});
        assert_eq!(told(judge(json!("openai:/gpt-4o"))), "fine");
        assert!(told(judge(json!("gateway:/e"))).contains("this server has no gateway"));
        assert!(told(judge(json!(" "))).contains("cannot be empty"));
        assert!(told(judge(json!(1))).contains("must be a string"));
        assert!(check(" ", "{}").is_err());
    }
}
