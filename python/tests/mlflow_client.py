"""The acceptance script: what a team does with the unmodified MLflow client, checked answer by answer.

Run as `python mlflow_client.py <tracking-uri>`. It exits 0 only if every check passed. It passes against MLflow's own
server; Trueline has to pass it too. Names carry a random part, so it may be run again against the same server.
"""

from __future__ import annotations

import math
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import mlflow.data
import mlflow.xgboost
import pandas as pd
import xgboost as xgb
from acceptance import (
    FEATURES,
    MODEL_REQUIREMENTS,
    ROUNDS,
    TARGET,
    TRAINING_PARAMS,
    Checks,
    flights,
    predictions,
    run_checked,
    train,
    use_server,
)
from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature

MISSING = "RESOURCE_DOES_NOT_EXIST"
INVALID = "INVALID_PARAMETER_VALUE"


@dataclass
class World:
    """What one pass through the script knows: the client, the names it made, and what earlier steps left behind."""

    client: mlflow.MlflowClient
    checks: Checks
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    data: pd.DataFrame = field(default_factory=flights)
    experiment_id: str = ""
    run_id: str = ""
    trained_run_id: str = ""
    model_run_id: str = ""
    model_id: str = ""
    predicted: list[float] = field(default_factory=list)

    @property
    def experiment_name(self) -> str:
        return f"flights-{self.mark}"

    @property
    def model_name(self) -> str:
        return f"arrival-delay-{self.mark}"


def experiments(world: World) -> None:
    """Create an experiment, find it by id and by name, tag it."""
    checks, client = world.checks, world.client
    checks.section("Experiments")
    made = mlflow.set_experiment(world.experiment_name)
    world.experiment_id = made.experiment_id
    checks.that("set_experiment creates it with a numeric id", made.experiment_id.isdigit(), made.experiment_id)
    checks.equal("set_experiment finds it again", mlflow.set_experiment(made.name).experiment_id, made.experiment_id)
    client.set_experiment_tag(made.experiment_id, "team", "delays")
    read = client.get_experiment(made.experiment_id)
    checks.equal("get_experiment gives the name", read.name, world.experiment_name)
    checks.equal("get_experiment gives the tag", read.tags["team"], "delays")
    checks.equal("get_experiment gives the stage", read.lifecycle_stage, "active")
    location = f"mlflow-artifacts:/{made.experiment_id}"
    checks.equal("artifacts are proxied by the server", read.artifact_location, location)
    checks.equal("get_experiment_by_name", client.get_experiment_by_name(read.name).experiment_id, read.experiment_id)
    checks.equal("get_experiment_by_name of no such name", client.get_experiment_by_name("none-" + world.mark), None)
    checks.equal("the experiment 0 is Default", client.get_experiment("0").name, "Default")


def first_run(world: World) -> None:
    """Log params, metrics, tags and a nested run through the fluent API."""
    checks = world.checks
    checks.section("A run")
    with mlflow.start_run(run_name="first", tags={"stage": "draft"}, description="the first one") as run:
        world.run_id = run.info.run_id
        mlflow.log_param("rows", 4000)
        mlflow.log_params({"depth": 3, "name with space": "a b", "unicode": "Zürich ✈"})
        for step in range(5):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_metrics({"rmse": 12.5, "mae": 8.25}, step=4)
        mlflow.set_tag("owner", "ana")
        mlflow.set_tags({"a": "1", "b": "2"})
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("loss", 0.5)
    read = world.client.get_run(world.run_id)
    checks.equal("the run is finished", read.info.status, "FINISHED")
    checks.equal("it has its name", (read.info.run_name, read.data.tags["mlflow.runName"]), ("first", "first"))
    checks.that("it has an end after its start", read.info.end_time >= read.info.start_time > 0, read.info)
    artifacts = f"mlflow-artifacts:/{world.experiment_id}/{world.run_id}/artifacts"
    checks.equal("it has its artifact URI", read.info.artifact_uri, artifacts)
    params = {"rows": "4000", "depth": "3", "name with space": "a b", "unicode": "Zürich ✈"}
    checks.equal("it has its params, as strings", read.data.params, params)
    checks.equal("it has the last value of each metric", read.data.metrics, {"loss": 0.2, "rmse": 12.5, "mae": 8.25})
    tags = {key: read.data.tags[key] for key in ("stage", "owner", "a", "b", "mlflow.note.content")}
    expected = {"stage": "draft", "owner": "ana", "a": "1", "b": "2", "mlflow.note.content": "the first one"}
    checks.equal("it has its tags", tags, expected)
    parent = world.client.get_parent_run(child.info.run_id)
    checks.equal("the nested run knows its parent", parent.info.run_id, world.run_id)
    world.client.delete_tag(world.run_id, "b")
    checks.that("delete_tag", "b" not in world.client.get_run(world.run_id).data.tags)


