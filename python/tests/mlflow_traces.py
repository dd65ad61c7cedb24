"""What a team does with traces through the unmodified MLflow client: spans, searches, judgements, evaluation datasets.

Run as `python mlflow_traces.py <tracking-uri>`. It exits 0 only if every check passed. It passes against MLflow's own
server. Names carry a random part, so it may be run again against the same server.
"""

from __future__ import annotations

import json
import math
import sys
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mlflow
import requests
from acceptance import Checks, run_checked, use_server
from mlflow.entities import AssessmentSource, SpanEvent, SpanType, TraceState
from mlflow.entities.assessment import IssueReference
from mlflow.entities.issue import IssueSeverity, IssueStatus
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
from mlflow.genai import datasets
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import delete_scorer, get_scorer, list_scorers

MISSING = "RESOURCE_DOES_NOT_EXIST"
INVALID = "INVALID_PARAMETER_VALUE"
HUMAN = AssessmentSource(source_type="HUMAN", source_id="ann@example.com")
JUDGE = AssessmentSource(source_type="LLM_JUDGE", source_id="judge")


@dataclass
class World:
    """What one pass through the script knows."""

    client: mlflow.MlflowClient
    checks: Checks
    uri: str
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    experiment_id: str = ""
    run_id: str = ""
    traces: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Any:
        """The client's own REST store, for calls that have no public name."""
        return self.client._tracking_client.store

    def found(self, filter_string: str | None, **more: Any) -> list[str]:
        """The names that traces found by a filter go by in this script, sorted unless an order is asked for."""
        found = self.client.search_traces(
            locations=[self.experiment_id], filter_string=filter_string, include_spans=False, **more
        )
        names = {trace: name for name, trace in self.traces.items()}
        listed = [names[trace.info.trace_id] for trace in found]
        return listed if "order_by" in more else sorted(listed)

    def expect(self, filter_string: str, expected: str) -> None:
        """A filter finds exactly the traces named in `expected`, apart from spaces."""
        self.checks.equal(filter_string, self.found(filter_string), sorted(expected.split()))


@mlflow.trace(span_type=SpanType.RETRIEVER, name="look-up")
def look_up(question: str) -> list[str]:
    """A child span with inputs and outputs."""
    return [f"about {question}", "größer"]


def later() -> None:
    """Let the clock go on by a millisecond, so that no two traces begin at once."""
    began = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == began:
        pass


def ask(question: str, fail: bool = False) -> str:
    """One request of an application: a root, a retriever, a model with tokens."""
    later()
    with mlflow.start_span(name="ask", span_type=SpanType.AGENT, attributes={"tenant": "blue"}) as root:
        root.set_inputs({"messages": [{"role": "user", "content": question}], "z": 1, "a": 2})
        look_up(question)
        with mlflow.start_span(name="model", span_type=SpanType.CHAT_MODEL) as model:
            usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
            model.set_attributes({"mlflow.chat.tokenUsage": usage, "temperature": 0.5, "model.id": "m-1"})
            cost = {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75}
            model.set_attribute("mlflow.llm.cost", cost)
            model.add_event(SpanEvent("chunk", attributes={"size": 3}))
        root.set_outputs({"choices": [{"message": {"role": "assistant", "content": f"answer to {question}"}}]})
        if fail:
            root.set_status("ERROR")
    return root.trace_id


def make_traces(world: World) -> None:
    """Five traces: three alike, one that failed, one of a session; one under a run, one linked to it."""
    experiment = mlflow.set_experiment(f"traces-{world.mark}")
    world.experiment_id = experiment.experiment_id
    with mlflow.start_run() as run:
        world.run_id = run.info.run_id
        world.traces["one"] = ask("first question")
    world.traces["two"] = ask("second question")
    world.traces["bad"] = ask("third question", fail=True)
    for name in ("talk", "talk2"):
        later()
        with mlflow.start_span(name="chat") as span:
            mlflow.update_current_trace(
                tags={"env": "prod", "team-name": "a b"},
                metadata={"mlflow.trace.session": f"s-{world.mark}", "mlflow.trace.user": "bob", "version": "1.2"},
                client_request_id=f"request-{name}",
                request_preview="short",
            )
            span.set_inputs("hello")
        world.traces[name] = span.trace_id
    mlflow.flush_trace_async_logging()
    world.client.set_trace_tag(world.traces["one"], "env", "dev")
    world.client.link_traces_to_run([world.traces["two"]], world.run_id)


