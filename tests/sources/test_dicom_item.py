"""A DICOM image with its contours: what is read, dropped, refused."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import ContourError, LvsegError, SourceError
from lvseg.slices import CAVITY, MYOCARDIUM, Place
from lvseg.sources import DicomItem, load

INNER = ((4, 5), (9, 5), (9, 10), (4, 10))
OUTER = ((3, 4), (11, 4), (11, 12), (3, 12))
PAPILLARY = ((5, 6), (6, 6), (6, 7))
ENDO, ENDO_MYO = ConvertConfig(), ConvertConfig(structures="endo+myo")


def contour_name(kind: str) -> str:
    return f"IM-0001-0048-{kind}contour-manual.txt"


@pytest.fixture
def item(tmp_path, dicom, contour) -> DicomItem:
    dicom(tmp_path / "48.dcm", 48)
    for kind, points in (("i", INNER), ("o", OUTER), ("p1", PAPILLARY)):
        contour(tmp_path / contour_name(kind), points)
    return DicomItem(
        name="PH-N-2-IM-0001-0048",
        case_id="PH-N-2",
        group="N",
        image="48.dcm",
        endocardium=contour_name("i"),
        epicardium=contour_name("o"),
        papillaries=(contour_name("p1"),),
        instance_number=48,
        slice_index=2,
        phase_index=7,
    )


def refused(folder: Path, item: DicomItem, config: ConvertConfig, *words: str, error: type[LvsegError] = SourceError):
    with pytest.raises(error) as caught:
        load(folder, item, config)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) not in message
    for word in words:
        assert word in message


def test_slice(tmp_path, item):
    loaded = load(tmp_path, item, ENDO)
    assert (loaded.name, loaded.case_id, loaded.group) == ("PH-N-2-IM-0001-0048", "PH-N-2", "N")
    assert loaded.image.dtype == np.int16
    np.testing.assert_array_equal(loaded.image, np.arange(320).reshape(16, 20))
    expected = np.zeros((16, 20), np.uint8)
    expected[4:9, 3:8] = 1  # rows 5 to 10 and columns 4 to 9 of the file, 1-based, without the right and lower edge
    np.testing.assert_array_equal(loaded.mask, expected)
    assert loaded.mask.dtype == np.uint8
    contours = loaded.contours
    np.testing.assert_array_equal(contours.endocardium, INNER)
    np.testing.assert_array_equal(contours.epicardium, OUTER)
    np.testing.assert_array_equal(contours.papillaries, [PAPILLARY])
    names = ("48.dcm", contour_name("i"), contour_name("o"), contour_name("p1"))
    files = b"".join((tmp_path / name).read_bytes() for name in names)
    assert loaded.source_sha256 == hashlib.sha256(files).hexdigest()
    assert len(loaded.instance_key) == 32


def test_place(tmp_path, item, dicom):
    position, orientation = [1.5, -2, 3], [1, 0, 0, 0, 1, 0]
    dicom(
        tmp_path / "48.dcm",
        48,
        ImagePositionPatient=position,
        ImageOrientationPatient=orientation,
        SpacingBetweenSlices=10,
        TriggerTime=280,
    )
    place = Place(
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
    assert load(tmp_path, item, ENDO).place == place
    unknown = dataclasses.replace(item, slice_index=None, phase_index=None)
    assert load(tmp_path, unknown, ENDO).place == dataclasses.replace(place, slice_index=None, phase_index=None)


def test_labels_choose_the_convention(tmp_path, item):
    assert load(tmp_path, item, ConvertConfig(labels="course")).mask.sum() == 36


def test_structures(tmp_path, item):
    mask = load(tmp_path, item, ENDO_MYO).mask
    assert ((mask == CAVITY).sum(), (mask == MYOCARDIUM).sum()) == (25, 64 - 25)


def test_instance_number_absent(tmp_path, item, dicom):
    dicom(tmp_path / "48.dcm", None)
    assert load(tmp_path, item, ENDO).place.instance_number == 48


def test_another_instance_number(tmp_path, item, dicom):
    dicom(tmp_path / "48.dcm", 47)
    refused(tmp_path, item, ENDO, "48.dcm: InstanceNumber is 47", "numbered 48")


@pytest.mark.parametrize("spoilt", ["missing", "two points", "off the image"])
@pytest.mark.parametrize("kind", ["o", "p1"])
def test_other_contours_do_not_cost_the_slice(tmp_path, item, contour, kind, spoilt):
    path = tmp_path / contour_name(kind)
    if spoilt == "missing":
        path.unlink()
    else:
        contour(path, OUTER[:2] if spoilt == "two points" else [(4, 5), (21, 5), (9, 10)])
    loaded = load(tmp_path, item, ENDO)
    assert loaded.mask.sum() == 25
    assert (loaded.contours.epicardium is None, loaded.contours.papillaries == ()) == (kind == "o", kind == "p1")
    if kind == "o":
        refused(tmp_path, item, ENDO_MYO, contour_name("o"))
    else:
        assert load(tmp_path, item, ENDO_MYO).mask.max() == MYOCARDIUM


def test_no_epicardium(tmp_path, item):
    alone = dataclasses.replace(item, epicardium=None, papillaries=())
    assert load(tmp_path, alone, ENDO).contours.epicardium is None
    refused(tmp_path, alone, ENDO_MYO, contour_name("i"), "no epicardium contour")


def test_endocardium_off_the_image(tmp_path, item, contour):
    contour(tmp_path / contour_name("i"), [(4, 5), (21, 5), (9, 10)])
    refused(tmp_path, item, ENDO, contour_name("i"), "(21, 5)", "columns 0.5 to 20.5", error=ContourError)


@pytest.mark.parametrize("name", ["48.dcm", contour_name("i")])
def test_missing_file(tmp_path, item, name):
    (tmp_path / name).unlink()
    refused(tmp_path, item, ENDO, f"{name}: cannot be read")


def test_damaged_image(tmp_path, item):
    (tmp_path / "48.dcm").write_text("hello " * 100)
    refused(tmp_path, item, ENDO, "48.dcm: not a DICOM file")


def test_messages_show_no_original_name(tmp_path, item, dicom):
    dicom(tmp_path / "DOE-JOHN/48.dcm", 47)
    private = dataclasses.replace(item, case_id="P-0123456789abcdef", image="DOE-JOHN/48.dcm")
    refused(tmp_path, private, ENDO, "P-0123456789abcdef/48.dcm: InstanceNumber")
    (tmp_path / "DOE-JOHN/48.dcm").unlink()
    with pytest.raises(SourceError) as caught:
        load(tmp_path, private, ENDO)
    assert "DOE" not in str(caught.value)


def test_nothing_of_the_person(tmp_path, item):
    assert "secret" not in repr(load(tmp_path, item, ENDO)).lower()
