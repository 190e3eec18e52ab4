"""The series that was contoured, by contour-on-image evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import ContourError
from lvseg.findings import Decision
from lvseg.sources.contours import find_contours
from lvseg.sources.evidence import choose_series, contour_contrast
from lvseg.sources.headers import read_headers
from lvseg.sources.listing import Collector
from lvseg.sources.series import find_series
from lvseg.store import location

CASE = "SC-N-6"


def choose(folder: Path, listed: tuple[int, ...] = ()) -> tuple[str | None, Decision | None]:
    found = Collector(location(folder))
    headers = read_headers([location(folder / "images")], found, CASE)
    contours = find_contours(location(folder / "contours"), found, CASE)
    series, decision = choose_series(find_series(headers, found, CASE), contours, listed, CASE)
    return series and series.label, decision


def test_contrast(cine):
    heart = cine()
    image, outline = heart.pixels(1, 3), np.array(heart.outline(1, 3))
    assert contour_contrast(image, outline) > 5
    assert abs(contour_contrast(image, outline - 12)) < 1
    assert contour_contrast(-image, outline) < -5
    assert contour_contrast(np.full((48, 48), 7, np.uint8), outline) == 0
    with pytest.raises(ContourError, match="outside the image"):
        contour_contrast(image, outline + 30)


def test_one_series_is_no_decision(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984)
    cine().write_contours(tmp_path / "contours")
    assert choose(tmp_path, (984, 981)) == ("0984", None)


def test_image_numbers_decide(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984)
    cine(slices=1).write_images(tmp_path / "images", 3)
    cine().write_contours(tmp_path / "contours")
    label, decision = choose(tmp_path)
    assert label == "0984"
    assert decision is not None
    assert decision.reason == "the only one of 2 series that has the contours' image numbers"


def test_wrong_number_in_the_table(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984)
    cine(centre=(16, 30), noise=1).write_images(tmp_path / "images", 981)
    cine().write_contours(tmp_path / "contours")
    label, decision = choose(tmp_path, (981,))
    assert label == "0984"
    assert decision is not None
    assert (decision.case_id, decision.subject, decision.decided) == (CASE, "short-axis series", "series 0984")
    assert decision.reason.startswith("mean contrast of 8 contours ")
    assert "in series 0981" in decision.reason
    assert "nearly equal" not in decision.reason
    assert decision.reason.endswith("the table of short-axis series says 0981")


def test_table_names_a_series_that_is_not_there(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984)
    cine().write_contours(tmp_path / "contours")
    label, decision = choose(tmp_path, (12,))
    assert label == "0984"
    assert decision is not None
    assert "the table of short-axis series says 0012" in decision.reason


@pytest.mark.parametrize("listed", [981, 984])
def test_table_breaks_a_tie(tmp_path, cine, listed):
    for series, noise in ((984, 0), (981, 1), (990, 2)):
        cine(noise=noise).write_images(tmp_path / "images", series)
    cine().write_contours(tmp_path / "contours")
    label, decision = choose(tmp_path, (listed,))
    assert label == f"{listed:04d}"
    assert decision is not None
    assert "nearly equal, the table decides" in decision.reason


def test_three_cines(tmp_path, cine):
    for series, centre in ((331, (27, 22)), (340, (24, 22)), (350, (24, 26))):
        cine(centre=centre, noise=series).write_images(tmp_path / "images", series)
    cine(centre=(24, 22)).write_contours(tmp_path / "contours")
    assert choose(tmp_path, (331,))[0] == "0340"


def test_cine_at_another_phase(tmp_path, cine):
    """A second cine that starts half a beat later, its files numbered alike."""
    cine().write_images(tmp_path / "images", 984)
    shifted = cine(noise=1)
    for index, phase in [(index, phase) for index in range(4) for phase in range(10)]:
        elements = {"PixelData": shifted.pixels(index, (phase + 5) % 10).tobytes()}
        others = [n for n in range(1, 41) if n != shifted.number(index, phase)]
        shifted.write_images(tmp_path / "images", 981, without=others, SeriesInstanceUID="1.2.3", **elements)
    cine().write_contours(tmp_path / "contours")
    assert choose(tmp_path, (981,))[0] == "0984"


def test_images_missing_from_the_right_series(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984, without=(1, 6))
    cine(centre=(16, 30), noise=1).write_images(tmp_path / "images", 981)
    cine().write_contours(tmp_path / "contours")
    label, decision = choose(tmp_path)
    assert label == "0984"
    assert decision is not None
    assert decision.reason.endswith("it has the images of 6 of 8 contours")


def test_broken_contours_are_no_evidence(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984)
    cine(centre=(16, 30), noise=1).write_images(tmp_path / "images", 981)
    cine().write_contours(tmp_path / "contours")
    for number in (1, 11, 21):
        (tmp_path / f"contours/IM-0001-{number:04d}-icontour-manual.txt").write_text("1 1\n")
    label, decision = choose(tmp_path, (981,))
    assert label == "0984"
    assert decision is not None
    assert "mean contrast of 5 contours" in decision.reason


def test_epicardium_of_another_patient_does_not_mislead(tmp_path, cine):
    cine().write_images(tmp_path / "images", 984)
    other = cine(centre=(16, 30), noise=1)
    other.write_images(tmp_path / "images", 981)
    other.write_contours(tmp_path / "contours")
    cine().write_contours(tmp_path / "contours", kinds=("i",))
    assert choose(tmp_path)[0] == "0984"


def test_no_contour_has_an_image(tmp_path, cine):
    cine(slices=1, phases=2).write_images(tmp_path / "images")
    (tmp_path / "contours").mkdir()
    cine().write_contours(tmp_path / "contours")
    for number in (1,):
        (tmp_path / f"contours/IM-0001-{number:04d}-icontour-manual.txt").unlink()
    assert choose(tmp_path) == (None, None)
