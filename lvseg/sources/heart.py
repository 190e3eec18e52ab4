"""Where a patient's heart is, from its motion in the cine."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import SourceError
from lvseg.preprocess import heart_centre
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.headers import ImageHeader
from lvseg.sources.series import Series

__all__ = ["find_heart"]

MAX_SLICES = 12
"""Slices that are looked at, those in the middle of a longer stack: more say little, and all are held in memory."""
MIN_PHASES = 5
"""Phases of a slice that show the beat."""
WHOLE = 0.9
"""Part of the fullest slice's phases that a slice must have: a missing image or two do no harm."""


def find_heart(series: Series) -> tuple[float, float]:
    """Find the heart of a patient by its motion; images that cannot be read, or are of another size, are left out.

    Returns:
        0-based (column, row).

    Raises:
        SourceError: no slice has its phases, or nothing moves.
    """
    cines = [cine for images in _whole_slices(series) if len(cine := _read_cine(images)) >= MIN_PHASES]
    if not cines:
        raise SourceError(
            f"series {series.label} is no whole cine, so the heart's motion cannot be seen; expected slices of "
            f"at least {MIN_PHASES} phases, or another crop"
        )
    shape = Counter(cine.shape[1:] for cine in cines).most_common(1)[0][0]
    return heart_centre(*(cine for cine in cines if cine.shape[1:] == shape))


def _whole_slices(series: Series) -> list[list[ImageHeader]]:
    """Images of the slices that have nearly all phases, each by phase."""
    by_slice: dict[int, list[tuple[int, ImageHeader]]] = {}
    for number, (slice_index, phase_index) in series.places.items():
        if slice_index is not None and phase_index is not None:
            by_slice.setdefault(slice_index, []).append((phase_index, series.by_number[number]))
    if not by_slice:
        return []
    most = max(map(len, by_slice.values()))
    middle = (min(by_slice) + max(by_slice)) / 2
    whole = [index for index, images in by_slice.items() if len(images) >= max(MIN_PHASES, WHOLE * most)]
    nearest = sorted(whole, key=lambda index: (abs(index - middle), index))[:MAX_SLICES]
    return [[image for _, image in sorted(by_slice[index], key=lambda pair: pair[0])] for index in sorted(nearest)]


def _read_cine(images: list[ImageHeader]) -> NDArray[Any]:
    """(phases, rows, columns)."""
    pixels = []
    for image in images:
        with suppress(OSError, SourceError):  # told when the image is loaded, if it has a contour
            pixels.append(parse_dicom(image.path.read_bytes(), image.path.name).pixels)
    shape = Counter(each.shape for each in pixels).most_common(1)[0][0] if pixels else (0, 0)
    return np.array([each for each in pixels if each.shape == shape])
