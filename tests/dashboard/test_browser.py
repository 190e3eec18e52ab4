"""The page in a real browser, while a sweep runs."""

import os
import threading
from collections.abc import Iterator

import pytest

from lvseg.dashboard.serve import open_server
from lvseg.store import location
from tests.dashboard.conftest import SweepFolders

pytestmark = pytest.mark.slow

WAIT_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    found = os.environ.get("LVSEG_BROWSER")
    if not found:
        pytest.skip("LVSEG_BROWSER names no Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox, which root cannot have; the page is our own.
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, sweep: SweepFolders) -> Iterator[object]:
    server = open_server(location(sweep.runs), "127.0.0.1", 0, 0.5)
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


def test_a_sweep_is_followed_sorted_filtered_and_looked_into(page, sweep: SweepFolders) -> None:
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url) if _is_outside(request.url, page) else None)
    page.goto(page.url_of_server)

    row = page.locator(".ag-center-cols-container .ag-row")
    page.wait_for_function("document.querySelectorAll('.ag-center-cols-container .ag-row').length >= 5")
    assert "trial-00000" in row.first.inner_text()
    assert page.locator("#summary").inner_text().startswith("8 finished")
    page.wait_for_selector("#curves .scatterlayer .trace")
    page.wait_for_selector("#parallel .parcoords .axis-title, #parallel .parcoords text")
    page.wait_for_selector("#importance .bars .point")
    assert page.locator("#panel img").evaluate("image => image.complete && image.naturalWidth > 0")

    # Live: the running trial ends an epoch, another trial fails.
    sweep.go_on(sweep.runs / "rates/trial-00008", 5)
    sweep.trial(10, "failed")
    page.wait_for_function("document.querySelector('#summary').innerText.includes('2 failed')")
    page.wait_for_function("document.querySelector('#grid').innerText.includes('5 of 6')")

    # Sorted, the lowest Dice first.
    page.locator(".ag-header-cell[col-id=dice] .ag-header-cell-label").click()
    page.wait_for_function(
        "[...document.querySelectorAll('.ag-row')].find(r => r.getAttribute('row-index') === '2')"
        ".innerText.includes('0.7')"
    )

    # Filtered: the plots follow.
    page.evaluate(
        "dash_ag_grid.getApi('grid').setFilterModel({optimizer: null, rank: {filterType: 'number', "
        "type: 'lessThan', filter: 4}})"
    )
    page.wait_for_function("document.querySelector('#shown-text').innerText.startsWith('3 shown')")
    page.wait_for_function("document.querySelectorAll('#curves .scatterlayer .trace').length === 3")

    # Looked into.
    page.locator(".ag-row", has_text="trial-00002").first.click()
    page.wait_for_function("document.querySelector('#panel').innerText.includes('Selected run')")
    assert "trial-00002" in page.locator("#panel").inner_text()
    assert trouble == []


def _is_outside(url: str, page) -> bool:
    return not url.startswith((page.url_of_server, "data:", "blob:"))
