"""Headers of a study's source images, as far as objects that refer to them need them.

The only place of this room that reads who the patient is. It goes into DICOM objects and nowhere else: no message, no
file name. What is copied is what DICOM demands of objects of the same study (type 1 and 2 of PS3.3, C.7.1.1 and
C.7.2.1), so that an archive puts them beside their images.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM

from lvseg.errors import SourceError
from lvseg.outputs.study import PredictedImage
from lvseg.sources.dicom import reading_dicom
from lvseg.store import UPath, is_local, location

__all__ = ["new_uid", "read_source_headers", "writing_dicom"]

NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "Columns",
)
"""Without these no other object can refer to the image."""
MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Demanded, but a value need not be known."""
OPTIONAL = (
    "SpecificCharacterSet",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "SliceThickness",
    "LossyImageCompression",
)
SAME = ("StudyInstanceUID", "PatientID")
"""What all images of one object share."""
HEAD_BYTES = 1 << 16
"""Read first; holds all before the pixels in all but odd files, which are then read whole."""
REQUESTS = 16


def read_source_headers(images: Sequence[PredictedImage]) -> list[Dataset]:
    """Read the header of every image's source.

    Returns:
        In the order of the images; only the elements that are needed.

    Raises:
        SourceError: an image has no DICOM source, it cannot be read, or is of another study or patient than
            the first one; names the image, not the file.
    """
    for image in images:
        if image.source is None:
            raise SourceError(f"{image.name}: has no DICOM source that could be referred to")
    where = location(images[0].source or "")
    if is_local(where):
        headers = [_read(image) for image in images]
    else:
        with ThreadPoolExecutor(REQUESTS) as pool:
            headers = list(pool.map(_read, images))
    _check(images, headers)
    return headers


@contextmanager
def writing_dicom(case_id: str) -> Iterator[None]:
    """Copy values as they are: real copies hold UIDs that pydicom would warn of.

    Raises:
        SourceError: for whatever odd headers make the libraries raise; their own words could hold a value.
    """
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{case_id}: headers do not make a DICOM object: {type(error).__name__}") from error


def new_uid(*what: str) -> str:
    """A UID that follows from what it names: the same prediction written twice is the same object to an archive."""
    return str(generate_uid(entropy_srcs=["lvseg", *what]))


def _read(image: PredictedImage) -> Dataset:
    with reading_dicom(image.name):
        try:
            header = _header(location(image.source or ""))
        except OSError as error:
            cause = error.strerror or type(error).__name__
            raise SourceError(f"{image.name}: DICOM source cannot be read: {cause}") from None
        if missing := [keyword for keyword in NEEDED if header.get(keyword) in (None, "")]:
            raise SourceError(f"{image.name}: DICOM source without {', '.join(missing)}, no object can refer to it")
        if (frames := int(header.get("NumberOfFrames") or 1)) != 1:
            raise SourceError(f"{image.name}: DICOM source has {frames} frames, expected one file for each image")
        kept = Dataset()
        for keyword in (*NEEDED, *MAY_BE_EMPTY, *OPTIONAL):
            if keyword in header or keyword in MAY_BE_EMPTY:
                setattr(kept, keyword, _valid(keyword, header.get(keyword)))
        return kept


def _valid(keyword: str, value: Any) -> Any:
    """The value; nothing where it is no date or time: de-identified copies hold days like 20120000."""
    kind = DA if keyword.endswith("Date") else TM if keyword.endswith("Time") else None
    try:
        if kind and value:
            kind(value)
    except ValueError:
        return ""
    return "" if value is None else value


def _header(path: UPath) -> Dataset:
    tags: list[str] = [*NEEDED, *MAY_BE_EMPTY, *OPTIONAL, "NumberOfFrames"]
    head = _head(path)
    try:
        header = dcmread(BytesIO(head), stop_before_pixels=True, specific_tags=tags)
        if len(head) < HEAD_BYTES or "Columns" in header:
            return header
    except Exception:  # cut in the middle of an element
        if len(head) < HEAD_BYTES:
            raise
    return dcmread(BytesIO(path.read_bytes()), stop_before_pixels=True, specific_tags=tags)


def _head(path: UPath) -> bytes:
    if not is_local(path):
        content: bytes = path.fs.cat_file(path.path, start=0, end=HEAD_BYTES)
        return content
    with path.open("rb") as file:
        return bytes(file.read(HEAD_BYTES))


def _check(images: Sequence[PredictedImage], headers: Sequence[Dataset]) -> None:
    first, seen = headers[0], dict[str, str]()
    for image, header in zip(images, headers, strict=True):
        for keyword in SAME:
            if header[keyword].value != first[keyword].value:
                raise SourceError(f"{image.name}: {keyword} is not that of {images[0].name}")
        if (int(header.Rows), int(header.Columns)) != image.mask.shape:
            raise SourceError(
                f"{image.name}: mask has shape {image.mask.shape}, its DICOM source {header.Rows} × {header.Columns}"
            )
        if other := seen.get(header.SOPInstanceUID):
            raise SourceError(f"{image.name}: has the SOPInstanceUID of {other}, so no object can tell them apart")
        seen[header.SOPInstanceUID] = image.name
