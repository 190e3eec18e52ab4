"""The page in a real browser, while a sweep runs.

Nothing here waits for a time: a busy machine takes as long as it takes, each step until what it waits for is there.
"""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvseg.dashboard.serve import open_server
from lvseg.store import location
from tests.dashboard.conftest import SweepFolders

pytestmark = pytest.mark.slow

WAIT_MS = 240_000
"""For one step; a limit for what is broken, and no measure of speed."""
INTERVAL_S = 0.5
TICKS_WITHOUT_ANSWER = 4
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser(own: str) -> str:
    """The Chromium that LVSEG_BROWSER names, else the first on the path, else Playwright's ``own``."""
    named = os.environ.get("LVSEG_BROWSER")
    found = named or next(filter(None, map(shutil.which, PROGRAMS)), own)
    if not Path(found).exists():
        if named:
            pytest.fail(f"LVSEG_BROWSER names {named}, which is not there")
        pytest.skip(
            f"no Chromium: LVSEG_BROWSER is not set, {', '.join(PROGRAMS)} not on the path, Playwright has none"
        )
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = find_browser(playwright.chromium.executable_path)
        # Without its sandbox, which root cannot have; the page is our own.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=found, args=arguments, timeout=WAIT_MS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, sweep: SweepFolders) -> Iterator[object]:
    server = open_server(location(sweep.runs), "127.0.0.1", 0, INTERVAL_S)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    opened = browser.new_page(viewport={"width": 1280, "height": 720})
    opened.set_default_timeout(WAIT_MS)
    opened.url_of_server = f"http://127.0.0.1:{server.socket.getsockname()[1]}/"
    yield opened
    opened.close()
    server.shutdown()
    thread.join()
    server.server_close()


def until(page, condition: str) -> None:
    """Wait for a condition in JavaScript."""
    page.wait_for_function(condition)


def says(selector: str, text: str) -> str:
    return f"document.querySelector({selector!r})?.innerText.includes({text!r})"


def name_at(row: int) -> str:
    return f".ag-pinned-left-cols-container .ag-row[row-index='{row}']"


def dice_at(row: int) -> str:
    cell = f".ag-center-cols-container .ag-row[row-index='{row}'] [col-id=dice]"
    return f"parseFloat(document.querySelector({cell!r})?.innerText)"


def test_a_sweep_is_followed_sorted_filtered_and_looked_into(page, sweep: SweepFolders) -> None:
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url) if _is_outside(request.url, page) else None)
    page.goto(page.url_of_server)

    until(page, says(name_at(0), "trial-00000"))
    until(page, says("#summary", "8 finished"))
    page.wait_for_selector("#curves .scatterlayer .trace")
    page.wait_for_selector("#parallel .parcoords text")
    page.wait_for_selector("#importance .bars .point")
    until(page, "(image => image?.complete && image.naturalWidth > 0)(document.querySelector('#panel img'))")

    # Live: the running trial ends an epoch, another trial fails.
    sweep.go_on(sweep.runs / "rates/trial-00008", 5)
    sweep.trial(10, "failed")
    until(page, says("#summary", "2 failed"))
    until(page, says("#grid", "5 of 6"))

    # Sorted, the lowest Dice first, after the two that have none.
    page.locator(".ag-header-cell[col-id=dice] .ag-header-cell-label").click()
    until(page, f"{dice_at(2)} < {dice_at(3)}")

    # Filtered: the plots follow.
    page.evaluate(
        "dash_ag_grid.getApi('grid').setFilterModel({optimizer: null, rank: {filterType: 'number', "
        "type: 'lessThan', filter: 4}})"
    )
    until(page, says("#shown-text", "3 shown"))
    until(page, "document.querySelectorAll('#curves .scatterlayer .trace').length === 3")

    # Looked into, with the mouse and with the keyboard.
    page.locator(name_at(0), has_text="trial-00002").locator("[col-id=name]").click()
    until(page, says("#panel", "Selected run"))
    until(page, says("#panel", "trial-00002"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    until(page, says("#panel", "trial-00001"))
    assert trouble == []


def test_the_page_asks_again_only_after_an_answer(page, sweep: SweepFolders) -> None:
    """Dash drops the answer to a question that was asked anew: a store slower than the interval would never be seen."""
    questions: list[object] = []

    def keep_the_first_waiting(route) -> None:
        if _is_question(route.request):
            questions.append(route)
        if questions[:1] != [route]:
            route.continue_()

    page.route(re.compile("_dash-update-component"), keep_the_first_waiting)
    with page.expect_request(_is_question):
        page.goto(page.url_of_server)
    ticks = "dash_component_api.getLayout('tick').props.n_intervals"
    until(page, f"{ticks} >= {page.evaluate(ticks) or 0} + {TICKS_WITHOUT_ANSWER}")
    assert len(questions) == 1

    questions[0].continue_()
    until(page, says("#summary", "8 finished"))
    # Its answer has come: the next question is asked.
    sweep.trial(10, "failed")
    until(page, says("#summary", "2 failed"))


def _is_question(request) -> bool:
    """Whether the page asks what is new; its other requests are for its parts."""
    return "_dash-update-component" in request.url and "answered.data" in (request.post_data or "")


def _is_outside(url: str, page) -> bool:
    return not url.startswith((page.url_of_server, "data:", "blob:"))
