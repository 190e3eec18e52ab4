"""Where a patient's heart is, from its motion in the middle slices of the cine."""

from __future__ import annotations

import numpy as np

from lvseg.errors import SourceError
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.headers import ImageHeader
from lvseg.sources.series import Series

__all__ = ["find_heart"]

MIDDLE_SLICES = 3
"""Slices around the middle of the stack that are looked at."""
MIN_PHASES = 8
"""Phases of a slice that show the beat."""


def find_heart(series: Series) -> tuple[float, float]:
    """Find the heart of a patient by its motion.

    Returns:
        0-based (column, row), the mean over the middle slices of the stack.

    Raises:
        SourceError: no slice in the middle of the stack has its phases, or an image cannot be read.
    """
    from lvseg.preprocess import heart_centre

    stacks = _middle_stacks(series)
    if not stacks:
        raise SourceError(
            f"series {series.label} is no whole cine, so the heart's motion cannot be seen; expected slices of "
            f"at least {MIN_PHASES} phases, or another crop"
        )
    centres = [heart_centre(_read_cine(stack)) for stack in stacks]
    column, row = np.mean(centres, axis=0).tolist()
    return column, row


def _middle_stacks(series: Series) -> list[list[ImageHeader]]:
    """Images of up to ``MIDDLE_SLICES`` slices, by phase; nearly whole slices only."""
    by_slice: dict[int, list[tuple[int, ImageHeader]]] = {}
    for number, (slice_index, phase_index) in series.places.items():
        if slice_index is not None and phase_index is not None:
            by_slice.setdefault(slice_index, []).append((phase_index, series.by_number[number]))
    if not by_slice:
        return []
    most = max(map(len, by_slice.values()))
    middle = (min(by_slice) + max(by_slice)) / 2
    whole = [index for index, images in by_slice.items() if len(images) >= max(MIN_PHASES, 0.9 * most)]
    nearest = sorted(whole, key=lambda index: (abs(index - middle), index))[:MIDDLE_SLICES]
    return [[image for _, image in sorted(by_slice[index], key=lambda pair: pair[0])] for index in nearest]


def _read_cine(images: list[ImageHeader]) -> np.ndarray:
    """(phases, rows, columns)."""
    pixels = []
    for image in images:
        try:
            pixels.append(parse_dicom(image.path.read_bytes(), image.path.name).pixels)
        except OSError as error:
            raise SourceError(f"{image.path.name}: cannot be read: {error.strerror or error}") from None
    if len({each.shape for each in pixels}) > 1:
        raise SourceError(f"images of a slice differ in size: {sorted({each.shape for each in pixels})}")
    return np.stack(pixels)
