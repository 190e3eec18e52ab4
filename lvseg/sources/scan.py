"""The few wanted elements of a plain DICOM file, found by hopping from element to element.

Most files are explicit VR little endian with defined lengths (PS3.5 section 7.1.2), and of their hundred elements a
conversion needs twenty. Hopping takes a tenth of the time that pydicom takes to look at all of them. It is only done
where nothing is unusual: the answer to anything else is None, and pydicom reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

__all__ = ["PIXEL_GROUP", "scan"]

PREAMBLE: Final = 128
MAGIC: Final = b"DICM"
META_GROUP: Final = 0x0002
SYNTAX: Final = BaseTag(0x00020010)
PIXEL_GROUP: Final = 0x7FE0
PIXEL_DATA: Final = 0x7FE00010
UNDEFINED: Final = 0xFFFFFFFF

HEAD = Struct("<HH2sH")
LONG_LENGTH = Struct("<L")
SHORT_VRS = {vr.value.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_16}
LONG_VRS = {vr.value.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_32}


def scan(data: bytes, tags: Mapping[int, BaseTag], *, pixels: bool) -> pydicom.Dataset | None:
    """Find elements at the top level of a data set.

    Args:
        data: the file, or its start.
        tags: the wanted elements by their numbers; those that are not there are left out.
        pixels: whether the pixels are wanted too; if not, the file may end where they begin.

    Returns:
        The elements and the transfer syntax; None where the file is not plain, or has no pixels.
    """
    if data[PREAMBLE : PREAMBLE + len(MAGIC)] != MAGIC:
        return None
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    syntax: RawDataElement | None = None
    meta: FileMetaDataset | None = None
    at, end = PREAMBLE + len(MAGIC), len(data) - HEAD.size
    while at <= end:
        group, number, code, length = HEAD.unpack_from(data, at)
        if meta is None and group != META_GROUP and (meta := _plain_meta(syntax)) is None:
            return None
        at += HEAD.size
        if (vr := SHORT_VRS.get(code)) is None:
            if (vr := LONG_VRS.get(code)) is None or at + LONG_LENGTH.size > len(data):
                return None
            (length,) = LONG_LENGTH.unpack_from(data, at)
            at += LONG_LENGTH.size
        if group == PIXEL_GROUP and not pixels:
            return _dataset(found, meta)
        if length == UNDEFINED or at + length > len(data):
            return None
        number |= group << 16
        if tag := tags.get(number):
            found[tag] = RawDataElement(tag, vr, length, data[at : at + length], at, False, True)
        elif number == SYNTAX:
            syntax = RawDataElement(SYNTAX, vr, length, data[at : at + length], at, False, True)
        at += length
        if number == PIXEL_DATA:
            return _dataset(found, meta)
    return None


def _plain_meta(syntax: RawDataElement | None) -> FileMetaDataset | None:
    if syntax is None or (syntax.value or b"").rstrip(b"\0 ") != ExplicitVRLittleEndian.encode():
        return None
    return FileMetaDataset({SYNTAX: syntax})


def _dataset(found: dict[BaseTag, DataElement | RawDataElement], meta: FileMetaDataset | None) -> pydicom.Dataset:
    header = pydicom.Dataset(found)
    if meta is not None:
        header.file_meta = meta
    return header
