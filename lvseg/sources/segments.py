"""What the frames of a DICOM SEG object show: which class, on which image (PS3.3, A.51 and C.8.20)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lvseg.errors import SourceError
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.sources.dicom import instance_key

__all__ = ["LABELMAP_STORAGE", "SEGMENTATION_STORAGE", "Segments", "read_segments"]

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

MYOCARDIUM_CODES = (codes.SCT.LeftVentricleMyocardium, Code("74281007", "SCT", "Myocardium"))
CAVITY_CODES = (codes.SCT.LeftVentricle, codes.SCT.Lumen, codes.SCT.Blood)
"""DICOM has no code for the cavity of the left ventricle alone (PS3.16, CID 7152): writers use the ventricle's."""

OTHER_WORDS = re.compile(r"\bright\b|\brv|atri|aort|valve", re.IGNORECASE)
MYOCARDIUM_WORDS = re.compile(r"myo|wall|\bepi", re.IGNORECASE)
CAVITY_WORDS = re.compile(r"cavity|endo|lumen|blood|\blv|left.?ventric", re.IGNORECASE)

ALL_SEGMENTS = 0
"""Stands for the segment of a frame of a label map, which shows all of them."""


@dataclass(frozen=True, slots=True)
class Segments:
    """The frames of a SEG object."""

    classes: Mapping[int, int]
    """``CAVITY`` or ``MYOCARDIUM`` of each segment number that is one."""
    frames: Mapping[str, Mapping[int, int]]
    """By the image's ``instance_key``: 1-based frame of each segment, ``ALL_SEGMENTS`` in a label map."""
    threshold: float | None
    """Stored value from which a pixel counts as inside; None where pixels are segment numbers, or 0 and 1."""

    def shown(self, key: str) -> frozenset[int]:
        """Classes that the frames of an image show; in a label map all that it could."""
        frames = self.frames.get(key, {})
        if ALL_SEGMENTS in frames:
            return frozenset(self.classes.values())
        return frozenset(self.classes[number] for number in frames if number in self.classes)


def read_segments(header: Dataset, name: str) -> Segments:
    """Understand a SEG object's header; needs no pixels.

    Args:
        header: the data set.
        name: for messages.

    Raises:
        SourceError: no segment of the left ventricle, or no frame that says which image it belongs to.
    """
    described = header.get("SegmentSequence") or []
    classes = {}
    for segment in described:
        if (found := _class_of(segment, is_only=len(described) == 1)) is not None:
            classes[int(segment.SegmentNumber)] = found
    if CAVITY not in classes.values():
        raise SourceError(
            f"{name}: none of its {len(described)} segments is the left ventricle's cavity, by code or by label"
        )
    is_labelmap = header.get("SegmentationType") == "LABELMAP"
    frames: dict[str, dict[int, int]] = defaultdict(dict)
    for number, frame in enumerate(header.get("PerFrameFunctionalGroupsSequence") or [], start=1):
        groups = (frame, *(header.get("SharedFunctionalGroupsSequence") or []))
        segment_number = ALL_SEGMENTS if is_labelmap else _segment_number(groups)
        for key in _source_keys(groups):
            frames[key].setdefault(segment_number, number)
    if not frames:
        raise SourceError(f"{name}: its frames do not say which images they belong to (SourceImageSequence)")
    is_fractional = header.get("SegmentationType") == "FRACTIONAL"
    return Segments(classes, frames, float(header.MaximumFractionalValue) / 2 if is_fractional else None)


def _class_of(segment: Dataset, *, is_only: bool) -> int | None:
    """Code of the myocardium, else the label's words, else code of the ventricle, else the only segment there is."""
    code = _code(segment)
    label = str(segment.get("SegmentLabel") or "")
    if code in MYOCARDIUM_CODES:
        return MYOCARDIUM
    if OTHER_WORDS.search(label):
        return None
    if MYOCARDIUM_WORDS.search(label):
        return MYOCARDIUM
    if CAVITY_WORDS.search(label) or code in CAVITY_CODES or is_only:
        return CAVITY
    return None


def _code(segment: Dataset) -> Code | None:
    for item in segment.get("SegmentedPropertyTypeCodeSequence") or []:
        return Code(str(item.get("CodeValue")), str(item.get("CodingSchemeDesignator")), str(item.get("CodeMeaning")))
    return None


def _segment_number(groups: tuple[Dataset, ...]) -> int:
    for group in groups:
        for item in group.get("SegmentIdentificationSequence") or []:
            return int(item.ReferencedSegmentNumber)
    raise ValueError("a frame does not say its segment (SegmentIdentificationSequence)")


def _source_keys(groups: tuple[Dataset, ...]) -> Iterator[str]:
    """Key of the one image that a frame was drawn on; none where it was made from several."""
    sources: list[Any] = [
        source
        for group in groups
        for derivation in group.get("DerivationImageSequence") or []
        for source in derivation.get("SourceImageSequence") or []
        if source.get("SpatialLocationsPreserved") != "NO"
    ]
    if len(sources) == 1:
        reference = Dataset()
        reference.SOPInstanceUID = sources[0].ReferencedSOPInstanceUID
        yield instance_key(reference)
