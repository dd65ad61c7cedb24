"""Exports models to ONNX as MLflow lays them out, with what Python's onnxruntime answers; prints the path of its library.

    python onnx_models.py FOLDER

Run by an interpreter that has onnx, onnxruntime, skl2onnx and scikit-learn. Beside each model lies `<name>.cases.json`: a
list of `body`, `status` and `predictions`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
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


def main() -> None:
    folder = Path(sys.argv[1])
    random = np.random.default_rng(3)
    rows = random.normal(size=(200, 3))
    asked = rows[:5].astype(np.float32).astype(np.float64)
    forest = RandomForestClassifier(8, max_depth=4, random_state=1).fit(rows, (rows.sum(axis=1) > 0).astype(int))
    model = to_onnx(forest, rows[:1].astype(np.float32), options={"zipmap": False})
    columns = [{"type": "double", "name": name, "required": True} for name in "abc"]
    table = {"dataframe_split": {"columns": ["c", "b", "a"], "data": asked[:, ::-1].tolist()}}
    cases = [{"body": table, "predictions": records(run(model, asked))}]
    keep(folder, "classifier", model, columns, cases)

    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=1).fit(rows, rows[:, 0])
    model = to_onnx(network, rows[:1].astype(np.float32))
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]
    cases = [{"body": {"inputs": asked.tolist()}, "predictions": run(model, asked)}]
    keep(folder, "network", model, tensor, cases)
    found = Path(onnxruntime.__file__).parent.joinpath("capi").glob("libonnxruntime.so*")
    print(next(iter(sorted(found))))


if __name__ == "__main__":
    main()