def read_back(world: World) -> None:
    """A trace comes back as it was made."""
    checks = world.checks
    checks.section("A trace comes back")
    trace = mlflow.get_trace(world.traces["one"])
    spans = {span.name: span for span in trace.data.spans}
    checks.equal("its spans", sorted(spans), ["ask", "look-up", "model"])
    checks.equal("the root comes first", trace.data.spans[0].name, "ask")
    checks.equal("its state", trace.info.state, TraceState.OK)
    checks.equal("inputs keep their order", list(spans["ask"].inputs), ["messages", "z", "a"])
    checks.equal("outputs with other letters", spans["look-up"].outputs, ["about first question", "größer"])
    checks.equal("parents", spans["model"].parent_id, spans["ask"].span_id)
    checks.equal("attributes", spans["model"].get_attribute("temperature"), 0.5)
    checks.equal("events", spans["model"].events[0].name, "chunk")
    checks.equal("the preview of a chat", trace.info.request_preview, "first question")
    checks.equal("and of its answer", trace.info.response_preview, "answer to first question")
    tokens = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    checks.equal("tokens of the whole", trace.info.token_usage, tokens)
    checks.equal("cost of the whole", trace.info.cost["total_cost"], 0.75)
    checks.equal("the run", trace.info.trace_metadata["mlflow.sourceRun"], world.run_id)
    checks.equal("where the spans are", trace.info.tags["mlflow.trace.spansLocation"], "TRACKING_STORE")
    folder = f"/traces/{world.traces['one']}/artifacts"
    location = trace.info.tags["mlflow.artifactLocation"]
    checks.that("where files would be", location.endswith(folder), location)
    talk = mlflow.get_trace(world.traces["talk"])
    checks.equal("the session", talk.info.trace_metadata["mlflow.trace.session"], f"s-{world.mark}")
    checks.equal("the request's id", talk.info.client_request_id, "request-talk")
    checks.equal("a preview of one's own", talk.info.request_preview, "short")
    failed = mlflow.get_trace(world.traces["bad"])
    checks.equal("a failure", failed.info.state, TraceState.ERROR)
    file = requests.get(
        f"{world.uri}/ajax-api/2.0/mlflow/get-trace-artifact",
        params={"request_id": world.traces["one"]},
        timeout=30,
    )
    checks.equal("traces.json", len(json.loads(file.text)["spans"]), 3)
    checks.equal("is a download", file.headers["Content-Disposition"], "attachment; filename=traces.json")
    gone = "tr-" + "0" * 32
    message = f"Trace with ID {gone} is not found."
    checks.fails("no such trace", MISSING, message, lambda: world.client._tracing_client.store.get_trace(gone))


