"""The pixels of a planned image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.long_axis import LongAxisRenderer
from lvseg.phantom.plan import PlannedImage, Study
from lvseg.phantom.render import SliceRenderer

__all__ = ["Painter"]

_CONSTANT = 100
_SATURATED_FROM = 85.0
"""Percentile from which a saturated image is cut off."""


class Painter:
    """Paints images; what does not move is painted once for neighbours of the same slice."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._renderer: SliceRenderer | LongAxisRenderer | None = None

    def paint(self, image: PlannedImage) -> NDArray[np.int16]:
        """(size, size), stored values, 0 and above."""
        study = image.shows
        if image.content == "constant":
            return np.full((study.size, study.size), _CONSTANT, np.int16)
        phases = 1 if image.series == "localiser" else study.phases
        pixels = self._renderer_of(image).render(image.phase % phases, phases)
        if image.content == "saturated":
            pixels = np.minimum(pixels, np.int16(np.percentile(pixels, _SATURATED_FROM)))
        return pixels

    def _renderer_of(self, image: PlannedImage) -> SliceRenderer | LongAxisRenderer:
        study: Study = image.shows
        plane = {"long-axis": 0, "localiser": 1 + image.phase}.get(image.series)
        key = (study, plane, image.slice_index)
        if self._renderer is None or key != self._key:
            self._key = key
            self._renderer = (
                SliceRenderer(study.anatomy, study.seed, image.slice_index, study.size)
                if plane is None
                else LongAxisRenderer(study.anatomy, study.seed, study.size, plane)
            )
        return self._renderer