def metric_history(world: World) -> None:
    """Steps, repeated values, and the numbers JSON has no word for."""
    checks, client = world.checks, world.client
    checks.section("Metric history")
    history = client.get_metric_history(world.run_id, "loss")
    checks.equal("every step is kept", [(m.step, m.value) for m in history], [(s, 1.0 / (s + 1)) for s in range(5)])
    checks.equal("an unknown metric has no history", client.get_metric_history(world.run_id, "none"), [])
    run_id = client.create_run(world.experiment_id, run_name="odd numbers").info.run_id
    for key, value in (("nan", math.nan), ("up", math.inf), ("down", -math.inf)):
        client.log_metric(run_id, key, value, timestamp=1_000, step=1)
    odd = [Metric("series", value, 2_000, step) for step, value in enumerate((1.5, math.nan, math.inf, -math.inf))]
    client.log_batch(run_id, metrics=odd, params=[Param("p", "1")], tags=[RunTag("t", "1")])
    metrics = client.get_run(run_id).data.metrics
    checks.that("NaN comes back as NaN", math.isnan(metrics["nan"]), metrics["nan"])
    # The store keeps infinities as the largest double, and gives that back.
    checks.equal("+inf comes back as the largest number", metrics["up"], sys.float_info.max)
    checks.equal("-inf comes back as the smallest number", metrics["down"], -sys.float_info.max)
    series = [m.value for m in client.get_metric_history(run_id, "series")]
    checks.that("log_batch: the history has the NaN in its place", math.isnan(series[1]), series)
    numbers = [series[0], *series[2:]]
    checks.equal("log_batch: the history has the infinities", numbers, [1.5, sys.float_info.max, -sys.float_info.max])
    checks.equal("log_batch: the last step is the value", metrics["series"], -sys.float_info.max)
    client.log_metric(run_id, "back", 1.0, timestamp=5_000, step=10)
    client.log_metric(run_id, "back", 9.0, timestamp=6_000, step=2)
    checks.equal("an earlier step does not replace a later one", client.get_run(run_id).data.metrics["back"], 1.0)
    client.log_metric(run_id, "back", 1.0, timestamp=5_000, step=10)
    checks.equal("the same point twice is one point", len(client.get_metric_history(run_id, "back")), 2)
    client.set_terminated(run_id, status="FAILED", end_time=7_000)
    ended = client.get_run(run_id).info
    checks.equal("set_terminated", (ended.status, ended.end_time), ("FAILED", 7_000))


def run_artifacts(world: World) -> None:
    """Upload, list and download files under a run."""
    checks, client, run_id = world.checks, world.client, world.run_id
    checks.section("Artifacts")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "up")
        (source / "deep" / "er").mkdir(parents=True)
        (source / "top.bin").write_bytes(bytes(range(256)) * 40)
        (source / "deep" / "er" / "leaf with space é.txt").write_text("leaf")
        (source / "empty.txt").write_text("")
        client.log_artifact(run_id, str(source / "top.bin"))
        client.log_artifacts(run_id, str(source), artifact_path="tree")
        client.log_text(run_id, "hello\n", "notes/hello.txt")
        client.log_dict(run_id, {"b": 1, "a": [1, 2]}, "notes/facts.json")
        listed = [(item.path, item.is_dir, item.file_size) for item in client.list_artifacts(run_id)]
        expected = [("notes", True, None), ("top.bin", False, 10240), ("tree", True, None)]
        checks.equal("list_artifacts at the root, sorted, with sizes", listed, expected)
        listed = [(item.path, item.file_size) for item in client.list_artifacts(run_id, "tree/deep/er")]
        checks.equal("list_artifacts in a folder", listed, [("tree/deep/er/leaf with space é.txt", 4)])
        checks.equal("list_artifacts of no such folder", client.list_artifacts(run_id, "nowhere"), [])
        fetched = Path(client.download_artifacts(run_id, "top.bin", folder))
        checks.equal("download a file", fetched.read_bytes(), bytes(range(256)) * 40)
        fetched = Path(client.download_artifacts(run_id, "tree", folder))
        names = sorted(str(path.relative_to(fetched)) for path in fetched.rglob("*") if path.is_file())
        checks.equal("download a tree", names, ["deep/er/leaf with space é.txt", "empty.txt", "top.bin"])
        checks.equal("an empty file stays empty", (fetched / "empty.txt").read_bytes(), b"")
    read = mlflow.artifacts.load_text(f"runs:/{run_id}/notes/hello.txt")
    checks.equal("load_text through a runs:/ URI", read, "hello\n")
    read = mlflow.artifacts.load_dict(f"mlflow-artifacts:/{world.experiment_id}/{run_id}/artifacts/notes/facts.json")
    checks.equal("load_dict through an mlflow-artifacts:/ URI", read, {"b": 1, "a": [1, 2]})