def filters(world: World) -> None:
    """Filters over everything that a trace has."""
    world.checks.section("Filters")
    expect = world.expect
    expect("status = 'OK'", "one two talk talk2")
    expect("trace.status IN ('ERROR')", "bad")
    expect("status != 'OK'", "bad")
    expect("name = 'ask'", "one two bad")
    expect("name LIKE 'ch%'", "talk talk2")
    expect("name ILIKE 'CH%'", "talk talk2")
    expect("name RLIKE '^a.k$'", "one two bad")
    expect("tags.env = 'prod'", "talk talk2")
    expect("tags.env != 'prod'", "one")
    expect("tags.env IS NULL", "two bad")
    expect("tags.env IS NOT NULL", "one talk talk2")
    expect("tags.`team-name` = 'a b'", "talk talk2")
    expect("tags.env RLIKE 'd.v'", "one")
    expect("metadata.version = '1.2'", "talk talk2")
    expect("request_metadata.version LIKE '1.%'", "talk talk2")
    expect(f"metadata.`mlflow.trace.session` = 's-{world.mark}'", "talk talk2")
    expect("metadata.`mlflow.trace.session` IS NULL", "one two bad")
    expect("metadata.`mlflow.trace.tokenUsage` IS NOT NULL", "one two bad")
    usage = '{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}'
    expect(f"metadata.`mlflow.trace.tokenUsage` = '{usage}'", "one two bad")
    expect("metadata.`mlflow.trace.user` = 'bob'", "talk talk2")
    expect("client_request_id = 'request-talk'", "talk")
    expect("client_request_id IN ('request-talk', 'request-talk2')", "talk talk2")
    expect(f"request_id = '{world.traces['bad']}'", "bad")
    expect(f"run_id = '{world.run_id}'", "one two")
    expect("timestamp_ms > 0", "one two bad talk talk2")
    expect("timestamp > 99999999999999", "")
    expect("execution_time_ms < 600000", "one two bad talk talk2")
    expect("end_time > 0", "one two bad talk talk2")
    expect("span.name = 'model'", "one two bad")
    expect("span.name IN ('chat', 'nothing')", "talk talk2")
    expect("span.type = 'RETRIEVER'", "one two bad")
    expect("span.status = 'ERROR'", "bad")
    expect("span.name = 'model' AND span.type = 'CHAT_MODEL'", "one two bad")
    expect("span.name = 'model' AND span.type = 'RETRIEVER'", "")
    expect("span.attributes.tenant LIKE '%blue%'", "one two bad")
    expect("span.attributes.tenant RLIKE '^bl.e$'", "one two bad")
    expect("span.attributes.tenant RLIKE '^lue'", "")
    expect("span.attributes.model.id ILIKE '%M-1%'", "one two bad")
    expect("span.content LIKE '%second question%'", "two")
    expect("trace.text LIKE '%größer%'", "one two bad")
    expect("trace.text ILIKE '%SECOND%'", "two")
    expect("status = 'OK' AND tags.env = 'prod' AND name = 'chat'", "talk talk2")
    expect("tags.env = 'prod' AND metadata.version = '1.2' AND status = 'OK'", "talk talk2")
    search = world.client._tracing_client.store.search_traces
    for filter_string, message in {
        "text LIKE '%a%'": "Invalid clause(s) in filter string: 'text', 'LIKE', ''%a%''",
        "prompt LIKE 'p/1'": "Invalid comparator 'LIKE' for prompts filter. Only '=' is supported with format: "
        'prompt = "name/version"',
        "prompt = 'p'": "Invalid prompts filter value 'p'. Expected format: prompt = \"name/version\"",
    }.items():
        world.checks.fails(
            filter_string,
            INVALID,
            message,
            partial(search, locations=[world.experiment_id], filter_string=filter_string),
        )


def orders_and_pages(world: World) -> None:
    """Orders and pages."""
    checks = world.checks
    checks.section("Orders and pages")
    newest = ["talk2", "talk", "bad", "two", "one"]
    checks.equal("the newest first", world.found(None, order_by=["timestamp DESC"]), newest)
    checks.equal("the oldest first", world.found(None, order_by=["timestamp ASC"]), newest[::-1])
    by_name = world.found(None, order_by=["name DESC", "timestamp ASC"])
    checks.equal("by name", by_name, ["talk", "talk2", "one", "two", "bad"])
    by_tag = world.found(None, order_by=["tags.env ASC", "timestamp ASC"])
    checks.equal("by a tag, what has none last", by_tag, ["one", "talk", "talk2", "two", "bad"])
    pages, token = [], None
    while True:
        page = world.client.search_traces(
            locations=[world.experiment_id], max_results=2, page_token=token, include_spans=False
        )
        pages.append([trace.info.trace_id for trace in page])
        token = page.token
        if not token:
            break
    listed = [trace for page in pages for trace in page]
    checks.equal("pages hold every trace once", (len(listed), len(set(listed))), (5, 5))
    frame = mlflow.search_traces(locations=[world.experiment_id], filter_string="name = 'ask'")
    asked = sorted(world.traces[name] for name in ("one", "two", "bad"))
    checks.equal("a table with spans", sorted(frame["trace_id"]), asked)
    checks.that("holds spans", all(len(spans) == 3 for spans in frame["spans"]))


