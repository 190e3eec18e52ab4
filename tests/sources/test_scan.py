"""Hopping through a plain file finds what pydicom finds; of any other file it says nothing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lvseg.errors import SourceError
from lvseg.sources import dicom as dicom_module
from lvseg.sources.dicom import TAGS, parse_dicom
from lvseg.sources.scan import scan

NESTED = Dataset()
NESTED.Rows = 999
"""A sequence holds elements of the same names; only those at the top count."""


@pytest.fixture
def data(tmp_path, dicom) -> bytes:
    elements = {"ReferencedImageSequence": Sequence([NESTED]), "TriggerTime": 1.5, "ImageComments": "x" * 301}
    return dicom(tmp_path / "48.dcm", 48, (24, 20), ImagePositionPatient=[1, -2.5, 1e-3], **elements).read_bytes()


def test_finds_what_pydicom_finds(data):
    found, expected = scan(data, TAGS, pixels=True), pydicom.dcmread(BytesIO(data), specific_tags=[*TAGS.values()])
    assert [(each.tag, each.value) for each in found] == [(each.tag, each.value) for each in expected]
    assert found.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert found.Rows == 24


def test_the_pixels_need_not_be_there(data):
    start = data.index(data[-960:]) - 12
    for end in (start + 12, start + 100):
        header = scan(data[:end], TAGS, pixels=False)
        assert header.Rows == 24
        assert "PixelData" not in header
    assert scan(data[:start], TAGS, pixels=False) is None


def test_a_file_cut_short_anywhere(data):
    for end in range(0, len(data), 7):
        assert scan(data[:end], TAGS, pixels=True) is None


def rewritten(data: bytes, syntax: uid.UID, *, undefined_length: bool = False) -> bytes:
    dataset, file = pydicom.dcmread(BytesIO(data)), BytesIO()
    dataset["ReferencedImageSequence"].is_undefined_length = undefined_length
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(file, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return file.getvalue()


def test_nothing_of_other_files(data):
    others = [
        rewritten(data, uid.ImplicitVRLittleEndian),
        rewritten(data, uid.DeflatedExplicitVRLittleEndian),
        rewritten(data, uid.ExplicitVRLittleEndian, undefined_length=True),
        data[132:],
        data.replace(b"US\x02\x00", b"QQ\x02\x00"),
    ]
    assert [scan(other, TAGS, pixels=True) for other in others] == [None] * len(others)
    assert scan(rewritten(data, uid.ExplicitVRLittleEndian), TAGS, pixels=True).Rows == 24


def outcome(data: bytes) -> object:
    try:
        image = parse_dicom(data, "48.dcm")
    except SourceError as error:
        return str(error)
    return image.pixels.dtype, image.pixels.tolist(), image.place, image.instance_key


VARIANTS = {
    "plain": {},
    "rescaled": {"RescaleSlope": 0.5, "RescaleIntercept": -100},
    "inverted": {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": 0},
    "unused bits": {"BitsStored": 12, "HighBit": 11, "PixelData": np.arange(320, dtype="<i2").tobytes()[::-1]},
    "8 bits": {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PixelData": b"\7" * 320},
    "padded": {"PixelData": b"\0" * 642},
    "two frames": {"PixelData": b"\0" * 1280},
    "no stored bits": {"BitsStored": None},
    "no number": {"InstanceNumber": None},
    "a broken number": {"TriggerTime": None, "ImagePositionPatient": [1, 2]},
    "no size": {"Rows": None},
    "colour": {"SamplesPerPixel": 3},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_image_either_way(tmp_path: Path, dicom, name, monkeypatch):
    elements = dict(VARIANTS[name])
    path = dicom(tmp_path / "48.dcm", elements.pop("InstanceNumber", 48), **elements)
    quick = outcome(path.read_bytes())
    monkeypatch.setattr(dicom_module, "scan", lambda *_, **__: None)
    assert outcome(path.read_bytes()) == quick