def autologged_training(world: World) -> None:
    """Train with `mlflow.xgboost.autolog()` on and read back everything it recorded."""
    checks, client = world.checks, world.client
    checks.section("mlflow.xgboost.autolog")
    mlflow.xgboost.autolog(log_input_examples=True, log_model_signatures=True)
    with mlflow.start_run(run_name="autologged") as run:
        _, rmse = train(world.data)
    mlflow.xgboost.autolog(disable=True)
    world.trained_run_id = run.info.run_id
    read = client.get_run(run.info.run_id)
    params = {key: read.data.params.get(key) for key in (*TRAINING_PARAMS, "num_boost_round")}
    expected = {key: str(value) for key, value in {**TRAINING_PARAMS, "num_boost_round": ROUNDS}.items()}
    checks.equal("training params are logged", params, expected)
    checks.equal("the last metric is logged", read.data.metrics["validation-rmse"], rmse)
    history = client.get_metric_history(run.info.run_id, "validation-rmse")
    checks.equal("each round is a step", [point.step for point in history], list(range(ROUNDS)))
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    wanted = {"feature_importance_weight.json", "feature_importance_weight.png"}
    checks.that("feature importance is logged as JSON and as a picture", wanted <= files, files)
    contexts = [{tag.key: tag.value for tag in used.tags} for used in read.inputs.dataset_inputs]
    checks.that("the training data is logged", {"mlflow.data.context": "train"} in contexts, contexts)
    models = client.search_logged_models([world.experiment_id], f"source_run_id = '{run.info.run_id}'")
    checks.equal("the model is logged, once", len(models), 1)
    outputs = [output.model_id for output in read.outputs.model_outputs]
    checks.equal("it is an output of the run", outputs, [models[0].model_id])
    steps = [point.step for point in models[0].metrics if point.key == "validation-rmse"]
    checks.equal("every step of the metric is on the model too", steps, list(range(ROUNDS)))
    checks.equal("with its last value", metric_of(models[0].metrics, "validation-rmse"), rmse)


def metric_of(metrics: list[Metric], key: str) -> float | None:
    """The last value of one metric of a logged model, which lists every step of each."""
    points = [metric for metric in metrics if metric.key == key]
    return max(points, key=lambda point: point.step).value if points else None


def dataset_input(world: World) -> None:
    """Log a dataset as the input of a run."""
    checks = world.checks
    checks.section("mlflow.log_input")
    source = "https://example.test/flights.csv"
    dataset = mlflow.data.from_pandas(world.data, source=source, name="flights", targets=TARGET)
    with mlflow.start_run(run_name="with data") as run:
        mlflow.log_input(dataset, context="training", tags={"rows": "all"})
        mlflow.log_input(dataset, context="training")
    used = world.client.get_run(run.info.run_id).inputs.dataset_inputs
    checks.equal("the same input twice is one input", len(used), 1)
    checks.equal("name and digest", (used[0].dataset.name, used[0].dataset.digest), ("flights", dataset.digest))
    tags = {tag.key: tag.value for tag in used[0].tags}
    checks.equal("context and tag", tags, {"mlflow.data.context": "training", "rows": "all"})
    checks.equal("the source can be built again", mlflow.data.get_source(used[0].dataset).url, source)
    by_dataset = f"dataset.digest = '{dataset.digest}' and dataset.name = 'flights'"
    found = mlflow.search_runs([world.experiment_id], by_dataset)
    checks.equal("search_runs by dataset", list(found.run_id), [run.info.run_id])


