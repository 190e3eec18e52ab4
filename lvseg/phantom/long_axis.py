"""The series that lie in a folder beside the short-axis cine: a long-axis cine, a localiser."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.anatomy import Anatomy, contraction, section
from lvseg.phantom.body import BLOOD, MYOCARDIUM, chest_distance, coil_gain, paint_body
from lvseg.phantom.canvas import Canvas
from lvseg.phantom.render import acquire

__all__ = ["LongAxisRenderer"]

_STREAM = 1_000
"""Random streams from here on; lower ones are those of the short-axis slices."""


class LongAxisRenderer:
    """Renders a plane along the ventricle: coarser than the short axis, since nobody draws on it.

    Args:
        anatomy: the patient.
        seed: the phantom's seed.
        size: rows and columns.
        plane: which plane; each has surroundings and a direction of its own.
    """

    def __init__(self, anatomy: Anatomy, seed: int, size: int, plane: int) -> None:
        self._anatomy, self._plane = anatomy, plane
        self._stream = [seed, anatomy.number, _STREAM + plane]
        self._canvas = Canvas(size, anatomy.field_of_view_mm)
        rest = section(anatomy, 0, 0.0)
        chest = chest_distance(self._canvas, anatomy, rest)
        paint_body(self._canvas, anatomy, rest, chest, np.random.default_rng(self._stream))
        self._background = self._canvas.image.copy()
        self._gain = coil_gain(self._canvas, chest, anatomy)

    def render(self, phase: int, phases: int) -> NDArray[np.int16]:
        """Render one phase: (size, size), stored values, 0 and above."""
        a = self._anatomy
        systole = contraction(phase / phases, a.es_time)
        radius = a.cavity_radius_mm * np.sqrt(1 - a.ejection * systole)
        half_length = (a.cavity_length_mm - a.descent_mm * systole) / 2
        angle = 0.6 + self._plane + a.rotation_rad
        self._canvas.image[...] = self._background
        for axes, signal in (
            ((half_length + a.wall_mm, radius + a.wall_mm), MYOCARDIUM),
            ((half_length, radius), BLOOD),
        ):
            self._canvas.paint(self._canvas.ellipse(a.centre_mm, axes, angle), signal)
        return acquire(self._canvas, self._gain, a, np.random.default_rng([*self._stream, phase, phases]))
