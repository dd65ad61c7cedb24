"""Fills an experiment with what the page of a run shows: a long run with curves that have gaps, files of every kind that is
previewed, notes and tags that were changed, a run that goes on, and traces of an application, one of which failed.

`data.py` calls `fill`; everything goes through the client as it is.
"""

from __future__ import annotations

import math
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

STEPS = 240
# What a page that somebody logged would do if it could: each line says whether it could.
HOSTILE_PAGE = """<!doctype html><title>Report</title><h1>Report of the night</h1><ul id="told"></ul><script>
const tell = (text) => { const li = document.createElement("li"); li.textContent = text; document.getElementById("told").append(li); };
const tried = (what, how) => { try { how(); tell(`${what}: reached`); } catch { tell(`${what}: refused`); } };
tell("script: runs");
tried("parent", () => parent.document.body.innerHTML);
tried("cookies", () => document.cookie);
tried("storage", () => localStorage.setItem("x", "1"));
fetch("/api/v1/projects").then(() => tell("server: reached"), () => tell("server: refused"));
</script>"""
HOSTILE_PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40"><rect width="120" height="40" fill="teal"/>
<script>document.documentElement.dataset.ran = "yes"; fetch("/api/v1/projects")</script></svg>"""
CONSOLE = """\x1b[1mepoch 1\x1b[0m loss 0.93
10%\r50%\r100% of epoch 2
\x1b[31mWARNING\x1b[0m <b>the wind</b> is missing in 3 rows
"""


def picture(side: int = 96) -> bytes:
    """A PNG of a soft gradient."""
    rows = b"".join(b"\0" + bytes(v for x in range(side) for v in (x * 2, y * 2, 120)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def curves(start: int) -> list[Metric]:
    points = []
    for step in range(STEPS):
        at, fall = start + 1000 * step, math.exp(-step / 60)
        noise = math.sin(step * 12.9898) * 0.05
        loss = {90: math.nan, 91: math.nan, 150: math.inf}.get(step, 0.2 + fall + noise)
        values = {
            "train/loss": loss,
            "train/auc": 0.9 - 0.4 * fall + noise / 2,
            "val/loss": 0.25 + fall + noise / 3,
            "val/auc": 0.88 - 0.4 * fall,
            "learning_rate": 0.1 * 0.5 ** (step // 80),
            "gap": -0.5 + step / STEPS,
            "only_nan": math.nan,
        }
        points += [Metric(key, value, at, step) for key, value in values.items()]
        if step % 10 == 0:
            system = {
                "system/cpu_utilization_percentage": 40 + 30 * fall,
                "system/system_memory_usage_megabytes": 1800 + 2 * step,
                "system/gpu_0_utilization_percentage": 80 + 10 * noise,
                "system/network_receive_megabytes": step * 0.7,
            }
            points += [Metric(key, value, at, step // 10) for key, value in system.items()]
    return points


def long_run(client: MlflowClient, experiment: str) -> tuple[str, list[str]]:
    run = client.create_run(experiment, run_name="long haul", tags={"team": "operations"}).info.run_id
    points = curves(client.get_run(run).info.start_time)
    for first in range(0, len(points), 1000):
        client.log_batch(run, points[first : first + 1000])
    client.set_tag(run, "mlflow.note.content", "First try.")
    client.set_tag(run, "mlflow.note.content", "Second try, with the wind.\nSee <b>report.html</b>.")
    client.set_tag(run, "team", "research")
    client.log_batch(run, tags=[RunTag("team", "research")])
    client.set_tag(run, "draft", "yes")
    client.delete_tag(run, "draft")
    children = []
    for fold in (1, 2):
        tags = {"mlflow.parentRunId": run}
        child = client.create_run(experiment, run_name=f"fold {fold}", tags=tags).info.run_id
        client.set_terminated(child)
        children.append(child)
    with mlflow.start_run(run):
        mlflow.log_text(HOSTILE_PAGE, "report.html")
        mlflow.log_text("<!doctype html><h1>Summary</h1><p>All flights are late.</p>", "summary.html")
        mlflow.log_text(HOSTILE_PICTURE, "plots/teal.svg")
        mlflow.log_text(CONSOLE, "output.log")
        mlflow.log_text("what went wrong\n", "logs/errors.log")
        mlflow.log_text("hour,delay,why\n8,12,\"wind, mostly\"\n9,,\n", "scores.csv")
        mlflow.log_dict({"z": [1, 2], "a": {"b": None}}, "settings.json")
        mlflow.log_table(pd.DataFrame({"question": ["Why late?", "How late?"], "score": [0.5, 0.75]}), "eval.json")
        client.log_text(run, "x" * 700_000, "long.txt")
    return run, children


def log_bytes(client: MlflowClient, run: str, name: str, content: bytes, below: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        client.log_artifact(run, str(file), below or None)


def traced(run: str) -> dict[str, str]:
    """Three traces of a small application; answers the ids of one that went well and one that failed."""

    @mlflow.trace(span_type="RETRIEVER")
    def look_up(question: str) -> list[str]:
        time.sleep(0.02)
        return [f"about {question}", "about the wind"]

    usage = {"input_tokens": 90, "output_tokens": 12, "total_tokens": 102}

    @mlflow.trace(span_type="LLM", attributes={"mlflow.chat.tokenUsage": usage})
    def ask(question: str, known: list[str]) -> str:
        time.sleep(0.03)
        if "gate" in question:
            raise ValueError("the model did not answer")
        return f"Because of {known[-1]}."

    @mlflow.trace(span_type="CHAIN")
    def answer(question: str) -> str:
        mlflow.update_current_trace(tags={"env": "prod"}, metadata={"mlflow.trace.session": "night-shift"})
        return ask(question, look_up(question))

    ids = {}
    with mlflow.start_run(run):
        answer("Why is it late?")
        ids["good"] = mlflow.get_last_active_trace_id()
        try:
            answer("Which gate?")
        except ValueError:
            ids["bad"] = mlflow.get_last_active_trace_id()
    mlflow.flush_trace_async_logging()
    mlflow.log_feedback(trace_id=ids["good"], name="grounded", value=True, rationale="It names the wind.")
    mlflow.log_expectation(trace_id=ids["good"], name="expected", value="the wind")
    return ids


def fill(client: MlflowClient, experiment: str) -> dict[str, Any]:
    mlflow.set_experiment(experiment_id=experiment)
    run, children = long_run(client, experiment)
    log_bytes(client, run, "gradient.png", picture(), "plots")
    log_bytes(client, run, "weights.bin", bytes(range(256)) * 8)
    going = client.create_run(experiment, run_name="on its way").info.run_id
    now = client.get_run(going).info.start_time
    client.log_batch(going, [Metric("train/loss", 1 / (step + 1), now + step, step) for step in range(5)])
    client.log_text(going, "epoch 1\n", "output.log")
    folder = client.get_run(going).info.artifact_uri.removeprefix("mlflow-artifacts:/")
    wide = client.create_run(experiment, run_name="wide").info.run_id
    client.log_batch(wide, [Metric(f"layer/{n}", n + step, now, step) for n in range(300) for step in range(3)])
    client.set_terminated(wide)
    traces = traced(run)
    client.set_terminated(run)
    return {"wide": wide, "run": run, "children": children, "going": going, "going_artifacts": folder, "traces": traces}
