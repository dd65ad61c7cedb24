"""What people do on the page of a run and with traces: watch a run that goes on, draw its curves as they like, look at files
that somebody logged, read what it printed, see who changed a note, find the span that failed.

`stories.py` tells these; what they look at, `run_data.py` has logged.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from looking import Looking, Visitor
from playwright.sync_api import Locator

HOME = "/p/default"
SOON = 12


def log(who: Visitor, token: str, call: str, body: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    url = f"{who.url}/api/2.0/mlflow/runs/{call}"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30).close()


def upload(who: Visitor, token: str, path: str, text: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    url = f"{who.url}/api/2.0/mlflow-artifacts/artifacts/{path}"
    request = urllib.request.Request(url, text.encode(), headers, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def soon(who: Visitor, what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not holds() and time.monotonic() < deadline:
        who.page.wait_for_timeout(100)
    who.expect(holds(), what)


def chart(who: Visitor, key: str) -> Locator:
    return who.page.locator(f'[data-key="{key}"] [data-chart]')


def a_run_that_goes_on_is_watched(ann: Visitor, told: Any) -> None:
    run, token = told["run_page"]["going"], told["tokens"]["ann"]
    page = f"{HOME}/runs/{run}"
    ann.visit(f"{page}?tab=charts", "run-going", "on its way", "Running", "Live")
    loss = chart(ann, "train/loss")
    before = loss.get_attribute("data-points")
    at = int(time.time() * 1000)
    log(ann, token, "log-metric", {"run_id": run, "key": "train/loss", "value": 0.01, "timestamp": at, "step": 50})
    soon(ann, f"a point that is logged does not appear: {before}", lambda: loss.get_attribute("data-points") == "6")
    soon(ann, "the newest value is not told", lambda: loss.locator(".last").inner_text() == "0.01")
    body = {"run_id": run, "key": "train/accuracy", "value": 0.5, "timestamp": at, "step": 50}
    log(ann, token, "log-metric", body)
    soon(ann, "a metric that is new does not appear", lambda: chart(ann, "train/accuracy").count() == 1)
    ann.go(f"{page}?tab=console", "run-console-going")
    ann.shows("epoch 1")
    uri = f"{told['run_page']['going_artifacts']}/output.log"
    upload(ann, token, uri, "epoch 1\n\x1b[32mepoch 2\x1b[0m\n")
    soon(ann, "the console does not follow", lambda: ann.page.locator(".console .ansi-green").count() == 1)
    ann.go(page, "run-overview-going")
    log(ann, token, "update", {"run_id": run, "status": "FINISHED", "end_time": at + 1000})
    soon(ann, "the end is not told", lambda: "Finished" in ann.page.locator("[data-part=status]").inner_text())
    ann.expect(ann.page.get_by_text("Live", exact=True).count() == 0, "still says that it is live")


def curves_are_drawn_as_one_likes(ann: Visitor, told: Any) -> None:
    page = f"{HOME}/runs/{told['run_page']['run']}"
    ann.go(f"{page}?tab=charts", "run-curves")
    ann.shows("Smoothing", "train")
    why = "All 240 values are NaN"
    soon(ann, f"does not show “{why}”", lambda: why in ann.page.locator("body").inner_text())
    ann.look("run-curves")
    ann.page.get_by_role("slider", name="Smoothing").fill("0.8")
    ann.page.get_by_role("link", name="Log", exact=True).click()
    ann.page.get_by_role("link", name="Since start").click()
    ann.page.get_by_role("searchbox", name="Metrics").fill("loss")
    ann.page.locator("details[data-section=val] > summary").click()
    for part in ("smooth=0.8", "scale=log", "axis=relative", "q=loss", "closed=val"):
        soon(ann, f"{part} does not come into the address", lambda: part in ann.page.url)
    ann.expect(chart(ann, "train/loss").is_visible(), "a metric that was searched for is not shown")
    ann.expect(not chart(ann, "train/auc").is_visible(), "a metric that does not match is shown")
    ann.page.reload()
    ann.look("run-curves-chosen")
    ann.expect(ann.page.locator("details[data-section=val]").get_attribute("open") is None, "unfolds by itself")
    ann.visit(f"{page}?tab=charts&scale=log&q=gap", "run-curves-log")
    ann.visit(f"{page}?tab=system", "run-system", "cpu utilization", "%", "MB")
    check_the_arithmetic(ann)


def a_stretch_of_a_curve_is_sent_and_saved(ann: Visitor, told: Any) -> None:
    ann.go(f"{HOME}/runs/{told['run_page']['run']}?tab=charts&q=loss", "run-zoom")
    loss = chart(ann, "train/loss")

    def drag_over_the_middle() -> None:
        box = loss.locator("canvas").bounding_box()
        assert box
        ann.page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"])
        ann.page.mouse.down()
        ann.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
        ann.page.mouse.up()

    soon(ann, "the loss is not drawn", lambda: loss.get_attribute("data-points") is not None)
    drag_over_the_middle()
    soon(ann, "a zoom does not come into the address", lambda: "zoom=" in ann.page.url)
    sent = ann.page.url
    ann.look("run-zoomed")
    ann.page.reload()
    soon(ann, "the loss is not drawn again", lambda: loss.get_attribute("data-points") is not None)
    ann.expect(ann.page.url == sent, f"the link to a stretch became {ann.page.url}")
    with ann.page.expect_download() as saved:
        ann.page.get_by_role("button", name="Points of train/loss that are drawn, as CSV").click()
    rows = saved.value.path().read_text().splitlines()
    points = int(loss.get_attribute("data-points") or 0)
    ann.expect(rows[0] == "series,step,time,value" and len(rows) == points + 1, f"{len(rows)} rows, first {rows[0]}")
    loss.locator("canvas").dblclick()
    soon(ann, "a double click does not show all again", lambda: "zoom=" not in ann.page.url)


def check_the_arithmetic(ann: Visitor) -> None:
    """The module that smooths is asked for numbers that are worked out here."""
    source = ann.page.locator("script[src*='charts.js']").get_attribute("src") or ""
    module = source.replace("charts.js", "series.js")
    values: list[float | None] = [1.0, 2.0, None, 4.0, 3.0]
    ask = "async ([module, values]) => (await import(module)).smoothed(values, 0.6)"
    found = ann.page.evaluate(ask, [module, values])
    mean, left, expected = 0.0, 1.0, []
    for value in values:
        if value is None:
            expected.append(None)
            continue
        mean, left = 0.6 * mean + 0.4 * value, left * 0.6
        expected.append(mean / (1 - left))
    same = all((a is None) == (b is None) and (a is None or abs(a - b) < 1e-12) for a, b in zip(found, expected))
    ann.expect(same, f"smooths {values} to {found}, not {expected}")
    kinds = ann.page.evaluate(
        "async (module) => { const { kind, span } = await import(module);"
        " return [kind(null), kind(1.7976931348623157e308), kind(-1.7976931348623157e308), kind(0), span(7500), span(-3)]; }",
        module,
    )
    ann.expect(kinds == ["nan", "inf", "-inf", "number", "2 h 5 min", "−3 s"], f"reads numbers as {kinds}")


def hundreds_of_metrics_are_not_fetched_at_once(ann: Visitor, told: Any) -> None:
    asked: list[str] = []
    ann.page.on("request", lambda request: asked.append(request.url) if "/metrics/" in request.url else None)
    ann.go(f"{HOME}/runs/{told['run_page']['wide']}?tab=charts", "run-wide")
    soon(ann, "draws nothing", lambda: ann.page.locator("[data-chart] canvas").count() > 0)
    ann.page.wait_for_load_state("networkidle")
    ann.expect(ann.page.locator("[data-chart]").count() == 300, "does not show every metric")
    ann.expect(0 < len(asked) < 40, f"fetches {len(asked)} series at once")
    ann.page.get_by_role("searchbox", name="Metrics").fill("layer/287")
    soon(ann, "what is searched for is not drawn", lambda: chart(ann, "layer/287").locator("canvas").count() == 1)
    ann.look("run-wide-searched")


def files_are_previewed(ann: Visitor, told: Any) -> None:
    page = f"{HOME}/runs/{told['run_page']['run']}?tab=artifacts"
    ann.visit(page, "artifacts", "scores.csv", "report.html", "plots")
    ann.visit(f"{page}&path=scores.csv", "artifact-table", "wind, mostly", "Download", "SHA-256")
    ann.visit(f"{page}&path=eval.json", "artifact-log-table", "Why late?", "0.75")
    ann.visit(f"{page}&path=settings.json", "artifact-json", '"b": null')
    ann.visit(f"{page}&path=long.txt", "artifact-long-text", "The first 524 kB are shown")
    ann.visit(f"{page}&path=weights.bin", "artifact-unknown", "no kind of file that can be shown")
    ann.visit(f"{page}&path=plots/gradient.png", "artifact-picture", "gradient.png")
    drawn = "() => [...document.querySelectorAll('.picture img')].map((i) => i.naturalWidth)"
    ann.expect(ann.page.evaluate(drawn) == [96], "the picture is not drawn")
    ann.visit(f"{page}&path=summary.html", "artifact-page", "Open it alone")
    ann.visit(f"{page}&path=plots/teal.svg", "artifact-svg", "teal.svg")
    ann.page.get_by_role("link", name="plots", exact=True).click()
    ann.page.wait_for_url(re.compile("path=plots$"))
    with ann.page.expect_download() as download:
        ann.page.get_by_role("link", name="teal.svg").click()
        ann.page.get_by_role("link", name="Download").click()
    ann.expect(download.value.suggested_filename == "teal.svg", "the download has another name")


def a_page_that_was_logged_reaches_nothing(look: Looking, told: Any) -> None:
    """It is looked at without the usual checks: that its requests are refused is what the console says."""
    ann = look.signed_in(told["tokens"]["ann"], HOME)
    run = told["run_page"]["run"]
    page = ann.page.context.new_page()
    refused = {"parent: refused", "cookies: refused", "storage: refused", "server: refused", "script: runs"}
    page.goto(f"{ann.url}{HOME}/runs/{run}?tab=artifacts&path=report.html")
    framed = page.frame_locator("iframe.page").locator("#told li")
    framed.nth(4).wait_for()
    ann.expect(set(framed.all_inner_texts()) == refused, f"in its frame: {framed.all_inner_texts()}")
    page.goto(f"{ann.url}{HOME}/runs/{run}/preview/report.html")
    alone = page.locator("#told li")
    alone.nth(4).wait_for()
    # A page of its own is its own parent; its body is all that it can reach.
    reached = set(alone.all_inner_texts()) - {"parent: reached"}
    ann.expect(reached == refused - {"parent: refused"}, f"by its address: {alone.all_inner_texts()}")
    ann.expect(page.evaluate("() => origin") == "null", "a page that was logged has an origin")
    page.goto(f"{ann.url}{HOME}/runs/{run}/preview/plots/teal.svg")
    ran = page.evaluate("() => document.documentElement.dataset.ran ?? null")
    ann.expect(ran is None, "a script in a picture has run")
    for path in ("report.html", "plots/teal.svg"):
        answer = page.request.get(f"{ann.url}{HOME}/runs/{run}/artifacts/{path}")
        headers = answer.headers
        ann.expect(headers["content-disposition"].startswith("attachment"), f"{path} is no attachment")
        ann.expect(headers["content-security-policy"].startswith("sandbox"), f"{path} has no sandbox")
        ann.expect(headers["x-content-type-options"] == "nosniff", f"{path} may be taken for another kind")
    page.close()


def the_console_and_the_changes_of_a_run_are_read(ann: Visitor, told: Any) -> None:
    page = f"{HOME}/runs/{told['run_page']['run']}"
    ann.visit(f"{page}?tab=console", "run-console", "100% of epoch 2", "<b>the wind</b>", "logs/errors.log")
    ann.expect("50%" not in ann.page.locator(".console").inner_text(), "shows what was written over")
    ann.visit(f"{page}?tab=console&path=logs/errors.log", "run-console-other", "what went wrong")
    ann.visit(page, "run-long", "Second try", "<b>report.html</b>", "fold 1", "fold 2", "taken away")
    ann.page.get_by_text("History of the note").click()
    ann.shows("First try.", "by ann")
    row = ann.page.get_by_role("row").filter(has=ann.page.get_by_role("rowheader", name="team", exact=True))
    row.locator("summary").click()
    changes = row.locator(".changes li")
    ann.expect(changes.count() == 2, f"the tag has {changes.count()} changes")
    ann.look("run-history")
    ann.page.get_by_role("link", name="fold 1").click()
    ann.page.wait_for_url("**/runs/**")
    ann.page.get_by_role("link", name="long haul").click()
    ann.page.wait_for_url(f"**{page}")


def the_span_that_failed_is_found(ann: Visitor, told: Any) -> None:
    page, traces = f"{HOME}/runs/{told['run_page']['run']}", told["run_page"]["traces"]
    ann.go(page, "run")
    ann.follow(ann.page.get_by_role("link", name="Traces", exact=True), "traces-of-run", "Of run", "answer", "night-shift")
    ann.shows("102", "grounded", "Error", "Ok")
    ann.page.get_by_label("Filter").fill("status = 'ERROR'")
    ann.follow(ann.page.get_by_role("button", name="Filter"), "traces-failed", "answer")
    rows = ann.page.locator("tbody tr")
    ann.expect(rows.count() == 1 and "filter=" in ann.page.url, f"{rows.count()} traces have failed")
    ann.follow(rows.first.locator(".row-link"), "trace-failed", "Exception", "answer", "ask", "look_up", "Error")
    ann.follow(ann.page.get_by_role("link", name="ask"), "span-failed", "the model did not answer", "ValueError", "LLM")
    ann.expect("span=" in ann.page.url, "a span has no link of its own")
    below = ann.page.locator(".spans details").first
    below.locator("summary").first.focus()
    ann.page.keyboard.press("Enter")
    ann.expect(below.get_attribute("open") is None, "the tree is not folded by the keyboard")
    ann.visit(f"{HOME}/traces/{traces['good']}", "trace", "grounded", "It names the wind.", "expected", "Tokens", "long haul")
    ann.visit(f"{HOME}/experiments/{told['experiment']}/traces", "traces-empty", "No traces yet", "@mlflow.trace")
    bad = f"{HOME}/experiments/{told['experiment']}/traces?filter=status%20%3D"
    ann.visit(bad, "traces-bad-filter", "No trace")


def a_logged_model_is_looked_at(ann: Visitor, told: Any) -> None:
    ann.go(f"{HOME}/runs/{told['runs'][0]}", "run-with-model")
    link = ann.page.get_by_role("region", name="Table of models").get_by_role("link", name="model", exact=True)
    ann.follow(link, "logged-model", "Logged by run", "shallow", "xgboost", "wind", "Registered as", "Ready")
    ann.follow(ann.page.get_by_role("link", name="Artifacts", exact=True), "logged-model-artifacts", "MLmodel")
    ann.follow(ann.page.get_by_role("link", name="MLmodel", exact=True), "logged-model-file", "python_function", "SHA-256")
    with ann.page.expect_download() as saved:
        ann.page.get_by_role("link", name="Download").click()
    ann.expect("flavors:" in saved.value.path().read_text(), "the file that is downloaded is another one")
    ann.go(f"{HOME}/experiments/{told['experiment']}", "experiment-with-models")
    ann.follow(ann.page.get_by_role("link", name="Models", exact=True).last, "logged-models", "model", "Ready", "shallow")
    ann.expect(ann.page.locator("tbody tr").count() == 3, "not every model is shown")
    ann.visit(f"{HOME}/experiments/{told['experiment']}/models?filter=name%20%3D", "logged-models-bad-filter", "model")
    none = f"{HOME}/experiments/{told['experiment']}/models?filter=name%20%3D%20'x'"
    ann.visit(none, "logged-models-no-match", "No model matches")
    ann.go(f"{HOME}/runs/{told['runs'][0]}", "run-with-input")
    ann.follow(ann.page.get_by_role("link", name="flights-january"), "runs-of-a-dataset", "shallow", "deeper", "eager")


def all_of_them(look: Looking, ann: Visitor, told: Any) -> None:
    a_run_that_goes_on_is_watched(ann, told)
    curves_are_drawn_as_one_likes(ann, told)
    a_stretch_of_a_curve_is_sent_and_saved(ann, told)
    hundreds_of_metrics_are_not_fetched_at_once(ann, told)
    files_are_previewed(ann, told)
    a_page_that_was_logged_reaches_nothing(look, told)
    the_console_and_the_changes_of_a_run_are_read(ann, told)
    the_span_that_failed_is_found(ann, told)
    a_logged_model_is_looked_at(ann, told)
