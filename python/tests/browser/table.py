"""The table of very many runs in a real browser: it scrolls to its end, sorts, filters, keeps its view in the address,
and a hundred of its rows are compared. How long each took is printed.

Run as `python table.py <url> <token> <runs> <chromium> [<folder for pictures>]` with the browser's environment; fills
an experiment with so many runs first, unless the server has one of this name already. Ends with 1 when anything was
found.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import many
from looking import Looking, Visitor, looking
from playwright.sync_api import Locator, expect

NAME = "many runs"
# Longer than this no step may take, whatever the machine has to do besides.
PATIENCE_MS = 15_000
SHOWN = ["metrics.train/loss", "metrics.val/loss", "metrics.val/auc", "params.model", "params.depth"]
COLUMNS = "&".join(f"col={key}" for key in SHOWN)
DRAWINGS = {"parallel": "through", "scatter": "metrics.", "contour": "over"}
HEADS = "#runs thead tr:nth-child(2) th"
LOSSES = 'th[data-key="metrics.val/loss"] a'


class Clock:
    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.told.append((what, (time.monotonic() - began) * 1000))


def experiment(url: str, token: str, runs: int) -> str:
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name={NAME.replace(' ', '%20')}",
        headers={"authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: str = json.load(answer)["experiment"]["experiment_id"]
            return found
    except urllib.error.HTTPError:
        return many.fill(url, token, runs, NAME)


def rows(look: Visitor) -> Locator:
    return look.page.locator("#runs tbody tr[aria-rowindex]")


def first_seen(look: Visitor) -> Any:
    """Name and cells of the row at the top of what can be seen."""
    return look.page.evaluate("""() => {
      const pane = document.querySelector("#runs");
      const top = pane.getBoundingClientRect().top + pane.querySelector("thead").offsetHeight;
      const rows = [...pane.querySelectorAll("tbody tr[aria-rowindex]")];
      const row = rows.find((r) => r.getBoundingClientRect().bottom > top + 2);
      return [...row.cells].map((c) => c.innerText.trim());
    }""")


def number_of(row: list[str]) -> int:
    return int(row[0].removeprefix("run-") or -1)


def until(look: Visitor, what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        if holds():
            return
        look.page.wait_for_timeout(5)
    look.expect(False, f"waited in vain until {what}")


def opened(look: Visitor, path: str, name: str) -> None:
    look.go(path, name)
    look.page.locator("#runs[data-ready]").wait_for()


def without_script(browser: Looking, look: Visitor, path: str) -> None:
    """The module writes the rows as the server does."""
    state = look.page.context.storage_state()
    context = browser.browser.new_context(java_script_enabled=False, storage_state=state)
    page = context.new_page()
    page.goto(look.url + path)
    told = [
        [cell.inner_text().strip() for cell in row.locator("th, td").all()]
        for row in page.locator("#runs tbody tr").all()[:12]
    ]
    heads = page.locator(HEADS).all_inner_texts()
    context.close()
    look.expect(len(told) == 12, "the page without script shows no rows")
    look.expect(heads == look.page.locator(HEADS).all_inner_texts(), "the module has other columns")
    shown = [[cell.inner_text().strip() for cell in row.locator("th, td").all()] for row in rows(look).all()[:12]]
    plain = [[cell.removeprefix("missing").strip() for cell in row] for row in told]
    for server, module in zip(plain, shown, strict=True):
        # Times go on between the two; whoever runs lasts longer.
        same = [s == m for i, (s, m) in enumerate(zip(server, module, strict=True)) if i not in (2, 3)]
        look.expect(all(same), f"the module writes {module} where the server wrote {server}")


def scrolled_to_the_end(ann: Visitor, clock: Clock, runs: int) -> None:
    pane = ann.page.locator("#runs")
    oldest = ann.page.locator(f'#runs tr[aria-rowindex="{runs + 2}"]')
    with clock("to the last row"):
        pane.evaluate("(pane) => { pane.scrollTop = pane.scrollHeight; }")
        expect(oldest.locator("a")).to_have_text("run-0", timeout=PATIENCE_MS)
    last, box = oldest.bounding_box(), pane.bounding_box()
    assert last and box
    ann.expect(last["y"] + last["height"] <= box["y"] + box["height"] + 1, "the last row is cut off")
    ann.picture("table-end")
    with clock("to the middle"):
        pane.evaluate("(pane) => { pane.scrollTop = pane.scrollHeight / 2; }")
        until(ann, "rows of the middle can be seen", lambda: abs(number_of(first_seen(ann)) - runs / 2) < 60)
    at = first_seen(ann)[0]
    # The newest is first.
    until(ann, "the address tells where one is", lambda: f"cursor={runs - 1 - number_of([at])}" in ann.page.url)
    ann.page.reload()
    ann.page.locator("#runs[data-ready]").wait_for()
    until(ann, "a reload shows the same rows", lambda: first_seen(ann)[0] == at)


def sorted_by_a_metric(ann: Visitor, clock: Clock, runs: int) -> None:
    by_loss = sorted(range(runs), key=many.loss)
    with clock("sorted by a metric, descending"):
        ann.page.locator(LOSSES).click()
        until(ann, "the greatest loss is first", lambda: first_seen(ann)[0] == f"run-{by_loss[-1]}")
    with clock("sorted by a metric, ascending"):
        ann.page.locator(LOSSES).click()
        until(ann, "the least loss is first", lambda: first_seen(ann)[0] == f"run-{by_loss[0]}")
    head = ann.page.locator('th[data-key="metrics.val/loss"]')
    ann.expect(head.get_attribute("aria-sort") == "ascending", "the head does not tell the order")
    with clock("to the last row of that order"):
        ann.page.locator("#runs").evaluate("(pane) => { pane.scrollTop = pane.scrollHeight; }")
        expect(rows(ann).last.locator("a")).to_have_text(f"run-{by_loss[-1]}", timeout=PATIENCE_MS)
    ann.page.go_back()
    until(ann, "the way back leads to the other order", lambda: first_seen(ann)[0] == f"run-{by_loss[-1]}")
    ann.page.go_forward()
    until(ann, "the way forward, too", lambda: first_seen(ann)[0] == f"run-{by_loss[0]}")


def filtered_while_typing(ann: Visitor, clock: Clock, runs: int) -> None:
    field = ann.page.get_by_label("Filter", exact=True)
    wanted = [n for n in range(runs) if many.loss(n) < 0.01 and many.MODELS[n % 4] == "gbt"]
    told = re.compile(rf"(^|of ){len(wanted)} runs$")
    count = ann.page.locator("#range")
    with ann.refusals():
        field.fill("metrics.`val/loss` < 0.01 AND params.model =")
        until(ann, "the problem is told", lambda: ann.page.locator("#filter-problem").is_visible())
    ann.shows("a value should come here")
    ann.expect(field.get_attribute("aria-invalid") is not None, "the field is not marked")
    with clock("filtered by a metric and a param, from the last key"):
        field.fill("metrics.`val/loss` < 0.01 AND params.model = 'gbt'")
        expect(count).to_have_text(told, timeout=PATIENCE_MS)
    ann.expect(first_seen(ann)[0] == f"run-{min(wanted, key=many.loss)}", "the least loss of those is not first")
    ann.expect(not ann.page.locator("#filter-problem").is_visible(), "the problem is still told")


def what_matches_nothing_says_so(ann: Visitor) -> None:
    field = ann.page.get_by_label("Filter", exact=True)
    before = field.input_value()
    field.fill("status = 'NONE'")
    ann.page.get_by_text("No run matches").wait_for()
    ann.expect(not ann.page.locator("#runs").is_visible(), "an empty table is shown")
    ann.page.get_by_role("link", name="Show all runs").click()
    until(ann, "all runs are there again", lambda: ann.page.locator("#runs").is_visible() and field.input_value() == "")
    field.fill(before)
    until(ann, "the filter is told in the address", lambda: "filter=" in ann.page.url)


def columns_chosen_and_pinned(ann: Visitor) -> None:
    ann.page.locator(".columns > summary").click()
    ann.page.get_by_label("Find a column").fill("see")
    ann.page.get_by_label("seed", exact=True).check()
    ann.page.locator('th[data-key="params.seed"]').wait_for()
    ann.page.get_by_label("Pin params.seed").check()
    head = ann.page.locator(HEADS)
    expect(head.nth(1)).to_have_attribute("data-key", "params.seed")
    ann.picture("table-columns")
    ann.page.keyboard.press("Escape")
    pane = ann.page.locator("#runs")
    pane.evaluate("(pane) => { pane.scrollLeft = 300; }")

    def stays() -> bool:
        # Rows and heads are made anew while they scroll.
        name, pinned = head.nth(0).bounding_box(), head.nth(1).bounding_box()
        return name is not None and pinned is not None and abs(pinned["x"] - name["x"] - name["width"]) < 2

    until(ann, "a pinned column does not scroll away", stays)
    pane.evaluate("(pane) => { pane.scrollLeft = 0; }")
    ann.page.locator('[data-fold="metrics.train/"]').click()
    expect(ann.page.locator('th[data-key="metrics.train/loss"]')).to_have_count(0)
    ann.expect("fold=" in ann.page.url and "pin=" in ann.page.url, "the address does not tell what is folded")


def a_view_is_saved_for_a_colleague(look: Looking, ann: Visitor, clock: Clock) -> None:
    top = first_seen(ann)[0]
    ann.page.locator(".views > summary").click()
    ann.page.get_by_label("Save what is shown as").fill("low loss, gbt")
    fits = ann.page.get_by_label("Save what is shown as").evaluate("(field) => field.checkValidity()")
    ann.expect(not fits, "a name is taken that the server refuses")
    ann.page.get_by_label("Save what is shown as").fill("low loss")
    ann.page.get_by_role("button", name="Save view").click()
    ann.page.locator("#runs[data-ready]").wait_for()
    ann.page.goto(ann.url + re.sub(r"\?.*", "", ann.page.url.removeprefix(ann.url)))
    ann.page.locator("#runs[data-ready]").wait_for()
    ann.page.locator(".views > summary").click()
    with clock("a saved view, opened"):
        ann.page.get_by_role("link", name="low loss").click()
        ann.page.locator("#runs[data-ready]").wait_for()
        until(ann, "the view shows the same rows", lambda: first_seen(ann)[0] == top)
    ann.page.locator(".views > summary").click()
    ann.picture("table-views")
    ann.page.get_by_role("button", name="Delete the view low loss").click()
    ann.page.get_by_text("is deleted").wait_for()
    ann.page.locator("#runs[data-ready]").wait_for()
    until(ann, "what the view showed is still there", lambda: first_seen(ann)[0] == top)
    ann.expect(ann.page.locator(".saved li").count() == 0, "the view is still offered")


def rows_by_keyboard(ann: Visitor, path: str) -> None:
    opened(ann, path, "keys in the table")
    for _ in range(60):
        ann.page.keyboard.press("j")
    at = "() => document.activeElement.closest('tr')?.getAttribute('aria-rowindex')"
    until(ann, "`j` walks beyond what could be seen", lambda: ann.page.evaluate(at) == "62")
    ann.page.keyboard.press("k")
    ann.page.keyboard.press("x")
    until(ann, "`x` selects", lambda: "selected=" in ann.page.url)
    name = ann.page.evaluate("() => document.activeElement.closest('tr').querySelector('a').innerText")
    ann.page.keyboard.press("Enter")
    ann.page.wait_for_url("**/runs/**")
    ann.shows(name)


def a_hundred_are_compared(ann: Visitor, clock: Clock, path: str) -> None:
    opened(ann, f"{path}?sort=metrics.val%2Floss", "selecting")
    rows(ann).first.locator("input").click()
    ann.page.locator("#runs").evaluate("(pane) => { pane.scrollTop = 99 * 34; }")
    hundredth = ann.page.locator('#runs tr[aria-rowindex="102"] input')
    hundredth.wait_for()
    hundredth.click(modifiers=["Shift"])
    button = ann.page.locator("#compare-button")
    until(ann, "a hundred are selected", lambda: button.inner_text().split() == ["Compare", "100"])
    with clock("a hundred runs compared"):
        button.click()
        ann.page.wait_for_url("**/compare?**")
        ann.page.locator("main h1").wait_for()
    ann.expect(ann.page.locator("table.compare thead th").count() == 100, "not all hundred stand side by side")
    compared = ann.page.url.removeprefix(ann.url)
    ann.look("compare-hundred")
    ann.page.get_by_role("link", name="Differences only").click()
    ann.page.wait_for_url("**diff=1**")
    ann.shows("val/loss", "seed")
    for kind, what in DRAWINGS.items():
        with clock(f"a hundred runs as {kind}"):
            ann.go(f"{compared}&plot={kind}", f"compare-{kind}")
            ann.page.locator(f'#drawing[data-drawn="{kind}"]').wait_for()
        expect(ann.page.locator("#drawing svg")).to_have_attribute("aria-label", re.compile(what))
        ann.look(f"compare-{kind}")
    choices_stand_in_the_address(ann, f"{compared}&plot=scatter")
    axes_are_brushed(ann, f"{compared}&plot=parallel")


def drawn(look: Visitor, path: str, name: str) -> Locator:
    look.go(path, name)
    drawing = look.page.locator("#drawing[data-drawn]")
    drawing.wait_for()
    return drawing


def choices_stand_in_the_address(ann: Visitor, path: str) -> None:
    drawing = drawn(ann, path, "choosing what is drawn")
    ann.page.get_by_label("Across").select_option("metrics.train/loss")
    ann.page.get_by_label("Colour").select_option("params.depth")
    label = drawing.locator("svg")
    chosen = re.compile("over metrics.train/loss")
    expect(label).to_have_attribute("aria-label", chosen)
    told = "x=metrics.train" in ann.page.url and "z=params.depth" in ann.page.url
    ann.expect(told, "the address does not tell the choices")
    ann.page.reload()
    expect(label).to_have_attribute("aria-label", chosen)
    run = drawing.locator("svg a").first.get_attribute("data-run")
    drawing.locator("svg a .dot").first.dispatch_event("click")
    ann.page.wait_for_url(f"**/runs/{run}")


def axes_are_brushed(ann: Visitor, path: str) -> None:
    drawing = drawn(ann, path, "brushing an axis")
    rail = drawing.locator(".rail").first.bounding_box()
    assert rail
    ann.page.mouse.move(rail["x"] + rail["width"] / 2, rail["y"] + 8)
    ann.page.mouse.down()
    ann.page.mouse.move(rail["x"] + rail["width"] / 2, rail["y"] + rail["height"] / 2, steps=4)
    ann.page.mouse.up()
    ann.expect("of 100 runs pass" in drawing.locator(".told").inner_text(), "does not tell how many pass")
    dimmed = drawing.locator("a.out").count()
    ann.expect(0 < dimmed < 100, f"{dimmed} lines are dimmed")
    ann.expect("range=" in ann.page.url, "the address does not tell the range")
    ann.picture("compare-brushed")
    ann.page.reload()
    drawing.wait_for()
    ann.expect(drawing.locator("a.out").count() == dimmed, "a reload lets others pass")


def main() -> int:
    url, token, runs, chromium, *folder = sys.argv[1:]
    clock, many_runs = Clock(), int(runs)
    began = time.monotonic()
    id = experiment(url, token, many_runs)
    print(f"{many_runs} runs are there after {time.monotonic() - began:.0f} s")
    path = f"/p/default/experiments/{id}"
    with looking(chromium, url, Path(folder[0]) if folder else None) as look:
        ann = look.signed_in(token, "/p/default") if token else look.visitor()
        with clock("the page, until all rows can be scrolled through"):
            opened(ann, path, "table")
        expect(ann.page.locator("#runs table")).to_have_attribute("aria-rowcount", str(many_runs + 2))
        without_script(look, ann, path)
        opened(ann, f"{path}?{COLUMNS}", "table of chosen columns")
        scrolled_to_the_end(ann, clock, many_runs)
        sorted_by_a_metric(ann, clock, many_runs)
        filtered_while_typing(ann, clock, many_runs)
        what_matches_nothing_says_so(ann)
        columns_chosen_and_pinned(ann)
        a_view_is_saved_for_a_colleague(look, ann, clock)
        rows_by_keyboard(ann, path)
        opened(ann, f"{path}?pin=metrics.val%2Fauc&sort=-metrics.val%2Fauc", "table")
        ann.look("table")
        a_hundred_are_compared(ann, clock, path)
    for what, took in clock.told:
        print(f"{took:7.0f} ms  {what}")
    print(f"{len(look.failures.found)} failures")
    return 1 if look.failures.found else 0


if __name__ == "__main__":
    sys.exit(main())
