"""Saves models that tell what they were given, and what MLflow's own scoring server answers for them.

    python scoring_models.py FOLDER

Below the folder there is one model a sub-folder. Beside it lies `<name>.cases.json`: a list of `body`, `status`,
whether an error came with a `stack_trace` (`traced`), and the whole `answer` where there is one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, Object, Property
from scored import load, scored

REQUIREMENTS = ["mlflow-skinny"]


class Told(mlflow.pyfunc.PythonModel):
    """Answers what it was given: the kind of it, types, shapes and values."""

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        import json

        import numpy as np
        import pandas as pd

        def told(value: Any) -> Any:
            if isinstance(value, pd.DataFrame):
                columns = [[repr(name), str(value[name].dtype), repr(value[name].tolist())] for name in value.columns]
                return ["table", len(value), columns]
            if isinstance(value, np.ndarray):
                return ["array", str(value.dtype), list(value.shape), repr(value.tolist())]
            if isinstance(value, dict):
                return {name: told(value[name]) for name in sorted(value)}
            return repr(value)

        if isinstance(model_input, pd.DataFrame) and "raise" in model_input:
            raise ValueError("as it was asked to")
        return {"given": json.dumps(told(model_input)), "params": params or {}}


def answered(model: Any, body: Any) -> dict[str, Any]:
    status, answer = scored(model, body)
    case = {"body": body, "status": status, "traced": "stack_trace" in answer}
    return case | {"answer": answer} if status == 200 else case


def keep(folder: Path, name: str, signature: ModelSignature | None, bodies: list[Any]) -> None:
    mlflow.pyfunc.save_model(
        folder / name, python_model=Told(), signature=signature, pip_requirements=REQUIREMENTS
    )
    model = load(folder / name)
    (folder / f"{name}.cases.json").write_text(json.dumps([answered(model, body) for body in bodies]))


def split(columns: list[Any] | None, *rows: list[Any]) -> dict[str, Any]:
    table: dict[str, Any] = {"data": list(rows)}
    return {"dataframe_split": table if columns is None else {"columns": columns, **table}}


CHAT = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "max_tokens": 20}


def untold(folder: Path) -> None:
    """A model without a signature."""
    bodies = [
        {"inputs": {"a": [[1.5, 2.0], [3.0, 4.0]], "b": [1, 2]}},
        {"inputs": {"a": [[1], [2]], "b": ["x", "y"]}},
        {"inputs": [[1, 2.5], [3, 4]]},
        {"inputs": ["x", "yz"]},
        {"instances": [{"a": [1, 2], "b": 1}, {"a": [3, 4], "b": 2}]},
        {"dataframe_records": [{"a": 1, "b": True}, {"a": None, "b": False}]},
        {"dataframe_records": [{"a": 2**63}]},
        {"dataframe_records": []},
        split(None, [1, "x"], [2, "y"]),
        split([0, 1], [1, 2.5]),
        split(["a", "b"], [[1, 2], "x"]),
        CHAT,
        {"prompt": "hello", "n": 2},
        {"input": ["hello", "you"]},
        {"messages": [], "instances": [1]},
        {"dataframe_records": [{"raise": 1}]},
    ]
    keep(folder, "untold", None, bodies)


def chat(folder: Path) -> None:
    """A model of chats that declares a param."""
    message = Object([Property("role", DataType.string), Property("content", DataType.string)])
    signature = ModelSignature(
        inputs=Schema([ColSpec(Array(message), name="messages")]),
        params=ParamSchema([ParamSpec("temperature", DataType.double, 1.0), ParamSpec("top_p", DataType.double, 0.9)]),
    )
    keep(folder, "chat", signature, [CHAT, {**CHAT, "temperature": "hot"}, {"prompt": "hello"}])


def columns(folder: Path) -> None:
    """Columns without names, and a column of texts."""
    signature = ModelSignature(inputs=Schema([ColSpec("double"), ColSpec("long")]))
    numbers = [split(["y", "x", "more"], [1.5, 2, "z"]), split(None, [1.5, 2]), split(["y"], [1.5])]
    keep(folder, "places", signature, numbers)
    signature = ModelSignature(inputs=Schema([ColSpec("string", "s"), ColSpec("double", "d", required=False)]))
    texts = [
        split(["s"], [1], ["x"], [True]),
        {"inputs": {"s": [1, 2]}},
        {"inputs": {"s": ["x", "y"]}},
        split(["s"], [2e-5], ["x"], [1e300]),
        {"inputs": {"s": ["x", 2e-5, 0.0001, 1e16, 12.5, 3]}},
        {**split(["s"], ["x"]), "params": {"unknown": 1}},
    ]
    keep(folder, "texts", signature, texts)


def tensors(folder: Path) -> None:
    """Arrays of texts and of 16-bit floats."""
    texts = ModelSignature(inputs=Schema([TensorSpec(np.dtype("str"), (-1,))]))
    keep(folder, "words", texts, [{"inputs": ["x", "yz"]}, {"instances": [1, 2]}])
    halves = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float16"), (-1, 2))]))
    keep(folder, "halves", halves, [{"inputs": [[1.5, 2.0]]}, {"instances": [[1, 2], [3, 4]]}])


def main() -> None:
    folder = Path(sys.argv[1])
    for make in (untold, chat, columns, tensors):
        make(folder)


if __name__ == "__main__":
    main()
