"""One plain MR image in a DICOM file → pixels and place; nothing that identifies a person is read."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError

from lvseg.errors import SourceError
from lvseg.slices import Place

__all__ = ["parse_dicom"]

Pair: TypeAlias = tuple[float, float] | None
Triple: TypeAlias = tuple[float, float, float] | None
Sextuple: TypeAlias = tuple[float, float, float, float, float, float] | None

NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PixelRepresentation", "PixelData")
CHECKED = ("PhotometricInterpretation", "NumberOfFrames", "RescaleSlope", "RescaleIntercept")
DECODING = ("BitsStored", "HighBit", "PlanarConfiguration")
PLACE = (
    "InstanceNumber",
    "CardiacNumberOfImages",
    "NominalInterval",
    "TriggerTime",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)

PHASE_TOLERANCE = 0.75
"""Phases that TriggerTime may lie off the middle of its phase; scanners give its start or its middle."""


def parse_dicom(data: bytes, path: Path) -> tuple[NDArray[np.integer], Place]:
    """Read pixels and place from the bytes of a DICOM file; the path is for messages.

    Returns:
        (rows, columns) stored pixel values in their own integer type, 8 or 16 bit; place of the image.

    Raises:
        SourceError: not a DICOM file, damaged or cut short, or not a single-frame MONOCHROME2 image with
            stored values that need no rescaling.
    """
    try:
        with _quiet_pydicom():
            header = pydicom.dcmread(BytesIO(data), specific_tags=[*NEEDED, *CHECKED, *DECODING, *PLACE])
            _check_plain(header, path)
            return _pixels(header, path), _place(header, path)
    except SourceError:
        raise
    except InvalidDicomError:
        raise SourceError(f"{path}: not a DICOM file") from None
    except Exception as error:  # a damaged file can make pydicom and its decoders raise nearly anything
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(f"{path}: DICOM file cannot be used: {cause}") from None


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Leave out pydicom's warnings, here only: what matters is checked, and real copies hold odd UIDs."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _check_plain(header: pydicom.Dataset, path: Path) -> None:
    for keyword in NEEDED:
        if header.get(keyword) is None:
            raise SourceError(f"{path}: DICOM file without {keyword}, cut short or not an image")
    if (photometric := header.get("PhotometricInterpretation")) != "MONOCHROME2":
        raise SourceError(f"{path}: PhotometricInterpretation is {photometric!r}, expected MONOCHROME2")
    for keyword, expected in (
        ("SamplesPerPixel", 1.0),
        ("NumberOfFrames", 1.0),
        ("RescaleSlope", 1.0),
        ("RescaleIntercept", 0.0),
    ):
        found = _number(header, keyword, path)
        if found is not None and found != expected:
            raise SourceError(f"{path}: {keyword} is {found:g}, expected {expected:g}")
    if header.BitsAllocated not in (8, 16):
        raise SourceError(f"{path}: BitsAllocated is {header.BitsAllocated}, expected 8 or 16")


def _pixels(header: pydicom.Dataset, path: Path) -> NDArray[np.integer]:
    # pydicom may only warn when bytes are missing, so the length is checked here.
    expected = header.Rows * header.Columns * header.BitsAllocated // 8
    compressed = header.file_meta.TransferSyntaxUID.is_compressed if "TransferSyntaxUID" in header.file_meta else False
    if not compressed and len(header.PixelData) < expected:
        raise SourceError(f"{path}: truncated, {len(header.PixelData)} bytes of pixel data, expected {expected}")
    pixels = header.pixel_array
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))


def _place(header: pydicom.Dataset, path: Path) -> Place:
    number = _number(header, "InstanceNumber", path)
    trigger_time = _number(header, "TriggerTime", path)
    phases = _number(header, "CardiacNumberOfImages", path)
    interval = _number(header, "NominalInterval", path)
    slice_index, phase_index = _slice_and_phase(number, phases, trigger_time, interval)
    pixel_spacing = cast(Pair, _numbers(header, "PixelSpacing", 2, path))
    if pixel_spacing and min(pixel_spacing) <= 0:
        raise SourceError(f"{path}: PixelSpacing is {pixel_spacing}, expected mm above 0")
    return Place(
        instance_number=None if number is None else int(number),
        slice_index=slice_index,
        phase_index=phase_index,
        trigger_time_ms=trigger_time,
        pixel_spacing=pixel_spacing,
        slice_thickness_mm=_number(header, "SliceThickness", path),
        spacing_between_slices_mm=_number(header, "SpacingBetweenSlices", path),
        image_position_patient=cast(Triple, _numbers(header, "ImagePositionPatient", 3, path)),
        image_orientation_patient=cast(Sextuple, _numbers(header, "ImageOrientationPatient", 6, path)),
    )


def _slice_and_phase(
    number: float | None, phases: float | None, trigger_time: float | None, interval: float | None
) -> tuple[int | None, int | None]:
    """Slice and phase by counting, which holds where no image of the series is missing.

    Both are ``None`` where TriggerTime and NominalInterval (R to R, ms) tell another phase.
    """
    if number is None or number < 1 or not phases or phases < 1:
        return None, None
    slice_index, phase_index = divmod(int(number) - 1, int(phases))
    if trigger_time is not None and interval is not None and interval > 0:
        timed_phase = trigger_time * phases / interval
        if abs(timed_phase - phase_index - 0.5) > PHASE_TOLERANCE:
            return None, None
    return slice_index, phase_index


def _number(header: pydicom.Dataset, keyword: str, path: Path) -> float | None:
    numbers = _numbers(header, keyword, 1, path)
    return numbers[0] if numbers else None


def _numbers(header: pydicom.Dataset, keyword: str, count: int, path: Path) -> tuple[float, ...] | None:
    """The numbers of an element, ``None`` where it is absent or empty."""
    try:
        value: Any = header.get(keyword)
        if value is None or value == "":
            return None
        numbers = tuple(float(part) for part in (value if count > 1 else [value]))
    except (ValueError, TypeError, OverflowError):
        raise SourceError(f"{path}: {keyword} is not a number") from None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise SourceError(f"{path}: {keyword} is {numbers}, expected {count} finite numbers")
    return numbers