def logged_model(world: World) -> None:
    """Log a model with signature and input example, registering it on the way; then read the logged model."""
    checks, client = world.checks, world.client
    checks.section("mlflow.xgboost.log_model")
    booster, rmse = train(world.data)
    world.predicted = predictions(booster, world.data)
    example = world.data[FEATURES].head(3)
    with mlflow.start_run(run_name="with model") as run:
        info = mlflow.xgboost.log_model(
            booster,
            name="model",
            signature=infer_signature(example, booster.predict(xgb.DMatrix(example))),
            input_example=example,
            pip_requirements=MODEL_REQUIREMENTS,
            registered_model_name=world.model_name,
            params={"depth": 3},
            tags={"kind": "delay"},
        )
        mlflow.log_metric("rmse", rmse, model_id=info.model_id)
    world.model_run_id, world.model_id = run.info.run_id, info.model_id
    checks.that("the model has its own id", info.model_id.startswith("m-"), info.model_id)
    checks.equal("registered_model_name made version 1", int(info.registered_model_version), 1)
    read = client.get_logged_model(info.model_id)
    checks.equal("the logged model is ready", str(read.status), "READY")
    checks.equal("its name and run", (read.name, read.source_run_id), ("model", run.info.run_id))
    location = f"mlflow-artifacts:/{world.experiment_id}/models/{info.model_id}/artifacts"
    checks.equal("its artifacts have their own place", read.artifact_location, location)
    checks.equal("its params and tag", (read.params, read.tags["kind"]), ({"depth": "3"}, "delay"))
    checks.equal("its metric", metric_of(read.metrics, "rmse"), rmse)
    files = {item.path for item in client.list_logged_model_artifacts(info.model_id)}
    checks.that("its files", {"MLmodel", "model.ubj", "input_example.json", "requirements.txt"} <= files, files)
    client.set_logged_model_tags(info.model_id, {"kind": "arrival", "extra": "1"})
    client.delete_logged_model_tag(info.model_id, "extra")
    tags = client.get_logged_model(info.model_id).tags
    checks.equal("its tags can be changed", (tags["kind"], "extra" in tags), ("arrival", False))


def logged_model_search(world: World) -> None:
    """Search logged models by params, metrics, tags and attributes, in pages."""
    checks, client, here = world.checks, world.client, [world.experiment_id]
    checks.section("search_logged_models")
    for filter_string in (
        "metrics.rmse > 0",
        "params.depth = '3'",
        "tags.kind = 'arrival'",
        "name = 'model' AND params.depth LIKE '3%'",
        f"attributes.model_id = '{world.model_id}'",
    ):
        found = client.search_logged_models(here, filter_string)
        checks.equal(f"{filter_string.replace(world.model_id, 'm-…')}", [m.model_id for m in found], [world.model_id])
    by_metric = [{"field_name": "metrics.rmse", "ascending": False}]
    found = client.search_logged_models(here, order_by=by_metric)
    checks.equal("order_by a metric puts models without it last", found[0].model_id, world.model_id)
    first = client.search_logged_models(here, max_results=1)
    second = client.search_logged_models(here, max_results=1, page_token=first.token)
    together = {first[0].model_id, second[0].model_id}
    checks.equal("two pages of one model each", (len(together), second.token), (2, None))
    newest = client.search_logged_models(here, order_by=[{"field_name": "creation_timestamp", "ascending": False}])
    checks.equal("order_by creation time", newest[0].model_id, world.model_id)


def registry(world: World) -> None:
    """Register versions through each kind of URI; read, tag, describe and search them."""
    checks, client, name = world.checks, world.client, world.model_name
    checks.section("Model registry")
    second = mlflow.register_model(f"models:/{world.model_id}", name, tags={"from": "logged model"})
    third = mlflow.register_model(f"runs:/{world.model_run_id}/model", name)
    checks.equal("versions count up", (int(second.version), int(third.version)), (2, 3))
    read = client.get_model_version(name, "2")
    checks.equal("a version is ready at once", (read.status, read.current_stage), ("READY", "None"))
    checks.equal("it knows its run", read.run_id, world.model_run_id)
    source = f"models:/{world.model_id}"
    checks.equal("its source", read.source, source)
    checks.equal("the source of a version from a run", client.get_model_version(name, "3").source, source)
    checks.equal("its tags", read.tags, {"from": "logged model"})
    client.update_model_version(name, "2", description="second try")
    client.set_model_version_tag(name, "2", "checked", "yes")
    client.delete_model_version_tag(name, "2", "from")
    read = client.get_model_version(name, "2")
    checks.equal("description and tag", (read.description, read.tags), ("second try", {"checked": "yes"}))
    location = client.get_model_version_download_uri(name, "1")
    checks.that("the download URI names files of the server", location.startswith("mlflow-artifacts:/"), location)
    client.update_registered_model(name, description="Minutes late on arrival")
    client.set_registered_model_tag(name, "team", "delays")
    model = client.get_registered_model(name)
    checks.equal("the model's description", model.description, "Minutes late on arrival")
    checks.equal("the model's tag", model.tags, {"team": "delays"})
    checks.equal("its latest version", [int(v.version) for v in model.latest_versions], [3])
    known = client.get_logged_model(world.model_id).tags.get("mlflow.modelVersions", "")
    checks.that("the logged model knows its versions", name in known, known)


