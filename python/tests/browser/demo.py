"""The demo's server, walked through as its users would: by clicking, from home to the ledger. Every page must tell what
the acts have made of it.

Run as `python demo.py <chromium> [<folder for pictures>]` with the browser's environment, and with TRUELINE_URL,
TRUELINE_TOKEN (an admin's) and TRUELINE_REVIEWER_TOKEN. Ends with 1 when anything was found, after all stories.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from looking import Size, Visitor, looking
from playwright.sync_api import Locator

HOME = "/p/default"
MODEL, ENDPOINT, MONITOR, PIPELINE = "flight-delay", "delays", "delays", "retrain"
WIDE = Size(width=1440, height=900)
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


def home_tells_what_is_live_and_what_changed(ada: Visitor) -> None:
    ada.page.goto(ada.url + HOME)
    ada.at = "home"
    ada.shows("What is live", ENDPOINT, "Live", "What changed")
    tells(ada, rf"{MODEL} \d+")
    ada.look("home")
    ada.picture("home-window")


def runs_have_curves_and_are_compared(ada: Visitor) -> None:
    ada.follow(section(ada, "Experiments"), "experiments", "flights")
    ada.follow(link(ada, "flights"), "experiment", "valid_auc", "Finished")
    boxes = ada.page.locator("tbody tr", has_text="Finished").filter(has_text=re.compile(r"0\.\d{3}"))
    for i in range(2):
        boxes.nth(i).get_by_role("checkbox").check()
    ada.follow(ada.page.get_by_role("button", name="Compare"), "compare", "max_depth", "valid_auc")
    ada.page.go_back()
    trained = ada.page.locator("tbody tr", has_text="Finished").filter(has_text=re.compile(r"0\.\d{3}")).last
    ada.follow(trained.locator(".row-link"), "run", "valid_auc", "flights-train", "Captured")
    ada.follow(link(ada, "Charts"), "run-charts", "valid_auc")
    ada.follow(link(ada, "Artifacts"), "run-artifacts")


def a_version_shows_its_gates_and_approvals(rita: Visitor) -> None:
    rita.follow(section(rita, "Models"), "models", MODEL, "@champion")
    rita.follow(link(rita, MODEL), "model", "@champion", "as good as the champion")
    rita.follow(link(rita, "1"), "version", "Releasable", "auc", "fast", "rita", "1 of 1 approvals")
    tells(rita, rf"valid_auc is {NUMBER}")


def main() -> int:
    url, admin, reviewer = (
        os.environ[name] for name in ("TRUELINE_URL", "TRUELINE_TOKEN", "TRUELINE_REVIEWER_TOKEN")
    )
    chromium, *folder = sys.argv[1:]
    with looking(chromium, url, Path(folder[0]) if folder else None, WIDE) as look:
        ada, rita = look.signed_in(admin, HOME), look.signed_in(reviewer, HOME)
        home_tells_what_is_live_and_what_changed(ada)
        runs_have_curves_and_are_compared(ada)
        a_version_shows_its_gates_and_approvals(rita)
    print(f"{len(look.failures.found)} failures")
    return 1 if look.failures.found else 0


if __name__ == "__main__":
    sys.exit(main())
