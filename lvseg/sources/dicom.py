"""One MR image in a DICOM file → pixels and place; nothing that identifies a person leaves this module."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lvseg.errors import SourceError
from lvseg.slices import Place
from lvseg.sources.elements import bytes_of, is_absent, number_of, numbers_of, tag_of, text_of
from lvseg.sources.scan import scan

__all__ = ["DicomImage", "instance_key", "parse_dicom", "reading_dicom"]

Pair: TypeAlias = tuple[float, float] | None
Triple: TypeAlias = tuple[float, float, float] | None
Sextuple: TypeAlias = tuple[float, float, float, float, float, float] | None

NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PixelRepresentation", "PixelData")
CHECKED = ("PhotometricInterpretation", "NumberOfFrames", "RescaleSlope", "RescaleIntercept")
DECODING = ("BitsStored", "HighBit", "PlanarConfiguration")
SIZE = ("Rows", "Columns", "BitsAllocated", "PixelRepresentation")
PLACE = (
    "SOPInstanceUID",
    "InstanceNumber",
    "TriggerTime",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
TAGS = {int(tag): tag for tag in map(tag_of, (*NEEDED, *CHECKED, *DECODING, *PLACE))}

INTEGERS = (np.uint8, np.int16, np.uint16)
"""Types of rescaled pixels, first fit; where none holds them, float32 does."""


class DicomImage(NamedTuple):
    """What is read from a DICOM file."""

    pixels: NDArray[Any]
    """(rows, columns): stored values in their own integer type, or rescaled ones."""
    place: Place
    """Place of the image; slice and phase are None, since one file alone cannot tell them."""
    instance_key: str
    """Hash of the SOPInstanceUID; empty where there is none."""


def parse_dicom(data: bytes, name: str) -> DicomImage:
    """Read a single-frame grey image from the bytes of a DICOM file.

    MONOCHROME1 is inverted within the range of its stored values. RescaleSlope and RescaleIntercept are applied:
    integers stay integers (8 or 16 bit) where slope and intercept are whole and the range fits, else float32.

    Args:
        data: the file.
        name: the file's name for messages.

    Raises:
        SourceError: not a DICOM file, damaged, cut short, not a single-frame grey image of 8 or 16 bit, or
            compressed in a way that no installed package decodes.
    """
    with reading_dicom(name):
        header = scan(data, TAGS, pixels=True)
        if header is None:
            header = pydicom.dcmread(BytesIO(data), specific_tags=[*TAGS.values()])
        _check_grey(header, name)
        pixels = _rescale(_stored_pixels(header, name), header, name)
        return DicomImage(pixels, _place(header, name), instance_key(header))


@contextmanager
def reading_dicom(name: str) -> Iterator[None]:
    """Turn whatever a damaged file makes pydicom raise into a ``SourceError`` of one line, and keep pydicom quiet.

    Its warnings are left out here only: what matters is checked, and real copies hold odd UIDs and dates.
    """
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except SourceError:
        raise
    except InvalidDicomError:
        raise SourceError(f"{name}: not a DICOM file") from None
    except Exception as error:  # a damaged file can make pydicom and its decoders raise nearly anything
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(f"{name}: DICOM file cannot be used: {cause}") from None


def instance_key(header: pydicom.Dataset) -> str:
    """Hash of the SOPInstanceUID, empty where there is none: tells equal images without naming them."""
    uid = text_of(header, "SOPInstanceUID")
    return hashlib.sha256(uid.encode()).hexdigest()[:32] if uid else ""


def _check_grey(header: pydicom.Dataset, name: str) -> None:
    frames = number_of(header, "NumberOfFrames", name)
    if frames is not None and frames != 1:
        raise SourceError(f"{name}: NumberOfFrames is {frames:g}: multi-frame DICOM, expected one file for each image")
    for keyword in NEEDED:
        if is_absent(header, keyword):
            raise SourceError(f"{name}: DICOM file without {keyword}, cut short or not an image")
    photometric = text_of(header, "PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise SourceError(f"{name}: PhotometricInterpretation is {photometric!r}, expected MONOCHROME1 or MONOCHROME2")
    for keyword, allowed in (("SamplesPerPixel", (1,)), ("BitsAllocated", (8, 16))):
        if (found := number_of(header, keyword, name)) not in allowed:
            raise SourceError(f"{name}: {keyword} is {found:g}, expected {' or '.join(map(str, allowed))}")


def _stored_pixels(header: pydicom.Dataset, name: str) -> NDArray[np.integer]:
    """(rows, columns) stored values; MONOCHROME1 inverted."""
    meta: Any = getattr(header, "file_meta", {})
    syntax = meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        _check_decoder(syntax, name)
        pixels = header.pixel_array
    else:
        pixels = _native_pixels(header, syntax, name)
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if text_of(header, "PhotometricInterpretation") == "MONOCHROME1":
        low, high = _stored_range(header)
        pixels = np.subtract(np.array(low + high).astype(pixels.dtype), pixels)
    return pixels


def _native_pixels(header: pydicom.Dataset, syntax: pydicom.uid.UID | None, name: str) -> NDArray[np.integer]:
    """Pixels that are not compressed: the usual ones as they lie in the file, any other by pydicom."""
    rows, columns, bits, signed = (int(number_of(header, keyword, name) or 0) for keyword in SIZE)
    data, expected = bytes_of(header, "PixelData"), rows * columns * bits // 8
    if len(data) < expected:  # pydicom may only warn
        raise SourceError(f"{name}: truncated, {len(data)} bytes of pixel data, expected {expected}")
    padding, unused = len(data) - expected, bits - int(number_of(header, "BitsStored", name) or 0)
    if syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) or padding > 1 or not 0 <= unused < bits:
        return cast(NDArray[np.integer], header.pixel_array)
    kind = np.dtype(f"<{'i' if signed else 'u'}{bits // 8}")
    pixels: NDArray[np.integer] = np.frombuffer(data, kind, rows * columns).reshape(rows, columns)
    # Unused bits may hold anything (PS3.5 section 8.1.1); shifting there and back keeps the sign.
    return pixels if unused == 0 else (pixels << unused) >> unused


def _check_decoder(syntax: pydicom.uid.UID, name: str) -> None:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise SourceError(f"{name}: pixels are compressed as {syntax.name} ({syntax}), which cannot be read") from None
    if not decoder.is_available:
        needed = [text.partition(" - requires ")[2] for text in decoder.missing_dependencies]
        remedy = " or ".join(needed).replace("gdcm>", "python-gdcm>")
        raise SourceError(f"{name}: pixels are compressed as {syntax.name} ({syntax}); to read them, install {remedy}")


def _stored_range(header: pydicom.Dataset) -> tuple[int, int]:
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if header.PixelRepresentation else (0, (1 << bits) - 1)


def _rescale(pixels: NDArray[np.integer], header: pydicom.Dataset, name: str) -> NDArray[Any]:
    """Output = slope · stored + intercept (PS3.3 C.11.1); the type follows from the header alone."""
    slope, intercept = (number_of(header, keyword, name) for keyword in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise SourceError(f"{name}: RescaleSlope is 0, expected another number")
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    if slope.is_integer() and intercept.is_integer():
        ends = [int(slope) * value + int(intercept) for value in _stored_range(header)]
        for kind in (pixels.dtype.type, *INTEGERS):
            if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
                return (pixels.astype(np.int64) * int(slope) + int(intercept)).astype(kind)
    return (pixels.astype(np.float64) * slope + intercept).astype(np.float32)


def _place(header: pydicom.Dataset, name: str) -> Place:
    number = number_of(header, "InstanceNumber", name)
    pixel_spacing = cast(Pair, numbers_of(header, "PixelSpacing", 2, name))
    if pixel_spacing and min(pixel_spacing) <= 0:
        raise SourceError(f"{name}: PixelSpacing is {pixel_spacing}, expected mm above 0")
    return Place(
        instance_number=None if number is None else int(number),
        trigger_time_ms=number_of(header, "TriggerTime", name),
        pixel_spacing=pixel_spacing,
        slice_thickness_mm=number_of(header, "SliceThickness", name),
        spacing_between_slices_mm=number_of(header, "SpacingBetweenSlices", name),
        image_position_patient=cast(Triple, numbers_of(header, "ImagePositionPatient", 3, name)),
        image_orientation_patient=cast(Sextuple, numbers_of(header, "ImageOrientationPatient", 6, name)),
    )