def judgements(world: World) -> None:
    """Feedback and expectations: made, changed, overridden, searched for, deleted."""
    checks = world.checks
    checks.section("Judgements")
    one, two = world.traces["one"], world.traces["two"]
    feedback = mlflow.log_feedback(trace_id=one, name="good", value=True, source=HUMAN, rationale="clear")
    mlflow.log_feedback(trace_id=two, name="good", value=False, source=JUDGE)
    mlflow.log_feedback(trace_id=one, name="score", value=0.75, source=JUDGE, metadata={"k": "v"})
    mlflow.log_feedback(trace_id=two, name="score", value=3, source=JUDGE)
    mlflow.log_feedback(trace_id=one, name="word", value="yes", source=JUDGE)
    mlflow.log_feedback(trace_id=two, name="broken", error=ValueError("no answer"), source=JUDGE)
    mlflow.log_expectation(trace_id=one, name="expected", value="42", source=HUMAN)
    facts = mlflow.log_expectation(trace_id=two, name="facts", value=["a", {"b": 1}], source=HUMAN)
    checks.equal("an id", feedback.assessment_id[:2], "a-")
    kept = mlflow.get_assessment(one, feedback.assessment_id)
    seen = (kept.value, kept.rationale, kept.source.source_id)
    checks.equal("feedback comes back", seen, (True, "clear", HUMAN.source_id))
    checks.equal("a list comes back", mlflow.get_assessment(two, facts.assessment_id).value, ["a", {"b": 1}])
    told = {a.name for a in mlflow.get_trace(two).info.assessments}
    checks.equal("a trace tells of them", told, {"good", "score", "broken", "facts"})
    broken = next(a for a in mlflow.get_trace(two).info.assessments if a.name == "broken")
    checks.equal("an error of judging", broken.error.error_code, "ValueError")
    world.expect("feedback.good = 'true'", "one")
    world.expect("feedback.good = 'false'", "two")
    world.expect("feedback.good != 'true'", "two")
    world.expect("feedback.word = 'yes'", "one")
    world.expect("feedback.score > 0.5", "one two")
    world.expect("feedback.score > 1", "two")
    world.expect("feedback.score <= 0.75", "one")
    world.expect("feedback.good IS NULL", "bad talk talk2")
    world.expect("feedback.good IS NOT NULL", "one two")
    world.expect("expectation.expected = '42'", "one")
    world.expect("expectation.facts LIKE '%a%'", "two")
    world.expect("feedback.expected = '42'", "")
    better = mlflow.override_feedback(
        trace_id=one, assessment_id=feedback.assessment_id, value=False, rationale="on second thoughts", source=HUMAN
    )
    checks.equal("an override", better.overrides, feedback.assessment_id)
    checks.equal("makes the old one invalid", mlflow.get_assessment(one, feedback.assessment_id).valid, False)
    world.expect("feedback.good = 'true'", "")
    mlflow.delete_assessment(trace_id=one, assessment_id=better.assessment_id)
    checks.equal("until it is deleted", mlflow.get_assessment(one, feedback.assessment_id).valid, True)
    world.expect("feedback.good = 'true'", "one")
    score = next(a for a in mlflow.get_trace(one).info.assessments if a.name == "score")
    score.value = 0.25
    changed = mlflow.update_assessment(trace_id=one, assessment_id=score.assessment_id, assessment=score)
    checks.equal("a change", changed.value, 0.25)
    checks.equal("keeps metadata", changed.metadata, {"k": "v"})
    missing = f"Assessment with ID 'a-none' not found for trace '{one}'"
    checks.fails("no such assessment", MISSING, missing, lambda: world.store.get_assessment(one, "a-none"))
    session = {"mlflow.trace.session": f"s-{world.mark}"}
    mlflow.log_feedback(trace_id=world.traces["talk"], name="polite", value="very", source=JUDGE, metadata=session)
    world.expect("feedback.polite = 'very'", "talk talk2")
    world.expect("feedback.polite IS NULL", "bad one two")