def registry_search(world: World) -> None:
    """Search registered models and versions, in pages and by filter."""
    checks, client, name = world.checks, world.client, world.model_name
    checks.section("search_registered_models, search_model_versions")
    other = f"other-{world.mark}"
    client.create_registered_model(other, tags={"team": "none"}, description="empty")
    found = client.search_registered_models(f"name LIKE '%-{world.mark}'")
    checks.equal("models by name, sorted by name", [model.name for model in found], [name, other])
    found = client.search_registered_models(f"name = '{name}' AND tags.team = 'delays'")
    checks.equal("models by tag", [model.name for model in found], [name])
    both, one_a_page = f"name ILIKE '%-{world.mark.upper()}'", {"max_results": 1, "order_by": ["name DESC"]}
    first = client.search_registered_models(both, **one_a_page)
    second = client.search_registered_models(both, **one_a_page, page_token=first.token)
    checks.equal("two pages, names descending", (first[0].name, second[0].name), (other, name))
    found = client.search_model_versions(f"name = '{name}'")
    # Version 2 was described after version 3 was made, so it comes first.
    checks.equal("versions, last changed first", [int(version.version) for version in found], [2, 3, 1])
    found = client.search_model_versions(f"name = '{name}' AND tags.checked = 'yes'")
    checks.equal("versions by tag", [int(version.version) for version in found], [2])
    found = client.search_model_versions(f"run_id = '{world.model_run_id}'", order_by=["version_number ASC"])
    checks.equal("versions by run, ascending", [int(version.version) for version in found], [1, 2, 3])
    page = client.search_model_versions(f"name = '{name}'", max_results=2)
    rest = client.search_model_versions(f"name = '{name}'", max_results=2, page_token=page.token)
    checks.equal("versions in pages", ([int(v.version) for v in page], [int(v.version) for v in rest]), ([2, 3], [1]))
    client.rename_registered_model(other, f"renamed-{world.mark}")
    checks.equal("rename a model", client.get_registered_model(f"renamed-{world.mark}").description, "empty")
    client.delete_registered_model(f"renamed-{world.mark}")
    found = client.search_registered_models(f"name LIKE '%-{world.mark}'")
    checks.equal("delete a model", [model.name for model in found], [name])


def aliases(world: World) -> None:
    """Set an alias, move it, drop it, and lose it with its version."""
    checks, client, name = world.checks, world.client, world.model_name
    checks.section("Aliases")
    client.set_registered_model_alias(name, "champion", "1")
    checks.equal("set", int(client.get_model_version_by_alias(name, "champion").version), 1)
    client.set_registered_model_alias(name, "champion", "2")
    client.set_registered_model_alias(name, "newest", "3")
    checks.equal("move", int(client.get_model_version_by_alias(name, "champion").version), 2)
    checks.equal("on the version it left", client.get_model_version(name, "1").aliases, [])
    checks.equal("on the version it moved to", client.get_model_version(name, "2").aliases, ["champion"])
    held = {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}
    checks.equal("on the model", held, {"champion": 2, "newest": 3})
    client.delete_registered_model_alias(name, "newest")
    client.delete_registered_model_alias(name, "never-there")
    checks.equal("delete", list(client.get_registered_model(name).aliases), ["champion"])
    client.set_registered_model_alias(name, "doomed", "3")
    client.delete_model_version(name, "3")
    checks.equal("an alias goes with its version", list(client.get_registered_model(name).aliases), ["champion"])
    checks.equal("`latest` follows the last version", int(client.get_model_version_by_alias(name, "latest").version), 2)


def loading(world: World) -> None:
    """Load the model through every kind of URI; each predicts what the trained one predicted."""
    checks, name = world.checks, world.model_name
    checks.section("load_model")
    uris = {
        "models:/name@alias": f"models:/{name}@champion",
        "models:/name/1": f"models:/{name}/1",
        "models:/name/latest": f"models:/{name}/latest",
        "models:/m-id": f"models:/{world.model_id}",
        "runs:/id/model": f"runs:/{world.model_run_id}/model",
    }
    for kind, uri in uris.items():
        checks.equal(f"xgboost: {kind}", predictions(mlflow.xgboost.load_model(uri), world.data), world.predicted)
    for kind in ("models:/name@alias", "runs:/id/model"):
        checks.equal(f"pyfunc: {kind}", predictions(mlflow.pyfunc.load_model(uris[kind]), world.data), world.predicted)
    info = mlflow.models.get_model_info(uris["models:/name@alias"])
    checks.equal("the signature is kept", info.signature.inputs.input_names(), FEATURES)
    again = mlflow.xgboost.load_model(f"runs:/{world.trained_run_id}/model")
    checks.equal("the autologged model predicts the same", predictions(again, world.data), world.predicted)


