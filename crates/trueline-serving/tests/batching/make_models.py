"""Makes the models that the tests of batching serve, below the folder that is named."""

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


class Sizes(mlflow.pyfunc.PythonModel):
    """Answers each row by itself, and tells how many rows the call had and which process it was."""

    def predict(self, context, model_input, params=None):
        import os
        import time

        import pandas as pd

        if (model_input["x"] < 0).any():
            raise ValueError("x is below nothing")
        if (model_input["x"] == 666).any():
            os._exit(3)
        # So long that others come meanwhile.
        time.sleep(0.02)
        scale = (params or {}).get("scale", 1.0)
        return pd.DataFrame(
            {"y": model_input["x"] * 2 * scale, "rows": len(model_input), "process": os.getpid()}
        )


class Dies(mlflow.pyfunc.PythonModel):
    """Dies of 666 whenever it comes and of 555 the first time, and notes each death; any other x is answered doubled."""

    def predict(self, context, model_input, params=None):
        import os
        import tempfile
        from pathlib import Path

        x = float(model_input["x"].iloc[0])
        # One file for each process of the tests.
        deaths = Path(tempfile.gettempdir()) / f"trueline-deaths-{os.getppid()}-{x:.0f}"
        died = len(deaths.read_bytes()) if deaths.exists() else 0
        if x == 666 or (x == 555 and died == 0):
            deaths.write_bytes(b"x" * (died + 1))
            os._exit(3)
        return pd.DataFrame({"y": model_input["x"] * 2})


class Mean(mlflow.pyfunc.PythonModel):
    """Answers one number, whatever comes."""

    def predict(self, context, model_input, params=None):
        import time

        import numpy as np

        time.sleep(0.01)
        return np.array([model_input["x"].mean()])


class Scalars(mlflow.pyfunc.PythonModel):
    """Answers a dict of numbers."""

    def predict(self, context, model_input, params=None):
        import time

        time.sleep(0.01)
        return {"sum": float(model_input["x"].sum()), "rows": 1}


def save(name, model, metadata=None):
    frame = pd.DataFrame({"x": [1.0]})
    params = ParamSchema([ParamSpec("scale", "double", 1.0)])
    inputs = infer_signature(frame).inputs
    mlflow.pyfunc.save_model(
        str(FOLDER / name),
        python_model=model,
        signature=ModelSignature(inputs=inputs, params=params),
        metadata=metadata,
        pip_requirements=["mlflow"],
    )


save("sizes", Sizes())
save("off", Sizes(), {"trueline.batching": "off"})
save("few", Sizes(), {"trueline.max_batch_rows": 4})
save("two", Sizes(), {"trueline.batching": "off", "trueline.workers": 2})
save("dies", Dies())
save("dies-once", Dies(), {"trueline.ask_again": "off"})
save("mean", Mean())
save("scalars", Scalars())

random = np.random.default_rng(7)
table = pd.DataFrame(random.normal(size=(500, 8)), columns=[f"x{i}" for i in range(8)])
labels = (table["x0"] + 0.5 * table["x1"] + random.normal(size=500) > 0).astype(int)
logistic = LogisticRegression().fit(table, labels)
for name, metadata in [("logistic", None), ("logistic-off", {"trueline.batching": "off"})]:
    mlflow.sklearn.save_model(
        logistic,
        str(FOLDER / name),
        signature=infer_signature(table, logistic.predict_proba(table)),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
        metadata=metadata,
        pip_requirements=["mlflow", "scikit-learn"],
    )
