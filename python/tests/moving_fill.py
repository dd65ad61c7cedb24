"""Fills a store through the unmodified MLflow client, with all that an import takes, deleted things and odd values among it.

    python moving_fill.py <tracking uri>

Works with clients from 2.22 on, so that stores of each schema can be made.
"""

import math
import os
import sys
import tempfile

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

LONG = "é" * 300


def series(client, run):
    """Points in all their oddities: NaN, infinities, negative steps, equal times, the same point twice."""
    metrics = [Metric("loss", 1.0 / (1 + step), 1_700_000_000_000 + step, step) for step in range(900)]
    client.log_batch(run, metrics=metrics)
    odd = [
        Metric("odd", math.nan, 5, 1),
        Metric("odd", math.inf, 6, 2),
        Metric("odd", -math.inf, 7, 3),
        Metric("odd", 0.1, 7, 3),
        Metric("odd", -0.0, 8, -4),
        Metric("a/b.c-d e", 1e-300, 9, 0),
        Metric("last is nan", 1.0, 9, 0),
        Metric("last is nan", math.nan, 10, 1),
    ]
    client.log_batch(run, metrics=odd)
    client.log_batch(run, metrics=odd[1:4])


def logged_model(client, experiment, run, folder):
    """A logged model with points, where the client knows of them; answers its id."""
    if not hasattr(client, "create_logged_model"):
        return None
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment,
        name="clf",
        source_run_id=run,
        params={"depth": "3"},
        tags={"stage": "try"},
        model_type="classifier",
    )
    id = model.model_id
    client.log_outputs(run, [LoggedModelOutput(id, 4)])
    client.log_metric(run, "auc", 0.75, step=4, timestamp=40, model_id=id)
    if hasattr(client, "log_model_artifacts"):
        client.log_model_artifacts(id, folder)
    client.finalize_logged_model(id, "READY")
    return id


def registry(client, run, source, model):
    """Models with versions, stages, aliases, tags; a deleted version; a prompt."""
    client.create_registered_model("fraud", tags={"team": "risk"}, description="finds fraud")
    client.create_model_version("fraud", source, run_id=run, tags={"k": "v"}, description="first")
    client.create_model_version("fraud", source, run_id=run)
    client.create_model_version("fraud", f"models:/{model}" if model else source, run_id=run)
    client.transition_model_version_stage("fraud", "1", "Production")
    client.set_registered_model_alias("fraud", "champion", "3")
    client.delete_model_version("fraud", "2")
    client.create_registered_model("empty")
    if hasattr(client, "register_prompt"):
        try:
            client.register_prompt("greet", "Hello {{name}}", commit_message="be kind", tags={"by": "ann"})
        except (MlflowException, TypeError):
            pass


def traces(client, experiment, run, judged):
    """Traces with all that is said of them, where the client knows of assessments; one of them has failed."""
    if not hasattr(mlflow, "log_feedback"):
        return
    from mlflow.entities import AssessmentSource

    mlflow.set_experiment(experiment_id=experiment)

    @mlflow.trace(span_type="LLM")
    def ask(question):
        span = mlflow.get_current_active_span()
        usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        span.set_attributes({"mlflow.chat.tokenUsage": usage, "mlflow.llm.model": "small"})
        metadata = {"mlflow.trace.session": "s1", "mlflow.trace.user": "ann", "long": LONG}
        mlflow.update_current_trace(tags={"env": "prod"}, metadata=metadata, client_request_id="c1")
        return question.upper()

    @mlflow.trace
    def app(question):
        return ask(question)

    @mlflow.trace
    def bad():
        raise ValueError("it is bad")

    app("hello ü")
    mlflow.flush_trace_async_logging()
    trace = mlflow.get_last_active_trace_id()
    try:
        bad()
    except ValueError:
        mlflow.flush_trace_async_logging()
    source = AssessmentSource("HUMAN", "ann")
    say = {"trace_id": trace, "source": source}
    first = mlflow.log_feedback(name="good", value=True, rationale="so", metadata={"k": "v"}, **say)
    mlflow.log_expectation(name="want", value={"a": [1.5, "x"]}, **say)
    mlflow.override_feedback(assessment_id=first.assessment_id, value=0.5, **say)
    if judged:
        evaluation(client, experiment, run, trace)


