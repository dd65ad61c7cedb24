//! What a request needs: which resource it names, and what it wants to do there. A request that is not listed is left to
//! admins, and to those who have a role in the project.

use crate::error::WireError;
use crate::fields::Fields;
use axum::http::Method;
use trueline_identity::ResourceKind;

/// What is to be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Update,
    Delete,
    Manage,
}

/// A resource, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Experiment(String),
    ExperimentByName(String),
    Run(String),
    LoggedModel(String),
    /// A registered model, or a prompt.
    Model(String),
    /// Versions of one.
    Versions(String),
    Scorer(String),
    Trace(String),
    /// An evaluation dataset, which belongs to experiments.
    Dataset(String),
    /// An issue, which belongs to an experiment.
    Issue(String),
    /// What is sampled for scorers, by ids of its own.
    Sampling(Vec<String>),
    /// A kind that this server has no resources of, but grants.
    Other(ResourceKind, String),
    /// Artifacts that belong to no experiment.
    Nothing,
}

/// What a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// To be somebody; the rest is the handler's to check.
    Nothing,
    /// A role in the project: no permission on a resource is enough.
    Role,
    /// To make something new.
    Create,
    /// One deed on each of these.
    On(Vec<Named>, Deed),
    /// A search of a kind, which finds what may be read.
    Search(ResourceKind, &'static [ResourceKind]),
    /// A search within experiments that the request lists, of which those stay that may be read.
    SearchIn(ResourceKind, &'static str),
}

use Deed::{Delete, Manage, Read, Update};
use Named::{
    Dataset, Experiment, ExperimentByName, Issue, LoggedModel, Model, Run, Sampling, Scorer, Trace, Versions,
};

/// A request as far as its needs show.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// The path below `/api` or `/ajax-api`, or the whole path beside them.
    pub(super) path: &'a str,
    pub(super) fields: &'a Fields,
    /// The header by which spans name their experiment.
    pub(super) experiment: Option<&'a str>,
}

fn on(named: Named, deed: Deed) -> Need {
    Need::On(vec![named], deed)
}

