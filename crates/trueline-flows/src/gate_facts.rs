//! What gates are judged by: metrics and inputs from the run that made a version, its signature from the frozen
//! `MLmodel` file, and how long the frozen model takes to answer its own input example. What of it means "passed", the
//! registry decides.

use crate::deploy::frozen;
use crate::release::{ReleaseError, Releases};
use crate::run_datasets::{CONTEXT, tag};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use trueline_identity::{Authorized, ReadProject};
use trueline_registry::{
    Column, DatasetFact, Facts, Gate, GateRule, Known, Manifest, Registry, RegistryError, ReleasePolicy,
    RunFacts, Signature, Subject, Version, VersionKey,
};
use trueline_serving::{Frame, LoadedModel, MlModel, RawSignature};
use trueline_tracking::{RunData, RunId, Tracking, TrackingError};

/// The largest `MLmodel` file that is read, in bytes.
const LARGEST_MLMODEL: u64 = 1 << 20;
/// The longest that one gate measures: the caller waits for it.
const LONGEST_MEASUREMENT: Duration = Duration::from_secs(10);
/// The longest that one waits for another's measurement to end.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Measurements at the same time would slow each other down.
static MEASURING: Semaphore = Semaphore::const_new(1);

/// Gathers all that the gates of a policy need to know of a version.
pub(crate) async fn gather(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
    policy: &ReleasePolicy,
) -> Result<Facts, ReleaseError> {
    let compares = policy.gates.iter().any(Gate::compares);
    let champion = match champion(releases, read, &version.key.model, policy).await? {
        Some(champion) if compares => Some(subject(releases, read, &champion).await?),
        _ => None,
    };
    Ok(Facts {
        candidate: subject(releases, read, version).await?,
        champion,
        latencies: latencies(releases, read, version, &policy.gates).await?,
    })
}

async fn champion(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    model: &str,
    policy: &ReleasePolicy,
) -> Result<Option<Version>, ReleaseError> {
    let aliases = releases.registry.model(read, model).await?.aliases;
    let Some(alias) = aliases.into_iter().find(|a| a.alias == policy.champion_alias) else { return Ok(None) };
    Ok(Some(releases.registry.version(read, &VersionKey::new(model, alias.version)).await?))
}

