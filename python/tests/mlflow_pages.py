"""The pages script: what MLflow's pages ask a server beyond what the client asks.

Run as `python mlflow_pages.py <tracking-uri>`. It exits 0 only if every check passed. It passes against MLflow's own
server, too.
"""

from __future__ import annotations

import json
import math
import sys
import uuid

import mlflow
import requests
from acceptance import Checks, run_checked, use_server
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

RUN_PAGE = """
query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) {
    apiError { code message }
    run {
      info { runName status runUuid experimentId artifactUri endTime lifecycleStage startTime userId }
      experiment { experimentId name tags { key value } artifactLocation lifecycleStage lastUpdateTime }
      modelVersions { status version name source }
      data { metrics { key value step timestamp } params { key value } tags { key value } }
      inputs { datasetInputs { dataset { digest name source sourceType } tags { key value } } }
    }
  }
}
"""


class Pages:
    """Calls as MLflow's pages make them."""

    def __init__(self, uri: str) -> None:
        """To the server at this address."""
        self.uri = uri

    def ask(self, query: str, **variables: object) -> dict:
        """A GraphQL query."""
        answer = requests.post(f"{self.uri}/graphql", json={"query": query, "variables": variables}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str, /, **params: object) -> requests.Response:
        """A call below `/ajax-api/2.0/mlflow`."""
        return requests.get(f"{self.uri}/ajax-api/2.0/mlflow/{path}", params=params, timeout=30)

    def post(self, path: str, body: dict) -> requests.Response:
        """A call below `/ajax-api/2.0/mlflow`."""
        return requests.post(f"{self.uri}/ajax-api/2.0/mlflow/{path}", json=body, timeout=30)


def run_page(pages: Pages, checks: Checks, run: mlflow.entities.Run, name: str) -> None:
    """The page of a run, which asks by GraphQL."""
    checks.section("The page of a run")
    answer = pages.ask(RUN_PAGE, data={"runId": run.info.run_id})
    checks.equal("nothing goes wrong", answer["errors"], None)
    shown = answer["data"]["mlflowGetRun"]["run"]
    checks.equal("its name", shown["info"]["runName"], run.info.run_name)
    checks.equal("its experiment", shown["experiment"]["name"], name)
    checks.equal("its versions", [(v["name"], v["version"]) for v in shown["modelVersions"]], [(name, "1")])
    metrics = {m["key"]: (m["value"], m["step"]) for m in shown["data"]["metrics"]}
    checks.equal("whole numbers are texts, NaN is null", metrics, {"loss": (9.0, "9"), "nan": (None, "0")})
    datasets = [(d["dataset"]["name"], d["tags"][0]["value"]) for d in shown["inputs"]["datasetInputs"]]
    checks.equal("its datasets", datasets, [("flights", "training")])
    both = pages.ask("{ a: test(inputString: \"x\") { output } nothing }")
    checks.equal("an unknown field fails the query", (both["data"], len(both["errors"])), (None, 1))
    run_of_nobody = "mlflowGetRun(input: {runId: \"no\"}) { run { info { runId } } }"
    missing = pages.ask(f"{{ test(inputString: \"x\") {{ output }} {run_of_nobody} }}")
    checks.equal("one field may fail alone", missing["data"], {"test": {"output": "x"}, "mlflowGetRun": None})
    checks.that("and says why", "no" in missing["errors"][0], missing["errors"])
    many = " ".join(f"f{i}: test(inputString: \"x\") {{ output }}" for i in range(11))
    checks.that("large queries are refused", "at most 10 root fields" in pages.ask(f"{{ {many} }}")["errors"][0])


def charts(pages: Pages, checks: Checks, run_id: str, other: str) -> None:
    """Histories of several runs."""
    checks.section("Charts")
    whole = pages.get("metrics/get-history-bulk", run_id=[run_id, other], metric_key="loss").json()["metrics"]
    expected = [(r, step) for r in sorted([run_id, other]) for step in range(10 if r == run_id else 3)]
    checks.equal("histories come by run", [(m["run_id"], m["step"]) for m in whole], expected)
    nan = pages.get("metrics/get-history-bulk", run_id=run_id, metric_key="nan")
    checks.that("NaN comes bare", math.isnan(nan.json()["metrics"][0]["value"]) and "NaN}" in nan.text, nan.text)
    sample = pages.get(
        "metrics/get-history-bulk-interval", run_ids=[run_id, other], metric_key="loss", max_results=3
    ).json()["metrics"]
    steps = {r: [m["step"] for m in sample if m["run_id"] == r] for r in (run_id, other)}
    checks.equal("samples keep both ends of each run", steps, {run_id: [0, 4, 9], other: [0, 1, 2]})
    refused = pages.get("metrics/get-history-bulk-interval", run_ids=run_id, metric_key="loss", start_step=1)
    checks.equal("half a range is refused", refused.json()["error_code"], "INVALID_PARAMETER_VALUE")


