"""The report's two files."""

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lvseg.config import ConvertConfig
from lvseg.findings import Decision, Finding, Skip
from lvseg.quality import join, panel, pictures, shown_names, to_be_shown, write_report
from lvseg.quality.pictures import MOST_PICTURES, draw
from lvseg.slices import Contours
from lvseg.store import location
from tests.quality.conftest import SIZE, found, item_of, make_heart, table

Stack = Callable[..., list[dict[str, Any]]]


class Requests(HTMLParser):
    """Collects what a browser would fetch, and the ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.cards: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.fetched += [given[key] for key in ("src", "srcset", "data", "poster") if key in given]
        if tag == "a":
            self.links.append(given["href"])
        elif "href" in given:
            self.fetched.append(given["href"])
        if "id" in given:
            self.ids.append(given["id"])
        if "data-severity" in given:
            self.cards.append(given["data-severity"])


def finding(number: int, check: str = "tiny-contour") -> Finding:
    return Finding(
        severity="warning",
        check=check,
        case_id="A",
        name=f"A-{number}",
        target="endocardium",
        file="i.txt",
        reason="<b>small</b>",
    )


@pytest.fixture
def reported(stack: Stack, tmp_path: Path) -> tuple[Path, list[Finding]]:
    rows = stack("A") + stack("B")
    rows[4]["contrast"] = 0.1
    rows[8]["endocardium_area_px"] *= 4
    rows[8]["endocardium_area_mm2"] *= 4
    del rows[23]
    findings = found(rows)
    panels = {name: draw(make_heart(name=name)) for f in findings for name in shown_names(f)}
    write_report(
        tmp_path,
        findings,
        table(rows),
        join(findings, panels),
        title="made & <drawn>",
        skipped=[Skip(".DS_Store", "clutter")],
        decisions=[Decision(case_id="A", subject="series", decided="4", reason="contrast 2.1")],
    )
    return tmp_path, findings


def test_the_page_requests_nothing_and_has_every_finding(reported: tuple[Path, list[Finding]]) -> None:
    folder, findings = reported
    text = (folder / "quality.html").read_text()
    page = Requests()
    page.feed(text)
    assert len(page.fetched) == len(findings)
    assert all(each.startswith("data:image/webp;base64,") for each in page.fetched)
    assert not re.search(r"https?:|url\(|@import|fetch\(", text)
    assert {link.removeprefix("#") for link in page.links} == set(page.ids) == {f.check for f in findings}
    assert sorted(page.cards) == sorted(f.severity for f in findings)
    assert "made &amp; &lt;drawn&gt;" in text
    assert ".DS_Store" in text
    assert "contrast 2.1" in text


def test_json_has_counts_findings_and_cases(reported: tuple[Path, list[Finding]]) -> None:
    folder, findings = reported
    content = json.loads((folder / "quality.json").read_text())
    assert content["summary"]["images"] == 27
    assert content["summary"]["cases"] == 2
    assert content["summary"]["error"] == 1
    assert content["summary"]["checks"]["contour-off-heart"] == {"error": 1, "warning": 0, "note": 0}
    assert content["summary"]["checks"]["copied-image"]["error"] == 0
    assert [Finding(**(f | {"others": tuple(f["others"])})) for f in content["findings"]] == findings
    assert [case["case_id"] for case in content["cases"]] == ["A", "B"]
    assert content["skipped"] == [{"file": ".DS_Store", "reason": "clutter"}]


def test_volumes_of_a_case(stack: Stack, tmp_path: Path) -> None:
    rows = stack()
    write_report(tmp_path, [], table(rows), {})
    (case,) = json.loads((tmp_path / "quality.json").read_text())["cases"]
    areas = {phase: [r["endocardium_area_mm2"] for r in rows if r["phase_index"] == phase] for phase in (0, 8)}
    assert case["edv_ml"] == pytest.approx(sum(areas[0]) * 8 / 1000)
    assert case["esv_ml"] == pytest.approx(sum(areas[8]) * 8 / 1000)
    assert case["ef"] == pytest.approx(1 - 0.8**2)
    assert (case["ed_slices"], case["es_slices"], case["images"]) == (7, 7, 14)
    assert "nothing found" in (tmp_path / "quality.html").read_text()


def test_no_volume_without_spacing_or_phases(stack: Stack, tmp_path: Path) -> None:
    rows = stack()
    for row in rows:
        row |= {"slice_index": None, "phase_index": None, "position_mm": None}
    write_report(tmp_path, found(rows), table(rows), {})
    (case,) = json.loads((tmp_path / "quality.json").read_text())["cases"]
    assert (case["edv_ml"], case["ef"], case["ed_slices"]) == (None, None, None)
    assert len(case["ed_areas_mm2"]) == 14


def test_the_same_bytes_again(reported: tuple[Path, list[Finding]], stack: Stack, tmp_path: Path) -> None:
    findings = [finding(1)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, findings, table(stack()), {findings[0]: draw(make_heart())})
    for file in ("quality.json", "quality.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_pictures_are_limited_and_the_page_says_so(stack: Stack, tmp_path: Path) -> None:
    findings = [finding(number) for number in range(MOST_PICTURES + 40)] + [finding(1, "saturated-image")]
    shown = to_be_shown(findings)
    assert len(shown) == MOST_PICTURES
    assert findings[-1] in shown
    picture = draw(make_heart())
    write_report(tmp_path, findings, table(stack()), dict.fromkeys(shown, picture))
    text = (tmp_path / "quality.html").read_text()
    assert f"{MOST_PICTURES} of {len(findings)} findings have one" in text
    assert text.count("data:image/webp") == MOST_PICTURES
    assert "&lt;b&gt;small" in text


def test_pictures_show_contours_or_the_masks_outline() -> None:
    def greens(data: bytes) -> int:
        pixels = np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)
        assert pixels.shape == (pictures.SIDE, pictures.SIDE, 3)
        return int((pixels[..., 1] - pixels[..., 0] > 60).sum())

    heart = make_heart()
    mask_only = dataclasses.replace(heart, contours=Contours())
    blank = dataclasses.replace(mask_only, mask=np.zeros_like(heart.mask))
    assert greens(draw(heart)) > 200
    assert greens(draw(mask_only)) > 200
    assert greens(draw(blank)) == 0
    off = dataclasses.replace(heart, contours=Contours(endocardium=heart.contours.endocardium + SIZE / 2))
    assert greens(draw(off)) > 100


def test_panels_stand_side_by_side(stack: Stack) -> None:
    rows = stack()
    rows[8]["endocardium_area_px"] *= 4
    (jump,) = found(rows, "area-jump")
    panels = {name: draw(make_heart(name=name)) for name in shown_names(jump)}
    assert len(panels) == 3
    assert Image.open(BytesIO(join([jump], panels)[jump])).size == (3 * pictures.SIDE, pictures.SIDE)
    assert join([jump], {}) == {}


def test_no_panel_of_what_is_not_there(tmp_path: Path) -> None:
    assert panel(location(tmp_path), item_of(make_heart()), ConvertConfig()) is None
