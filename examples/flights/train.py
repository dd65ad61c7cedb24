"""Trains a model that tells, two hours before departure, whether a flight will arrive 15 minutes late or more.

Plain MLflow code: point MLFLOW_TRACKING_URI at a server and run it on a training set that `trueline features join` made.
It learns from the months before a validation period and is judged on that period; `--refit` then learns from the newest
months, those of the validation included, as one does when a model is trained again while it is in service.
"""

import argparse
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import xgboost as xgb
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.metrics import log_loss, roc_auc_score

MODEL_NAME = "flight-delay"
EXPERIMENT = "flights"
# Where an endpoint looks features up, by the columns origin, tailnum, route and carrier of a request.
VIEWS = "weather@1, planes@1, route_rates@1, carrier_rates@1"
# What whoever asks tells, and what is looked up.
ASKED = ["minute_of_day", "day_of_week", "distance", "carrier_code", "origin_code", "dest_code"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
RATES = ["route_late_rate", "route_arrivals", "carrier_late_rate", "carrier_arrivals"]
FEATURES = [*ASKED, *WEATHER, "plane_age", "seats", *RATES]
PARAMS = {
    "objective": "binary:logistic",
    "eval_metric": ["logloss", "auc"],
    "max_depth": 6,
    "eta": 0.1,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    # One: a second thread that has to wait for its core, as beside a busy server, makes it slower, not quicker.
    "nthread": 1,
}


def moment(text: str) -> pd.Timestamp:
    """A date, a time (UTC when it has no zone), or milliseconds since 1970."""
    time = pd.Timestamp(int(text), unit="ms") if text.isdigit() else pd.Timestamp(text)
    return time.tz_localize("UTC") if time.tzinfo is None else time.tz_convert("UTC")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="the training set, as CSV")
    parser.add_argument("--until", type=moment, required=True, help="where the validation ends and the unknown begins")
    parser.add_argument("--months", type=int, default=3, help="months to learn from")
    parser.add_argument("--validate-days", type=int, default=30, help="days before --until to be judged on")
    parser.add_argument("--refit", action="store_true", help="after that, learn from the last months before --until")
    parser.add_argument("--views", default=VIEWS, help="feature views that an endpoint reads for the model")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def read(table: Path, until: pd.Timestamp) -> pd.DataFrame:
    """Labelled rows whose label was known at `until`."""
    rows = pd.read_csv(table, parse_dates=["event_time", "arrived_at"])
    for column in ("event_time", "arrived_at"):
        if rows[column].dt.tz is None:
            rows[column] = rows[column].dt.tz_localize("UTC")
    rows = rows[rows["late"].notna() & (rows["arrived_at"] < until)]
    return rows.astype({name: "float64" for name in [*FEATURES, "late"]})


def dataset_version(table: Path) -> dict[str, str]:
    """The tag that names the dataset version that the table is, when training_set.sh wrote it beside the table."""
    named = table.parent / "dataset"
    return {"trueline.dataset": named.read_text().strip()} if named.exists() else {}


def between(rows: pd.DataFrame, first: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return rows[(rows["event_time"] >= first) & (rows["event_time"] < end)]


def matrix(rows: pd.DataFrame) -> xgb.DMatrix:
    return xgb.DMatrix(rows[FEATURES], label=rows["late"])


def fit(rows: pd.DataFrame, args: argparse.Namespace, held_out: pd.DataFrame | None = None) -> xgb.Booster:
    """With rows that are held out, the run is told how it went on both, tree by tree."""
    learnt = matrix(rows)
    watched = [] if held_out is None else [(learnt, "train"), (matrix(held_out), "valid")]
    curves: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(
        {**PARAMS, "seed": args.seed},
        learnt,
        num_boost_round=args.trees,
        evals=watched,
        evals_result=curves,
        verbose_eval=False,
    )
    now = int(time.time() * 1000)
    points = [
        Metric(f"{part}_{metric}_by_tree", value, now, step)
        for part, metrics in curves.items()
        for metric, values in metrics.items()
        for step, value in enumerate(values)
    ]
    if points:
        mlflow.MlflowClient().log_batch(mlflow.active_run().info.run_id, metrics=points)
    return booster


def champions_auc(valid: pd.DataFrame) -> float:
    """The champion's AUC on the same rows; that of a coin when there is none."""
    try:
        champion = mlflow.xgboost.load_model(f"models:/{MODEL_NAME}@champion")
    except MlflowException:
        return 0.5
    return roc_auc_score(valid["late"], champion.predict(xgb.DMatrix(valid[champion.feature_names])))


def main() -> None:
    args = arguments()
    held_out = args.until - pd.Timedelta(days=args.validate_days)
    rows = read(args.table, args.until)
    train = between(rows, held_out - pd.DateOffset(months=args.months), held_out)
    valid = between(rows, held_out, args.until)
    newest = between(rows, args.until - pd.DateOffset(months=args.months), args.until)

    mlflow.set_experiment(EXPERIMENT)
    source = LocalArtifactDatasetSource(str(args.table))
    with mlflow.start_run():
        for frame, name, context in ((train, "flights-train", "training"), (valid, "flights-valid", "evaluation")):
            data = mlflow.data.from_pandas(frame[[*FEATURES, "late"]], source=source, name=name, targets="late")
            mlflow.log_input(data, context=context, tags=dataset_version(args.table))
        mlflow.log_params(
            {
                **PARAMS,
                "trees": args.trees,
                "seed": args.seed,
                "until": args.until.isoformat(),
                "months": args.months,
                "validate_days": args.validate_days,
                "refit": args.refit,
                "views": args.views,
            }
        )
        booster = fit(train, args, valid)
        scores = booster.predict(xgb.DMatrix(valid[FEATURES]))
        auc = roc_auc_score(valid["late"], scores)
        metrics = {
            "valid_auc": auc,
            "valid_log_loss": log_loss(valid["late"], scores.astype("float64")),
            "valid_mean_prediction": float(np.mean(scores)),
            "valid_late": valid["late"].mean(),
            "valid_auc_gain": auc - champions_auc(valid),
            "valid_rows": len(valid),
            "train_rows": len(train),
        }
        mlflow.log_metrics(metrics)
        if args.refit:
            booster = fit(newest, args)
        # Without missing values, for which JSON has no word.
        example = valid[FEATURES].dropna().head(5)
        logged = mlflow.xgboost.log_model(
            booster,
            name="model",
            signature=infer_signature(example, booster.predict(xgb.DMatrix(example))),
            input_example=example,
            metadata={"trueline.feature_views": args.views},
        )
        version = mlflow.register_model(logged.model_uri, MODEL_NAME).version
    print(f"{MODEL_NAME}/{version} " + " ".join(f"{name}={value:.4g}" for name, value in metrics.items()))


if __name__ == "__main__":
    main()
