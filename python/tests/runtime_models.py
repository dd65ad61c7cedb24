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
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.pyfunc import scoring_server
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


def answered(path: Path, body: dict[str, Any]) -> dict[str, Any]:
    """What MLflow's scoring server answers."""
    model = scoring_server.load_model_with_mlflow_config(str(path))
    try:
        answer = scoring_server.invocations(
            data=json.dumps(body),
            content_type="application/json",
            model=model,
            input_schema=model.metadata.get_input_schema(),
        )
    except mlflow.exceptions.MlflowException as error:
        return {"body": body, "status": error.get_http_status_code()}
    told = {"body": body, "status": answer.status}
    return told | {"predictions": json.loads(answer.response)["predictions"]} if answer.status == 200 else told


def keep(folder: Path, name: str, save: Callable[[Path], None], bodies: list[dict[str, Any]]) -> None:
    save(folder / name)
    cases = [answered(folder / name, body) for body in bodies]
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
    sklearn_models(folder, data)
    functions(folder, data)


if __name__ == "__main__":
    main()
