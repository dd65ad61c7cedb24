"""Saves what `cargo xtask bench serving` serves: 200 trees of depth 6 over 30 columns, and a logistic regression.

Run as `python serving_models.py <folder>`. Below the folder there are the MLflow models `trees` and `logistic`,
repositories of MLServer (`mlserver-trees`, `mlserver-trees-batching`, `mlserver-logistic`), and `asked.json` with the
columns, 1,000 rows to ask with and the time that the regression's own `predict` takes for one of them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import joblib
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

ROWS, COLUMNS, ASKED = 20_000, 30, 1_000
TREES, DEPTH = 200, 6
# Digits after the point, as data has them that people measured.
DIGITS = 4
# MLServer's adaptive batching, as it was quickest at 64 connections.
BATCHING = {"max_batch_size": 64, "max_batch_time": 0.002}


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    random = np.random.default_rng(7)
    values = random.normal(size=(ROWS, COLUMNS)).round(DIGITS)
    noise = random.normal(scale=0.5, size=ROWS)
    label = (values[:, 0] * values[:, 1] + np.sin(3 * values[:, 2]) + noise > 0).astype(int)
    data = pd.DataFrame(values.astype(np.float32), columns=[f"column_{i}" for i in range(COLUMNS)])

    params = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.1, "seed": 7}
    trees = xgb.train(params, xgb.DMatrix(data, label=label), num_boost_round=TREES)
    example = data.head(3)
    signature = infer_signature(example, trees.predict(xgb.DMatrix(example)))
    mlflow.xgboost.save_model(
        trees, folder / "trees", signature=signature, input_example=example, pip_requirements=["mlflow", "xgboost"]
    )
    for name, batching in {"mlserver-trees": {}, "mlserver-trees-batching": BATCHING}.items():
        repository(folder / name, "mlserver_xgboost.XGBoostModel", folder / "trees/model.ubj", batching)

    logistic = LogisticRegression(max_iter=1_000).fit(values, label)
    signature = infer_signature(values[:3], logistic.predict(values[:3]))
    mlflow.sklearn.save_model(
        logistic,
        folder / "logistic",
        signature=signature,
        input_example=values[:3],
        pip_requirements=["mlflow", "scikit-learn"],
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
    )
    joblib.dump(logistic, folder / "model.joblib")
    repository(folder / "mlserver-logistic", "mlserver_sklearn.SKLearnModel", folder / "model.joblib", BATCHING)

    asked = {
        "columns": list(data.columns),
        "rows": values[:ASKED].tolist(),
        "logistic_predict_us": microseconds(logistic, values[:1]),
    }
    (folder / "asked.json").write_text(json.dumps(asked))


def repository(folder: Path, implementation: str, file: Path, batching: dict[str, float]) -> None:
    """What MLServer reads; ports come from the environment."""
    folder.mkdir()
    # No pool of processes: its start fails with the uvloop of today, and one process is quicker for models as small.
    settings = {"debug": False, "parallel_workers": 0, "host": "127.0.0.1"}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "model", "implementation": implementation, "parameters": {"uri": str(file)}, **batching}
    (folder / "model-settings.json").write_text(json.dumps(model))


def microseconds(model: LogisticRegression, row: np.ndarray) -> float:
    """The median time of one prediction, without any server."""
    times = []
    for _ in range(2_000):
        began = time.perf_counter()
        model.predict(row)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    main()
