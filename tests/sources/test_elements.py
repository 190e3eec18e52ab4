"""Numbers and texts of elements, plain ones and odd ones."""

from __future__ import annotations

import warnings

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from lvseg.errors import SourceError
from lvseg.sources.elements import is_absent, number_of, numbers_of, tag_of, text_of


def header(keyword: str, value: bytes | None, vr: str | None = None, *, little: bool = True) -> Dataset:
    tag = tag_of(keyword)
    return Dataset({tag: RawDataElement(tag, vr, len(value or b""), value, 0, vr is None, little)})


@pytest.mark.parametrize(
    ("keyword", "value", "vr", "expected"),
    [
        ("TriggerTime", b"  12.50 ", "DS", 12.5),
        ("TriggerTime", b"1e3", None, 1000),
        ("TriggerTime", b"12.5\0", "DS", 12.5),
        ("InstanceNumber", b"0048 ", "IS", 48),
        ("Rows", b"\x00\x01", "US", 256),
        ("Rows", b"\x00\x01", None, 256),
        ("TriggerTime", b"", "DS", None),
        ("TriggerTime", None, "DS", None),
        ("Rows", b"", "US", None),
    ],
)
def test_number(keyword, value, vr, expected):
    assert number_of(header(keyword, value, vr), keyword, "48") == expected
    assert is_absent(header(keyword, value, vr), keyword) == (expected is None)


def test_big_endian():
    assert number_of(header("Rows", b"\x01\x00", "US", little=False), "Rows", "48") == 256


def test_an_element_that_was_converted_before():
    dataset = Dataset()
    dataset.PixelSpacing = [1.25, 1.5]
    assert numbers_of(dataset, "PixelSpacing", 2, "48") == (1.25, 1.5)
    assert number_of(dataset, "TriggerTime", "48") is None


@pytest.mark.parametrize(
    ("keyword", "value", "vr", "count", "words"),
    [
        ("TriggerTime", b"soon", "DS", 1, "TriggerTime is not a number"),
        ("PixelSpacing", b"1\\2\\3", "DS", 2, "PixelSpacing is (1.0, 2.0, 3.0), expected 2 finite numbers"),
        ("PixelSpacing", b"1.5", "DS", 2, "PixelSpacing is not a number"),
        ("TriggerTime", b"1\\2", "DS", 1, "TriggerTime is not a number"),
        ("TriggerTime", b"nan", "DS", 1, "TriggerTime is (nan,), expected 1 finite numbers"),
    ],
)
def test_refused(keyword, value, vr, count, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SourceError) as caught:
            numbers_of(header(keyword, value, vr), keyword, count, "48")
    assert str(caught.value) == f"48: {words}"


@pytest.mark.parametrize(("value", "expected"), [(b"1.2.3\0", "1.2.3"), (b" 1.2 ", "1.2"), (b"", ""), (None, "")])
def test_text(value, expected):
    assert text_of(header("SOPInstanceUID", value, "UI"), "SOPInstanceUID") == expected
    assert text_of(Dataset(), "SOPInstanceUID") == ""
