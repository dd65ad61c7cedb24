"""What people do on the pages, in a real browser, on the server that `data.py` has filled.

Run as `python stories.py <url> <file with what data.py printed> <chromium> [<folder for pictures>]` with the browser's
environment. Ends with 1 when anything was found, after all stories.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import run_stories
from looking import Looking, Visitor, looking
from playwright.sync_api import Route

HOME = "/p/default"


def a_stranger_signs_in(look: Looking, told: Any) -> None:
    stranger = look.visitor()
    stranger.visit("/p/default/models", "sign-in", "Sign in")
    stranger.page.get_by_label("Token").fill("tl_nobody")
    stranger.page.get_by_role("button", name="Sign in").click()
    stranger.shows("token is not known")
    stranger.page.get_by_label("Token").fill(told["tokens"]["ann"])
    stranger.page.get_by_role("button", name="Sign in").click()
    stranger.page.wait_for_url("**/p/default/models")
    stranger.shows(told["model"])


def runs_are_looked_at_and_compared(ann: Visitor, told: Any) -> None:
    ann.visit("/p/default/experiments", "experiments", "flight delays")
    own = f"/p/default/experiments/{told['experiment']}"
    ann.visit(own, "experiment", "shallow", "deeper", "eager")
    boxes = ann.page.locator("tbody input[type=checkbox]")
    boxes.nth(0).check()
    boxes.nth(1).check()
    ann.page.get_by_role("button", name="Compare").click()
    ann.page.wait_for_url("**/compare?**")
    ann.shows("max_depth")
    ann.look("compare")
    run = f"/p/default/runs/{told['runs'][1]}"
    ann.visit(run, "run", "deeper", "val_auc", "flights-january")
    ann.visit(f"{run}?tab=charts", "run-charts", "val_auc")
    ann.visit(f"{run}?tab=artifacts", "run-artifacts", "report")


def a_reviewer_approves_a_version(bea: Visitor, told: Any) -> None:
    asks = f"Approve or reject version 2 of {told['model']}"
    bea.visit(HOME, "home", "What is live", told["endpoint"], asks)
    bea.picture("home-window")
    bea.page.get_by_role("link", name=asks).click()
    bea.page.wait_for_url("**/versions/2")
    bea.shows("0 of 1 approvals", "good enough")
    bea.look("version")
    bea.page.get_by_label("Comment").fill("The curves of both runs agree.")
    bea.page.get_by_role("button", name="Approve").click()
    bea.page.wait_for_url("**/versions/2#release")
    bea.shows("1 of 1 approvals", "Releasable", "The curves of both runs agree.")
    bea.look("version-approved")
    bea.visit("/p/default/models", "models", told["model"])
    bea.visit(f"/p/default/models/{told['model']}", "model", "@champion", "good enough")


def ask(visitor: Visitor, told: Any, record: dict[str, float]) -> None:
    """Asks the endpoint as a program does; a record without all columns is refused, which is no matter here."""
    body = json.dumps({"dataframe_records": [record]}).encode()
    headers = {"authorization": f"Bearer {told['tokens']['ada']}", "content-type": "application/json"}
    path = f"{visitor.url}/projects/default/endpoints/{told['endpoint']}/invocations"
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(path, body, headers), timeout=30).close()


def an_endpoint_is_watched_and_rolled_back(ada: Visitor, told: Any) -> None:
    name = told["endpoint"]
    ada.visit("/p/default/endpoints", "endpoints", name, "Live", "90 %")
    ada.visit(f"/p/default/endpoints/{name}", "endpoint", "a first look at 2", "Passed", "/invocations")
    live = ada.page.locator("#live")
    # Other stories may have asked before.
    found = re.search(r"input does not fit (\d+)", live.inner_text())
    ada.expect(found is not None, "does not tell why a request was not answered")
    one_more = f"input does not fit {int(found[1]) + 1 if found else 1}"
    ask(ada, told, {"hour": 8.0, "distance": 400.0, "wind": 3.5})
    ask(ada, told, {"hour": 8.0})
    deadline = time.monotonic() + 15
    while one_more not in live.inner_text() and time.monotonic() < deadline:
        ada.page.wait_for_timeout(100)
    ada.expect(one_more in live.inner_text(), "the live traffic does not follow the requests")
    ada.expect("p99" in live.inner_text() and "requests/s" in live.inner_text(), "tells no rate or latency")
    ada.look("endpoint-live")
    ada.page.get_by_role("button", name="Roll back", exact=True).click()
    ada.picture("endpoint-roll-back")
    ada.page.get_by_label("Why").fill("2 is worse at night")
    ada.page.get_by_role("button", name=f"Roll back {name}").click()
    ada.page.wait_for_url("**#history")
    ada.shows("Rolled back", "2 is worse at night", "generation 3")
    ada.look("endpoint-rolled-back")


def who_may_not_deploy_sees_no_way_back(bea: Visitor, told: Any) -> None:
    bea.go(f"/p/default/endpoints/{told['endpoint']}", "endpoint as a reviewer")
    bea.expect(bea.page.get_by_role("button", name="Roll back").count() == 0, "offers a rollback to who may not")


def a_prediction_is_traced_back(ann: Visitor, told: Any) -> None:
    asked = told["predictions"][0]
    ann.go(f"/p/default/endpoints/{told['endpoint']}", "endpoint")
    ann.page.get_by_label("Id, as the answer has it").fill(asked)
    ann.page.get_by_role("button", name="Show its line").click()
    ann.page.wait_for_url(f"**/predictions/{asked}")
    ann.shows(
        "a first look at 2", told["model"], "val_auc", "flights-january", "told by arrivals", "What was on the record"
    )
    ann.look("prediction")
    ann.go(f"/search?q={asked}", "search for a prediction")
    ann.page.get_by_role("link", name=asked).click()
    ann.page.wait_for_url(f"**/predictions/{asked}")
    ann.visit("/p/default/predictions?id=abc", "find-prediction", "32 hexadecimal digits")
    ann.visit(f"/search?q={told['endpoint']}", "search", told["endpoint"])


def a_prediction_is_found_among_those_that_were_logged(ann: Visitor, told: Any) -> None:
    path = f"/p/default/endpoints/{told['endpoint']}/predictions"
    ann.go(f"/p/default/endpoints/{told['endpoint']}", "endpoint")
    link = ann.page.get_by_role("link", name="Predictions", exact=True)
    ann.follow(link, "predictions", "Answered", "Failed", "and more")
    rows = ann.page.locator("tbody tr")
    ann.expect(rows.count() == 50, "a page does not have fifty rows")
    ann.page.get_by_role("link", name="Next page").click()
    ann.page.wait_for_url("**cursor=**")
    ann.page.go_back()
    ann.page.get_by_label("Outcome").select_option("failed")
    ann.page.get_by_role("button", name="Filter").click()
    ann.page.wait_for_url("**outcome=failed**")
    ann.shows("expected double", "1 prediction on this page")
    ann.look("predictions-failed")
    ann.page.get_by_role("link", name="Clear").click()
    ann.page.get_by_label("From, UTC").fill("2020-01-01T00:00")
    ann.page.get_by_label("Before, UTC").fill("2020-01-02T00:00")
    ann.page.get_by_role("button", name="Filter").click()
    ann.page.wait_for_url("**to=2020**")
    ann.shows("No prediction matches")
    asked = told["predictions"][1]
    ann.go(f"{path}?id={asked}", "a prediction by its id")
    ann.page.locator(".row-link").click()
    ann.page.wait_for_url(f"**/predictions/{asked}")


def an_endpoint_is_tried_from_its_page(ann: Visitor, told: Any) -> None:
    ann.visit(f"/p/default/endpoints/{told['endpoint']}", "endpoint-try", "was logged with", "curl", "gRPC")
    part = ann.page.locator("#try")
    part.get_by_role("button", name="Ask", exact=True).click()
    part.get_by_text("Answered").wait_for()
    ann.expect("by flight-delay/" in part.inner_text(), "does not say which version answered")
    link = part.locator(".answer-links a")
    ann.expect(link.count() == 3, "does not lead to a prediction for each row")
    ann.look("endpoint-tried")
    field = part.get_by_label("Input, in any of MLflow's forms")
    field.fill('{"dataframe_records": [{"hour": "late"}]}')
    with ann.refusals():
        part.get_by_role("button", name="Ask", exact=True).click()
        part.get_by_text("Refused").wait_for()
    ann.expect("expected double" in part.inner_text(), "does not tell the error as it is")
    ann.page.locator("summary", has_text="The same over gRPC").click()
    ann.shows("tritonclient.grpc")
    ann.look("endpoint-refused")


def the_ledger_is_verified(ada: Visitor) -> None:
    ada.visit("/ledger", "ledger", "rolled back", "declared the release policy of")
    ada.page.get_by_role("button", name="Verify now").click()
    ada.page.locator("#verification").get_by_text("Verifying").or_(ada.page.get_by_text("Sound")).first.wait_for()
    deadline = time.monotonic() + 20
    while ada.page.get_by_text("Sound").count() == 0 and time.monotonic() < deadline:
        ada.page.reload()
    ada.shows("Sound")
    ada.look("ledger-verified")
    ada.visit("/ledger/0", "event", "Inclusion proof")


def an_admin_keeps_house(ada: Visitor) -> None:
    ada.visit("/settings/projects", "settings-projects", "default")
    ada.visit("/settings/users", "settings-users", "ann", "bea")
    ada.page.get_by_label("New user").fill("cleo")
    ada.page.get_by_role("button", name="Create user").click()
    ada.page.get_by_role("rowheader", name="cleo").wait_for()
    ada.visit("/settings/roles", "settings-roles", "reviewer")
    ada.visit("/settings/tokens", "settings-tokens", "Tokens")
    ada.visit("/settings/storage", "settings-storage", "Show what would go")
    ada.visit("/docs/errors/not-released", "error-page", "trueline approve")


def what_is_empty_teaches_the_first_command(ann: Visitor) -> None:
    ann.visit("/p/default/data", "datasets-empty", "trueline data")
    ann.visit("/p/default/features", "features-empty", "trueline features")


def keys_do_what_a_mouse_does(ann: Visitor, told: Any) -> None:
    held: list[Route] = []
    ann.page.route("**/api/v1/runs?*", lambda request: held.append(request), times=1)
    ann.go(f"/p/default/experiments/{told['experiment']}", "keys")
    ann.page.keyboard.press("/")
    ann.expect(ann.page.evaluate("() => document.activeElement.name === 'q'"), "`/` does not lead to the search")
    ann.page.keyboard.press("Escape")
    # Until the rows are there that come with a request of their own, those of the page are walked.
    ann.page.keyboard.press("j")
    focus = "() => document.activeElement.matches('.row-link') && document.activeElement.textContent"
    name = ann.page.evaluate(focus)
    ann.expect(name, "`j` does not lead to a row")
    for request in held:
        request.continue_()
    ann.page.locator("#runs[data-ready]").wait_for()
    ann.expect(ann.page.evaluate(focus) == name, "a row that is walked to loses the focus when all rows are there")
    ann.page.keyboard.press("Enter")
    ann.page.wait_for_url("**/runs/**")


def main() -> int:
    url, file, chromium, *folder = sys.argv[1:]
    told = json.loads(Path(file).read_text())
    with looking(chromium, url, Path(folder[0]) if folder else None) as look:
        a_stranger_signs_in(look, told)
        ada, ann, bea = (look.signed_in(told["tokens"][name], HOME) for name in ("ada", "ann", "bea"))
        a_reviewer_approves_a_version(bea, told)
        runs_are_looked_at_and_compared(ann, told)
        run_stories.all_of_them(look, ann, told)
        a_prediction_is_traced_back(ann, told)
        a_prediction_is_found_among_those_that_were_logged(ann, told)
        an_endpoint_is_tried_from_its_page(ann, told)
        who_may_not_deploy_sees_no_way_back(bea, told)
        keys_do_what_a_mouse_does(ann, told)
        what_is_empty_teaches_the_first_command(ann)
        an_endpoint_is_watched_and_rolled_back(ada, told)
        the_ledger_is_verified(ada)
        an_admin_keeps_house(ada)
    print(f"{len(look.failures.found)} failures")
    return 1 if look.failures.found else 0


if __name__ == "__main__":
    sys.exit(main())
