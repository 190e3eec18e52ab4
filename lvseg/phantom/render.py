"""One slice of the phantom as stored pixel values: body, heart, coil shading, blur, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvseg.phantom.anatomy import THETA, Anatomy, Section, section
from lvseg.phantom.body import BLOOD, FAT, MYOCARDIUM, chest_distance, coil_gain, paint_body, texture
from lvseg.phantom.canvas import Canvas, Image, at_angles

__all__ = ["SliceRenderer", "acquire"]

_BLUR_PX = 0.7
"""Point spread, standard deviation: 224 acquired lines shown on 256."""

_PEAK_SIGNAL = 2.9
"""Signal of the fat next to the coil, relative to blood at the heart; ``Anatomy.peak`` is stored for it."""

_RV_WALL_MM = 2.2


def acquire(canvas: Canvas, gain: Image, anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.int16]:
    """What the scanner makes of a painted canvas: (size, size), stored values, 0 and above."""
    signal = gaussian_filter(canvas.image * gain, _BLUR_PX, truncate=3)
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(anatomy.noise)
    measured = np.hypot(signal + noise[0], noise[1])
    if anatomy.circular_field:
        rim = np.hypot(canvas.x, canvas.y) - np.float32(0.455 * anatomy.field_of_view_mm)
        measured *= canvas.coverage(rim)
    return np.asarray(np.rint(measured * np.float32(anatomy.peak / _PEAK_SIGNAL)), np.int16)


class SliceRenderer:
    """Renders the phases of one slice; what does not move is painted once."""

    def __init__(self, anatomy: Anatomy, seed: int, slice_index: int, size: int) -> None:
        self._anatomy, self._slice_index = anatomy, slice_index
        self._canvas = Canvas(size, anatomy.field_of_view_mm)
        self._stream = [seed, anatomy.number, slice_index]
        rng = np.random.default_rng(self._stream)
        rest = section(anatomy, slice_index, 0.0)
        chest = chest_distance(self._canvas, anatomy, rest)
        paint_body(self._canvas, anatomy, rest, chest, rng)
        self._background = self._canvas.image.copy()
        self._gain = coil_gain(self._canvas, chest, anatomy)
        self._radius, self._angle = self._canvas.polar(rest.centre_mm)
        self._fine = texture(self._canvas, rng, 2.0)
        self._coarse = texture(self._canvas, rng, 9.0)

    def render(self, phase: int, phases: int) -> NDArray[np.int16]:
        """Render one phase: (size, size), stored values, 0 and above."""
        rng = np.random.default_rng([*self._stream, phase, phases])
        state = section(self._anatomy, self._slice_index, phase / phases)
        self._canvas.image[...] = self._background
        self._paint_heart(state)
        return acquire(self._canvas, self._gain, self._anatomy, rng)

    def _paint_heart(self, state: Section) -> None:
        blood = BLOOD + np.float32(0.10) * self._coarse + np.float32(0.05) * self._fine
        if state.z_mm <= 0:
            self._paint_above_valves(state, blood)
        elif state.epicardium_mm is not None:
            self._paint_right_ventricle(state, blood)
            self._paint_left_ventricle(state, blood)

    def _direction(self, angle: float) -> NDArray[np.float64]:
        turned = angle + self._anatomy.rotation_rad
        return np.array([np.cos(turned), np.sin(turned)])

    def _disc(self, state: Section, angle: float, away_mm: float, axes_mm: tuple[float, float]) -> Image:
        """An ellipse beside the left ventricle's centre, turned with the heart."""
        x, y = state.centre_mm + away_mm * self._direction(angle)
        return self._canvas.ellipse((x, y), axes_mm, self._anatomy.rotation_rad)

    def _paint_above_valves(self, state: Section, blood: Image) -> None:
        """Atria and the root of the aorta, thin-walled; no left ventricle."""
        a = self._anatomy
        discs = (
            self._disc(state, np.pi, a.cavity_radius_mm * 1.25, (a.cavity_radius_mm * 0.9, a.cavity_radius_mm * 1.15)),
            self._disc(state, 0.4, 5.0, (a.cavity_radius_mm * 1.1, a.cavity_radius_mm * 0.9)),
            self._disc(state, -2.2, a.cavity_radius_mm * 0.8, (14.0, 13.0)),
        )
        self._canvas.paint(np.minimum.reduce(discs) - 7, 0.9 * FAT)
        for disc in discs:
            self._canvas.paint(disc - 2.5, MYOCARDIUM)
            self._canvas.paint(disc, 0.9 * blood)

    def _paint_right_ventricle(self, state: Section, blood: Image) -> None:
        """A crescent on the septal side; it ends before the apex, with fat in front of it."""
        a = self._anatomy
        outer = 0.75 * a.cavity_radius_mm + 0.5 * a.wall_mm + 9
        share = 1 - (max(state.z_mm, 0.0) / (0.92 * a.cavity_length_mm)) ** 2
        epicardium = np.asarray(state.epicardium_mm)
        left = self._radius - at_angles(epicardium, self._angle)
        if share < 0.08:
            self._canvas.paint(left - 2 + 3 * self._coarse, FAT * 0.7)
            return
        reach = outer * np.sqrt(share) * (1 - (0.10 if a.group == "HF" else 0.2) * state.systole)
        middle = 0.55 * float(epicardium.mean()) + 0.28 * reach
        right = self._disc(state, np.pi + 0.12, middle, (0.95 * reach, 1.12 * reach))
        outflow = self._disc(state, -2.2, middle + 0.4 * reach, (0.6 * reach, 0.6 * reach))
        if state.z_mm < 25:
            right = np.minimum(right, outflow)
        self._canvas.paint(np.minimum(right - 5.5, left - 0.5) + 4 * self._coarse, FAT * 0.6)
        self._canvas.paint(right - _RV_WALL_MM, MYOCARDIUM)
        trabeculated = np.where(self._fine + 0.35 * right > -0.6, 0.55, 1.0).astype(np.float32)
        self._canvas.paint(right, blood * (0.35 + 0.65 * gaussian_filter(trabeculated, 0.8)))

    def _paint_left_ventricle(self, state: Section, blood: Image) -> None:
        canvas = self._canvas
        wall = self._radius - at_angles(np.asarray(state.epicardium_mm), self._angle)
        muscle = MYOCARDIUM + np.float32(0.024) * self._coarse + np.float32(0.018) * self._fine
        canvas.paint(wall, muscle)
        if state.endocardium_mm is None:
            return
        if 0 < state.z_mm < 9:
            self._open_outflow(state, wall, blood)
        cavity = self._radius - at_angles(state.endocardium_mm, self._angle)
        trabeculae = at_angles(state.endocardium_mm * self._trabeculation(state), self._angle)
        inside = canvas.coverage(cavity)
        canvas.paint(cavity, 0.6 * blood)
        canvas.paint(cavity + trabeculae, blood)
        for outline in state.papillaries_mm:
            middle = outline.mean(axis=0)
            size = np.linalg.norm(outline - middle, axis=1)
            radius, angle = canvas.polar(middle)
            canvas.paint(radius - at_angles(size, angle), MYOCARDIUM * 1.1, inside)

    def _open_outflow(self, state: Section, wall: Image, blood: Image) -> None:
        """Just below the valves the septum's front is thin and opens toward the outflow tract."""
        epicardium = float(np.asarray(state.epicardium_mm).mean())
        gap = self._disc(state, -2.35, epicardium - 4, (7.0, 7.0))
        self._canvas.paint(gap, 0.85 * blood, self._canvas.coverage(wall + 1.5))

    def _trabeculation(self, state: Section) -> NDArray[np.float64]:
        """Depth of the trabeculae inside the contour, fraction of the radius; deeper toward apex and in systole."""
        depth = 0.4 + 0.6 * state.z_mm / self._anatomy.cavity_length_mm + 0.4 * state.systole
        waves = sum(
            amplitude * (1 + np.sin(harmonic * (THETA - self._anatomy.rotation_rad) + angle))
            for harmonic, (amplitude, angle) in zip((5, 8, 13), self._anatomy.trabeculae, strict=True)
        )
        return np.asarray(depth * waves)
