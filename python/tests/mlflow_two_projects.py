"""The isolation script: the same names in two projects, and proof that neither sees anything of the other.

Run as `python mlflow_two_projects.py <uri-A> <uri-B>`, for example with `/projects/a` and `/projects/b` of one server.
Every step is done in A and in B with equal names and different content; then each side is read back, and each side is
asked for what only the other has. It exits 0 only if every check passed.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.pyfunc
import mlflow.xgboost
import requests
from acceptance import FEATURES, MODEL_REQUIREMENTS, Checks, flights, predictions, run_checked, train, use_server
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

MARK = uuid.uuid4().hex[:8]
EXPERIMENT = f"shared-name-{MARK}"
MODEL = f"shared-model-{MARK}"
ARTIFACT = "notes/secret.txt"


@dataclass
class Project:
    """One side: its address, its own words, and the ids of what was made there."""

    label: str
    uri: str
    client: mlflow.MlflowClient
    experiment_id: str = ""
    run_id: str = ""
    model_id: str = ""
    predicted: tuple[float, ...] = ()

    @property
    def secret(self) -> str:
        """A word which only this project knows."""
        return f"only-in-{self.label}-{MARK}"

    @property
    def artifact_url(self) -> str:
        """Where the artifact proxy of a project keeps the files of a run, up to the experiment."""
        return f"{self.uri}/api/2.0/mlflow-artifacts/artifacts"


def fill(project: Project) -> None:
    """Make the same experiment, run, artifact, model and alias as in the other project, with other content."""
    use_server(project.uri)
    data = flights(2000 if project.label == "a" else 3000)
    booster, rmse = train(data)
    project.experiment_id = mlflow.set_experiment(EXPERIMENT).experiment_id
    with mlflow.start_run(run_name="shared run", tags={"owner": project.secret}) as run:
        project.run_id = run.info.run_id
        mlflow.log_param("project", project.secret)
        mlflow.log_metric("rmse", rmse)
        mlflow.log_text(project.secret, ARTIFACT)
        info = mlflow.xgboost.log_model(
            booster,
            name="model",
            input_example=data[FEATURES].head(2),
            pip_requirements=MODEL_REQUIREMENTS,
            registered_model_name=MODEL,
        )
    project.model_id = info.model_id
    project.client.set_registered_model_alias(MODEL, "champion", "1")
    project.client.set_registered_model_tag(MODEL, "owner", project.secret)
    project.client.create_registered_model(f"private-{project.secret}")
    project.predicted = tuple(predictions(booster, flights(2000)))


def own_content(project: Project, checks: Checks) -> None:
    """Each project gives back its own content under the shared names, and nothing more."""
    checks.section(f"Project {project.label} has its own")
    client = project.client
    use_server(project.uri)
    found = client.search_experiments(filter_string=f"name = '{EXPERIMENT}'", view_type=ViewType.ALL)
    checks.equal("one experiment of the shared name", [item.experiment_id for item in found], [project.experiment_id])
    runs = client.search_runs([project.experiment_id], run_view_type=ViewType.ALL)
    checks.equal("one run in it", [run.info.run_id for run in runs], [project.run_id])
    checks.equal("its param", runs[0].data.params["project"], project.secret)
    text = mlflow.artifacts.load_text(f"runs:/{project.run_id}/{ARTIFACT}")
    checks.equal("its artifact", text, project.secret)
    models = client.search_logged_models([project.experiment_id])
    checks.equal("one logged model", [model.model_id for model in models], [project.model_id])
    versions = client.search_model_versions(f"name = '{MODEL}'")
    seen = [(int(version.version), version.run_id) for version in versions]
    checks.equal("one version of the shared model", seen, [(1, project.run_id)])
    checks.equal("its model tag", client.get_registered_model(MODEL).tags, {"owner": project.secret})
    loaded = mlflow.xgboost.load_model(f"models:/{MODEL}@champion")
    checks.equal("its champion's predictions", tuple(predictions(loaded, flights(2000))), project.predicted)


def nothing_of(other: Project, project: Project, checks: Checks) -> None:
    """Ids and names which exist only in `other` are unknown here, for reading and for writing."""
    checks.section(f"Project {project.label} has nothing of {other.label}")
    use_server(project.uri)
    client, missing = project.client, "RESOURCE_DOES_NOT_EXIST"
    run_missing = f"Run with id={other.run_id} not found"
    private = f"private-{other.secret}"
    checks.fails("its run", missing, run_missing, lambda: client.get_run(other.run_id))
    checks.fails("writing to its run", missing, run_missing, lambda: client.log_metric(other.run_id, "leak", 1.0))
    checks.fails("deleting its run", missing, run_missing, lambda: client.delete_run(other.run_id))
    model_missing = f"Logged model with ID '{other.model_id}' not found."
    checks.fails("its logged model", missing, model_missing, lambda: client.get_logged_model(other.model_id))
    name_missing = f"Registered Model with name={private} not found"
    checks.fails("its private model", missing, name_missing, lambda: client.get_registered_model(private))
    found = client.search_registered_models(f"name LIKE '%{MARK}'")
    own = sorted([MODEL, f"private-{project.secret}"])
    checks.equal("models in a search", [model.name for model in found], own)
    found = client.search_model_versions(f"run_id = '{other.run_id}'")
    checks.equal("versions by its run", list(found), [])
    no_runs = client.search_runs([project.experiment_id, other.experiment_id], f"params.project = '{other.secret}'")
    checks.equal("runs by its param, even when asked in its experiment id", list(no_runs), [])
    no_runs = client.search_runs(all_experiment_ids(project), f"tags.owner = '{other.secret}'", ViewType.ALL)
    checks.equal("runs by its tag, in every experiment", list(no_runs), [])
    no_models = client.search_logged_models([other.experiment_id], f"source_run_id = '{other.run_id}'")
    checks.equal("logged models by its run", list(no_models), [])


def all_experiment_ids(project: Project) -> list[str]:
    """Every experiment of a project, deleted ones too."""
    return [item.experiment_id for item in project.client.search_experiments(view_type=ViewType.ALL)]


def artifacts_apart(other: Project, project: Project, checks: Checks) -> None:
    """The artifact proxy of one project reaches no file of the other, whichever way the path is written."""
    checks.section(f"Artifact proxy of {project.label}, asked for files of {other.label}")
    path = f"{other.experiment_id}/{other.run_id}/artifacts/{ARTIFACT}"
    answer = requests.get(f"{project.artifact_url}/{path}", timeout=30)
    checks.equal("its file", (answer.status_code, other.secret in answer.text), (404, False))
    checks.equal("the answer is MLflow's", answer.json()["error_code"], "RESOURCE_DOES_NOT_EXIST")
    folder = f"{other.experiment_id}/{other.run_id}/artifacts"
    listed = requests.get(project.artifact_url, params={"path": folder}, timeout=30)
    checks.equal("its folder", (listed.status_code, listed.json()), (200, {}))
    for step in ("..", "%2e%2e", "%252e%252e", "..%2f..", "/", "../../../../.."):
        text = raw_get(f"{project.artifact_url}/{step}/{other.label}/artifacts/{path}")
        checks.that(f"climbing with {step}", other.secret not in text, text)
    source = f"mlflow-artifacts:/{path}"
    with tempfile.TemporaryDirectory() as target:
        with contextlib.suppress(MlflowException, requests.HTTPError, OSError):
            mlflow.artifacts.download_artifacts(source, dst_path=target, tracking_uri=project.uri)
        files = [file for file in Path(target).rglob("*") if file.is_file()]
        leaked = [file.name for file in files if other.secret in file.read_text(errors="replace")]
    checks.equal("downloading it through the client", leaked, [])


def no_borrowing(other: Project, project: Project, checks: Checks) -> None:
    """No model version opens a model, a run or a file of the other project."""
    checks.section(f"Project {project.label} cannot register what {other.label} has")
    use_server(project.uri)
    client = project.client
    run, model = other.run_id, other.model_id
    folder = f"mlflow-artifacts:/{other.experiment_id}/models/{model}/artifacts"
    attempts = {
        "its logged model": {"source": f"models:/{model}", "model_id": model},
        "its logged model, by run": {"source": f"models:/{model}", "model_id": model, "run_id": run},
        "its run": {"source": f"runs:/{run}/model", "run_id": run},
        "its files": {"source": folder, "run_id": run},
        "its files, as one's own": {"source": folder, "run_id": project.run_id},
    }
    for what, attempt in attempts.items():
        checks.equal(what, borrowed_files(project, attempt), [])
    left = [int(version.version) for version in client.search_model_versions(f"name = '{MODEL}'")]
    checks.equal("nothing was added", left, [1])


def borrowed_files(project: Project, attempt: dict[str, str]) -> list[str]:
    """The files a version made from `attempt` gives. MLflow takes some sources on trust, but none may open."""
    try:
        version = project.client.create_model_version(MODEL, **attempt).version
    except MlflowException:
        return []
    with tempfile.TemporaryDirectory() as target:
        with contextlib.suppress(MlflowException, requests.HTTPError, OSError):
            mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{version}", dst_path=target)
        files = [file.name for file in Path(target).rglob("*") if file.is_file()]
    project.client.delete_model_version(MODEL, version)
    return files


def raw_get(url: str) -> str:
    """GET a URL exactly as written: `requests` would resolve the dots before sending."""
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", url))
        request.url = url
        return session.send(request, timeout=30).text


def changes_stay(project: Project, other: Project, checks: Checks) -> None:
    """Moving, renaming and deleting in one project changes nothing in the other."""
    checks.section(f"Changes in {project.label} stay in {project.label}")
    use_server(project.uri)
    project.client.delete_registered_model_alias(MODEL, "champion")
    project.client.delete_registered_model(MODEL)
    project.client.delete_run(project.run_id)
    project.client.delete_logged_model(project.model_id)
    project.client.delete_experiment(project.experiment_id)
    use_server(other.uri)
    client = other.client
    checks.equal("the alias is still there", int(client.get_model_version_by_alias(MODEL, "champion").version), 1)
    checks.equal("the run is still active", client.get_run(other.run_id).info.lifecycle_stage, "active")
    checks.equal("the experiment is still active", client.get_experiment_by_name(EXPERIMENT).lifecycle_stage, "active")
    checks.equal("the logged model is still there", client.get_logged_model(other.model_id).model_id, other.model_id)
    loaded = mlflow.xgboost.load_model(f"models:/{MODEL}@champion")
    checks.equal("and it still predicts the same", tuple(predictions(loaded, flights(2000))), other.predicted)
    use_server(project.uri)
    gone = f"Registered Model with name={MODEL} not found"
    missing = "RESOURCE_DOES_NOT_EXIST"
    checks.fails("while here it is gone", missing, gone, lambda: project.client.get_registered_model(MODEL))


def script(uri_a: str, uri_b: str) -> int:
    """Fill both projects, then compare them from both sides."""

    def steps(checks: Checks) -> None:
        a, b = (Project(label, uri.rstrip("/"), use_server(uri)) for label, uri in (("a", uri_a), ("b", uri_b)))
        fill(a)
        fill(b)
        checks.that("the two models differ", a.predicted != b.predicted)
        for project, other in ((a, b), (b, a)):
            own_content(project, checks)
            nothing_of(other, project, checks)
            artifacts_apart(other, project, checks)
            no_borrowing(other, project, checks)
        changes_stay(a, b, checks)

    return run_checked(steps)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python mlflow_two_projects.py <uri-A> <uri-B>")
    sys.exit(script(sys.argv[1], sys.argv[2]))
