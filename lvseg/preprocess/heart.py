"""Where the left ventricle is, found by its motion in the cine.

The cavity's border is a closed ring that darkens as the heart contracts, around a pool that stays bright, inside a
darker wall. Every place and radius is scored for that, over all slices of the patient: what else moves or is bright
(right ventricle, aorta, chest wall, noise) does so in one slice or another, the left ventricle in nearly all.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvseg.errors import SourceError

__all__ = ["heart_centre"]

Map = NDArray[np.float32]

MAP_SIDE = 128
"""The longer side of the maps that are searched, px: 2.5 to 3.2 mm each at the usual field of view."""
RADII_PX = np.arange(5, 20, 1.5)
"""Radii of the cavity that are tried, px of the map: about 14 to 55 mm."""
RIM_PX = 2.0
"""Standard deviation across the moving border."""
WALL_PX = 2.5
"""From the cavity's border to the middle of the wall."""
INNER_MOTION = 0.5
"""How much motion within the ring counts against it: the right ventricle empties all over, the left at its rim."""
ENOUGH_CONTRAST = 0.3
"""Pool less wall, of the brightness around; more makes no better heart, but fat in air has more."""
SHADING_PX = 12.0
"""Scale of the coils' shading, which is divided out."""
SHADING_FLOOR = 0.6
"""Added to the shading, of the image's bright parts, so that air and lung stay dark."""
BREATH_HOLDS_PX = 2.0
"""Standard deviation within which slices may disagree, px of the map: breath-holds and the heart's tilt."""
MIN_MOTION = 1e-4
"""Of the brightness around; less is rounding."""
MIN_PHASES = 3
"""Fewer have no first harmonic of their own."""


def heart_centre(*cines: NDArray[Any]) -> tuple[float, float]:
    """Find the left ventricle in one slice's cine, or better in those of all slices of a patient.

    All slices together: at most 13 pixels from the centroid of every expert contour of the three Sunnybrook patients
    that it was tried on, at most 7 mm in a dozen phantoms. One slice alone, at apex or base, may miss the heart.

    Args:
        cines: of each slice (phases, rows, columns), stored values in the order of the phases, at least three
            phases; all of one size and field of view.

    Returns:
        (column, row), 0-based.

    Raises:
        SourceError: nothing that moves, or cines of different sizes.
    """
    if len({cine.shape[1:] for cine in cines}) != 1:
        sizes = sorted({f"{cine.shape[1]}x{cine.shape[2]}" for cine in cines})
        raise SourceError(f"expected cines of one size to find the heart in, found {', '.join(sizes) or 'none'}")
    evidence = [found for cine in cines if (found := _evidence(cine)) is not None]
    if not evidence:
        raise SourceError(f"no motion in {len(cines)} cines to find the heart by; expected at least three phases each")
    total = np.sum(evidence, axis=0)
    row, column = np.unravel_index(int(np.argmax(total)), total.shape)
    row_scale, column_scale = cines[0].shape[1] / total.shape[0], cines[0].shape[2] / total.shape[1]
    return float((column + 0.5) * column_scale - 0.5), float((row + 0.5) * row_scale - 0.5)


def _evidence(cine: NDArray[Any]) -> Map | None:
    """How much every place looks like the middle of a beating left ventricle: 0 to 1; None where nothing moves."""
    mean, harmonic = _harmonics(cine)
    shading = gaussian_filter(mean, SHADING_PX) + SHADING_FLOOR * np.percentile(mean, 90)
    if len(cine) < MIN_PHASES or not shading.min() > 0:
        return None
    motion = _darkening(harmonic / shading)
    if motion is None:
        return None
    best = np.zeros_like(mean)
    for rim, pool in _kernels():
        moving = np.maximum(_correlate(motion, rim), 0)
        bright = np.clip(_correlate(mean / shading, pool), 0, ENOUGH_CONTRAST)
        np.maximum(best, moving * bright, out=best)
    best = gaussian_filter(best, BREATH_HOLDS_PX)
    return best / best.max() if best.max() > 0 else None


def _harmonics(cine: NDArray[Any]) -> tuple[Map, NDArray[np.complex64]]:
    """Mean over the phases, and the part that goes up and down once a heart beat, both on the map."""
    turns = np.exp(-2j * np.pi * np.arange(len(cine)) / len(cine)) / len(cine)
    weights = np.stack([np.full(len(cine), 1 / len(cine)), turns.real, turns.imag]).astype(np.float32)
    rows, columns = cine.shape[1:]
    scale = MAP_SIDE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    mean, real, imaginary = (
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        for picture in np.tensordot(weights, cine.astype(np.float32), axes=1)
    )
    return mean, real + 1j * imaginary


def _darkening(harmonic: NDArray[np.complex64]) -> Map | None:
    """Motion in step with the strongest, which is blood giving way to muscle: 0 to 1; None where there is none."""
    main = (harmonic * np.abs(harmonic)).sum()
    if np.abs(harmonic).max() < MIN_MOTION or np.abs(main) == 0:
        return None
    in_step = gaussian_filter(np.maximum((harmonic * np.conj(main / np.abs(main))).real, 0), 1.0)
    return np.asarray(np.minimum(in_step / np.percentile(in_step, 98), 1), np.float32)


@cache
def _kernels() -> tuple[tuple[Map, Map], ...]:
    """For every radius: moving rim less motion inside, and bright pool less wall."""
    return tuple(
        (
            _ring(radius, RIM_PX) - INNER_MOTION * _disc(0.6 * radius),
            _disc(0.7 * radius) - _ring(radius + WALL_PX, 1.5),
        )
        for radius in RADII_PX
    )


def _distance() -> Map:
    reach = int(max(RADII_PX) + WALL_PX + 6)
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    return np.hypot(axis, axis[:, None])


def _ring(radius: float, deviation: float) -> Map:
    weights = np.exp(-0.5 * ((_distance() - radius) / deviation) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def _disc(radius: float) -> Map:
    weights = np.clip(radius + 0.5 - _distance(), 0, 1)
    return np.asarray(weights / weights.sum(), np.float32)


def _correlate(picture: Map, kernel: Map) -> Map:
    return np.asarray(cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
