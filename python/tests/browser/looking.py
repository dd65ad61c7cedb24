"""A browser that looks closely: every page that it visits is checked for what no page may have, in light and dark, wide
and narrow, and its picture is kept.

Errors on the console, requests that fail, content that is wider than the window, serious findings of axe-core, and a
focus that can't be seen: each is a failure with the page's name.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    ViewportSize,
    sync_playwright,
)

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
Size = ViewportSize
WIDE, NARROW = Size(width=1280, height=800), Size(width=390, height=844)
# Beyond these nothing is promised.
ENDS = [Size(width=360, height=800), Size(width=2560, height=1440)]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
]
# How far the tab key is followed on each page.
STOPS = 20
TIMEOUT_MS = 20_000
# How often a page that was slow is asked for again.
TRIES = 5

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SERIOUS = """async (rules) => (await axe.run(document, { runOnly: rules, resultTypes: ["violations"] })).violations
  .filter((v) => ["serious", "critical"].includes(v.impact))
  .map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 160)} (${v.nodes[0].failureSummary.split("\\n")[1]})`)"""
OVERFLOW = "() => document.documentElement.scrollWidth - window.innerWidth"
# The tab key goes on from where was clicked last, so the focus is led to the page's beginning first.
FROM_THE_TOP = """() => {
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
  document.activeElement?.blur();
  window.scrollTo(0, 0);
}"""
FOCUS = """() => {
  const el = document.activeElement;
  if (!el || el === document.body) return null;
  const style = getComputedStyle(el), box = el.getBoundingClientRect();
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 && box.width > 0 && box.height > 0;
  return { seen, html: el.outerHTML.slice(0, 120) };
}"""


class Failures:
    """What was found, all of it, so that one run tells everything."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def expect(self, good: bool, what: str) -> None:
        if not good:
            self.found.append(what)
            print(f"FAILED  {what}", file=sys.stderr)


class Visitor:
    """Somebody with a browser of their own."""

    def __init__(
        self, context: BrowserContext, url: str, pictures: Path | None, failures: Failures, wide: Size = WIDE
    ) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.url, self.pictures, self.failures, self.wide = url, pictures, failures, wide
        self.at = "the first page"
        # In how many milliseconds the server makes a page, where that is told.
        self.budget_ms: float | None = None
        self._refused = False
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._wrong(f"an error in a script: {error}"))
        self.page.on("requestfailed", self._request_failed)
        self.page.on("response", self._response)

    def _wrong(self, what: str) -> None:
        self.failures.expect(False, f"{self.at}: {what}")

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Meanwhile the server may answer that it does not understand, as of a filter that is half written."""
        self._refused = True
        yield
        self._refused = False

    def _console(self, message: ConsoleMessage) -> None:
        if self._refused and "status of 400" in message.text:
            return
        if message.type in ("error", "warning"):
            self._wrong(f"the console says: {message.text}")

    def _request_failed(self, request: Request) -> None:
        # Leaving a page ends what it was fetching.
        if request.failure != "net::ERR_ABORTED":
            self._wrong(f"{request.url} failed: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not (self._refused and response.status == 400):
            self._wrong(f"{response.url} answered {response.status}")
        if not response.url.startswith((self.url, "data:")):
            self._wrong(f"{response.url} is not of this server")

    def expect(self, good: bool, what: str) -> None:
        self.failures.expect(good, f"{self.at}: {what}")

    def shows(self, *texts: str) -> None:
        seen = self.page.locator("body").inner_text()
        for text in texts:
            self.expect(text in seen, f"does not show “{text}”")

    def go(self, path: str, name: str) -> None:
        self.at = name
        self.page.set_viewport_size(self.wide)
        self.page.goto(self.url + path, wait_until="load")

    def visit(self, path: str, name: str, *texts: str) -> None:
        """Goes to a page and looks at it closely."""
        self.go(path, name)
        self.shows(*texts)
        self.look(name)

    def follow(self, link: Locator, name: str, *texts: str) -> None:
        """Clicks on a link, as a user does, and looks closely at the page that it leads to."""
        self.at = f"on the way to {name}"
        self.page.set_viewport_size(self.wide)
        with self.page.expect_navigation(wait_until="load"):
            link.click()
        self.at = name
        self._wait_for_charts()
        self.shows(*texts)
        self.look(name)

    def _wait_for_charts(self) -> None:
        """Each is drawn when it is scrolled to; one of single points is told as numbers."""
        charts = self.page.locator("[data-chart]:visible")
        for i in range(charts.count()):
            charts.nth(i).scroll_into_view_if_needed()
            charts.nth(i).locator("canvas, .lone, .told").first.wait_for()

    def _expect_answer_within(self, milliseconds: float) -> None:
        """The page as the server makes it; the best of a few times, since the machine has other things to do."""
        took = []
        for _ in range(TRIES):
            began = time.monotonic()
            self.page.request.get(self.page.url).body()
            took.append((time.monotonic() - began) * 1000)
            if took[-1] <= milliseconds:
                return
        self.expect(False, f"took {min(took):.0f} ms to be made, where {milliseconds:.0f} ms are allowed")

    def look(self, name: str) -> None:
        """Looks closely at the page that is there."""
        self.at = name
        self._wait_for_charts()
        if self.budget_ms:
            self._expect_answer_within(self.budget_ms)
        self.page.evaluate("() => window.scrollTo(0, 0)")
        self.page.evaluate(AXE.read_text())
        self._look_as(name, self.wide, "light", axe=True)
        self._follow_the_focus()
        self._look_as(f"{name}-dark", self.wide, "dark", axe=False)
        self._look_as(f"{name}-narrow", NARROW, "dark", axe=True)
        for size in ENDS:
            self._fits(f"{name} at {size['width']} px", size)
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(self.wide)

    def _fits(self, name: str, size: Size) -> None:
        self.page.set_viewport_size(size)
        over = self._settled_overflow()
        self.failures.expect(over <= 0, f"{name}: {over} px wider than the window")

    def _look_as(self, name: str, size: Size, scheme: Any, *, axe: bool) -> None:
        self.page.emulate_media(color_scheme=scheme)
        self._fits(name, size)
        for finding in self.page.evaluate(SERIOUS, RULES) if axe else []:
            self.failures.expect(False, f"{name}: axe says {finding}")
        if self.pictures:
            self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)

    def _settled_overflow(self) -> int:
        """Charts follow the window's size a moment later."""
        deadline = time.monotonic() + 3
        while (over := self.page.evaluate(OVERFLOW)) > 0 and time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
        return over

    def _follow_the_focus(self) -> None:
        self.page.evaluate(FROM_THE_TOP)
        stops = 0
        for _ in range(STOPS):
            self.page.keyboard.press("Tab")
            focus = self.page.evaluate(FOCUS)
            if focus is None:
                break
            stops += 1
            self.expect(focus["seen"], f"the focus can't be seen on {focus['html']}")
        self.expect(stops > 2, f"the tab key reached {stops} elements")
        self.page.evaluate(FROM_THE_TOP)

    def picture(self, name: str) -> None:
        """What the window shows now, for the README and for states that a visit alone does not reach."""
        if self.pictures:
            self.page.screenshot(path=self.pictures / f"{name}.png")


class Looking:
    """A browser, and the visitors that it is lent to, whose windows are so wide."""

    def __init__(self, browser: Browser, url: str, pictures: Path | None, wide: Size) -> None:
        self.browser, self.url, self.pictures, self.wide = browser, url, pictures, wide
        self.failures = Failures()

    def visitor(self) -> Visitor:
        context = self.browser.new_context(viewport=self.wide, color_scheme="light", reduced_motion="reduce")
        return Visitor(context, self.url, self.pictures, self.failures, self.wide)

    def signed_in(self, token: str, home: str) -> Visitor:
        """Somebody who has signed in by their token."""
        visitor = self.visitor()
        visitor.go(home, "sign-in")
        visitor.page.get_by_label("Token").fill(token)
        visitor.page.get_by_role("button", name="Sign in").click()
        visitor.page.wait_for_url(f"**{home}")
        return visitor


@contextmanager
def looking(chromium: str, url: str, pictures: Path | None, wide: Size = WIDE) -> Iterator[Looking]:
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield Looking(browser, url, pictures, wide)
        browser.close()
