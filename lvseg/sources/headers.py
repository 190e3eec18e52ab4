"""Headers of many DICOM files, without their pixels; what identifies a patient stays in memory and goes nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from lvseg.errors import SourceError
from lvseg.sources.dicom import instance_key, reading_dicom
from lvseg.sources.elements import number_of, numbers_of, tag_of, text_of
from lvseg.sources.listing import Collector, walk
from lvseg.sources.scan import PIXEL_GROUP, scan
from lvseg.store import UPath, is_local

__all__ = ["ImageHeader", "parse_header", "read_headers"]

DICOM_NAME = re.compile(r"[^.]+|.*\.(dcm|dicom|ima|\d+)", re.IGNORECASE)
"""Names of files that are opened; anything else in an image folder is left out unread."""
NUMBERED_NAME = re.compile(r"(?:.*?IM[-_](?P<series>\d+)[-_]|.*[-_]|)(?P<number>\d+)(?:\.\w+)?", re.IGNORECASE)

HEAD_BYTES = 1 << 15
"""Read first; holds everything before the pixels in all but odd files, which are then read whole."""
REQUESTS = 16
"""Requests to an object store at a time."""
LEVELS = 3
"""Levels of folders below a patient's image folder that are looked at."""

KEYWORDS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "TriggerTime",
    "NominalInterval",
    "CardiacNumberOfImages",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
TAGS = {int(tag): tag for tag in map(tag_of, KEYWORDS)}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageHeader:
    """What the header of an image tells about its place; never written anywhere as it is."""

    path: UPath
    """The file."""
    number: int
    """InstanceNumber; where there is none, the number in the file's name."""
    series_uid: str
    """SeriesInstanceUID; empty where there is none."""
    series_number: int | None
    """SeriesNumber."""
    name_series: int | None
    """Series in the file's name: 4 of ``IM-0004-0048.dcm``."""
    instance_key: str
    """Hash of the SOPInstanceUID."""
    shape: tuple[int, int]
    """Rows, columns."""
    phases: int | None
    """CardiacNumberOfImages."""
    trigger_time_ms: float | None
    """TriggerTime."""
    interval_ms: float | None
    """NominalInterval, R to R."""
    pixel_spacing: tuple[float, ...] | None
    """(row, column) spacing, mm."""
    spacing_between_slices_mm: float | None
    """SpacingBetweenSlices."""
    position: tuple[float, ...] | None
    """ImagePositionPatient, mm."""
    orientation: tuple[float, ...] | None
    """ImageOrientationPatient."""

    @property
    def normal(self) -> NDArray[np.float64] | None:
        """Direction across the image."""
        if self.orientation is None:
            return None
        return np.cross(self.orientation[:3], self.orientation[3:])


def read_headers(folders: Iterable[UPath], found: Collector, case_id: str) -> list[ImageHeader]:
    """Read the headers of all DICOM images in folders and those below.

    Args:
        folders: a patient's image folders.
        found: gets the files that are left out: no DICOM image, damaged, multi-frame, without a number.
        case_id: the patient's.

    Returns:
        Headers by path.
    """
    paths = []
    for folder in folders:
        for parent, _, names in walk(folder, LEVELS):
            for name in names:
                if DICOM_NAME.fullmatch(name):
                    paths.append(parent / name)
                else:
                    found.skip(parent / name, "not a DICOM image, expected a name that ends in .dcm", case_id)
    headers = []
    for path, head in zip(paths, _heads(paths), strict=True):
        shown = found.shown(path, case_id)
        try:
            if isinstance(head, OSError):
                raise SourceError(f"{shown}: cannot be read: {head.strerror or type(head).__name__}")
            headers.append(parse_header(head, path, shown))
        except SourceError as error:
            found.skip(path, str(error).removeprefix(f"{shown}: "), case_id)
    return headers


def _heads(paths: list[UPath]) -> Iterator[bytes | OSError]:
    if not paths or is_local(paths[0]):
        yield from map(_head, paths)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        yield from pool.map(_head, paths)


def _head(path: UPath) -> bytes | OSError:
    try:
        if not is_local(path):
            return cast(bytes, path.fs.cat_file(path.path, start=0, end=HEAD_BYTES))
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        return error


def parse_header(head: bytes, path: UPath, name: str) -> ImageHeader:
    """Parse a header.

    Args:
        head: the first ``HEAD_BYTES`` of the file, or all of a shorter one; read again whole where that is too few.
        path: the file.
        name: its name for messages.

    Raises:
        SourceError: no DICOM image, damaged, multi-frame, or without a number.
    """
    with reading_dicom(name):
        header = _until_pixels(head)
        if header is None and len(head) == HEAD_BYTES:
            header = _until_pixels(path.read_bytes())
        if header is None:
            raise SourceError(f"{name}: DICOM file without PixelData, cut short or not an image")
        return _image_header(header, path, name)


def _until_pixels(data: bytes) -> pydicom.Dataset | None:
    """The header, or None where the data end before the pixels begin."""
    if (plain := scan(data, TAGS, pixels=False)) is not None:
        return plain
    reached = False

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal reached
        reached = reached or tag.group == PIXEL_GROUP
        return reached

    try:
        header = read_partial(BytesIO(data), stop_when=at_pixels, specific_tags=[*TAGS.values()])
    except Exception:
        if len(data) == HEAD_BYTES:  # cut in the middle of an element, or of a deflated data set
            return None
        raise
    return header if reached else None


def _image_header(header: pydicom.Dataset, path: UPath, name: str) -> ImageHeader:
    frames = number_of(header, "NumberOfFrames", name)
    if frames is not None and frames != 1:
        raise SourceError(f"{name}: NumberOfFrames is {frames:g}: multi-frame DICOM, expected one file for each image")
    in_name = NUMBERED_NAME.fullmatch(path.name)
    number = _whole(header, "InstanceNumber", name)
    if number is None and in_name:
        number = int(in_name["number"])
    if number is None:
        raise SourceError(f"{name}: no InstanceNumber, and no number in the file's name")
    phases = _whole(header, "CardiacNumberOfImages", name)
    return ImageHeader(
        path=path,
        number=number,
        series_uid=text_of(header, "SeriesInstanceUID"),
        series_number=_whole(header, "SeriesNumber", name),
        name_series=int(in_name["series"]) if in_name and in_name["series"] else None,
        instance_key=instance_key(header),
        shape=(_whole(header, "Rows", name) or 0, _whole(header, "Columns", name) or 0),
        phases=phases if phases and phases > 0 else None,
        trigger_time_ms=number_of(header, "TriggerTime", name),
        interval_ms=number_of(header, "NominalInterval", name),
        pixel_spacing=numbers_of(header, "PixelSpacing", 2, name),
        spacing_between_slices_mm=number_of(header, "SpacingBetweenSlices", name),
        position=numbers_of(header, "ImagePositionPatient", 3, name),
        orientation=numbers_of(header, "ImageOrientationPatient", 6, name),
    )


def _whole(header: pydicom.Dataset, keyword: str, name: str) -> int | None:
    value = number_of(header, keyword, name)
    return None if value is None else int(value)