def metrics(world: World) -> None:
    """Numbers over traces, spans and judgements."""
    checks = world.checks
    checks.section("Metrics")

    def ask_for(view: MetricViewType, metric: str, kinds: list[Any], **more: Any) -> list[tuple[dict, dict]]:
        wanted = [MetricAggregation(*kind) if isinstance(kind, tuple) else MetricAggregation(kind) for kind in kinds]
        found = world.store.query_trace_metrics(
            experiment_ids=[world.experiment_id], view_type=view, metric_name=metric, aggregations=wanted, **more
        )
        return [(point.dimensions, point.values) for point in found]

    count, total, mean = AggregationType.COUNT, AggregationType.SUM, AggregationType.AVG
    traces, spans, said = MetricViewType.TRACES, MetricViewType.SPANS, MetricViewType.ASSESSMENTS
    states = ask_for(traces, "trace_count", [count], dimensions=["trace_status"])
    expected = [({"trace_status": "ERROR"}, {"COUNT": 1.0}), ({"trace_status": "OK"}, {"COUNT": 4.0})]
    checks.equal("traces by state", states, expected)
    checks.equal("sessions", ask_for(traces, "session_count", [count]), [({}, {"COUNT": 1.0})])
    tokens = ask_for(traces, "total_tokens", [total, mean, (AggregationType.PERCENTILE, 50)])
    checks.equal("tokens", tokens, [({}, {"SUM": 45.0, "AVG": 15.0, "P50.0": 15.0})])
    costs = ask_for(spans, "total_cost", [total, AggregationType.MAX])
    checks.equal("cost", costs, [({}, {"SUM": 2.25, "MAX": 0.75})])
    kinds = ask_for(spans, "span_count", [count], dimensions=["span_type"], filters=["span.name = 'model'"])
    checks.equal("spans by type", kinds, [({"span_type": "CHAT_MODEL"}, {"COUNT": 3.0})])
    scores = ask_for(
        said,
        "assessment_value",
        [mean, (AggregationType.PERCENTILE, 25.0)],
        dimensions=["assessment_name"],
        filters=["assessment.name = 'score'"],
    )
    values = {"AVG": (0.25 + 3) / 2, "P25.0": 0.25 + 0.25 * (3 - 0.25)}
    checks.equal("judgements", scores, [({"assessment_name": "score"}, values)])
    one = ask_for(traces, "trace_count", [count], filters=["trace.tag.env = 'dev'"])
    checks.equal("a filter by tag", one, [({}, {"COUNT": 1.0})])
    session = f"trace.metadata.`mlflow.trace.session` = 's-{world.mark}'"
    of_session = ask_for(traces, "trace_count", [count], filters=[session])
    checks.equal("a filter by session", of_session, [({}, {"COUNT": 2.0})])
    now = int(time.time() * 1000)
    hours = ask_for(
        traces, "trace_count", [count], time_interval_seconds=3600, start_time_ms=now - 7200_000, end_time_ms=now + 1000
    )
    checks.equal("by the hour", sum(values["COUNT"] for _, values in hours), 5.0)
    checks.that("told by its beginning", hours[0][0]["time_bucket"].endswith(":00:00+00:00"), hours)
    latency = ask_for(traces, "latency", [AggregationType.MIN, AggregationType.MAX, (AggregationType.PERCENTILE, 99.9)])
    checks.that("latencies", 0 <= latency[0][1]["MIN"] <= latency[0][1]["P99.9"] <= latency[0][1]["MAX"], latency)
    message = "Found invalid dimension(s): ['span_name']. Supported dimensions: ['trace_name', 'trace_status']"
    refused = {"dimensions": ["span_name"]}
    checks.fails("an unknown dimension", INVALID, message, lambda: ask_for(traces, "trace_count", [count], **refused))
    found = world.client._tracing_client.calculate_trace_filter_correlation(
        experiment_ids=[world.experiment_id], filter_string1="tags.env = 'prod'", filter_string2="name = 'chat'"
    )
    counts = (found.total_count, found.filter1_count, found.filter2_count, found.joint_count)
    checks.equal("filters that go together", (counts, round(found.npmi, 9)), ((5, 2, 2, 2), 1.0))
    none = world.client._tracing_client.calculate_trace_filter_correlation(
        experiment_ids=[world.experiment_id], filter_string1="tags.env = 'none'", filter_string2="name = 'chat'"
    )
    checks.that("a filter that finds nothing", math.isnan(none.npmi), none)


