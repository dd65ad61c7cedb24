"""Compares two stores through the unmodified MLflow client: all that an import or export moves must be the same.

    python moving_compare.py <tracking uri> <other tracking uri> [--artifacts]

Prints what it compared, or the first difference, and then exits with 1.
"""

import json
import math
import os
import sys
import tempfile

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType


def value(number):
    """NaN equals itself here; infinities are the greatest doubles, as MLflow keeps them."""
    return "NaN" if math.isnan(number) else max(min(number, sys.float_info.max), -sys.float_info.max) + 0.0


def point(metric):
    return metric.step, metric.timestamp, value(metric.value)


def series(client, run, key):
    """The points of a metric; folders keep one that was logged twice twice."""
    return sorted(set(map(point, client.get_metric_history(run, key))), key=str)


def experiments(client):
    found = {}
    for one in client.search_experiments(view_type=ViewType.ALL):
        times = [one.creation_time, one.last_update_time] if one.experiment_id != "0" else []
        found[one.experiment_id] = [one.name, one.lifecycle_stage, one.tags, times]
    return found


def inputs(run):
    given = getattr(run.inputs, "dataset_inputs", [])
    datasets = [[d.dataset.to_dictionary(), sorted([t.key, t.value] for t in d.tags)] for d in given]
    models = sorted(m.model_id for m in getattr(run.inputs, "model_inputs", None) or [])
    outputs = getattr(run, "outputs", None)
    made = sorted([m.model_id, m.step] for m in outputs.model_outputs) if outputs else []
    return [sorted(datasets, key=str), models, made]


def files(client, run):
    """The artifacts of a run with what is in them."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if not client.list_artifacts(run):
            return found
        top = client.download_artifacts(run, "", folder)
        for place, _, names in os.walk(top):
            for name in names:
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = file.read().hex()
    return found


def runs(client, ids, artifacts):
    found = {}
    for one in client.search_runs(ids, run_view_type=ViewType.ALL, max_results=10000):
        run = client.get_run(one.info.run_id)
        info = run.info
        found[info.run_id] = {
            "info": [info.experiment_id, info.run_name, info.status, info.start_time, info.end_time],
            "who": [info.user_id, info.lifecycle_stage],
            "params": run.data.params,
            "tags": run.data.tags,
            "latest": {k: value(v) for k, v in run.data.metrics.items()},
            "series": {key: series(client, info.run_id, key) for key in run.data.metrics},
            "inputs": inputs(run),
            "files": files(client, info.run_id) if artifacts else None,
        }
    return found


def logged_models(client, ids):
    found = {}
    if not hasattr(client, "search_logged_models"):
        return found
    for one in client.search_logged_models(experiment_ids=ids):
        times = [one.creation_timestamp, one.last_updated_timestamp]
        metrics = sorted([m.key, *point(m), m.run_id] for m in one.metrics or [])
        of = [one.experiment_id, one.name, one.model_type, one.source_run_id, str(one.status)]
        found[one.model_id] = [of, times, one.params, one.tags, metrics]
    return found


def registered_models(client):
    found = {}
    everything = list(client.search_registered_models(max_results=1000))
    everything += list(client.search_registered_models("tag.`mlflow.prompt.is_prompt` = 'true'", max_results=1000))
    for one in everything:
        versions = []
        prompt = " and tag.`mlflow.prompt.is_prompt` = 'true'" if "mlflow.prompt.is_prompt" in one._tags else ""
        for v in client.search_model_versions(f"name = '{one.name}'{prompt}"):
            times = [v.creation_timestamp, v.last_updated_timestamp]
            versions.append([int(v.version), v.description or "", v.run_id or "", v.current_stage, v.tags, times])
        times = [one.creation_timestamp, one.last_updated_timestamp]
        aliases = {alias: int(version) for alias, version in one.aliases.items()}
        found[one.name] = [one.description or "", one.tags, aliases, times, sorted(versions, key=str)]
    return found


# Files of a trace follow it to another place, which this tag names.
PLACE = "mlflow.artifactLocation"


# What a server shows of a value of a trace's metadata; a store in the same process shows all of it.
SHOWN = 250


def assessment(one):
    """Of an expectation that came from a server, the client does not say that it is valid."""
    return {"valid": True, **one.to_dictionary()}


def traces(client, ids):
    found = {}
    if not hasattr(mlflow, "log_feedback"):
        return found
    for one in client.search_traces(experiment_ids=ids, max_results=500):
        info = one.info
        times = [info.request_time, info.execution_duration, info.state.value]
        said = [info.client_request_id, info.request_preview, info.response_preview]
        found[info.trace_id] = {
            "info": [info.experiment_id, *times, *said],
            "tags": {key: value for key, value in info.tags.items() if key != PLACE},
            "metadata": {key: value[:SHOWN] for key, value in info.trace_metadata.items()},
            "assessments": sorted(map(assessment, info.assessments), key=lambda one: one["assessment_id"]),
            "spans": [span.to_dict() for span in one.data.spans],
        }
    return found


def evaluation_datasets(ids):
    from mlflow.genai.datasets import search_datasets

    found = {}
    for one in search_datasets(experiment_ids=ids):
        # The wrapper shows records as a table alone.
        whole = one._mlflow_dataset
        records = sorted((record.to_dict() for record in whole.records), key=str)
        found[one.dataset_id] = [{k: v for k, v in whole.to_dict().items() if k != "records"}, records]
    return found


def scorers(ids):
    from mlflow.genai.scorers import get_scorer, list_scorers
    from mlflow.genai.scorers.registry import list_scorer_versions

    found = {}
    for experiment in ids:
        for one in list_scorers(experiment_id=experiment):
            versions = list_scorer_versions(name=one.name, experiment_id=experiment)
            said = [[number, scorer.instructions] for scorer, number in versions]
            newest = get_scorer(name=one.name, experiment_id=experiment).instructions
            found[f"{experiment}/{one.name}"] = [said, newest]
    return found


def everything(uri, artifacts):
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    known = experiments(client)
    ids = sorted(known)
    # Folders keep neither datasets nor scorers.
    judged = hasattr(mlflow, "genai") and "mlruns" not in uri and "--folder" not in sys.argv[3:]
    return {
        "traces": traces(client, ids),
        "evaluation datasets": evaluation_datasets(ids) if judged else {},
        "scorers": scorers([id for id in ids if known[id][1] == "active"]) if judged else {},
        "experiments": known,
        "runs": runs(client, ids, artifacts),
        "logged models": logged_models(client, ids),
        "registered models": registered_models(client),
    }


def differences(one, other, at=""):
    """Where two values differ, as paths into them."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from differences(one.get(key, "missing"), other.get(key, "missing"), f"{at}/{key}")
    elif one != other:
        yield f"{at}: {json.dumps(one, default=str)[:400]} is {json.dumps(other, default=str)[:400]}"


if __name__ == "__main__":
    artifacts = "--artifacts" in sys.argv[3:]
    one, other = (everything(uri, artifacts) for uri in sys.argv[1:3])
    found = list(differences(one, other))
    print("\n".join(found[:20]) or {kind: len(things) for kind, things in one.items()})
    sys.exit(1 if found or not one["runs"] else 0)
