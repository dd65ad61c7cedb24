"""The demo's server, walked through as its users would: by clicking, from home to the ledger. Every page must tell what
the acts have made of it.

Run as `python demo.py <chromium> [<folder for pictures>]` with the browser's environment, and with TRUELINE_URL,
TRUELINE_TOKEN (an admin's), TRUELINE_REVIEWER_TOKEN and TRUELINE_PREDICTION (the id of one of the replay). Ends with 1
when anything was found, after all stories.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from looking import Size, Visitor, looking
from playwright.sync_api import Error, Locator

HOME = "/p/default"
MODEL, ENDPOINT, MONITOR, PIPELINE = "flight-delay", "delays", "delays", "retrain"
WIDE = Size(width=1440, height=900)
# Of the server, for a page on the demo's data.
BUDGET_MS = 100
NUMBER = r"\d+(\.\d+)?"


def section(who: Visitor, name: str) -> Locator:
    """A link of the side bar."""
    return who.page.get_by_role("navigation", name="Sections").get_by_role("link", name=name, exact=True)


def link(who: Visitor, name: str | re.Pattern[str]) -> Locator:
    exact = isinstance(name, str)
    return who.page.get_by_role("main").get_by_role("link", name=name, exact=exact).first


def row(who: Visitor, table: str, text: str) -> Locator:
    """The first row of a table that has a text."""
    return who.page.get_by_role("region", name=table).get_by_role("row").filter(has_text=text).first


def tells(who: Visitor, pattern: str) -> None:
    seen = who.page.locator("main").inner_text()
    who.expect(re.search(pattern, seen) is not None, f"nothing on it reads like {pattern}")


def home_tells_what_is_live_what_waits_and_what_changed(ada: Visitor) -> None:
    ada.go(HOME, "home")
    ada.shows("What is live", ENDPOINT, "Live", "Waits for you", "What changed", f"endpoint {ENDPOINT} to {MODEL}/")
    tells(ada, rf"{MODEL} \d+\s+100 %")
    tells(ada, rf"alerts? fires?\s+{NUMBER}|No alert fires\s+{NUMBER}")
    ada.look("home")
    ada.picture("home-window")


def runs_have_numbers_and_are_compared(ada: Visitor) -> None:
    ada.follow(section(ada, "Experiments"), "experiments", "flights")
    ada.follow(link(ada, "flights"), "experiment", "valid_auc", "Finished")
    trained = ada.page.locator("tbody tr", has_text="Finished").filter(has_text=re.compile(r"0\.\d{3}"))
    for i in range(2):
        trained.nth(i).get_by_role("checkbox").check()
    ada.follow(ada.page.get_by_role("button", name="Compare"), "compare", "max_depth", "valid_auc", "Metrics", "Params")
    ada.page.go_back()
    ada.follow(trained.last.locator(".row-link"), "run", "flights-train", f"{MODEL}/1", "train.py")
    tells(ada, rf"valid_auc\s+{NUMBER}")
    ada.follow(link(ada, "Charts"), "run-charts", "valid_auc_by_tree", "step", "logged once")
    ada.expect(ada.page.locator("[data-chart] canvas").count() >= 4, "draws fewer than four curves")
    ada.follow(link(ada, "Artifacts"), "run-artifacts", "Artifacts")


def a_version_shows_its_gates_and_approvals(rita: Visitor) -> None:
    rita.follow(section(rita, "Models"), "models", MODEL, "@champion")
    rita.follow(link(rita, MODEL), "model", "@champion", "as good as the champion", "Releasable")
    rita.follow(link(rita, "1"), "version", "Gates", "auc", "fast", "rita", "1 of 1 approvals", "model.ubj")
    tells(rita, rf"valid_auc is {NUMBER}; it must be at least {NUMBER}")


def an_endpoint_shows_its_routes_and_how_a_canary_failed(ada: Visitor) -> None:
    ada.follow(section(ada, "Endpoints"), "endpoints", ENDPOINT, "Live", "generation")
    facts = ["Live traffic", "Routes", "Promoted", "Rolled back", "rollout", "Evidence", "Mean prediction"]
    ada.follow(link(ada, ENDPOINT), "endpoint", *facts, "Failed requests", "Latency, p95", "Decisions")
    tells(ada, rf"Mean prediction\s+(Harm|Within|Not clear yet)\s+{NUMBER} to {NUMBER}\s+{NUMBER} to {NUMBER}")
    tells(ada, rf"the mean prediction of {MODEL}/\d+ is between 0\.\d+")


def a_prediction_is_traced_back(ada: Visitor, asked: str) -> None:
    ada.go(f"{HOME}/endpoints/{ENDPOINT}", "endpoint")
    ada.page.get_by_label("Id, as the answer has it").fill(asked)
    found = ada.page.get_by_role("button", name="Show its line")
    ada.follow(found, "prediction", f"{ENDPOINT} answered", MODEL, "1 of 1 approvals", "flights-train")
    ada.page.locator("summary", has_text="Features").click()
    tells(ada, rf"route_late_rate\s+{NUMBER}")
    tells(ada, r"Event time\s+2013-\d\d-\d\d")
    tells(ada, rf"valid_auc\s+{NUMBER}")


def a_monitor_shows_drift_and_quality_over_time(ada: Visitor) -> None:
    ada.follow(section(ada, "Monitors"), "monitors", MONITOR, "7 d")
    ada.follow(link(ada, MONITOR), "monitor", "AUC", "Log loss", "Drift of", "Drifted", "2013-05")
    tells(ada, rf"2013-\d\d-\d\d . 2013-\d\d-\d\d\s+Closed\s+[\d,]+\s+{NUMBER}\s+0\.\d+")
    ada.expect(ada.page.locator("[data-chart] canvas").count() >= 3, "draws fewer than three charts")
    feature = ada.page.locator("tr:not([data-selected]) .row-link").first
    named = feature.inner_text()
    ada.follow(feature, "monitor-feature", f"Drift of {named}")


def an_incident_is_a_story(ada: Visitor) -> None:
    ada.follow(section(ada, "Incidents"), "incidents", ENDPOINT)
    first = ada.page.locator("tbody .row-link").last
    ada.follow(first, "incident", f"Incident on {ENDPOINT}", "Note", "The season has changed", "began")
    tells(ada, r"(\d+ alerts|Alert) began")
    tells(ada, r"AUC|drift of \w+")


def data_and_features_lead_to_each_other(ada: Visitor) -> None:
    ada.follow(section(ada, "Data"), "datasets", "flights", "weather", "Training set", "Files")
    ada.follow(link(ada, "training"), "dataset", "Training set")
    ada.follow(row(ada, "Table of versions", "Training set").locator(".row-link"), "dataset-version")
    ada.shows("How it was made", "weather@1", "route_late_rate", "Rows matched")
    ada.follow(section(ada, "Features"), "features", "weather", "route_rates", "temp, dewp", "airport")
    ada.follow(link(ada, "weather"), "feature-view", "wind_speed", "origin", "3h", "Loads of the online store")
    tells(ada, r"weather@\d+|weather \d+")


def a_pipeline_leads_to_the_log_of_a_step(ada: Visitor) -> None:
    ada.follow(section(ada, "Pipelines"), "pipelines", PIPELINE, "drift")
    ada.follow(link(ada, PIPELINE), "pipeline", "prepare", "training-set", "train", "trigger drift on alert.firing")
    ended = row(ada, "Table of runs", "Succeeded").locator(".row-link")
    ada.follow(ended, "pipeline-run", "Succeeded", "prepare", "trigger drift on alert.firing")
    log = ada.page.get_by_role("region", name="Step train", exact=True).locator("details")
    log.locator("summary").click()
    ada.expect(len(log.locator("pre").inner_text()) > 20, "the log of the step says nothing")
    ada.look("pipeline-run-log")


def the_ledger_tells_everything(ada: Visitor) -> None:
    ada.follow(section(ada, "Ledger"), "ledger", "Head of the log", "Verify it offline")
    ada.page.get_by_label("Action").fill("endpoint.")
    found = ada.page.get_by_role("button", name="Filter")
    ada.follow(found, "ledger-endpoint", "rolled back endpoint", "its answers are too high", "system:rollout")
    ada.follow(ada.page.locator("tbody .row-link").first, "event", "Inclusion proof", "generation")


def main() -> int:
    names = ("TRUELINE_URL", "TRUELINE_TOKEN", "TRUELINE_REVIEWER_TOKEN", "TRUELINE_PREDICTION")
    url, admin, reviewer, prediction = (os.environ[name] for name in names)
    chromium, *folder = sys.argv[1:]
    with looking(chromium, url, Path(folder[0]) if folder else None, WIDE) as look:
        ada, rita = look.signed_in(admin, HOME), look.signed_in(reviewer, HOME)
        ada.budget_ms = rita.budget_ms = BUDGET_MS
        stories: list[tuple[Visitor, Callable[[], None]]] = [
            (ada, lambda: home_tells_what_is_live_what_waits_and_what_changed(ada)),
            (ada, lambda: runs_have_numbers_and_are_compared(ada)),
            (rita, lambda: a_version_shows_its_gates_and_approvals(rita)),
            (ada, lambda: an_endpoint_shows_its_routes_and_how_a_canary_failed(ada)),
            (ada, lambda: a_prediction_is_traced_back(ada, prediction)),
            (ada, lambda: a_monitor_shows_drift_and_quality_over_time(ada)),
            (ada, lambda: an_incident_is_a_story(ada)),
            (ada, lambda: data_and_features_lead_to_each_other(ada)),
            (ada, lambda: a_pipeline_leads_to_the_log_of_a_step(ada)),
            (ada, lambda: the_ledger_tells_everything(ada)),
        ]
        for who, story in stories:
            # A story that can't go on is one failure, and the others are told all the same.
            try:
                story()
            except Error as error:
                who.expect(False, f"the story can't go on: {str(error).splitlines()[0]}")
    print(f"{len(look.failures.found)} failures")
    return 1 if look.failures.found else 0


if __name__ == "__main__":
    sys.exit(main())
