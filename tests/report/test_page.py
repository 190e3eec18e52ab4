import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lvseg.errors import RunError
from lvseg.leaderboard import build
from lvseg.report import render_page, write_report
from lvseg.results import HISTORY_FILE, picture_path

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.open, self.tags, self.texts = text, [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def page_of(runs: Path) -> Page:
    return Page(render_page(build(runs)))


def test_one_run_has_table_curves_picture_settings_and_command(folders) -> None:
    folder = folders.add("first", dice=0.8519, epochs=30)
    page = page_of(folders.runs)
    for text in (
        "first",
        "0.8519",
        "1,857,848",
        "learning_rate: 0.001",
        "lvseg train records --model fcn",
        "SC-HF-I-1",
    ):
        assert text in page.text
    assert len(page.all("svg")) == 2
    (image,) = page.all("img")
    assert image["src"].startswith("data:image/webp;base64,UklGR")
    assert picture_path(folder, 30).exists()
    assert "1 run finished;" in page.text


def test_the_page_requests_nothing_and_runs_nothing(folders) -> None:
    folders.add()
    page = page_of(folders.runs)
    targets = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "action", "data", "srcset")
    ]
    assert all(target.startswith(("#", "data:image/webp;base64,")) for target in targets)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "@import" not in page.source
    assert all(reference.startswith("#") for reference in re.findall(r"url\(([^)]*)\)", page.source))


def test_hostile_text_stays_text(folders) -> None:
    hostile = "<script>alert('1')</script>\"&$x_{$"
    folders.add(
        hostile,
        command=f"lvseg train {hostile}",
        config={hostile: hostile},
        versions={hostile: hostile},
        val_dice_by_case={hostile: 0.5},
        records_sha256=hostile,
        model=hostile,
        sweep=hostile,
        finished_at=hostile,
    )
    folders.add_failed(hostile, hostile)
    page = page_of(folders.runs)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert('1')</script>") >= 8


def test_thirty_runs_draw_the_best_twelve_and_detail_three(folders) -> None:
    for number in range(30):
        folders.add(f"run-{number:02d}", dice=0.5 + number / 100)
    page = page_of(folders.runs)
    assert "7 other runs" in page.text
    assert "18 runs are not drawn" in page.text
    assert len(page.all("img")) == 3
    assert [attributes["id"] for attributes in page.all("article")] == ["run-1-1", "run-1-2", "run-1-3"]
    assert all(f"run-{number:02d}" in page.text for number in range(30))
    assert "Commands of the other 27 runs" in page.text
    assert page.text.count("lvseg train records") == 30


def test_groups_have_own_tables_and_ids_are_unique(folders) -> None:
    folders.add("patients")
    folders.add("images", split="image")
    page = page_of(folders.runs)
    assert "both halves share patients" in page.text
    assert "Scores compare within a table" in page.text
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    for attributes in page.all("a"):
        assert attributes["href"].removeprefix("#") in ids


def test_curves_are_wellformed_and_take_the_text_colour_of_the_page(folders) -> None:
    folders.add()
    drawings = re.findall(r"<svg.*?</svg>", render_page(build(folders.runs)), flags=re.DOTALL)
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert "currentColor" in drawing
    assert len(drawings) == 2


def test_failed_and_damaged_runs_are_shown_with_their_reason(folders) -> None:
    folders.add()
    folders.add_failed("broke", "step 412: the loss is NaN")
    (folders.runs / "half").mkdir()
    (folders.runs / "half" / "result.json").write_text("{")
    text = page_of(folders.runs).text
    assert "step 412: the loss is NaN" in text
    assert "1 failed, 1 unreadable" in text
    assert "Left out: " in text


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("no such content")])
def test_a_run_without_history_or_picture_is_shown_without(folders, damage) -> None:
    folder = folders.add("poor", epochs=5)
    damage(folder / HISTORY_FILE)
    damage(picture_path(folder, 5))
    page = page_of(folders.runs)
    assert "poor" in page.text
    assert (page.all("svg"), page.all("img")) == ([], [])


def test_a_run_of_one_epoch_is_drawn(folders) -> None:
    folders.add(epochs=1)
    assert len(page_of(folders.runs).all("svg")) == 2


def test_the_report_is_written_where_asked(folders, tmp_path: Path) -> None:
    folders.add()
    board = build(folders.runs)
    out = write_report(board, tmp_path / "new" / "report.html")
    assert out.read_text(encoding="utf-8") == render_page(board)
    with pytest.raises(RunError, match=r"report\.html/x\.html: cannot be written"):
        write_report(board, out / "x.html")
