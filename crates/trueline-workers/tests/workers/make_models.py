"""Makes the models that the workers of the tests serve, below the folder that is named."""

import sys
from pathlib import Path

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ParamSchema, ParamSpec
from sklearn.linear_model import LogisticRegression

FOLDER = Path(sys.argv[1])


class Acts(mlflow.pyfunc.PythonModel):
    """Does what the first value of the column `act` says."""

    def predict(self, context, model_input, params=None):
        import asyncio
        import datetime
        import json
        import os
        import signal
        import subprocess
        import sys
        import time

        import numpy as np
        import pandas as pd
        import scipy.sparse
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import BAD_REQUEST

        act, _, what = str(model_input["act"].iloc[0]).partition(" ")
        if act == "answer":
            answers = {
                "floats": lambda: np.array([0.1, 1e16, 1e-5, -0.0, np.nan, np.inf, -np.inf, 5e-324]),
                "float32": lambda: np.array([[0.1, 2.5], [np.nan, 1e30]], dtype=np.float32),
                "float16": lambda: np.array([0.1, 65504, np.inf], dtype=np.float16),
                "big-endian": lambda: np.array([1, 2, 300], dtype=">i4"),
                "fortran": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
                "strided": lambda: np.arange(20)[::3],
                "ints": lambda: np.arange(-3, 3, dtype=np.int8),
                "uints": lambda: np.array([2**64 - 1, 0], dtype=np.uint64),
                "bools": lambda: np.array([[True], [False]]),
                "texts": lambda: np.array(["a", 'é"\\\n\u2028😀', ""]),
                "objects": lambda: np.array(["a", None, "b"], dtype=object),
                "mixed": lambda: np.array(["a", 1, None, 2.5, float("nan")], dtype=object),
                "dates": lambda: np.array([datetime.datetime(2026, 1, 2, 3)], dtype=object),
                "empty": lambda: np.zeros((0, 3)),
                "scalar": lambda: np.float64(2.5),
                "zero-d": lambda: np.array(7),
                "masked": lambda: np.ma.array([1.0, 2.0], mask=[False, True]),
                "series": lambda: pd.Series([1.5, 2.5], name="s"),
                "unnamed": lambda: pd.Series([1, 2]),
                "frame": lambda: pd.DataFrame(
                    {
                        "label": ["x", "y"],
                        "score": np.array([0.1, 0.9], dtype=np.float32),
                        "n": [1, 2],
                        "b": [True, False],
                    }
                ),
                "numbered": lambda: pd.DataFrame([[1.0, 2.0], [3.0, 4.0]]),
                "frame-of-dates": lambda: pd.DataFrame({"at": pd.to_datetime(["2026-01-02", "2026-01-03"])}),
                "frame-of-none": lambda: pd.DataFrame({"a": ["x", None], "b": [1.0, None]}),
                "frame-of-lists": lambda: pd.DataFrame({"a": [[1, 2], [3]]}),
                "categories": lambda: pd.DataFrame({"c": pd.Categorical(["u", "v", "u"])}),
                "no-columns": lambda: pd.DataFrame(index=range(2)),
                "list-of-texts": lambda: ["a", "b"],
                "list-of-none": lambda: ["a", None],
                "list-of-floats": lambda: [0.5, 1e22],
                "list-of-ints": lambda: [1, 2**62],
                "list-of-large": lambda: [1, 2**70],
                "list-of-bools": lambda: [True, False],
                "list-of-mixed": lambda: [1, 2.5, "x"],
                "list-of-arrays": lambda: [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
                "list-of-ragged": lambda: [[1.0], [2.0, 3.0]],
                "list-of-numpy": lambda: [np.float32(0.1), np.float32(0.2)],
                "list-of-dicts": lambda: [{"role": "assistant", "content": "hi é", "at": 0.5}],
                "nested": lambda: [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
                "tuple": lambda: (1.0, 2.0),
                "nothing": lambda: [],
                "none": lambda: None,
                "text": lambda: "a text",
                "dict-of-arrays": lambda: {"labels": np.array([1, 2]), "scores": np.eye(2), "names": ["a", "b"]},
                "dict-of-all": lambda: {"a": 1, "b": {"c": [np.int64(3), None]}, "d": np.array(["x", 1], dtype=object)},
                "dict-of-bytes": lambda: {"a": b"\x00\xff" * 60},
                "surrogate-name": lambda: {"\ud800": [1.0]},
                "wide": lambda: pd.DataFrame([range(10_001)]),
                "same-names": lambda: pd.DataFrame([[1, 2.5]], columns=["1", 1]),
                "surrogate": lambda: ["\ud800"],
            }
            return answers[what]()
        if act == "types":
            return [f"{name}:{model_input[name].dtype}:{model_input[name].tolist()!r}" for name in model_input.columns]
        if act == "params":
            return [repr(params)]
        if act == "sparse":
            return scipy.sparse.csr_matrix(np.eye(3))
        if act == "dump":
            return [json.dumps(model_input[name].tolist()) for name in model_input.columns[1:]]
        if act == "echo":
            return model_input.drop(columns=["act"])
        if act == "in-place":
            model_input["x"].to_numpy()[:] += 1
            return model_input["x"]
        if act == "sleep":
            time.sleep(float(what))
        elif act == "raise":
            raise ValueError(f"no such thing: {what}")
        elif act == "refuse":
            raise MlflowException("that is not to be had", error_code=BAD_REQUEST)
        elif act == "unserializable":
            return object()
        elif act == "sys-exit":
            sys.exit(4)
        elif act == "cancel":
            raise asyncio.CancelledError
        elif act == "exit":
            print("going down", file=sys.stderr, flush=True)
            os._exit(3)
        elif act == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif act == "eat":
            eaten = []
            while True:
                eaten.append(np.ones(1_000_000))
                time.sleep(0.001)
        elif act == "print":
            for n in range(int(what)):
                print(f"line {n} " + "x" * 90)
        elif act == "child":
            child = subprocess.Popen(["sleep", "1000"])
            return [child.pid]
        elif act == "spin":
            return [sum(range(10**15))]  # in C, with the interpreter's lock held all the time
        elif act == "stdin":
            return [sys.stdin.read()]
        elif act == "variables":
            return [f"{name}={os.environ.get(name)}" for name in what.split(",")]
        return [act]


class Raises(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        raise RuntimeError("the weights are not there")

    def predict(self, context, model_input):
        return model_input


class Counts(mlflow.pyfunc.PythonModel):
    """Loads as often as the file of the variable COUNT_DOWN has bytes, one fewer each time."""

    def load_context(self, context):
        import os
        from pathlib import Path

        left = Path(os.environ["COUNT_DOWN"])
        content = left.read_text()
        if not content:
            raise RuntimeError("not once more")
        left.write_text(content[1:])

    def predict(self, context, model_input):
        import os

        if model_input["act"].iloc[0] == "exit":
            os._exit(7)
        return [1]


class Doubles(mlflow.pyfunc.PythonModel):
    """Takes an array, or a dict of arrays."""

    def predict(self, context, model_input):
        if isinstance(model_input, dict):
            return {name: values * 2 for name, values in model_input.items()}
        return model_input * 2


class Chat(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if hasattr(model_input, "to_dict"):
            model_input = model_input.to_dict(orient="records")[0]
        return {"choices": [{"message": {"role": "assistant", "content": str(model_input["messages"])}}]}


def make() -> None:
    plain = {"pip_requirements": ["mlflow-skinny"]}
    rows = np.random.default_rng(7).normal(size=(200, 3))
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    model = LogisticRegression().fit(frame, rows.sum(axis=1) > 0)
    signature = infer_signature(frame, model.predict(frame))
    mlflow.sklearn.save_model(
        model,
        FOLDER / "sklearn",
        signature=signature,
        input_example=frame.head(2),
        serialization_format="cloudpickle",
        **plain,
    )
    any_act = ModelSignature(params=ParamSchema([ParamSpec("temperature", "double", 0.5)]))
    mlflow.pyfunc.save_model(FOLDER / "acts", python_model=Acts(), signature=any_act, **plain)
    mlflow.pyfunc.save_model(FOLDER / "raises", python_model=Raises(), **plain)
    mlflow.pyfunc.save_model(FOLDER / "counts", python_model=Counts(), **plain)
    mlflow.pyfunc.save_model(FOLDER / "doubles", python_model=Doubles(), **plain)
    mlflow.pyfunc.save_model(FOLDER / "chat", python_model=Chat(), **plain)


make()
