"""Contour files that are read, and those that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.errors import ContourError, SourceError
from lvseg.sources.contours import find_contours, read_contour
from lvseg.sources.listing import Collector
from lvseg.store import location


def test_points(tmp_path):
    path = tmp_path / "contour.txt"
    path.write_text("118.50 98.50\r\n119.00 98\n\n 120.5\t99.5 \n")
    points = read_contour(path)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, [[118.5, 98.5], [119, 98], [120.5, 99.5]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least three points, found 0"),
        ("1 1\n2 2\n", "at least three points, found 2"),
        ("1 1\n2 x\n3 1\n", "line 2: expected two numbers, found '2 x'"),
        ("1 1\n2 2 2\n3 1\n", "line 2: expected two numbers"),
        ("1 1\n2 nan\n3 1\n", "NaN"),
        ("1 1\n2 inf\n3 1\n", "infinity"),
        ("1 1\n2 2\n3 3\n", "enclose none"),
        ("\0\1\n", "line 1: expected two numbers"),
    ],
)
def test_refused(tmp_path, text, reason):
    path = tmp_path / "contour.txt"
    path.write_text(text)
    with pytest.raises(ContourError) as caught:
        read_contour(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(SourceError, match=r"contour\.txt: cannot be read"):
        read_contour(tmp_path / "contour.txt")


def test_files_of_a_patient(tmp_path, contour):
    folder = tmp_path / "SC-N-2"
    for kind in ("i", "o", "p1", "p2"):
        contour(folder / f"contours-manual/IRCCI-expert/IM-0001-0048-{kind}contour-manual.txt")
    contour(folder / "contours-manual/other/IM-0001-0048-icontour-manual.txt")
    contour(folder / "contours-manual/other/IM-0001-0050-ocontour-manual.txt")
    (folder / "notes.txt").write_text("hello")
    (folder / ".DS_Store").write_bytes(b"clutter")
    found = Collector(location(tmp_path))
    contours = find_contours(location(folder), found, "SC-N-2")
    assert sorted(contours) == [48, 50]
    assert {kind: path.parent.name for kind, path in contours[48].by_kind.items()} == dict.fromkeys(
        ("i", "o", "p1", "p2"), "IRCCI-expert"
    )
    assert [path.name[13:15] for path in contours[48].papillaries] == ["p1", "p2"]
    assert (contours[50].endocardium, contours[50].papillaries) == (None, ())
    other = "SC-N-2/contours-manual/other/IM-0001-0048-icontour-manual.txt"
    assert {skip.file: skip.reason for skip in found.skipped} == {
        other: "same image number as SC-N-2/contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt",
        "SC-N-2/notes.txt": "not a manual contour, expected a name like IM-0001-0048-icontour-manual.txt",
    }
