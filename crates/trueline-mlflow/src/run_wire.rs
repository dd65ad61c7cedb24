//! A run in MLflow's JSON, written straight from the domain's value: searches answer with a thousand of them.

use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};
use serde_json::value::to_raw_value;
use std::sync::Arc;
use trueline_tracking::{DatasetInput, KeyValue, KnownRun, MetricPoint, Run, RunData};

/// A number, with text for what JSON has none for.
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            v if v.is_nan() => to.serialize_str("NaN"),
            v if v.is_infinite() => to.serialize_str(if v > 0.0 { "Infinity" } else { "-Infinity" }),
            v => to.serialize_f64(v),
        }
    }
}

/// Each of a list in its form.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, F: Fn(&'a T) -> W, W: Serialize> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            list.serialize_element(&(self.1)(item))?;
        }
        list.end()
    }
}

/// An object whose empty lists and unset fields are left out.
struct Object<M>(M);

impl<M: SerializeMap> Object<M> {
    fn field(
        &mut self,
        name: &'static str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<&mut Self, M::Error> {
        self.0.serialize_entry(name, value)?;
        Ok(self)
    }

    fn unless_unset(
        &mut self,
        name: &'static str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<&mut Self, M::Error> {
        match value {
            Some(value) => self.field(name, value),
            None => Ok(self),
        }
    }

    fn list<'a, T, W: Serialize>(
        &mut self,
        name: &'static str,
        items: &'a [T],
        form: impl Fn(&'a T) -> W,
    ) -> Result<&mut Self, M::Error> {
        match items {
            [] => Ok(self),
            items => self.field(name, &Each(items, form)),
        }
    }
}

/// A key with its value.
pub(crate) struct Pair<'a>(pub(crate) &'a KeyValue);

impl Serialize for Pair<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_struct("pair", 2)?;
        out.serialize_field("key", &self.0.key)?;
        out.serialize_field("value", &self.0.value)?;
        out.end()
    }
}

/// A point under its metric's name.
pub(crate) struct Metric<'a>(pub(crate) &'a str, pub(crate) &'a MetricPoint);

impl Serialize for Metric<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(key, point) = self;
        let mut out = to.serialize_struct("metric", 4)?;
        out.serialize_field("key", key)?;
        out.serialize_field("value", &Number(point.value))?;
        out.serialize_field("timestamp", &point.at_ms)?;
        out.serialize_field("step", &point.step)?;
        out.end()
    }
}

/// What MLflow calls `RunInfo`.
pub(crate) struct InfoWire<'a>(pub(crate) &'a Run);

impl Serialize for InfoWire<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let run = self.0;
        let mut out = Object(to.serialize_map(None)?);
        out.field("artifact_uri", &run.artifact_uri)?;
        out.unless_unset("end_time", run.end_time.as_ref())?;
        out.field("experiment_id", &format_args!("{}", run.experiment))?;
        out.field("lifecycle_stage", run.lifecycle.as_str())?;
        out.field("run_id", run.id.as_str())?;
        out.field("run_name", &run.name)?;
        out.field("run_uuid", run.id.as_str())?;
        out.unless_unset("start_time", run.start_time.as_ref())?;
        out.field("status", run.status.as_str())?;
        out.field("user_id", &run.claimed_user)?;
        out.0.end()
    }
}

struct Data<'a>(&'a RunData);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = Object(to.serialize_map(None)?);
        out.list("metrics", &self.0.metrics, |m| Metric(&m.key, &m.point))?;
        out.list("params", &self.0.params, Pair)?;
        out.list("tags", &self.0.tags, Pair)?;
        out.0.end()
    }
}

struct Input<'a>(&'a DatasetInput);

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = Object(to.serialize_map(None)?);
        out.list("tags", &self.0.tags, Pair)?;
        out.field("dataset", &Dataset(self.0))?;
        out.0.end()
    }
}

struct Dataset<'a>(&'a DatasetInput);

impl Serialize for Dataset<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let of = &self.0.dataset;
        let mut out = Object(to.serialize_map(None)?);
        out.field("digest", &of.digest)?;
        out.field("name", &of.name)?;
        out.unless_unset("profile", of.profile.as_ref())?;
        out.unless_unset("schema", of.schema.as_ref())?;
        out.field("source", &of.source)?;
        out.field("source_type", &of.source_type)?;
        out.0.end()
    }
}

/// A logged model that a run read or made.
struct Model<'a>(&'a str, Option<i64>);

impl Serialize for Model<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = Object(to.serialize_map(None)?);
        out.field("model_id", self.0)?;
        out.unless_unset("step", self.1.as_ref())?;
        out.0.end()
    }
}

struct Inputs<'a>(&'a RunData, &'a [String]);