impl Asked<'_> {
    fn text(&self, name: &str) -> Result<String, WireError> {
        self.fields.required(name)
    }

    fn run(&self, deed: Deed) -> Result<Need, WireError> {
        Ok(on(Run(self.fields.required_either("run_id", "run_uuid")?), deed))
    }

    fn experiment(&self, deed: Deed) -> Result<Need, WireError> {
        Ok(on(Experiment(self.text("experiment_id")?), deed))
    }

    fn model(&self, deed: Deed) -> Result<Need, WireError> {
        Ok(on(Model(self.text("name")?), deed))
    }

    fn versions(&self, deed: Deed) -> Result<Need, WireError> {
        Ok(on(Versions(self.text("name")?), deed))
    }

    fn scorer(&self, name: &str, deed: Deed) -> Result<Need, WireError> {
        Ok(on(Scorer(format!("{}/{}", self.text("experiment_id")?, self.text(name)?)), deed))
    }

    fn each(&self, name: &str, of: fn(String) -> Named, deed: Deed) -> Result<Need, WireError> {
        let ids = self.fields.texts(name)?;
        if ids.is_empty() {
            return Err(crate::fields::missing(name));
        }
        Ok(Need::On(ids.into_iter().map(of).collect(), deed))
    }

    /// What the request needs.
    pub(super) fn need(&self) -> Result<Need, WireError> {
        let parts: Vec<&str> = self.path.split('/').filter(|p| !p.is_empty()).collect();
        match parts.as_slice() {
            ["v1", "traces"] => match self.experiment {
                Some(id) => Ok(on(Experiment(id.to_owned()), Update)),
                None => Ok(Need::Nothing),
            },
            ["2.0", "mlflow-artifacts", rest @ ..] => Ok(self.artifacts(rest)),
            ["2.0" | "3.0", "mlflow", group, rest @ ..] => self.mlflow(group, rest),
            ["get-artifact"] => self.run(Read),
            ["model-versions", "get-artifact"] => self.versions(Read),
            // A query is judged field by field.
            ["signup" | "graphql"] => Ok(Need::Nothing),
            _ => Ok(Need::Role),
        }
    }

    fn mlflow(&self, group: &str, rest: &[&str]) -> Result<Need, WireError> {
        match group {
            "experiments" => self.experiments(rest),
            "runs" => self.runs(rest),
            "metrics" => match rest {
                ["get-history"] => self.run(Read),
                ["get-history-bulk"] => self.each("run_id", Run, Read),
                ["get-history-bulk-interval"] => self.each("run_ids", Run, Read),
                _ => Ok(Need::Role),
            },
            "artifacts" => self.run(Read),
            "upload-artifact" => self.run(Update),
            "registered-models" => self.models(rest),
            "model-versions" => self.model_versions(rest),
            "logged-models" => self.logged_models(rest),
            "scorers" => self.scorers(rest),
            "issues" => self.issues(rest),
            "traces" => self.traces(rest),
            "get-trace-artifact" => Ok(on(Trace(self.text("request_id")?), Read)),
            "datasets" => self.datasets(rest),
            "gateway" => self.gateway(rest),
            "users" | "roles" | "workspaces" | "workspace-permissions" | "server-info" => Ok(Need::Nothing),
            _ => Ok(Need::Role),
        }
    }

    fn experiments(&self, rest: &[&str]) -> Result<Need, WireError> {
        match rest {
            ["create"] => Ok(Need::Create),
            ["get"] => self.experiment(Read),
            ["get-by-name"] => Ok(on(ExperimentByName(self.text("experiment_name")?), Read)),
            ["delete" | "restore"] => self.experiment(Delete),
            ["update" | "set-experiment-tag" | "delete-experiment-tag"] => self.experiment(Update),
            ["search"] => Ok(Need::Search(ResourceKind::Experiment, &[])),
            ["search-datasets"] => self.each("experiment_ids", Experiment, Read),
            ["permissions", ..] => self.experiment(Manage),
            _ => Ok(Need::Role),
        }
    }

    fn runs(&self, rest: &[&str]) -> Result<Need, WireError> {
        match rest {
            ["create" | "create-promptlab-run"] => self.experiment(Update),
            ["get"] => self.run(Read),
            ["delete" | "restore"] => self.run(Delete),
            ["search"] => Ok(Need::SearchIn(ResourceKind::Run, "experiment_ids")),
            [
                "update" | "log-metric" | "log-parameter" | "log-batch" | "log-model" | "log-inputs"
                | "outputs" | "set-tag" | "delete-tag",
            ] => self.run(Update),
            _ => Ok(Need::Role),
        }
    }

    fn models(&self, rest: &[&str]) -> Result<Need, WireError> {
        match (self.method.as_str(), rest) {
            (_, ["create"]) => Ok(Need::Create),
            (_, ["get" | "get-latest-versions"]) | ("GET", ["alias"]) => self.model(Read),
            (_, ["delete"]) | ("DELETE", ["alias"]) => self.model(Delete),
            (_, ["update" | "rename" | "set-tag" | "delete-tag" | "alias"]) => self.model(Update),
            (_, ["search"]) => Ok(Need::Search(ResourceKind::RegisteredModel, &[])),
            (_, ["permissions", ..]) => self.model(Manage),
            _ => Ok(Need::Role),
        }
    }

    fn model_versions(&self, rest: &[&str]) -> Result<Need, WireError> {
        match rest {
            ["get" | "get-download-uri"] => self.versions(Read),
            ["delete" | "delete-tag"] => self.versions(Delete),
            ["create" | "update" | "transition-stage" | "set-tag"] => self.versions(Update),
            ["search"] => {
                Ok(Need::Search(ResourceKind::RegisteredModel, &[ResourceKind::RegisteredModelVersion]))
            }
            _ => Ok(Need::Role),
        }
    }

    fn logged_models(&self, rest: &[&str]) -> Result<Need, WireError> {
        let model = |id: &str, deed| Ok(on(LoggedModel(id.to_owned()), deed));
        match (self.method.as_str(), rest) {
            ("POST", []) => self.experiment(Update),
            (_, ["search"]) => Ok(Need::SearchIn(ResourceKind::LoggedModel, "experiment_ids")),
            ("GET", [id, ..]) => model(id, Read),
            ("DELETE", [id, ..]) => model(id, Delete),
            (_, [id, ..]) => model(id, Update),
            _ => Ok(Need::Role),
        }
    }

    fn scorers(&self, rest: &[&str]) -> Result<Need, WireError> {
        match rest {
            ["register"] => self.experiment(Update),
            ["list"] => self.experiment(Read),
            ["get" | "versions"] => self.scorer("name", Read),
            ["delete"] => self.scorer("name", Delete),
            ["permissions", ..] => self.scorer("scorer_name", Manage),
            ["online-config"] => self.scorer("name", Update),
            ["online-configs"] => Ok(on(Sampling(self.fields.texts("scorer_ids")?), Read)),
            _ => Ok(Need::Role),
        }
    }

    fn issues(&self, rest: &[&str]) -> Result<Need, WireError> {
        match (self.method.as_str(), rest) {
            ("POST", []) => self.experiment(Update),
            // Those of all experiments are for admins alone, as in MLflow: they need no permission.
            (_, ["search"]) => self.experiment(Read),
            ("GET", [id]) => Ok(on(Issue((*id).to_owned()), Read)),
            ("PATCH", [id]) => Ok(on(Issue((*id).to_owned()), Update)),
            _ => Ok(Need::Role),
        }
    }

    fn traces(&self, rest: &[&str]) -> Result<Need, WireError> {
        let trace = |id: &str, deed| Ok(on(Trace(id.to_owned()), deed));
        match (self.method.as_str(), rest) {
            ("POST", []) => Ok(on(Experiment(self.experiment_of_trace()?), Update)),
            ("GET", []) | (_, ["metrics" | "calculate-filter-correlation"]) => {
                self.each("experiment_ids", Experiment, Read)
            }
            (_, ["search"]) => Ok(Need::On(self.located()?, Read)),
            (_, ["get"]) => trace(&self.text("trace_id")?, Read),
            (_, ["batchGet" | "batchGetInfos"]) => self.each("trace_ids", Trace, Read),
            (_, ["delete-traces"]) => self.experiment(Delete),
            (_, ["link-to-run"]) => self.run(Update),
            (_, ["link-prompts"]) => trace(&self.text("trace_id")?, Update),
            ("GET", [id, ..]) => trace(id, Read),
            (_, [id, ..]) => trace(id, Update),
            _ => Ok(Need::Role),
        }
    }

    /// The experiment in which a trace is begun, where either version of the call has it.
    fn experiment_of_trace(&self) -> Result<String, WireError> {
        if self.fields.any("trace").is_none() {
            return self.text("experiment_id");
        }
        let info = self.fields.message("trace")?.message("trace_info")?;
        info.message("trace_location")?.message("mlflow_experiment")?.required("experiment_id")
    }

    /// The experiments in which traces are looked for.
    fn located(&self) -> Result<Vec<Named>, WireError> {
        let locations = self.fields.messages("locations")?;
        let experiments = locations.iter().map(|location| {
            Ok(Experiment(location.message("mlflow_experiment")?.text_or_empty("experiment_id")?))
        });
        experiments.collect()
    }

    fn datasets(&self, rest: &[&str]) -> Result<Need, WireError> {
        let dataset = |id: &str, deed| Ok(on(Dataset(id.to_owned()), deed));
        match (self.method.as_str(), rest) {
            (_, ["create"]) => self.each("experiment_ids", Experiment, Update),
            (_, ["search"]) => self.each("experiment_ids", Experiment, Read),
            ("GET", [id, ..]) => dataset(id, Read),
            ("DELETE", [id]) => dataset(id, Delete),
            (_, [id, ..]) => dataset(id, Update),
            _ => Ok(Need::Role),
        }
    }

    fn gateway(&self, rest: &[&str]) -> Result<Need, WireError> {
        let (kind, id) = match rest {
            ["secrets", "permissions", _] => (ResourceKind::GatewaySecret, "secret_id"),
            ["endpoints", "permissions", _] => (ResourceKind::GatewayEndpoint, "endpoint_id"),
            ["model-definitions", "permissions", _] => {
                (ResourceKind::GatewayModelDefinition, "model_definition_id")
            }
            _ => return Ok(Need::Role),
        };
        Ok(on(Named::Other(kind, self.text(id)?), Manage))
    }

    /// The first part of an artifact's path is its experiment.
    fn artifacts(&self, rest: &[&str]) -> Need {
        let listed = self.fields.text("path").ok().flatten();
        let first = match rest {
            ["artifacts" | "presigned", first, ..] | ["mpu", _, first, ..] => Some(*first),
            _ => listed.as_deref().and_then(|path| path.split('/').find(|part| !part.is_empty())),
        };
        let experiment = first.filter(|first| first.bytes().all(|b| b.is_ascii_digit()));
        let deed = match self.method.as_str() {
            "GET" | "HEAD" => Read,
            "DELETE" => Manage,
            _ => Update,
        };
        on(experiment.map_or(Named::Nothing, |id| Experiment(id.to_owned())), deed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn need(method: &str, path: &str, fields: Value) -> Need {
        let (method, fields) = (method.parse().unwrap(), Fields::of(fields));
        Asked { method: &method, path, fields: &fields, experiment: None }.need().unwrap()
    }

    #[test]
    fn a_request_needs_a_deed_on_what_it_names() {
        let run = json!({ "run_id": "r" });
        assert_eq!(need("GET", "/2.0/mlflow/runs/get", run.clone()), on(Run("r".to_owned()), Read));
        assert_eq!(need("POST", "/2.0/mlflow/runs/delete-tag", run.clone()), on(Run("r".to_owned()), Update));
        assert_eq!(need("POST", "/2.0/mlflow/runs/delete", run), on(Run("r".to_owned()), Delete));
        let model = json!({ "name": "m" });
        let alias = |method| need(method, "/2.0/mlflow/registered-models/alias", model.clone());
        let deeds = ["GET", "POST", "DELETE"].map(alias);
        assert_eq!(deeds, [Read, Update, Delete].map(|deed| on(Model("m".to_owned()), deed)));
        let given = need("PATCH", "/2.0/mlflow/logged-models/m-1/tags", json!({}));
        assert_eq!(given, on(LoggedModel("m-1".to_owned()), Update));
    }

    #[test]
    fn artifacts_belong_to_the_experiment_that_their_path_begins_with() {
        let of = |method, path, fields| need(method, path, fields);
        let experiment = |deed| on(Experiment("12".to_owned()), deed);
        assert_eq!(of("PUT", "/2.0/mlflow-artifacts/artifacts/12/r/x.txt", json!({})), experiment(Update));
        assert_eq!(of("DELETE", "/2.0/mlflow-artifacts/artifacts/12/r/x.txt", json!({})), experiment(Manage));
        assert_eq!(of("POST", "/2.0/mlflow-artifacts/mpu/create/12/r", json!({})), experiment(Update));
        assert_eq!(of("GET", "/2.0/mlflow-artifacts/presigned/12/r/x.txt", json!({})), experiment(Read));
        let listed = json!({ "path": "12/r/artifacts" });
        assert_eq!(of("GET", "/2.0/mlflow-artifacts/artifacts", listed), experiment(Read));
        assert_eq!(of("GET", "/2.0/mlflow-artifacts/artifacts/x12/r", json!({})), on(Named::Nothing, Read));
    }

    #[test]
    fn what_is_not_listed_is_for_those_with_a_role() {
        for path in ["/2.0/mlflow/webhooks", "/3.0/mlflow/made-up", "/2.0/mlflow/runs/made-up"] {
            assert_eq!(need("POST", path, json!({})), Need::Role, "{path}");
        }
    }

    #[test]
    fn traces_belong_to_the_experiment_that_they_are_begun_in() {
        let place = json!({ "mlflow_experiment": { "experiment_id": "7" } });
        let begun = json!({ "trace": { "trace_info": { "trace_location": place } } });
        let seventh = || Experiment("7".to_owned());
        assert_eq!(need("POST", "/3.0/mlflow/traces", begun), on(seventh(), Update));
        assert_eq!(
            need("POST", "/2.0/mlflow/traces", json!({ "experiment_id": "7" })),
            on(seventh(), Update)
        );
        let sought = need("POST", "/3.0/mlflow/traces/search", json!({ "locations": [place] }));
        assert_eq!(sought, on(seventh(), Read));
        let of_one = |method, rest| need(method, &format!("/3.0/mlflow/traces/tr-1{rest}"), json!({}));
        assert_eq!(of_one("GET", "/assessments/a"), on(Trace("tr-1".to_owned()), Read));
        assert_eq!(of_one("POST", "/assessments"), on(Trace("tr-1".to_owned()), Update));
    }

    #[test]
    fn issues_belong_to_an_experiment_which_a_search_must_name() {
        let of_seventh = json!({ "experiment_id": "7" });
        let seventh = |deed| on(Experiment("7".to_owned()), deed);
        assert_eq!(need("POST", "/3.0/mlflow/issues", of_seventh.clone()), seventh(Update));
        assert_eq!(need("POST", "/3.0/mlflow/issues/search", of_seventh), seventh(Read));
        let (method, fields) = (Method::POST, Fields::of(json!({})));
        let path = "/3.0/mlflow/issues/search";
        let all = Asked { method: &method, path, fields: &fields, experiment: None };
        assert!(all.need().is_err());
        let one = |method| need(method, "/3.0/mlflow/issues/iss-1", json!({}));
        assert_eq!(one("GET"), on(Issue("iss-1".to_owned()), Read));
        assert_eq!(one("PATCH"), on(Issue("iss-1".to_owned()), Update));
    }

    #[test]
    fn a_name_that_is_missing_is_told() {
        let (method, fields) = (Method::GET, Fields::of(json!({})));
        let asked =
            Asked { method: &method, path: "/2.0/mlflow/runs/get", fields: &fields, experiment: None };
        let told = format!("{:?}", asked.need().unwrap_err());
        assert!(told.contains("Missing value for required parameter 'run_id'"), "{told}");
    }
}
