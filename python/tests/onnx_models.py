"""Exports models to ONNX as MLflow lays them out, with what Python's onnxruntime answers; prints the path of its library.

    python onnx_models.py FOLDER

Run by an interpreter that has onnx, onnxruntime, skl2onnx and scikit-learn. Beside each model lies `<name>.cases.json`: a
list of `body`, `status`, `predictions` and, of forests and boosting, `trained`: what the model of scikit-learn answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.neural_network import MLPRegressor

MLMODEL = """flavors:
  onnx:
    data: model.onnx
    onnx_version: '1'
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
signature:
  inputs: '{inputs}'
  outputs: null
  params: null
"""


def keep(folder: Path, name: str, model: Any, inputs: list[dict[str, Any]], cases: list[dict[str, Any]]) -> None:
    path = folder / name
    path.mkdir()
    (path / "model.onnx").write_bytes(model.SerializeToString())
    (path / "MLmodel").write_text(MLMODEL.format(inputs=json.dumps(inputs)))
    (folder / f"{name}.cases.json").write_text(json.dumps([{"status": 200, **case} for case in cases]))


def run(model: Any, rows: np.ndarray) -> dict[str, list[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {session.get_inputs()[0].name: rows.astype(np.float32)})
    return {name: np.asarray(answer).tolist() for name, answer in zip(names, answers, strict=True)}


def records(answers: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """What MLflow's ONNX flavour makes of a table: a record a row, a list of one value as the value."""
    flat = {name: [v[0] if isinstance(v, list) and len(v) == 1 else v for v in values] for name, values in answers.items()}
    rows = len(next(iter(flat.values())))
    return [{name: values[i] for name, values in flat.items()} for i in range(rows)]


def trees(folder: Path, rows: np.ndarray, asked: np.ndarray) -> None:
    """Forests and boosting, of two classes, of three, and of a number."""
    columns = [{"type": "double", "name": name, "required": True} for name in "abc"]
    table = {"dataframe_split": {"columns": ["c", "b", "a"], "data": asked[:, ::-1].tolist()}}
    total = rows.sum(axis=1)
    classes = {"two": (total > 0).astype(int), "three": np.digitize(total, [-1, 1])}
    few = {"max_depth": 4, "random_state": 1}
    for kind, classifier, regressor in [
        ("forest", RandomForestClassifier(8, **few), RandomForestRegressor(8, **few)),
        ("boosting", GradientBoostingClassifier(n_estimators=8, **few), GradientBoostingRegressor(n_estimators=8, **few)),
        ("histogram", HistGradientBoostingClassifier(max_iter=8, **few), HistGradientBoostingRegressor(max_iter=8, **few)),
    ]:
        for count, labels in classes.items():
            classifier.fit(rows, labels)
            model = to_onnx(classifier, rows[:1].astype(np.float32), options={"zipmap": False})
            trained = records(
                {"label": classifier.predict(asked).tolist(), "probabilities": classifier.predict_proba(asked).tolist()}
            )
            case = {"body": table, "predictions": records(run(model, asked)), "trained": trained}
            keep(folder, f"{kind}-{count}", model, columns, [case])
        regressor.fit(rows, total)
        model = to_onnx(regressor, rows[:1].astype(np.float32))
        trained = records({"variable": regressor.predict(asked).tolist()})
        case = {"body": table, "predictions": records(run(model, asked)), "trained": trained}
        keep(folder, f"{kind}-number", model, columns, [case])


def main() -> None:
    folder = Path(sys.argv[1])
    random = np.random.default_rng(3)
    rows = random.normal(size=(200, 3))
    asked = rows[:20].astype(np.float32).astype(np.float64)
    trees(folder, rows, asked)

    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=1).fit(rows, rows[:, 0])
    model = to_onnx(network, rows[:1].astype(np.float32))
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]
    cases = [{"body": {"inputs": asked.tolist()}, "predictions": run(model, asked)}]
    keep(folder, "network", model, tensor, cases)
    found = Path(onnxruntime.__file__).parent.joinpath("capi").glob("libonnxruntime.so*")
    print(next(iter(sorted(found))))


if __name__ == "__main__":
    main()