async fn subject(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<Subject, ReleaseError> {
    Ok(Subject {
        version: version.key.version,
        manifest_digest: version.manifest_digest.clone(),
        run: run_facts(releases, read, version).await?,
        signature: signature(&releases.registry, &releases.tracking, read, version).await?,
    })
}

async fn run_facts(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<Known<RunFacts>, ReleaseError> {
    let number = version.key.version;
    let Some(id) = &version.run_id else {
        return Ok(Err(format!("version {number} names no run, so it has no metrics")));
    };
    match releases.tracking.run(read, &RunId::new(id)).await {
        Ok(run) => Ok(Ok(facts_of(&run))),
        Err(TrackingError::NotFound(_)) => Ok(Err(format!(
            "run {id} of version {number} is not on this server, so its metrics are not known"
        ))),
        Err(other) => Err(other.into()),
    }
}

fn facts_of(run: &RunData) -> RunFacts {
    let dataset = |input: &trueline_tracking::DatasetInput| DatasetFact {
        name: input.dataset.name.clone(),
        digest: input.dataset.digest.clone(),
        context: tag(input, CONTEXT).map(str::to_owned),
    };
    RunFacts {
        run: run.run.id.to_string(),
        metrics: run.metrics.iter().map(|m| (m.key.clone(), m.point.value)).collect(),
        datasets: run.dataset_inputs.iter().map(dataset).collect(),
    }
}

async fn manifest(
    registry: &Registry,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<Known<Manifest>, RegistryError> {
    let manifest = registry.manifest(read, &version.key).await?;
    Ok(manifest.ok_or_else(|| format!("version {} has no frozen files", version.key.version)))
}

/// What a version takes and gives, by its frozen `MLmodel` file.
pub(crate) async fn signature(
    registry: &Registry,
    tracking: &Tracking,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<Known<Signature>, ReleaseError> {
    let number = version.key.version;
    let manifest = match manifest(registry, read, version).await? {
        Ok(manifest) => manifest,
        Err(why) => return Ok(Err(why)),
    };
    let Some(file) = manifest.file("MLmodel") else {
        return Ok(Err(format!("version {number} has no MLmodel file, so its signature is not known")));
    };
    let bytes = tracking.blob(read, &file.sha256, LARGEST_MLMODEL).await?;
    let about = |why: String| format!("of version {number}: {why}");
    Ok(MlModel::parse(&bytes).map_err(about).and_then(|mlmodel| {
        let raw = mlmodel.signature.ok_or_else(|| {
            format!(
                "version {number} was logged without a signature: log it with `input_example` or `signature`"
            )
        })?;
        columns_of(&raw).map_err(about)
    }))
}

fn columns_of(raw: &RawSignature) -> Known<Signature> {
    let part = |name: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str::<Option<Vec<Json>>>(text)
            .map(|list| list.unwrap_or_default().iter().map(column).collect())
            .map_err(|e| format!("the {name} of its signature can't be read: {e}")),
    };
    Ok(Signature {
        inputs: part("inputs", &raw.inputs)?,
        outputs: part("outputs", &raw.outputs)?,
        params: part("params", &raw.params)?,
    })
}

/// One column of MLflow's signature: `{"type": "double", "name": "hour", "required": true}`, or a tensor.
fn column(spec: &Json) -> Column {
    let word = spec["type"].as_str().unwrap_or_default();
    let kind = match word {
        "tensor" => {
            let tensor = &spec["tensor-spec"];
            format!("tensor({}, {})", tensor["dtype"].as_str().unwrap_or_default(), tensor["shape"])
        }
        // What they hold is part of the type.
        "array" | "map" => format!("{word}({})", spec[if word == "array" { "items" } else { "values" }]),
        "object" => format!("object({})", spec["properties"]),
        plain => plain.to_owned(),
    };
    let name = spec["name"].as_str().unwrap_or_default().to_owned();
    Column { name, kind, optional: spec["required"] == false }
}

/// By the name of each latency gate, how long every request took.
async fn latencies(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
    gates: &[Gate],
) -> Result<BTreeMap<String, Known<Vec<f64>>>, ReleaseError> {
    let asked = gates.iter().filter_map(|gate| match gate.rule {
        GateRule::Latency { requests, .. } => Some((gate.name.clone(), requests)),
        _ => None,
    });
    let asked: Vec<(String, u32)> = asked.collect();
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    let model = match load(releases, read, version).await? {
        Ok(model) => Arc::new(model),
        Err(why) => return Ok(asked.into_iter().map(|(gate, _)| (gate, Err(why.clone()))).collect()),
    };
    let mut out = BTreeMap::new();
    for (gate, requests) in asked {
        out.insert(gate, measured(Arc::clone(&model), requests).await);
    }
    Ok(out)
}

/// The frozen model as an endpoint would load it.
async fn load(
    releases: &Releases,
    read: &Authorized<ReadProject>,
    version: &Version,
) -> Result<Known<LoadedModel>, ReleaseError> {
    let manifest = match manifest(&releases.registry, read, version).await? {
        Ok(manifest) => manifest,
        Err(why) => return Ok(Err(why)),
    };
    let spec = frozen(version, &manifest);
    Ok(releases.loader.load(read.project(), spec).await.map_err(|e| e.to_string()))
}

/// Measures on a thread of its own, so that the requests of others neither wait nor are counted in.
async fn measured(model: Arc<LoadedModel>, requests: u32) -> Known<Vec<f64>> {
    let turn = tokio::time::timeout(LONGEST_WAIT, MEASURING.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err("another version is being measured on this server: run the gates again when it is done"
            .to_owned());
    };
    let measuring = tokio::task::spawn_blocking(move || {
        let Some(example) = model.example() else {
            return Err(
                "it has no input example of columns to be asked with: log the model with `input_example`"
                    .to_owned(),
            );
        };
        measure(&model, example, requests)
    });
    measuring.await.map_err(|e| format!("the measurement broke off: {e}"))?
}

/// How long each of `requests` predictions of `example` takes, in milliseconds.
fn measure(model: &LoadedModel, example: &Frame, requests: u32) -> Known<Vec<f64>> {
    let handle = tokio::runtime::Handle::current();
    let began = Instant::now();
    let mut samples = Vec::new();
    for _ in 0..requests {
        if began.elapsed() > LONGEST_MEASUREMENT {
            return Err(format!(
                "after {} s only {} of {requests} requests were answered: declare fewer `requests`",
                LONGEST_MEASUREMENT.as_secs(),
                samples.len()
            ));
        }
        let asked = Instant::now();
        handle.block_on(model.predict(example)).map_err(|e| e.to_string())?;
        samples.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_mlflow_is_read_column_by_column() {
        let raw = RawSignature {
            inputs: Some(
                r#"[{"type": "double", "name": "hour", "required": true},
                    {"type": "array", "items": {"type": "long"}, "name": "ids", "required": false}]"#
                    .to_owned(),
            ),
            outputs: Some(
                r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}]"#.to_owned(),
            ),
            params: Some("null".to_owned()),
        };
        let read = columns_of(&raw).unwrap();
        let named = |c: &Column| (c.name.clone(), c.kind.clone(), c.optional);
        assert_eq!(
            read.inputs.iter().map(named).collect::<Vec<_>>(),
            [
                ("hour".to_owned(), "double".to_owned(), false),
                ("ids".to_owned(), r#"array({"type":"long"})"#.to_owned(), true)
            ]
        );
        assert_eq!(read.outputs[0].kind, "tensor(float32, [-1])");
        assert!(read.params.is_empty());
        let broken = RawSignature { inputs: Some("[{".to_owned()), ..RawSignature::default() };
        assert!(columns_of(&broken).unwrap_err().contains("the inputs of its signature"));
    }
}
