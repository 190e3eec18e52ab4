"""Headers of a folder of DICOM files."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lvseg.sources.headers import ImageHeader, read_headers
from lvseg.sources.listing import Collector
from lvseg.store import UPath, location


def read(folder: Path | UPath) -> tuple[list[ImageHeader], dict[str, str]]:
    found = Collector(location(folder))
    headers = read_headers([location(folder)], found, "SC-N-2")
    return headers, {skip.file: skip.reason for skip in found.skipped}


def test_header(tmp_path, dicom):
    path = dicom(
        tmp_path / "IM-0004-0048.dcm",
        48,
        SeriesInstanceUID="1.2.3",
        SeriesNumber=300,
        TriggerTime=280,
        NominalInterval=800,
        SpacingBetweenSlices=10,
        ImagePositionPatient=[1.5, -2, 3],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )
    [header], skipped = read(tmp_path)
    assert skipped == {}
    assert (header.path, header.number, header.series_number, header.name_series) == (path, 48, 300, 4)
    assert (header.shape, header.phases, header.trigger_time_ms, header.interval_ms) == ((16, 20), 20, 280, 800)
    assert (header.pixel_spacing, header.spacing_between_slices_mm) == ((1.25, 1.5), 10)
    assert (header.position, header.normal.tolist()) == ((1.5, -2, 3), [0, 0, 1])


@pytest.mark.parametrize("phases", [None, 0, -20])
def test_no_number_of_phases(tmp_path, dicom, phases):
    dicom(tmp_path / "48.dcm", 48, CardiacNumberOfImages=phases)
    assert read(tmp_path)[0][0].phases is None


def test_pixels_are_not_read(tmp_path, dicom):
    path = dicom(tmp_path / "48.dcm", 48, (256, 256))
    path.write_bytes(path.read_bytes()[:33000])
    assert [header.number for header in read(tmp_path)[0]] == [48]


def test_number_from_the_name(tmp_path, dicom):
    for name in ("IM-0004-0048.dcm", "49.dcm", "IMG_50.dcm", "51"):
        dicom(tmp_path / name, None)
    dicom(tmp_path / "scan.dcm", None)
    headers, skipped = read(tmp_path)
    assert [header.number for header in headers] == [49, 51, 48, 50]
    assert skipped == {"scan.dcm": "no InstanceNumber, and no number in the file's name"}


@pytest.mark.parametrize("how", ["long", "deflated"])
def test_header_longer_than_the_first_read(tmp_path, dicom, how):
    path = dicom(tmp_path / "48.dcm", 48, (256, 256), ImageComments="x" * 10)
    dataset = pydicom.dcmread(path)
    if how == "long":
        dataset.add_new((0x0009, 0x0010), "LO", "test")
        dataset.add_new((0x0009, 0x1001), "OB", b"\1" * 50_000)
        dataset.save_as(path)
    else:
        dataset.add_new((0x0009, 0x0010), "LO", "test")
        noise = bytes(pydicom.uid.generate_uid() * 2000, "ascii")
        dataset.add_new((0x0009, 0x1001), "OB", noise[: len(noise) // 2 * 2])
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    assert read(tmp_path)[0][0].shape == (256, 256)


def test_files_that_are_left_out(tmp_path, dicom):
    dicom(tmp_path / "frames.dcm", 1, NumberOfFrames=20)
    dicom(tmp_path / "report.dcm", 2, PixelData=None)
    dicom(tmp_path / "time.dcm", 3, TriggerTime="7").write_bytes(
        (tmp_path / "time.dcm").read_bytes().replace(b"\x18\x00\x60\x10DS\x02\x007 ", b"\x18\x00\x60\x10DS\x02\x00x ")
    )
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text.dcm").write_text("hello " * 100)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "._48.dcm").write_bytes(b"clutter")
    headers, skipped = read(tmp_path)
    assert headers == []
    assert skipped == {
        "frames.dcm": "NumberOfFrames is 20: multi-frame DICOM, expected one file for each image",
        "report.dcm": "DICOM file without PixelData, cut short or not an image",
        "time.dcm": "TriggerTime is not a number",
        "empty.dcm": "not a DICOM file",
        "text.dcm": "not a DICOM file",
        "notes.txt": "not a DICOM image, expected a name that ends in .dcm",
    }


def test_object_store(tmp_path, dicom):
    folder = UPath("memory://test-headers/patient")
    for number in range(1, 20):
        path = dicom(tmp_path / f"{number}.dcm", number)
        (folder / "series" / path.name).write_bytes(path.read_bytes())
    headers, skipped = read(folder)
    assert sorted(header.number for header in headers) == list(range(1, 20))
    assert skipped == {}
