"""How sure a mask is, and which images a person should look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.inference.masks import bounding_box
from lvseg.outputs.cine import CINE_PHASES
from lvseg.slices import CAVITY

__all__ = ["Seen", "reasons_to_look", "see", "uncertainty"]

BAND_PX = 2
"""The band around the border reaches so far to either side."""
OTHER_COMPONENT = 0.1
"""A second component of this part of the largest one's area is worth a look."""
SMALL_JUMP_PX = 20.0
"""Jumps of fewer pixels are rounding at apex and base."""

Place = tuple[int, int]
"""Slice and phase."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is seen of one image alone."""

    area_px: float
    """Pixels of the cavity."""
    uncertainty: float
    """0 to 1."""
    components: int
    """Components of the cavity that count, before all but the largest are removed."""
    at_border: bool
    """Whether cavity or wall reach the end of the image, or of the part that the model saw."""


def uncertainty(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Mean entropy of the cavity's probability in a band around its border, bits: 0 sure, 1 a toss of a coin.

    Where there is no cavity, the entropy of the pixel that is most likely one. Averages over views and models are
    less sure where these disagree.

    Args:
        probability: (rows, columns) of the cavity.
        mask: (rows, columns) classes.
    """
    cavity = mask == CAVITY
    box = bounding_box(cavity)
    if box is None:
        return float(_entropy(np.minimum(probability.max(), np.float32(0.5))))
    rows, columns = (slice(max(side.start - BAND_PX, 0), side.stop + BAND_PX) for side in box)
    inside = cavity[rows, columns].astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND_PX + 1, 2 * BAND_PX + 1))
    band = cv2.dilate(inside, kernel) != cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return float(_entropy(probability[rows, columns][band]).mean())


def _entropy(probability: NDArray[np.float32] | np.float32) -> NDArray[np.float64]:
    p = np.clip(np.asarray(probability, np.float64), 1e-9, 1 - 1e-9)
    entropy: NDArray[np.float64] = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return entropy


def see(
    probability: NDArray[np.float32],
    raw: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    window: tuple[slice, slice],
) -> Seen:
    """Look at one image alone.

    Args:
        probability: (rows, columns) of the cavity.
        raw: (rows, columns) the likeliest classes.
        mask: the same, tidied.
        window: rows and columns of the image that the model saw.
    """
    found = mask[window] > 0
    at_border = bool(found.any() and (found[[0, -1]].any() or found[:, [0, -1]].any()))
    return Seen(
        area_px=float((mask == CAVITY).sum()),
        uncertainty=uncertainty(probability, mask),
        components=_components(raw == CAVITY),
        at_border=at_border,
    )


def _components(region: NDArray[np.bool_]) -> int:
    box = bounding_box(region)
    if box is None:
        return 0
    areas = np.bincount(ndimage.label(region[box])[0].ravel())[1:]
    return int((areas >= OTHER_COMPONENT * areas.max()).sum())


def reasons_to_look(
    seen: Sequence[Seen], places: Sequence[Place | None], most_uncertain: float, area_jump: float
) -> list[str | None]:
    """Why a person should look at each image of a study; None where there is no reason.

    Args:
        seen: of all images.
        places: slice and phase of each, where both are known.
        most_uncertain: uncertainty from which on it is a reason.
        area_jump: jump in time from which on it is one, as part of the slice's largest area.
    """
    areas = {place: each.area_px for place, each in zip(places, seen, strict=True) if place is not None}
    largest: dict[int, float] = {}
    for (index, _), area in areas.items():
        largest[index] = max(largest.get(index, 0.0), area)
    cycle = len({phase for _, phase in areas})
    return [
        _reason(each, place, areas, largest, cycle, most_uncertain, area_jump)
        for each, place in zip(seen, places, strict=True)
    ]


def _reason(
    seen: Seen,
    place: Place | None,
    areas: Mapping[Place, float],
    largest: Mapping[int, float],
    cycle: int,
    most_uncertain: float,
    area_jump: float,
) -> str | None:
    reasons = []
    if place is not None:
        reasons += _among_slices(place, areas)
        if cycle >= CINE_PHASES:
            reasons += _among_phases(place, areas, area_jump * largest[place[0]], cycle)
    if seen.components > 1:
        reasons.append(f"{seen.components} components")
    if seen.at_border:
        reasons.append("touches the border")
    if seen.uncertainty >= most_uncertain:
        reasons.append(f"uncertain, {seen.uncertainty:.2f}")
    return "; ".join(reasons) or None


def _among_slices(place: Place, areas: Mapping[Place, float]) -> list[str]:
    index, phase = place
    own = [other for other, at in areas if at == phase and areas[other, at] > 0]
    if areas[place] == 0 and own and min(own) < index < max(own):
        return ["empty between slices that are not"]
    return []


def _among_phases(place: Place, areas: Mapping[Place, float], jump_px: float, cycle: int) -> list[str]:
    index, phase = place
    beside = [areas.get((index, (phase + step) % cycle)) for step in (-1, 1)]
    if None in beside:
        return []
    before, after = (float(area or 0.0) for area in beside)
    if areas[place] == 0 and min(before, after) > 0:
        return ["empty between phases that are not"]
    change = areas[place] - (before + after) / 2
    if abs(change) >= max(jump_px, SMALL_JUMP_PX):
        return [f"area jumps by {change:+.0f} px"]
    return []
