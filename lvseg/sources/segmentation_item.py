"""A DICOM image and the frames of a DICOM SEG object that belong to it → a slice."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.slices import CAVITY, MYOCARDIUM, Slice
from lvseg.sources.dicom import parse_dicom, reading_dicom
from lvseg.sources.listing import SegmentationItem
from lvseg.sources.masks import check_myocardium
from lvseg.sources.pseudonym import masked_path
from lvseg.sources.segments import ALL_SEGMENTS, Segments, read_segments
from lvseg.store import UPath, stamp

__all__ = ["load_segmentation_item", "reading_segmentation"]

UID = re.compile(r"\d+(\.\d+){3,}")


@contextmanager
def reading_segmentation(name: str) -> Iterator[None]:
    """``reading_dicom``, and UIDs stay out of the messages."""
    try:
        with reading_dicom(name):
            yield
    except SourceError as error:
        raise SourceError(UID.sub("(UID)", str(error))) from None


def load_segmentation_item(folder: UPath, item: SegmentationItem, config: ConvertConfig) -> Slice:
    """Read an image and its mask.

    Args:
        folder: the source folder.
        item: its paths are relative to the folder.
        config: its structures.

    Raises:
        SourceError: a file is missing, damaged, or not what is expected, or the myocardium is asked for and missing.
    """
    shown = masked_path(item.image, item.case_id)
    data = _read(folder / item.image, shown)
    with reading_segmentation(shown):
        image = parse_dicom(data, shown)
    label = _open_segmentation(folder / item.segmentation, item.label, _version(folder / item.segmentation, item.label))
    mask = label.mask(image.instance_key, (image.pixels.shape[0], image.pixels.shape[1]))
    if config.structures == "endo+myo":
        check_myocardium(mask, f"{item.label}: image {item.instance_number}")
    else:
        mask[mask == MYOCARDIUM] = 0
    return Slice(
        name=item.name,
        case_id=item.case_id,
        group=item.group,
        image=image.pixels,
        mask=mask,
        place=dataclasses.replace(
            image.place,
            instance_number=item.instance_number,
            slice_index=item.slice_index,
            phase_index=item.phase_index,
        ),
        source_sha256=hashlib.sha256(hashlib.sha256(data).digest() + label.sha256).hexdigest(),
        instance_key=image.instance_key,
    )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _OpenSegmentation:
    name: str
    """For messages."""
    decoder: Any
    """``highdicom.seg.Segmentation``."""
    segments: Segments
    """What its frames show."""
    sha256: bytes
    """Hash over the file's bytes."""

    def mask(self, key: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Classes on one image; where two segments overlap, the cavity wins: an epicardium may be drawn filled."""
        frames = self.segments.frames.get(key, {})
        mask = np.zeros(shape, np.uint8)
        for wanted in (MYOCARDIUM, CAVITY):
            for number, value in self.segments.classes.items():
                if value == wanted and (frame := frames.get(number) or frames.get(ALL_SEGMENTS)):
                    mask[self._inside(frame, number, shape)] = wanted
        return mask

    def _inside(self, frame: int, segment: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
        with reading_segmentation(self.name):
            pixels = np.asarray(self.decoder.get_stored_frame(frame))
        if pixels.shape != shape:
            sizes = f"{pixels.shape[0]}x{pixels.shape[1]}, but its image is {shape[0]}x{shape[1]}"
            raise SourceError(f"{self.name}: frame {frame} is {sizes} (rowsxcolumns)")
        inside: NDArray[np.bool_]
        if self.segments.threshold is not None:
            inside = pixels >= self.segments.threshold
        elif self.decoder.SegmentationType == "LABELMAP":
            inside = pixels == segment
        else:
            inside = pixels != 0
        return inside


@lru_cache(maxsize=2)
def _open_segmentation(file: UPath, name: str, version: str) -> _OpenSegmentation:
    """Parsed once for all images that it refers to."""
    import highdicom  # takes a second to import

    data = _read(file, name)
    with reading_segmentation(name):
        decoder = highdicom.seg.segread(BytesIO(data))
        return _OpenSegmentation(name, decoder, read_segments(decoder, name), hashlib.sha256(data).digest())


def _version(file: UPath, name: str) -> str:
    try:
        return stamp(file)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror or type(error).__name__}") from None


def _read(file: UPath, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror or type(error).__name__}") from None
