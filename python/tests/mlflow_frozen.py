"""The freezing script: a version stays what was registered, whatever becomes of the files that it was made from.

Run as `python mlflow_frozen.py <tracking-uri>`. It exits 0 only if every check passed. MLflow's own server does not pass
it: there a version is a pointer to files that anybody who may log can replace.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from pathlib import Path

import mlflow
import mlflow.pyfunc
import mlflow.xgboost
import requests
from acceptance import FEATURES, MODEL_REQUIREMENTS, Checks, flights, predictions, run_checked, train, use_server


def contents(uri: str) -> dict[str, bytes]:
    """All files that the client downloads from an address, by path, but for the note that it adds to a version's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "registered_model_meta"]
        return {str(path.relative_to(root)): path.read_bytes() for path in files}


def script(uri: str, checks: Checks) -> None:
    """Register a model, spoil its source, and load what was registered."""
    client = use_server(uri)
    mark = uuid.uuid4().hex[:8]
    name, copy = f"frozen-{mark}", f"copy-{mark}"
    data = flights(2000)
    booster, _ = train(data)
    expected = predictions(booster, data)
    mlflow.set_experiment(f"frozen-{mark}")
    with mlflow.start_run():
        info = mlflow.xgboost.log_model(
            booster,
            name="model",
            input_example=data[FEATURES].head(2),
            pip_requirements=MODEL_REQUIREMENTS,
            registered_model_name=name,
        )
    checks.section("Before the source is spoilt")
    version = f"models:/{name}/1"
    before = contents(version)
    checks.that("a version has the files of its model", "MLmodel" in before and len(before) >= 4, list(before))
    checks.equal("its predictions", predictions(mlflow.pyfunc.load_model(version), data), expected)

    checks.section("After the source was spoilt")
    source = client.get_logged_model(info.model_id).artifact_location.removeprefix("mlflow-artifacts:/")
    files = f"{uri}/api/2.0/mlflow-artifacts/artifacts"
    for path in before:
        requests.put(f"{files}/{source}/{path}", data=b"spoilt", timeout=30).raise_for_status()
    spoilt = contents(f"mlflow-artifacts:/{source}")
    checks.equal("the source is spoilt", set(spoilt.values()), {b"spoilt"})
    checks.equal("the version's files are what was registered", contents(version), before)
    checks.equal("its predictions", predictions(mlflow.pyfunc.load_model(version), data), expected)

    checks.section("A version made from a version")
    client.copy_model_version(version, copy)
    checks.equal("the copy's files are what was registered", contents(f"models:/{copy}/1"), before)
    requests.delete(f"{files}/{source}", timeout=30).raise_for_status()
    client.delete_registered_model(name)
    loaded = mlflow.pyfunc.load_model(f"models:/{copy}/1")
    checks.equal("its predictions, when source and first version are gone", predictions(loaded, data), expected)

    checks.section("Frozen files")
    address = client.get_model_version_download_uri(copy, "1").removeprefix("mlflow-artifacts:/")
    for method in ("PUT", "DELETE"):
        refused = requests.request(method, f"{files}/{address}/MLmodel", data=b"spoilt", timeout=30)
        checks.equal(f"{method} is refused", refused.status_code, 400)
    checks.equal("they stay", contents(f"models:/{copy}/1"), before)


if __name__ == "__main__":
    sys.exit(run_checked(lambda checks: script(sys.argv[1].rstrip("/"), checks)))
