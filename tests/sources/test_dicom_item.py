"""DICOM images and their contours that are read, and those that are refused."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import ContourError, LvsegError, SourceError
from lvseg.slices import Place, Slice
from lvseg.sources import LinkedItem, PairItem, discover, load


@pytest.fixture
def linked_item(tmp_path, dicom, contour) -> LinkedItem:
    return LinkedItem(
        name="PH-2-IM-0001-0048",
        case_id="PH-2",
        dicom=dicom(tmp_path / "48.dcm", 48),
        contour=contour(tmp_path / "IM-0001-0048-icontour-manual.txt"),
    )


def test_linked_slice(linked_item):
    loaded = load(linked_item, "centre")
    assert (loaded.name, loaded.case_id) == ("PH-2-IM-0001-0048", "PH-2")
    assert loaded.image.dtype == np.int16
    np.testing.assert_array_equal(loaded.image, np.arange(320).reshape(16, 20))
    expected = np.zeros((16, 20), np.uint8)
    expected[4:9, 3:8] = 1  # rows 5 to 10 and columns 4 to 9 of the file, 1-based, without the right and lower edge
    np.testing.assert_array_equal(loaded.mask, expected)
    assert loaded.mask.dtype == np.uint8
    np.testing.assert_array_equal(loaded.contour_xy_px, [[4, 5], [9, 5], [9, 10], [4, 10]])
    files = linked_item.dicom.read_bytes() + linked_item.contour.read_bytes()
    assert loaded.source_sha256 == hashlib.sha256(files).hexdigest()


def test_labels_choose_the_convention(linked_item):
    assert load(linked_item, "course").mask.sum() == 36


def test_place(linked_item, dicom):
    position, orientation = [1.5, -2, 3], [1, 0, 0, 0, 1, 0]
    dicom(
        linked_item.dicom,
        48,
        ImagePositionPatient=position,
        ImageOrientationPatient=orientation,
        SpacingBetweenSlices=10,
        TriggerTime=280,
        NominalInterval=800,
    )
    assert load(linked_item, "centre").place == Place(
        instance_number=48,
        slice_index=2,
        phase_index=7,
        trigger_time_ms=280.0,
        pixel_spacing=(1.25, 1.5),
        slice_thickness_mm=8.0,
        spacing_between_slices_mm=10.0,
        image_position_patient=tuple(position),
        image_orientation_patient=tuple(orientation),
    )


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"CardiacNumberOfImages": None}, (None, None)),
        ({"TriggerTime": 300, "NominalInterval": 800}, (2, 7)),  # the middle of phase 7
        ({"TriggerTime": 340, "NominalInterval": 800}, (None, None)),  # the middle of phase 8
        ({"TriggerTime": 340}, (2, 7)),
    ],
)
def test_slice_and_phase(linked_item, dicom, elements, expected):
    dicom(linked_item.dicom, 48, **elements)
    place = load(linked_item, "centre").place
    assert (place.slice_index, place.phase_index) == expected


def test_instance_number_absent(linked_item, dicom):
    dicom(linked_item.dicom, None)
    assert load(linked_item, "centre").place.instance_number == 48


def test_nothing_of_the_person(linked_item):
    assert "secret" not in repr(load(linked_item, "centre")).lower()


def test_pydicom_stays_quiet(linked_item, dicom, caplog):
    odd = {"StudyInstanceUID": "1.2.003", "instance_number": "0000000000000048"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom(linked_item.dicom, **odd)
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(linked_item, "centre")
    assert not caplog.records


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, ("MONOCHROME1", "expected MONOCHROME2")),
        ({"NumberOfFrames": 2}, ("NumberOfFrames is 2",)),
        ({"RescaleSlope": 2, "RescaleIntercept": 0}, ("RescaleSlope is 2, expected 1",)),
        ({"RescaleSlope": 1, "RescaleIntercept": -1024}, ("RescaleIntercept is -1024, expected 0",)),
        ({"SamplesPerPixel": 3}, ("SamplesPerPixel is 3",)),
        ({"InstanceNumber": 47}, ("InstanceNumber is 47", "numbered 48")),
        ({"PixelSpacing": [0, 1]}, ("PixelSpacing is (0.0, 1.0)",)),
        ({"PixelSpacing": [1, 1, 1]}, ("PixelSpacing", "expected 2")),
        ({"PixelData": None}, ("without PixelData",)),
        ({"PixelData": b"\0" * 600}, ("600 bytes of pixel data, expected 640",)),
    ],
)
def test_dicom_that_is_not_plain(linked_item, dicom, elements, words):
    dicom(linked_item.dicom, elements.pop("InstanceNumber", 48), **elements)
    refused(linked_item, "48.dcm", *words)


def test_trivial_rescaling_is_fine(linked_item, dicom):
    dicom(linked_item.dicom, 48, RescaleSlope=1, RescaleIntercept=0, NumberOfFrames=1)
    load(linked_item, "centre")


def test_not_a_dicom_file(linked_item):
    linked_item.dicom.write_text("hello " * 100)
    refused(linked_item, "48.dcm: not a DICOM file")


@pytest.mark.parametrize("kept", [0, 100, 300, 700, -1, -300])
def test_truncated_dicom(linked_item, kept):
    linked_item.dicom.write_bytes(linked_item.dicom.read_bytes()[:kept])
    refused(linked_item, "48.dcm")


def test_missing_file(linked_item):
    linked_item.contour.unlink()
    refused(linked_item, "icontour-manual.txt: cannot be read")


def test_contour_off_the_image(linked_item, contour):
    contour(linked_item.contour, [(4, 5), (21, 5), (9, 10)])
    refused(linked_item, "icontour-manual.txt", "(21, 5)", "columns 0.5 to 20.5", error=ContourError)
