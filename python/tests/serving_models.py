"""Saves the models that the serving tests deploy, with what MLflow itself predicts for some requests.

Run as `python serving_models.py <folder>`. Below the folder there is one MLflow model a sub-folder, each with a file
`expected.json` beside it: the columns and rows of a request, and the predictions of `mlflow.pyfunc`, whose floats are
written with all digits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow.pyfunc
import mlflow.xgboost
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature

COLUMNS = ["hour", "distance", "day"]
ROWS = 400


def frame(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "hour": random.uniform(0, 24, ROWS),
            "distance": random.lognormal(6, 1, ROWS),
            "day": random.integers(0, 7, ROWS).astype("float64"),
        }
    )
    data.loc[::17, "distance"] = np.nan
    return data


def score(data: pd.DataFrame) -> np.ndarray:
    return data["hour"] / 24 + np.sin(data["day"]) - np.log1p(data["distance"].fillna(500)) / 10


def keep(
    folder: Path,
    name: str,
    model: object,
    data: pd.DataFrame,
    signature: bool = True,
    metadata: dict[str, str] | None = None,
) -> None:
    example = data.head(4)
    path = folder / name
    outputs = model.predict(xgb.DMatrix(example)) if isinstance(model, xgb.Booster) else model.predict(example)
    mlflow.xgboost.save_model(
        model,
        path,
        signature=infer_signature(example, outputs) if signature else None,
        input_example=example if signature else None,
        pip_requirements=["mlflow", "xgboost"],
        metadata=metadata,
    )
    predictions = np.asarray(mlflow.pyfunc.load_model(str(path)).predict(data)).tolist()
    rows = [[None if np.isnan(v) else v for v in row] for row in data.to_numpy().tolist()]
    expected = {"columns": COLUMNS, "rows": rows, "predictions": predictions}
    (folder / f"{name}.expected.json").write_text(json.dumps(expected))


def booster(data: pd.DataFrame, label: np.ndarray, rounds: int, seed: int, **params: object) -> xgb.Booster:
    matrix = xgb.DMatrix(data, label=label)
    return xgb.train({"max_depth": 4, "seed": seed, "nthread": 1, **params}, matrix, num_boost_round=rounds)


def main() -> None:
    folder = Path(sys.argv[1])
    data = frame(1)
    late = (score(data) > 0.3).to_numpy()
    levels = np.digitize(score(data), [0.0, 0.6])
    first = booster(data, late, 20, 1, objective="binary:logistic")
    second = booster(data, late, 5, 2, objective="binary:logistic", base_score=0.9)
    keep(folder, "binary", first, data)
    keep(folder, "binary-other", second, data)
    keep(folder, "with-features", first, data, metadata={"trueline.feature_views": "routes@1"})
    keep(folder, "without-signature", first, data, signature=False)
    keep(folder, "regression", booster(data, score(data).to_numpy(), 10, 3), data)
    keep(folder, "three-classes", booster(data, levels, 8, 4, objective="multi:softprob", num_class=3), data)
    classifier = xgb.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1).fit(data, levels)
    keep(folder, "classifier", classifier, data)


if __name__ == "__main__":
    main()
