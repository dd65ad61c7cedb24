"""Fills a server with what the pages show: three runs with curves, two versions of a model that is served, predictions
with labels, a release policy whose gates have been judged, and people with roles.

Run as `python data.py <url> <token of an admin>` with the environment of the tests. Prints what the browser needs to
know, as one line of JSON. The names are those of a team that wants to know whether a flight will be late.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

import mlflow
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import infer_signature

import run_data

MODEL, ENDPOINT = "flight-delay", "delays"
ROUNDS = 60
PREDICTIONS = 80
POLICY = {
    "gates": [
        {"name": "good enough", "kind": "metric", "metric": "val_auc", "must_be": "at_least", "bound": 0.7},
        {"name": "fast", "kind": "latency", "quantile": 0.99, "bound_ms": 500, "requests": 20},
    ],
    "approvals": {"required": 1, "valid_days": 30},
    "protected_aliases": ["champion"],
}


class Door:
    """The server as somebody with a token sees it."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def refused(self, path: str, body: Any) -> int:
        try:
            self.call("POST", path, body)
        except urllib.error.HTTPError as error:
            return error.code
        raise AssertionError(f"{path} took {body}")


def flights(seed: int, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "hour": random.integers(5, 23, rows).astype(float),
            "distance": random.gamma(2.0, 500.0, rows).round(),
            "wind": random.gamma(2.0, 5.0, rows).round(1),
        }
    )
    late = data["hour"] / 12 + data["wind"] / 9 + random.normal(0, 0.9, rows) > 2.6
    return data, late.to_numpy()


def train(client: MlflowClient, experiment: str, name: str, depth: int, eta: float) -> tuple[str, str]:
    """One run with the curves of its training, its data and its model; answers its id and the model's URI."""
    (data, late), (held_out, truth) = flights(1, 600), flights(2, 300)
    run = client.create_run(experiment, run_name=name, tags={"mlflow.source.name": "train.py"}).info.run_id
    curves: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(
        {
            "objective": "binary:logistic",
            "eval_metric": ["auc", "logloss"],
            "max_depth": depth,
            "eta": eta,
            "nthread": 1,
        },
        xgb.DMatrix(data, label=late),
        num_boost_round=ROUNDS,
        evals=[(xgb.DMatrix(data, label=late), "train"), (xgb.DMatrix(held_out, label=truth), "val")],
        evals_result=curves,
        verbose_eval=False,
    )
    now = client.get_run(run).info.start_time
    points = [
        Metric(f"{part}_{metric}", value, now + 1000 * step, step)
        for part, metrics in curves.items()
        for metric, values in metrics.items()
        for step, value in enumerate(values)
    ]
    params = [Param("max_depth", str(depth)), Param("eta", str(eta)), Param("rounds", str(ROUNDS))]
    client.log_batch(run, points, params, [RunTag("team", "operations")])
    with mlflow.start_run(run):
        dataset = mlflow.data.from_pandas(data.assign(late=late), name="flights-january", targets="late")
        mlflow.log_input(dataset, "training")
        model = mlflow.xgboost.log_model(
            booster,
            name="model",
            signature=infer_signature(data, booster.inplace_predict(data)),
            input_example=data.head(3),
            pip_requirements=["xgboost"],
        )
        mlflow.log_text("# What was seen\n\nWind matters more than distance.\n", "report/notes.md")
    return run, model.model_uri


def people(admin: Door) -> dict[str, str]:
    tokens = {"ada": admin.token}
    for name, role in [("ann", "contributor"), ("bea", "reviewer")]:
        admin.call("POST", "/api/v1/users", {"name": name, "roles": [{"role": role, "project": "default"}]})
        tokens[name] = admin.call("POST", f"/api/v1/users/{name}/tokens", {})["token"]
    return tokens


def serve(admin: Door) -> list[str]:
    """Two versions share an endpoint; answers the ids of the predictions."""
    admin.call("POST", "/api/v1/endpoints", {"name": ENDPOINT, "log": "required"})
    routes = f"/api/v1/endpoints/{ENDPOINT}/routes"
    admin.call("POST", routes, {"variants": [f"{MODEL}/1"], "reason": "the first one"})
    shares = [f"{MODEL}/1:90", f"{MODEL}/2:10"]
    admin.call("POST", routes, {"variants": shares, "reason": "a first look at 2"})
    asked, _ = flights(3, PREDICTIONS)
    ids: list[str] = []
    path = f"/projects/default/endpoints/{ENDPOINT}/invocations"
    for _, row in asked.iterrows():
        ids += admin.call("POST", path, {"dataframe_records": [row.to_dict()]})["prediction_ids"]
    assert admin.refused(path, {"dataframe_records": [{"hour": "late"}]}) == 400
    labels = [{"prediction_id": ids[0], "value": 1, "source": "arrivals"}]
    admin.call("POST", f"/projects/default/endpoints/{ENDPOINT}/labels", {"labels": labels})
    return ids


def main() -> None:
    url, token = sys.argv[1:]
    admin = Door(url, token)
    tokens = people(admin)
    os.environ["MLFLOW_TRACKING_TOKEN"] = tokens["ann"]
    mlflow.set_tracking_uri(url)
    client = MlflowClient()
    experiment = client.create_experiment("flight delays")
    mlflow.set_experiment(experiment_id=experiment)
    trained = [
        train(client, experiment, "shallow", 2, 0.1),
        train(client, experiment, "deeper", 4, 0.1),
        train(client, experiment, "eager", 4, 0.5),
    ]
    run_page = run_data.fill(client, client.create_experiment("night shift"))
    client.create_registered_model(MODEL, description="Will the flight be more than half an hour late?")
    for run, uri in trained[:2]:
        client.create_model_version(MODEL, uri, run)
    client.set_registered_model_alias(MODEL, "champion", 1)
    ids = serve(admin)
    admin.call("PUT", f"/api/v1/models/{MODEL}/policy", POLICY)
    Door(url, tokens["ann"]).call("POST", f"/api/v1/models/{MODEL}/versions/2/gate-runs", {})
    runs = [run for run, _ in trained]
    told = {"tokens": tokens, "experiment": experiment, "runs": runs, "predictions": ids}
    told["run_page"] = run_page
    print(json.dumps({**told, "model": MODEL, "endpoint": ENDPOINT}))


if __name__ == "__main__":
    main()