def evaluation_datasets(world: World) -> None:
    """Evaluation datasets and their records."""
    checks = world.checks
    checks.section("Evaluation datasets")
    made = datasets.create_dataset(
        name=f"qa-{world.mark}", experiment_id=[world.experiment_id], tags={"kind": "qa", "owner": "ann"}
    )
    records = [
        {"inputs": {"q": f"question {n}"}, "expectations": {"a": f"answer {n}"}, "tags": {"n": str(n)}}
        for n in range(3)
    ]
    made.merge_records(records)
    made.merge_records([{"inputs": {"q": "question 0"}, "expectations": {"b": 1.5}, "outputs": {"said": [1, 2]}}])
    kept = datasets.get_dataset(dataset_id=made.dataset_id)
    rows = kept.to_df()
    checks.equal("records with the same inputs are one", len(rows), 3)
    first = next(row for row in kept._mlflow_dataset.records if row.inputs == {"q": "question 0"})
    checks.equal("expectations are merged", first.expectations, {"a": "answer 0", "b": 1.5})
    checks.equal("outputs", first.outputs, {"said": [1, 2]})
    checks.equal("the schema", json.loads(kept.schema)["expectations"], {"a": "string", "b": "float"})
    checks.equal("the profile", json.loads(kept.profile), {"num_records": 3})
    checks.equal("the experiments", kept.experiment_ids, [world.experiment_id])
    kept.merge_records(world.client.search_traces(locations=[world.experiment_id], filter_string="name = 'ask'"))
    kept = datasets.get_dataset(dataset_id=made.dataset_id)
    sources = sorted(row.source_id for row in kept._mlflow_dataset.records if row.source_type == "TRACE")
    checks.equal("records made of traces", sources, sorted(world.traces[name] for name in ("one", "two", "bad")))
    search = datasets.search_datasets
    names = [d.name for d in search(experiment_ids=[world.experiment_id], filter_string=f"name = 'qa-{world.mark}'")]
    checks.equal("found by name", names, [f"qa-{world.mark}"])
    found = search(experiment_ids=[world.experiment_id], filter_string="tags.kind = 'qa' AND name LIKE 'qa-%'")
    checks.equal("found by tag", len(found), 1)
    found = search(experiment_ids=[world.experiment_id], filter_string="tags.kind = 'other'")
    checks.equal("not found by another", len(found), 0)
    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"kind": "qa2"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="owner")
    kept = datasets.get_dataset(dataset_id=made.dataset_id)
    checks.equal("tags", (kept.tags.get("kind"), kept.tags.get("owner")), ("qa2", None))
    other = world.client.create_experiment(f"more-{world.mark}")
    both = datasets.add_dataset_to_experiments(dataset_id=made.dataset_id, experiment_ids=[other])
    checks.equal("in two experiments", sorted(both.experiment_ids), sorted([world.experiment_id, other]))
    left = datasets.remove_dataset_from_experiments(dataset_id=made.dataset_id, experiment_ids=[world.experiment_id])
    checks.equal("in one again", left.experiment_ids, [other])
    checks.equal("a record is deleted", kept.delete_records([kept._mlflow_dataset.records[0].dataset_record_id]), 1)
    page = requests.get(
        f"{world.uri}/api/3.0/mlflow/datasets/{made.dataset_id}/records", params={"max_results": 2}, timeout=30
    ).json()
    checks.equal("pages of records", len(json.loads(page["records"])), 2)
    checks.that("go on", bool(page.get("next_page_token")), page)
    datasets.delete_dataset(dataset_id=made.dataset_id)
    message = f"Evaluation dataset with id '{made.dataset_id}' not found"
    checks.fails("a deleted dataset", MISSING, message, lambda: datasets.get_dataset(dataset_id=made.dataset_id))