def make_searchable_runs(world: World) -> tuple[str, list[str]]:
    """An experiment of seven runs which differ in one metric, one param and one tag."""
    client = world.client
    experiment_id = client.create_experiment(f"search-{world.mark}", tags={"kind": "search"})
    run_ids = []
    for index in range(7):
        run = client.create_run(experiment_id, start_time=1_000 + index, run_name=f"run-{index}")
        metrics = [] if index == 6 else [Metric("score", index / 10, 1, 0)]
        params = [Param("kind", "even" if index % 2 == 0 else "odd")]
        client.log_batch(run.info.run_id, metrics, params, [RunTag("colour", "Red" if index < 3 else "blue")])
        client.set_terminated(run.info.run_id, "FINISHED" if index < 5 else "KILLED", end_time=2_000 + index)
        run_ids.append(run.info.run_id)
    return experiment_id, run_ids


def run_search(world: World) -> None:
    """Filters, order, pages and views of `search_runs`."""
    checks, client = world.checks, world.client
    checks.section("search_runs")
    experiment_id, run_ids = make_searchable_runs(world)

    def found(filter_string: str, **options: object) -> list[int]:
        return [run_ids.index(run.info.run_id) for run in client.search_runs([experiment_id], filter_string, **options)]

    cases = {
        "": [6, 5, 4, 3, 2, 1, 0],
        "metrics.score > 0.3": [5, 4],
        "metrics.score >= 0.1 and metrics.score != 0.2 and metrics.score < 0.4": [3, 1],
        "params.kind = 'odd'": [5, 3, 1],
        "params.kind LIKE 'ev%' AND metrics.score <= 0.2": [2, 0],
        "tags.colour = 'Red'": [2, 1, 0],
        "tags.colour != 'Red'": [6, 5, 4, 3],
        "tags.colour LIKE 'r%'": [],
        "tags.`colour` ILIKE 'r%'": [2, 1, 0],
        "tags.missing IS NULL AND params.kind IS NOT NULL": [6, 5, 4, 3, 2, 1, 0],
        "attributes.status = 'KILLED'": [6, 5],
        "attributes.start_time > 1004": [6, 5],
        "attributes.end_time <= 2001": [1, 0],
        "attributes.run_name = 'run-3'": [3],
        "run_name LIKE 'run-%' and status != 'KILLED'": [4, 3, 2, 1, 0],
        f"attributes.run_id IN ('{run_ids[1]}', '{run_ids[4]}')": [4, 1],
    }
    for filter_string, expected in cases.items():
        shown = filter_string.replace(run_ids[1], "…").replace(run_ids[4], "…")
        checks.equal(shown or "no filter", found(filter_string), expected)
    by_score = {"order_by": ["metrics.score DESC"]}
    checks.equal("order_by a metric, missing last", found("", **by_score), [5, 4, 3, 2, 1, 0, 6])
    both = {"order_by": ["params.kind ASC", "attributes.start_time ASC"]}
    checks.equal("order_by a param, then a time", found("", **both), [0, 2, 4, 6, 1, 3, 5])
    run_pages(world, experiment_id, run_ids)
    frame = mlflow.search_runs([experiment_id], "metrics.score > 0.3", order_by=["metrics.score ASC"])
    checks.equal("as a data frame", list(frame["metrics.score"]), [0.4, 0.5])
    client.delete_run(run_ids[0])
    checks.equal("a deleted run is not found", 0 in found(""), False)
    checks.equal("unless asked for", found("", run_view_type=ViewType.DELETED_ONLY), [0])
    client.restore_run(run_ids[0])
    checks.equal("a restored run is found", 0 in found(""), True)


def run_pages(world: World, experiment_id: str, run_ids: list[str]) -> None:
    """Seven runs in pages of three: every run once, in order."""
    pages, token = [], None
    while token is not None or not pages:
        page = world.client.search_runs(
            [experiment_id], max_results=3, order_by=["attributes.start_time ASC"], page_token=token
        )
        pages.append([run_ids.index(run.info.run_id) for run in page])
        token = page.token
    world.checks.equal("pages of three", pages, [[0, 1, 2], [3, 4, 5], [6]])


