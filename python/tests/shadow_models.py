"""Saves Python models that misbehave when they are asked in shadow.

Run as `python shadow_models.py <folder>`. `failing` fails every request; `gated` answers nothing until the file `open`
stands beside it in the folder. Neither has an input example, which a deployment would try them on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

COLUMNS = ["hour", "distance", "day"]


class Failing(mlflow.pyfunc.PythonModel):
    """Fails every request."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        raise ValueError("this one always fails")


class Gated(mlflow.pyfunc.PythonModel):
    """Answers once a file is there."""

    def __init__(self, gate: str) -> None:
        self.gate = gate

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        while not Path(self.gate).exists():
            time.sleep(0.01)
        return model_input["hour"].to_numpy() * 0.0


def main() -> None:
    folder = Path(sys.argv[1])
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.double, name) for name in COLUMNS]), outputs=Schema([ColSpec(DataType.double)])
    )
    models = {"failing": Failing(), "gated": Gated(str(folder / "open"))}
    for name, model in models.items():
        mlflow.pyfunc.save_model(
            folder / name, python_model=model, signature=signature, pip_requirements=["mlflow", "pandas"]
        )


if __name__ == "__main__":
    main()