def scorers(world: World) -> None:
    """Judges are registered version by version."""
    checks = world.checks
    checks.section("Scorers")
    mlflow.set_experiment(experiment_id=world.experiment_id)
    judge = make_judge(
        name="brief",
        instructions="Is {{ outputs }} brief? Answer yes or no.",
        model="openai:/gpt-4o",
        feedback_value_type=str,
    )
    judge.register(experiment_id=world.experiment_id)
    judge.register(experiment_id=world.experiment_id)
    listed = list_scorers(experiment_id=world.experiment_id)
    checks.equal("listed once", [scorer.name for scorer in listed], ["brief"])
    kept = get_scorer(name="brief", experiment_id=world.experiment_id)
    checks.equal("comes back", kept.instructions, judge.instructions)
    versions = world.store.list_scorer_versions(world.experiment_id, "brief")
    checks.equal("versions", [version.scorer_version for version in versions], [1, 2])
    delete_scorer(name="brief", experiment_id=world.experiment_id, version=1)
    versions = world.store.list_scorer_versions(world.experiment_id, "brief")
    checks.equal("one is deleted", [version.scorer_version for version in versions], [2])
    message = f"Scorer with name 'none' not found for experiment {world.experiment_id}."
    checks.fails("no such scorer", MISSING, message, lambda: world.store.get_scorer(world.experiment_id, "none"))
    message = (
        "Scorer 'brief' does not use a gateway model. Automatic evaluation is only supported for scorers that use "
        "gateway models."
    )
    checks.fails(
        "sampling without a gateway",
        INVALID,
        message,
        lambda: world.store.upsert_online_scoring_config(world.experiment_id, "brief", 0.5, "status = 'OK'"),
    )
    config = world.store.upsert_online_scoring_config(world.experiment_id, "brief", 0.0, "status = 'OK'")
    kept = world.store.get_online_scoring_configs([config.scorer_id])
    checks.equal("sampling", [(c.sample_rate, c.filter_string) for c in kept], [(0.0, "status = 'OK'")])


