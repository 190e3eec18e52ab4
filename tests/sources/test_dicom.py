"""Pixels of every kind that an MR image may have, and those that are refused."""

from __future__ import annotations

import warnings

import numpy as np
import pydicom
import pytest
from pydicom import uid

from lvseg.errors import SourceError
from lvseg.sources.dicom import DicomImage, parse_dicom

RAMP = np.arange(320).reshape(16, 20)


@pytest.fixture
def parse(tmp_path, dicom):
    def parse(**elements) -> DicomImage:
        return parse_dicom(
            dicom(tmp_path / "48.dcm", elements.pop("InstanceNumber", 48), **elements).read_bytes(), "48"
        )

    return parse


def test_plain(parse):
    image = parse()
    assert image.pixels.dtype == np.int16
    np.testing.assert_array_equal(image.pixels, RAMP)
    assert (image.place.instance_number, image.place.pixel_spacing) == (48, (1.25, 1.5))
    assert (image.place.slice_index, image.place.phase_index) == (None, None)


def test_instance_key(parse):
    first = parse(SOPInstanceUID="1.2.3").instance_key
    assert first == parse(SOPInstanceUID="1.2.3").instance_key != parse(SOPInstanceUID="1.2.4").instance_key
    assert "1.2.3" not in first


@pytest.mark.parametrize(
    ("dtype", "signed", "bits", "low"), [("<u2", 0, 16, 40_000), ("<i2", 1, 16, -200), ("u1", 0, 8, 0)]
)
def test_stored_types(parse, dtype, signed, bits, low):
    values = (np.arange(320) % 256 + low).reshape(16, 20).astype(dtype)
    image = parse(
        PixelData=values.tobytes(), PixelRepresentation=signed, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1
    )
    assert image.pixels.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(image.pixels, values)


@pytest.mark.parametrize(("signed", "bits", "total"), [(0, 12, 4095), (0, 16, 65535), (1, 16, -1), (1, 12, -1)])
def test_monochrome1_is_inverted_within_its_range(parse, signed, bits, total):
    elements = {"PixelRepresentation": signed, "BitsStored": bits, "HighBit": bits - 1}
    image = parse(PhotometricInterpretation="MONOCHROME1", **elements)
    assert image.pixels.dtype == ("<i2" if signed else "<u2")
    np.testing.assert_array_equal(image.pixels.astype(int), total - RAMP)


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "dtype"),
    [
        (1, 0, 16, "int16"),
        (2, 0, 12, "uint16"),
        (1, -1024, 12, "int16"),
        (1, 33_000, 12, "uint16"),
        (2, 0, 16, "float32"),
        (0.5, 0, 12, "float32"),
        (1, 0.25, 12, "float32"),
        (-1, 0, 12, "int16"),
    ],
)
def test_rescaling(parse, slope, intercept, bits, dtype):
    image = parse(
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=bits == 16,
    )
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels, (slope * RAMP + intercept).astype(dtype))


def test_monochrome1_is_inverted_before_it_is_rescaled(parse):
    elements = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11}
    image = parse(PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-5, **elements)
    np.testing.assert_array_equal(image.pixels, 2 * (4095 - RAMP) - 5)


@pytest.mark.parametrize(
    "syntax",
    [
        uid.RLELossless,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
    ],
)
def test_transfer_syntaxes(tmp_path, dicom, syntax):
    path = dicom(tmp_path / "48.dcm", 48, (64, 64))
    dataset = pydicom.dcmread(path)
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=True)
    np.testing.assert_array_equal(parse_dicom(path.read_bytes(), "48").pixels, np.arange(64 * 64).reshape(64, 64))


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (
            uid.JPEGLosslessSV1,
            ("JPEG Lossless", "1.2.840.10008.1.2.4.70", "to read them, install", "pylibjpeg-libjpeg"),
        ),
        (uid.MPEG2MPML, ("MPEG2", "1.2.840.10008.1.2.4.100", "cannot be read")),
    ],
)
def test_syntax_without_decoder(tmp_path, dicom, monkeypatch, syntax, words):
    from lvseg.sources import dicom as module

    path = dicom(tmp_path / "48.dcm", 48)
    dataset = pydicom.dcmread(path)
    dataset.compress(uid.RLELossless)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)

    class Missing:
        is_available = False
        missing_dependencies = ("pylibjpeg - requires pylibjpeg>=2.0 and pylibjpeg-libjpeg>=2.1",)

    if syntax == uid.JPEGLosslessSV1:  # also where a decoder is installed
        monkeypatch.setattr(module, "get_decoder", lambda _: Missing)
    with pytest.raises(SourceError) as caught:
        parse_dicom(path.read_bytes(), "48.dcm")
    assert all(word in str(caught.value) for word in ("48.dcm: pixels are compressed as", *words))


def test_truncated_compressed_pixels(tmp_path, dicom):
    path = dicom(tmp_path / "48.dcm", 48, (64, 64))
    dataset = pydicom.dcmread(path)
    dataset.compress(uid.JPEGLSLossless)
    dataset.save_as(path)
    with pytest.raises(SourceError, match=r"^48\.dcm: "):
        parse_dicom(path.read_bytes()[:-1000], "48.dcm")


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PhotometricInterpretation": "RGB"}, "'RGB', expected MONOCHROME1 or MONOCHROME2"),
        ({"NumberOfFrames": 2}, "NumberOfFrames is 2: multi-frame DICOM, expected one file for each image"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0, expected another number"),
        ({"SamplesPerPixel": 3}, "SamplesPerPixel is 3, expected 1"),
        ({"BitsAllocated": 32}, "BitsAllocated is 32, expected 8 or 16"),
        ({"PixelSpacing": [0, 1]}, "PixelSpacing is (0.0, 1.0), expected mm above 0"),
        ({"PixelSpacing": [1, 1, 1]}, "PixelSpacing is (1.0, 1.0, 1.0), expected 2 finite numbers"),
        ({"PixelData": None}, "without PixelData, cut short or not an image"),
        ({"PixelData": b"\0" * 600}, "600 bytes of pixel data, expected 640"),
    ],
)
def test_refused(parse, elements, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SourceError) as caught:
            parse(**elements)
    assert str(caught.value).startswith("48: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trivial_elements_are_fine(parse):
    np.testing.assert_array_equal(parse(RescaleSlope=1, RescaleIntercept=0, NumberOfFrames=1).pixels, RAMP)


@pytest.mark.parametrize("kept", [0, 100, 300, 700, -1, -300])
def test_truncated_file(tmp_path, dicom, kept):
    data = dicom(tmp_path / "48.dcm", 48).read_bytes()
    with pytest.raises(SourceError, match=r"^48\.dcm: "):
        parse_dicom(data[:kept], "48.dcm")


def test_not_a_dicom_file():
    with pytest.raises(SourceError, match=r"^48\.dcm: not a DICOM file$"):
        parse_dicom(b"hello " * 100, "48.dcm")


def test_pydicom_stays_quiet(tmp_path, dicom, caplog):
    odd = {"StudyInstanceUID": "1.2.003", "instance_number": "0000000000000048"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicom(tmp_path / "48.dcm", **odd).read_bytes()
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse_dicom(data, "48.dcm")
    assert not caplog.records


def test_nothing_of_the_person(parse):
    assert "secret" not in repr(parse()).lower()
