"""Saves the models that `cargo xtask bench predict`, `rollout` and `soak` serve: 100 trees of depth 6 over 20 columns.

Run as `python models.py <folder>`. Below the folder there are the MLflow models `first` and `second` of XGBoost, `lightgbm`,
`worker` of scikit-learn, which a Python worker has, and `rows.json` with the columns and 100 rows to ask with.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightgbm as lgb
import mlflow.lightgbm
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

ROWS, COLUMNS, ASKED = 20_000, 20, 100


def main() -> None:
    folder = Path(sys.argv[1])
    random = np.random.default_rng(7)
    data = pd.DataFrame(random.normal(size=(ROWS, COLUMNS)), columns=[f"column_{i}" for i in range(COLUMNS)])
    noise = random.normal(scale=0.5, size=ROWS)
    label = (data["column_0"] * data["column_1"] + np.sin(3 * data["column_2"]) + noise > 0).astype(int)
    for seed, name in enumerate(["first", "second"], start=1):
        params = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1 * seed, "seed": seed}
        model = xgb.train(params, xgb.DMatrix(data, label=label), num_boost_round=100)
        example = data.head(3)
        signature = infer_signature(example, model.predict(xgb.DMatrix(example)))
        mlflow.xgboost.save_model(
            model, folder / name, signature=signature, input_example=example, pip_requirements=["mlflow", "xgboost"]
        )
    save_others(folder, data, label)
    rows = {"columns": list(data.columns), "data": data.head(ASKED).to_numpy().tolist()}
    (folder / "rows.json").write_text(json.dumps(rows))


def save_others(folder: Path, data: pd.DataFrame, label: pd.Series) -> None:
    example = data.head(3)
    params = {"objective": "binary", "max_depth": 6, "num_leaves": 63, "verbose": -1, "num_threads": 1}
    trees = lgb.train(params, lgb.Dataset(data, label), 100)
    mlflow.lightgbm.save_model(
        trees,
        folder / "lightgbm",
        signature=infer_signature(example, trees.predict(example)),
        input_example=example,
        pip_requirements=["mlflow", "lightgbm"],
    )
    logistic = LogisticRegression().fit(data, label)
    mlflow.sklearn.save_model(
        logistic,
        folder / "worker",
        signature=infer_signature(example, logistic.predict(example)),
        input_example=example,
        pip_requirements=["mlflow", "scikit-learn"],
        serialization_format="cloudpickle",
    )


if __name__ == "__main__":
    main()
