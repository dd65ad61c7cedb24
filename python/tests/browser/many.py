"""Fills an experiment with very many runs, through the public door, from many connections at once.

`fill(url, token, runs)` answers the experiment's id. The runs are those of a search for good parameters: metrics of
training and validation, params of which some are numbers, a tag. What each run has follows from its number, so that a
story knows it.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.parse
from typing import Any

CONNECTIONS = 64
# 2026-01-01, a run every minute.
FIRST_START_MS = 1_767_225_600_000
STEPS = 6
MODELS = ["gbt", "forest", "linear", "mlp"]


def loss(n: int) -> float:
    """Between 0 and 1, spread evenly, no two alike below a million."""
    return (n * 7919 % 1_000_003) / 1_000_003


def body(run: str, n: int) -> dict[str, Any]:
    value = loss(n)
    metrics = {
        "train/loss": value * 0.8,
        "train/auc": 1 - value / 2,
        "val/loss": value,
        "val/auc": 1 - value / 1.8,
        "latency_ms": 2 + (n % 97) / 10,
    }
    params = {
        "model": MODELS[n % len(MODELS)],
        "lr": str(10 ** -(1 + n % 4)),
        "depth": str(2 + n % 9),
        "seed": str(n),
    }
    at = FIRST_START_MS + n * 60_000
    # The losses fall to what they come to; all else is logged once, at the end.
    curve = [(key, step) for key in ["train/loss", "val/loss"] for step in range(STEPS - 1)]
    points = [(key, step, metrics[key] * (1.5 + (n % 7) / 7) ** (STEPS - 1 - step)) for key, step in curve]
    points += [(key, STEPS - 1, value) for key, value in metrics.items()]
    return {
        "run_id": run,
        "metrics": [{"key": k, "value": v, "timestamp": at + s * 1000, "step": s} for k, s, v in points],
        "params": [{"key": k, "value": v} for k, v in params.items()],
    }


class _Connection:
    def __init__(self, url: str, token: str) -> None:
        self.at = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def call(self, path: str, body: Any) -> Any:
        self.at.request("POST", f"/api/2.0/mlflow/{path}", json.dumps(body), self.headers)
        answer = self.at.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {told}")
        return told


def fill(url: str, token: str, runs: int, name: str = "many runs") -> str:
    experiment: str = _Connection(url, token).call("experiments/create", {"name": name})["experiment_id"]
    failures: list[BaseException] = []

    def some(first: int) -> None:
        try:
            connection = _Connection(url, token)
            for n in range(first, runs, CONNECTIONS):
                if failures:
                    return
                at = FIRST_START_MS + n * 60_000
                made = {
                    "experiment_id": experiment,
                    "run_name": f"run-{n}",
                    "start_time": at,
                    "tags": [{"key": "team", "value": "ranking"}],
                }
                run = connection.call("runs/create", made)["run"]["info"]["run_id"]
                connection.call("runs/log-batch", body(run, n))
                # One in fifty goes on.
                if n % 50:
                    state = "FAILED" if n % 20 == 7 else "FINISHED"
                    connection.call(
                        "runs/update", {"run_id": run, "status": state, "end_time": at + 1000 * (30 + n % 600)}
                    )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return experiment