def experiment_search(world: World) -> None:
    """Filters, order, pages and views of `search_experiments`; rename, delete and restore."""
    checks, client, mark = world.checks, world.client, world.mark
    checks.section("search_experiments")
    by_name = f"name LIKE '%-{mark}'"
    first, second = f"flights-{mark}", f"search-{mark}"

    def names(filter_string: str, **options: object) -> list[str]:
        return [item.name for item in client.search_experiments(filter_string=filter_string, **options)]

    checks.equal("newest first", names(by_name), [second, first])
    checks.equal("order_by name", names(by_name, order_by=["name ASC"]), [first, second])
    checks.equal("by tag", names(f"{by_name} AND tags.kind = 'search'"), [second])
    page = client.search_experiments(filter_string=by_name, max_results=1)
    rest = client.search_experiments(filter_string=by_name, max_results=1, page_token=page.token)
    checks.equal("in pages", ([page[0].name, rest[0].name], rest.token), ([second, first], None))
    made = client.create_experiment(f"short-lived-{mark}")
    client.rename_experiment(made, f"renamed-{mark}")
    run_id = client.create_run(made).info.run_id
    client.delete_experiment(made)
    checks.equal("a deleted experiment is not found", names(by_name), [second, first])
    checks.equal("unless asked for", names(by_name, view_type=ViewType.DELETED_ONLY), [f"renamed-{mark}"])
    checks.equal("its runs are deleted with it", client.get_run(run_id).info.lifecycle_stage, "deleted")
    client.restore_experiment(made)
    checks.equal("a restored experiment is found", names(by_name), [f"renamed-{mark}", second, first])
    checks.equal("its runs are restored with it", client.get_run(run_id).info.lifecycle_stage, "active")


def run_changes(world: World) -> None:
    """Rename a run and change its status."""
    checks, client = world.checks, world.client
    checks.section("Changing a run")
    client.update_run(world.run_id, name="better name")
    read = client.get_run(world.run_id)
    names = (read.info.run_name, read.data.tags["mlflow.runName"])
    checks.equal("rename changes name and tag", names, ("better name", "better name"))
    client.set_tag(world.run_id, "mlflow.runName", "by tag")
    checks.equal("and the tag changes the name", client.get_run(world.run_id).info.run_name, "by tag")
    client.update_run(world.run_id, status="RUNNING")
    checks.equal("status", client.get_run(world.run_id).info.status, RunStatus.to_string(RunStatus.RUNNING))
    with mlflow.start_run(run_id=world.run_id):
        mlflow.log_metric("resumed", 1.0)
    checks.equal("a run can be resumed", client.get_run(world.run_id).data.metrics["resumed"], 1.0)


def refused_runs(world: World) -> None:
    """What the tracking server refuses, with its exact code and message."""
    checks, client, run_id = world.checks, world.client, world.run_id
    checks.section("Refused: experiments and runs")
    unknown, unknown_run = "987654321", uuid.uuid4().hex
    absent = f"No Experiment with id={unknown} exists"
    checks.fails("unknown experiment", MISSING, absent, lambda: client.get_experiment(unknown))
    checks.fails("run in no experiment", MISSING, absent, lambda: client.create_run(unknown))
    absent = f"Run with id={unknown_run} not found"
    checks.fails("unknown run", MISSING, absent, lambda: client.get_run(unknown_run))
    absent = f"No tag with name: none in run with id {run_id}"
    checks.fails("no tag to delete", MISSING, absent, lambda: client.delete_tag(run_id, "none"))
    gone = client.create_run(world.experiment_id).info.run_id
    client.delete_run(gone)
    inactive = f"The run {gone} must be in the 'active' state. Current state is deleted."
    checks.fails("metric on a deleted run", INVALID, inactive, lambda: client.log_metric(gone, "m", 1.0))
    checks.fails("tag on a deleted run", INVALID, inactive, lambda: client.set_tag(gone, "k", "v"))
    changed_params(world)


def refused_searches(world: World) -> None:
    """Filters and page tokens the server cannot read."""
    checks, client, here = world.checks, world.client, [world.experiment_id]
    clause = "Invalid clause(s) in filter string: 'OR'"
    either = "params.a = 'b' OR params.b = 'c'"
    checks.fails("OR in a filter", INVALID, clause, lambda: client.search_runs(here, either))
    token = "Invalid page token, could not base64-decode"
    checks.fails("bad page token", INVALID, token, lambda: client.search_runs(here, page_token="abc"))


