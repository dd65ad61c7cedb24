"""Compares, month by month, what endpoints answered in a replay with what came true.

    python months.py --truth replay/flights.csv predictions-*.jsonl

AUC over all labelled flights of the month, whichever version answered, one column for each endpoint.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score


def read_predictions(files: list[Path]) -> pd.DataFrame:
    lines = (line for file in files for line in file.open())
    fields = ("endpoint", "row", "event_time", "prediction", "variant")
    return pd.DataFrame.from_records([tuple(map(json.loads(line).__getitem__, fields)) for line in lines], columns=fields)


def of_month(rows: pd.DataFrame) -> dict:
    """AUC of each endpoint, and who answered at each, on the labelled rows of one month."""
    of_endpoints = {
        endpoint: {
            "auc": roc_auc_score(answers["late"], answers["prediction"]),
            "mean_prediction": answers["prediction"].mean(),
            "answered": answers["variant"].value_counts().to_dict(),
        }
        for endpoint, answers in rows.groupby("endpoint")
    }
    once = rows.drop_duplicates("row")
    return {"flights": len(once), "late": once["late"].mean(), "endpoints": of_endpoints}


def shares(answered: dict[str, int]) -> str:
    total = sum(answered.values())
    return ", ".join(f"{version} {count / total:.0%}" for version, count in answered.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", nargs="+", type=Path, help="what `trueline replay --out` wrote")
    parser.add_argument("--truth", type=Path, required=True, help="the table that was replayed")
    parser.add_argument("--json", type=Path, help="write the numbers to this file, too")
    args = parser.parse_args()

    truth = pd.read_csv(args.truth, usecols=["late"])["late"]
    rows = read_predictions(args.predictions)
    rows = rows.assign(late=truth.loc[rows["row"]].to_numpy(), month=rows["event_time"].str[:7]).dropna(subset="late")
    months = {month: of_month(of) for month, of in rows.groupby("month")}

    endpoints = sorted(rows["endpoint"].unique())
    print(f"{'month':8} {'flights':>8} {'late':>6}  " + "  ".join(f"AUC {endpoint}" for endpoint in endpoints))
    for month, told in months.items():
        aucs = "  ".join(f"{told['endpoints'][e]['auc']:{len(e) + 4}.3f}" for e in endpoints if e in told["endpoints"])
        answered = "; ".join(shares(told["endpoints"][e]["answered"]) for e in endpoints[:1] if e in told["endpoints"])
        print(f"{month:8} {told['flights']:8} {told['late']:6.1%}  {aucs}   {answered}")
    if args.json:
        args.json.write_text(json.dumps(months, indent=2))


if __name__ == "__main__":
    main()