impl Serialize for Inputs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = Object(to.serialize_map(None)?);
        out.list("dataset_inputs", &self.0.dataset_inputs, Input)?;
        out.list("model_inputs", self.1, |model| Model(model, None))?;
        out.0.end()
    }
}

struct Outputs<'a>(&'a RunData);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = Object(to.serialize_map(None)?);
        out.list("model_outputs", &self.0.model_outputs, |(model, step)| Model(model, Some(*step)))?;
        out.0.end()
    }
}

/// What MLflow calls `Run`.
pub(crate) struct RunWire<'a>(pub(crate) &'a RunData);

impl Serialize for RunWire<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        write(self.0, &self.0.model_inputs, to)
    }
}

fn write<S: Serializer>(run: &RunData, model_inputs: &[String], to: S) -> Result<S::Ok, S::Error> {
    let mut out = to.serialize_struct("run", 4)?;
    out.serialize_field("data", &Data(run))?;
    out.serialize_field("info", &InfoWire(&run.run))?;
    out.serialize_field("inputs", &Inputs(run, model_inputs))?;
    out.serialize_field("outputs", &Outputs(run))?;
    out.end()
}

/// A run that was found. As MLflow has it, a search does not tell what models a run read.
struct FoundWire<'a>(&'a RunData);

impl Serialize for FoundWire<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        write(self.0, &[], to)
    }
}

/// The same, made once for all searches that find the run as it is.
struct KnownWire<'a>(&'a KnownRun);

impl Serialize for KnownWire<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.form(|run| to_raw_value(&FoundWire(run))).map_err(Error::custom)?.serialize(to)
    }
}

/// A page of runs.
pub(crate) struct RunsWire {
    pub(crate) runs: Vec<Arc<KnownRun>>,
    pub(crate) next_page_token: Option<String>,
}

impl Serialize for RunsWire {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = Object(to.serialize_map(None)?);
        out.unless_unset("next_page_token", self.next_page_token.as_ref())?;
        out.list("runs", &self.runs, |run| KnownWire(run))?;
        out.0.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_tracking::{ExperimentId, Lifecycle, LoggedDataset, LoggedMetric, RunId, RunStatus};

    fn run() -> RunData {
        let metric = |key: &str, value: f64| LoggedMetric {
            key: key.to_owned(),
            point: MetricPoint { step: 2, at_ms: 3, value },
        };
        let dataset = LoggedDataset {
            name: "d".to_owned(),
            digest: "1".to_owned(),
            source_type: "local".to_owned(),
            source: "s".to_owned(),
            schema: None,
            profile: Some("p".to_owned()),
        };
        RunData {
            run: Run {
                id: RunId::new("r"),
                experiment: ExperimentId(7),
                name: "n".to_owned(),
                claimed_user: String::new(),
                created_by: "me".to_owned(),
                status: RunStatus::Running,
                start_time: Some(1),
                end_time: None,
                artifact_uri: "u".to_owned(),
                lifecycle: Lifecycle::Active,
            },
            metrics: vec![metric("a", 0.5), metric("b", f64::NAN), metric("c", 1.0)],
            params: vec![KeyValue::new("p", "v")],
            tags: Vec::new(),
            dataset_inputs: vec![DatasetInput { dataset, tags: vec![KeyValue::new("t", "x")] }],
            model_inputs: vec!["m-1".to_owned()],
            model_outputs: vec![("m-2".to_owned(), 4)],
        }
    }

    #[test]
    fn a_run_has_mlflows_form() {
        assert_eq!(
            serde_json::to_value(RunWire(&run())).unwrap(),
            json!({
                "info": {
                    "run_id": "r", "run_uuid": "r", "run_name": "n", "experiment_id": "7", "user_id": "",
                    "status": "RUNNING", "start_time": 1, "artifact_uri": "u", "lifecycle_stage": "active",
                },
                "data": {
                    "metrics": [
                        { "key": "a", "value": 0.5, "timestamp": 3, "step": 2 },
                        { "key": "b", "value": "NaN", "timestamp": 3, "step": 2 },
                        { "key": "c", "value": 1.0, "timestamp": 3, "step": 2 },
                    ],
                    "params": [{ "key": "p", "value": "v" }],
                },
                "inputs": {
                    "dataset_inputs": [{
                        "tags": [{ "key": "t", "value": "x" }],
                        "dataset": { "name": "d", "digest": "1", "source_type": "local", "source": "s", "profile": "p" },
                    }],
                    "model_inputs": [{ "model_id": "m-1" }],
                },
                "outputs": { "model_outputs": [{ "model_id": "m-2", "step": 4 }] },
            })
        );
    }

    #[test]
    fn an_empty_page_is_an_empty_object() {
        let page = RunsWire { runs: Vec::new(), next_page_token: None };
        assert_eq!(serde_json::to_value(page).unwrap(), json!({}));
    }
}
