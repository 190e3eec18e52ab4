"""What is found in the headers of a patient's images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lvseg.findings import Finding
from lvseg.sources.header_checks import check_headers
from lvseg.sources.headers import read_headers
from lvseg.sources.listing import Collector
from lvseg.sources.series import find_series
from lvseg.store import location


def check(folder: Path) -> list[Finding]:
    found = Collector(location(folder))
    headers = read_headers([location(folder)], found, "SC-N-2")
    return list(check_headers(headers, find_series(headers, found, "SC-N-2")[0], found, "SC-N-2"))


@pytest.fixture
def write(tmp_path, cine):
    """Write one cine, with other elements in some of its images."""

    def write(numbers=(), **elements) -> Path:
        others = [number for number in range(1, 41) if number not in numbers]
        cine().write_images(tmp_path, without=numbers, SeriesInstanceUID="1.2.3")
        if numbers:
            cine().write_images(tmp_path, without=others, SeriesInstanceUID="1.2.3", **elements)
        return tmp_path

    return write


def test_clean_cine(write):
    assert check(write()) == []


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PixelSpacing": [1.6, 1.6]}, "PixelSpacing 1.6 x 1.6 in 2 images, 1.5 x 1.5 in the others"),
        ({"PixelSpacing": None}, "PixelSpacing missing in 2 images, 1.5 x 1.5 in the others"),
        ({"Rows": 40}, "Rows and Columns 40 x 48 in 2 images, 48 x 48 in the others"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, 0.995, 0.0998]},
            "ImageOrientationPatient 1 x 0 x 0 x 0 x 0.995 x 0.0998 in 2 images, 1 x 0 x 0 x 0 x 1 x 0 in the others",
        ),
    ],
)
def test_mixed_series(write, elements, reason):
    [finding] = check(write([3, 4], **elements))
    assert (finding.check, finding.severity, finding.target) == ("mixed-spacing", "warning", "case")
    assert (finding.case_id, finding.name, finding.file) == ("SC-N-2", "", "IM-0004-0003.dcm")
    assert finding.reason == f"series 0004: {reason}"


def test_rounding_is_no_finding(write):
    write([3, 4], PixelSpacing=[1.5004, 1.5004], ImageOrientationPatient=[1, 0, 0.00001, 0, 1, 0])
    assert check(write([3], PixelSpacing=[1.5004, 1.5004])) == []


def test_slice_spacing(tmp_path, cine):
    cine().write_images(tmp_path, without=range(11, 21))
    assert [(f.check, f.reason) for f in check(tmp_path)] == [
        ("mixed-spacing", "series 0004: neighbouring slices are 8.0 to 16.0 mm apart")
    ]


def test_slice_spacing_in_the_header(tmp_path, cine):
    cine().write_images(tmp_path, SpacingBetweenSlices=10)
    assert [(f.check, f.reason) for f in check(tmp_path)] == [
        ("mixed-spacing", "series 0004: SpacingBetweenSlices is 10 mm, but slices are 8.0 mm apart")
    ]


def test_non_square_pixels(tmp_path, cine):
    cine().write_images(tmp_path, PixelSpacing=[1.5, 1.2])
    [finding] = check(tmp_path)
    assert (finding.check, finding.severity) == ("non-square-pixels", "warning")
    assert finding.reason == "pixels are 1.5 x 1.2 mm (row x column)"


def test_incomplete_cine(tmp_path, cine):
    cine().write_images(tmp_path, without=(3, 4, 17))
    [finding] = check(tmp_path)
    assert (finding.check, finding.severity) == ("incomplete-cine", "note")
    assert finding.reason == "series 0004: 37 images, expected 40 (4 slices of 10 phases); 2 slices lack some"


def test_repeated_instance(write):
    folder = write()
    shutil.copy(folder / "IM-0004-0007.dcm", folder / "IM-0004-0007-copy.dcm")
    [finding] = check(folder)
    assert (finding.check, finding.severity) == ("duplicate-sop-instance-uid", "warning")
    assert {finding.file, finding.reason.split()[-1]} == {"IM-0004-0007.dcm", "IM-0004-0007-copy.dcm"}
    assert finding.reason.startswith("1 files repeat the SOPInstanceUID of another, e.g. of ")