def changed_params(world: World) -> None:
    """A param keeps its first value; the words differ between a batch and a single param."""
    changed = "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{}'."
    changed = changed.format("{'key': 'rows', 'old_value': '4000', 'new_value': '5000'}", world.run_id)
    batch = [Param("rows", "5000")]
    checks, client, run_id = world.checks, world.client, world.run_id
    checks.fails("changing a param in a batch", INVALID, changed, lambda: client.log_batch(run_id, params=batch))
    changed_one_param(world)
    world.client.log_param(world.run_id, "rows", "4000")
    kept = world.client.get_run(world.run_id).data.params["rows"]
    world.checks.equal("the same value again is no error, and it is kept", kept, "4000")


def changed_one_param(world: World) -> None:
    """Changing a param through `log_param`: the client puts its own advice after the server's message."""
    start = (
        "INVALID_PARAMETER_VALUE: Changing param values is not allowed. Param with key='rows' was already logged with "
        f"value='4000' for run ID='{world.run_id}'. Attempted logging new value '5000'."
    )
    try:
        world.client.log_param(world.run_id, "rows", "5000")
    except MlflowException as error:
        seen = (error.error_code, error.message[: len(start)])
        world.checks.equal("changing a param: INVALID_PARAMETER_VALUE", seen, ("INVALID_PARAMETER_VALUE", start))
    else:
        raise AssertionError("a param could be changed")


def refused_models(world: World) -> None:
    """What the registry and the logged-model store refuse, with exact code and message."""
    checks, client, name = world.checks, world.client, world.model_name
    checks.section("Refused: models")
    alias = "Registered model alias nobody not found."
    checks.fails("unknown alias", INVALID, alias, lambda: client.get_model_version_by_alias(name, "nobody"))
    uri = f"models:/{name}@nobody"
    checks.fails("loading an unknown alias", INVALID, alias, lambda: mlflow.xgboost.load_model(uri))
    alias = "Version alias name 'v1' is reserved."
    checks.fails("reserved alias", INVALID, alias, lambda: client.set_registered_model_alias(name, "v1", "1"))
    unknown = f"none-{world.mark}"
    absent = f"Registered Model with name={unknown} not found"
    checks.fails("unknown model", MISSING, absent, lambda: client.get_registered_model(unknown))
    absent = f"Model Version (name={name}, version=99) not found"
    checks.fails("unknown version", MISSING, absent, lambda: client.get_model_version(name, "99"))
    checks.fails("alias to no version", MISSING, absent, lambda: client.set_registered_model_alias(name, "a", "99"))
    absent = f"Model Version (name={name}, version=3) not found"
    checks.fails("deleted version", MISSING, absent, lambda: client.get_model_version(name, "3"))
    taken = f"Registered Model (name={name}) already exists."
    checks.fails("a name twice", "RESOURCE_ALREADY_EXISTS", taken, lambda: client.create_registered_model(name))
    refused_logged_models(world)


def refused_logged_models(world: World) -> None:
    """Logged models which never were, and one which is deleted."""
    checks, client, here = world.checks, world.client, [world.experiment_id]
    unknown = "m-" + uuid.uuid4().hex
    absent = f"Logged model with ID '{unknown}' not found."
    checks.fails("unknown logged model", MISSING, absent, lambda: client.get_logged_model(unknown))
    doomed = client.search_logged_models(here, f"source_run_id = '{world.trained_run_id}'")[0].model_id
    client.delete_logged_model(doomed)
    absent = f"Logged model with ID '{doomed}' not found."
    checks.fails("deleted logged model", MISSING, absent, lambda: client.get_logged_model(doomed))
    left = [model.model_id for model in client.search_logged_models(here)]
    checks.equal("a deleted logged model is not found by a search", left, [world.model_id])


STEPS = (
    experiments,
    first_run,
    metric_history,
    run_artifacts,
    autologged_training,
    dataset_input,
    logged_model,
    logged_model_search,
    registry,
    registry_search,
    aliases,
    loading,
    run_search,
    experiment_search,
    run_changes,
    refused_runs,
    refused_searches,
    refused_models,
)


def script(uri: str) -> int:
    """Run every step against one server."""

    def steps(checks: Checks) -> None:
        world = World(use_server(uri), checks)
        for step in STEPS:
            step(world)

    return run_checked(steps)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python mlflow_client.py <tracking-uri>")
    sys.exit(script(sys.argv[1]))