def evaluation(client, experiment, run, trace):
    """What only databases keep: links, evaluation datasets, scorers, issues."""
    from mlflow.entities.assessment import IssueReference
    from mlflow.entities.issue import IssueSeverity, IssueStatus
    from mlflow.genai.datasets import create_dataset
    from mlflow.genai.judges import make_judge

    client.link_traces_to_run([trace], run)
    client.link_prompt_versions_to_trace([client.get_prompt_version("greet", 1)], trace)
    dataset = create_dataset(name="questions", experiment_id=[experiment], tags={"team": "risk"})
    come = {"source_type": "TRACE", "source_data": {"trace_id": trace}}
    dataset.merge_records(
        [
            {"inputs": {"q": "a", "n": 1}, "expectations": {"x": 1}, "tags": {"z": "ü"}},
            {"inputs": {"q": "b"}, "outputs": {"o": [1, 2]}, "source": come},
        ]
    )
    for word in ("good", "kind"):
        judge = make_judge(name="judge", instructions=f"is {{{{ outputs }}}} {word}", model="openai:/gpt-4o")
        judge.register(experiment_id=experiment)
    issues = client._tracking_client.store
    found = {"root_causes": ["the ü", "b"], "categories": ["tone"], "created_by": "ann"}
    rude = issues.create_issue(experiment, "rude", "It is", source_run_id=run, severity=IssueSeverity.HIGH, **found)
    issues.update_issue(rude.issue_id, status=IssueStatus.RESOLVED)
    issues.create_issue(experiment, "vague", LONG)
    mlflow.log_assessment(trace_id=trace, assessment=IssueReference(issue_id=rude.issue_id, issue_name="rude"))


def fill(uri):
    # Older stores look logged models up in the global one.
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    first = client.create_experiment("first", tags={"team": "risk", "long": LONG})
    gone = client.create_experiment("gone")
    run = client.create_run(first, run_name="alpha", start_time=1_000, tags={"owner": "ann"}).info.run_id
    params = [Param("lr", "0.1"), Param("long", LONG), Param("empty", "")]
    client.log_batch(run, params=params, tags=[RunTag("note", LONG)])
    series(client, run)
    dataset = Dataset("flights", "abc123", "local", '{"uri": "x"}', '{"c": 1}', '{"rows": 3}')
    tags = [InputTag("mlflow.data.context", "training"), InputTag("more", "1")]
    client.log_inputs(run, [DatasetInput(dataset, tags)])
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "model"))
        with open(os.path.join(folder, "model", "MLmodel"), "w") as file:
            file.write("flavors: {}\n")
        with open(os.path.join(folder, "notes ü.txt"), "w") as file:
            file.write("hello")
        client.log_artifacts(run, folder)
        model = logged_model(client, first, run, os.path.join(folder, "model"))
    client.set_terminated(run, "FINISHED", end_time=2_000)
    killed = client.create_run(first, run_name="beta", start_time=3_000).info.run_id
    client.log_metric(killed, "loss", 7.0, timestamp=1, step=0)
    client.set_terminated(killed, "KILLED", end_time=4_000)
    client.delete_run(killed)
    client.create_run(first, run_name="still running", start_time=5_000)
    client.create_run("0", run_name="in default", start_time=6_000)
    client.create_run(gone, run_name="in gone", start_time=7_000)
    client.delete_experiment(gone)
    source = client.get_run(run).info.artifact_uri + "/model"
    registry(client, run, source, model)
    traces(client, first, run, "mlruns" not in uri)


if __name__ == "__main__":
    fill(sys.argv[1])
