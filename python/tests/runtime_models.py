"""Saves models of several flavours with MLflow, and what MLflow's own scoring server answers to requests.

    python runtime_models.py FOLDER

Below the folder there is one model a sub-folder. Beside it lies `<name>.cases.json`: a list of `body`, `status` and, of
an answer, `predictions`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import mlflow.lightgbm
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature
from scored import load, scored
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

REQUIREMENTS = ["mlflow-skinny"]


def flights(rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "carrier": random.choice(["AA", "DL", "UA"], rows),
            "hour": random.integers(0, 24, rows),
            "distance": random.lognormal(6, 1, rows),
        }
    )


def answered(model: Any, body: dict[str, Any]) -> dict[str, Any]:
    status, answer = scored(model, body)
    told = {"body": body, "status": status}
    return told | {"predictions": answer["predictions"]} if status == 200 else told


def keep(folder: Path, name: str, save: Callable[[Path], None], bodies: list[dict[str, Any]]) -> None:
    save(folder / name)
    model = load(folder / name)
    cases = [answered(model, body) for body in bodies]
    (folder / f"{name}.cases.json").write_text(json.dumps(cases))


def split(data: pd.DataFrame) -> dict[str, Any]:
    return {"dataframe_split": json.loads(data.to_json(orient="split", index=False))}


def boosters(folder: Path, data: pd.DataFrame) -> None:
    numbers = data[["hour", "distance"]].astype("float64")
    for name, label, params in [
        ("lightgbm", numbers["distance"] / 100 + numbers["hour"], {"objective": "regression"}),
        ("lightgbm-classes", numbers["hour"] % 3, {"objective": "multiclass", "num_class": 3}),
    ]:
        model = lgb.train({"verbose": -1, "num_threads": 1, **params}, lgb.Dataset(numbers, label), 20)
        signature = infer_signature(numbers, model.predict(numbers))

        def save(path: Path, model: lgb.Booster = model, signature: Any = signature) -> None:
            mlflow.lightgbm.save_model(
                model, path, signature=signature, input_example=numbers.head(3), pip_requirements=REQUIREMENTS
            )

        records = {"dataframe_records": numbers.tail(2).to_dict(orient="records")}
        keep(folder, name, save, [split(numbers.head(20)), records, {"inputs": {"hour": [1.0]}}])


def wrappers(folder: Path, data: pd.DataFrame) -> None:
    """The scikit-learn wrappers of both libraries, as the libraries' own flavours and as scikit-learn's keep them."""
    numbers = data[["hour", "distance"]].astype("float64")
    late = (numbers["hour"] > 12).astype(int)
    thirds = pd.qcut(numbers["distance"], 3, labels=False)
    few: dict[str, Any] = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1}
    early = xgb.XGBRegressor(**few | {"n_estimators": 60, "learning_rate": 1.0}, early_stopping_rounds=3)
    held_out = [(numbers.tail(100), numbers["distance"].tail(100).sample(frac=1, random_state=1))]
    early.fit(numbers.head(200), numbers["distance"].head(200), eval_set=held_out, verbose=False)
    assert early.best_iteration + 1 < early.get_booster().num_boosted_rounds()
    pickled = {"serialization_format": "cloudpickle"}
    two = xgb.XGBClassifier(**few).fit(numbers, late)
    both = xgb.XGBClassifier(**few).fit(numbers, np.column_stack([late, thirds == 0]))
    for name, flavor, model, how in [
        ("xgboost-regressor", mlflow.xgboost, early, {}),
        ("xgboost-two", mlflow.xgboost, two, {}),
        ("xgboost-three", mlflow.xgboost, xgb.XGBClassifier(**few).fit(numbers, thirds), {}),
        ("xgboost-itself", mlflow.xgboost, xgb.XGBClassifier(objective="multi:softmax", **few).fit(numbers, thirds), {}),
        ("xgboost-labels", mlflow.xgboost, both, {}),
        ("xgboost-forest", mlflow.xgboost, xgb.XGBRFClassifier(**few).fit(numbers, thirds), {}),
        ("xgboost-sklearn", mlflow.sklearn, two, pickled),
        ("lightgbm-wrapper", mlflow.lightgbm, lgb.LGBMClassifier(**few, verbose=-1).fit(numbers, thirds), pickled),
    ]:

        def save(path: Path, flavor: Any = flavor, model: Any = model, how: dict[str, Any] = how) -> None:
            signature = infer_signature(numbers, model.predict(numbers))
            flavor.save_model(model, path, signature=signature, pip_requirements=REQUIREMENTS, **how)

        keep(folder, name, save, [split(numbers.head(40))])


def sklearn_models(folder: Path, data: pd.DataFrame) -> None:
    encode = ColumnTransformer([("carrier", OneHotEncoder(), ["carrier"])], remainder="passthrough")
    model = make_pipeline(encode, RandomForestClassifier(10, random_state=1)).fit(
        data, np.where(data["hour"] > 12, "late", "early")
    )

    def save(path: Path) -> None:
        mlflow.sklearn.save_model(
            model,
            path,
            signature=infer_signature(data, model.predict(data)),
            input_example=data.head(3),
            pip_requirements=REQUIREMENTS,
            serialization_format="cloudpickle",
        )

    records = {"dataframe_records": data.head(5).to_dict(orient="records")}
    wrong = {"dataframe_records": [{"carrier": "AA", "hour": "noon", "distance": 1.0}]}
    missing = {"dataframe_records": [{"carrier": "AA", "distance": 1.0}]}
    keep(folder, "pipeline", save, [split(data.head(20)), records, wrong, missing])
    array = data[["hour", "distance"]].to_numpy(dtype="float64")
    linear = LinearRegression().fit(array, array.sum(axis=1))

    def save_linear(path: Path) -> None:
        mlflow.sklearn.save_model(
            linear,
            path,
            signature=infer_signature(array, linear.predict(array)),
            input_example=array[:2],
            pip_requirements=REQUIREMENTS,
            serialization_format="cloudpickle",
        )

    keep(folder, "array", save_linear, [{"inputs": array[:4].tolist()}, {"inputs": [[1.0, 2.0, 3.0]]}])


class Scaled(mlflow.pyfunc.PythonModel):
    """Answers a dictionary, and takes params."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        factor = (params or {}).get("factor", 1.0)
        return {"scaled": (model_input["distance"] * factor).to_numpy(), "note": "as you like"}


def functions(folder: Path, data: pd.DataFrame) -> None:
    example = data[["distance"]].head(3)

    def save(path: Path) -> None:
        mlflow.pyfunc.save_model(
            path,
            python_model=Scaled(),
            signature=infer_signature(example, {"scaled": np.array([1.0])}, params={"factor": 1.0}),
            pip_requirements=REQUIREMENTS,
        )

    asked = split(example)
    keep(folder, "function", save, [asked, asked | {"params": {"factor": 2.5}}, asked | {"params": {"factor": "x"}}])


def main() -> None:
    folder = Path(sys.argv[1])
    data = flights()
    boosters(folder, data)
    wrappers(folder, data)
    sklearn_models(folder, data)
    functions(folder, data)


if __name__ == "__main__":
    main()