def prompt_lab(pages: Pages, checks: Checks, client: mlflow.MlflowClient, experiment: str) -> None:
    """A run of the page on which prompts are tried."""
    checks.section("The prompt lab")
    tried = {
        "experiment_id": experiment,
        "prompt_template": "Tell {{ what }}",
        "prompt_parameters": [{"key": "what", "value": "more"}],
        "model_route": "chat",
        "model_parameters": [{"key": "temperature", "value": 0.5}],
        "model_input": "Tell more",
        "model_output": "Less",
        "model_output_parameters": [{"key": "latency", "value": 12}],
        "mlflow_version": "3.0.0",
        "start_time": 5,
    }
    made = pages.post("runs/create-promptlab-run", tried)
    made.raise_for_status()
    run = client.get_run(made.json()["run"]["info"]["run_id"])
    checks.equal("the run has ended", (run.info.status, run.info.start_time), ("FINISHED", 5))
    params = {"temperature": "0.5", "model_route": "chat", "prompt_template": "Tell {{ what }}"}
    checks.equal("with params", run.data.params, params)
    table = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/eval_results_table.json"))
    checks.equal("its table", table, {
        "columns": ["what", "prompt", "output", "latency"], "data": [["more", "Tell more", "Less", "12"]],
    })
    model = mlflow.models.Model.load(f"{run.info.artifact_uri}/model")
    checks.equal("its model can be read", model.signature.inputs.input_names(), ["what"])
    refused = pages.post("runs/create-promptlab-run", {"experiment_id": experiment})
    checks.that("what is missing is told", "must specify prompt_template" in refused.json()["message"], refused.text)


def script(uri: str, checks: Checks) -> None:
    """Log with the client, then ask as the pages do."""
    client, pages = use_server(uri), Pages(uri)
    name = f"pages-{uuid.uuid4().hex[:8]}"
    experiment = client.create_experiment(name)
    run, other = client.create_run(experiment), client.create_run(experiment)
    client.log_batch(run.info.run_id, [Metric("loss", float(i), i, i) for i in range(10)])
    client.log_batch(other.info.run_id, [Metric("loss", float(i), i, i) for i in range(3)])
    client.log_metric(run.info.run_id, "nan", math.nan, step=0)
    dataset = Dataset(name="flights", digest="abc", source_type="local", source="{}")
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    client.create_registered_model(name)
    client.create_model_version(name, "s3://elsewhere/model", run.info.run_id)

    run_page(pages, checks, run, name)
    charts(pages, checks, run.info.run_id, other.info.run_id)
    prompt_lab(pages, checks, client, experiment)

    checks.section("Datasets of experiments")
    found = pages.post("experiments/search-datasets", {"experiment_ids": [experiment]}).json()
    summary = {"experiment_id": experiment, "name": "flights", "digest": "abc", "context": "training"}
    checks.equal("each is told once", found["dataset_summaries"], [summary])

    checks.section("Logged models")
    model = client.create_logged_model(experiment, name="m", source_run_id=run.info.run_id)
    on = {"dataset_name": "flights", "dataset_digest": "abc"}
    client.log_metric(run.info.run_id, "acc", 0.5, model_id=model.model_id, **on)
    measured = client.get_logged_model(model.model_id).metrics[0]
    seen = (measured.dataset_name, measured.dataset_digest)
    checks.equal("know what they were measured on", seen, ("flights", "abc"))
    for digest, expected in (("abc", [model.model_id]), ("other", [])):
        models = client.search_logged_models([experiment], datasets=[{**on, "dataset_digest": digest}])
        checks.equal(f"are found by it: {digest}", [m.model_id for m in models], expected)

    checks.section("What is not offered")
    checks.equal("the gateway's proxy has no endpoints", pages.get("gateway-proxy").json(), {"endpoints": []})


if __name__ == "__main__":
    sys.exit(run_checked(lambda checks: script(sys.argv[1].rstrip("/"), checks)))