def issues(world: World) -> None:
    """What is wrong is written down, linked to the traces that show it, judged and found again."""
    checks, store = world.checks, world.store
    checks.section("Issues")
    create = partial(store.create_issue, world.experiment_id)
    slow = create(
        "slow",
        "Answers take long",
        severity=IssueSeverity.LOW,
        root_causes=["the index", "the network"],
        categories=["latency"],
        source_run_id=world.run_id,
        created_by="ann",
    )
    checks.equal("its id", (slow.issue_id[:4], len(slow.issue_id)), ("iss-", 36))
    checks.equal("what it tells", (slow.root_causes, slow.categories), (["the index", "the network"], ["latency"]))
    checks.equal("where it is from", (slow.source_run_id, slow.created_by), (world.run_id, "ann"))
    checks.equal("comes back", store.get_issue(slow.issue_id), slow)
    rude = create("rude", "Answers are rude", severity=IssueSeverity.HIGH)
    vague = create("vague", "Answers say little")
    checks.equal("nobody has judged it", (vague.status, vague.severity), (IssueStatus.PENDING, None))
    for trace in ("one", "two"):
        reference = IssueReference(issue_id=vague.issue_id, issue_name="vague", source=HUMAN)
        mlflow.log_assessment(trace_id=world.traces[trace], assessment=reference)

    def found(**asked: Any) -> list[tuple[str, int | None]]:
        listed = store.search_issues(experiment_id=world.experiment_id, **asked)
        return [(issue.name, issue.trace_count) for issue in listed]

    checks.equal("the worst first", found(), [("rude", None), ("slow", None), ("vague", None)])
    counted = [("rude", 0), ("slow", 0), ("vague", 2)]
    checks.equal("with their traces", found(include_trace_count=True), counted)
    resolved = store.update_issue(rude.issue_id, status=IssueStatus.RESOLVED, description="They were rude")
    told = (resolved.status, resolved.name, resolved.description, resolved.severity)
    checks.equal("is mended", told, (IssueStatus.RESOLVED, "rude", "They were rude", IssueSeverity.HIGH))
    checks.equal("what is open", found(filter_string="status = 'pending'"), [("slow", None), ("vague", None)])
    both = f"status != 'resolved' AND source_run_id = '{world.run_id}'"
    checks.equal("what a run has found", found(filter_string=both), [("slow", None)])
    page = store.search_issues(experiment_id=world.experiment_id, max_results=2)
    rest = store.search_issues(experiment_id=world.experiment_id, max_results=2, page_token=page.token)
    checks.equal("pages", ([i.name for i in page], [i.name for i in rest]), (["rude", "slow"], ["vague"]))
    checks.equal("the last page", rest.token, None)
    world.expect(f"issue.id = '{vague.issue_id}'", "one two")
    missing = "Issue with ID 'iss-none' not found"
    checks.fails("no such issue", MISSING, missing, lambda: store.get_issue("iss-none"))
    checks.fails("to be changed", MISSING, missing, lambda: store.update_issue("iss-none", name="x"))
    message = "Invalid clause(s) in filter string: OR"
    either = "status = 'pending' OR status = 'resolved'"
    checks.fails("a filter", INVALID, message, lambda: found(filter_string=either))


def tags_and_deletion(world: World) -> None:
    """Tags come and go; traces are deleted."""
    checks = world.checks
    checks.section("Tags and deletion")
    one = world.traces["one"]
    world.client.delete_trace_tag(one, "env")
    world.expect("tags.env IS NULL", "one two bad")
    message = f"No trace tag with key 'env' for trace with ID '{one}'"
    checks.fails("a tag that is gone", MISSING, message, lambda: world.client.delete_trace_tag(one, "env"))
    message = "Tag 'mlflow.trace.spansLocation' is immutable and cannot be set on a trace."
    checks.fails(
        "a tag of the server's",
        INVALID,
        message,
        lambda: world.store.set_trace_tag(one, "mlflow.trace.spansLocation", "ARTIFACT_REPO"),
    )
    delete = world.client.delete_traces
    checks.equal("by id", delete(experiment_id=world.experiment_id, trace_ids=[one]), 1)
    newest = int(time.time() * 1000) + 1000
    checks.equal("the oldest", delete(world.experiment_id, max_timestamp_millis=newest, max_traces=1), 1)
    del world.traces["one"], world.traces["two"]
    checks.equal("are gone", world.found(None), ["bad", "talk", "talk2"])
    checks.equal("all", delete(world.experiment_id, max_timestamp_millis=newest), 3)
    checks.equal("nothing is left", world.found(None), [])


def script(uri: str) -> Any:
    """The whole of it."""

    def run(checks: Checks) -> None:
        world = World(use_server(uri), checks, uri)
        make_traces(world)
        read_back(world)
        filters(world)
        orders_and_pages(world)
        judgements(world)
        metrics(world)
        evaluation_datasets(world)
        scorers(world)
        issues(world)
        tags_and_deletion(world)

    return run


if __name__ == "__main__":
    sys.exit(run_checked(script(sys.argv[1])))
