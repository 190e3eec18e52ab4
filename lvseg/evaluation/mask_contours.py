"""Mask → contour in the convention of contour files, the way back from ``lvseg.rasterize``."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from lvseg.config import LabelConvention
from lvseg.rasterize import MIN_AREA_PX

__all__ = ["contour_from_mask"]

INSIDE = 0.5
"""Value of the mask, or probability, at which the contour runs."""
MIN_POINTS = 16
"""The organisers' evaluation passes over contours of 15 points and fewer."""
SHIFTS_PX: dict[tuple[LabelConvention, bool], tuple[float, float]] = {
    ("centre", False): (0.25, 0.125),
    ("course", False): (-0.75, -0.75),
    ("course", True): (-0.5, -0.5),
}
"""(column, row) from a mask's 1-based pixels to its contour, by convention and whether pixels were resampled; else 0.

On the half-pixel lattice of contour files many pixel centres lie on an edge. ``centre`` counts those on the left and
upper edges as inside and those on the others as outside, so a mask lies a little to the left and above its contour: on
56 Sunnybrook contours by 0.26 and 0.12 px. ``course`` takes coordinates as 0-based and truncates them, which costs a
quarter pixel on the lattice and half a pixel elsewhere.
"""
COURSE_GROWTH_PX = 0.5
"""``cv2.fillPoly`` fills the pixels under the outline too, half a pixel beyond it."""


def contour_from_mask(
    mask: NDArray[Any], labels: LabelConvention = "given", *, resampled: bool = False
) -> NDArray[np.float64] | None:
    """Outline of the largest component of a mask, its holes filled, by marching squares.

    The outline runs halfway between the centres of the pixels inside and outside. Its area is the number of pixels
    less 0.5 px²: a corner turned outwards loses an eighth of a pixel, one turned inwards gains it, and there are four
    more of the first kind. What the label convention does to a contour on average is taken back: ``centre`` shifts it
    by fractions of a pixel, ``course`` shifts it and makes it half a pixel wider all round. Rasterising the contour of
    a ``centre`` mask gives the same mask.

    Args:
        mask: (rows, columns) bool, or 0 and 1, or a probability: then the contour runs at one half between pixels.
        labels: convention in which the mask was drawn, or in which its model learnt to draw; ``given``: none is known.
        resampled: whether it was drawn on resampled pixels, where contours are no longer on the half-pixel lattice.

    Returns:
        (N, 2) float64, (column, row), 1-based, at least 16 points; None where the mask is empty, or nothing is left.
    """
    values = _largest_component(np.asarray(mask, np.float64))
    if values is None:
        return None
    # Where the mask reaches the end of the image only the padding closes the line.
    (outline,) = find_contours(  # type: ignore[no-untyped-call]
        np.pad(values, 1), INSIDE, fully_connected="low"
    )
    # Padding has moved 0-based positions to 1-based.
    contour = outline[:-1, ::-1] + SHIFTS_PX.get((labels, resampled), (0.0, 0.0))
    return _enough_points(contour) if labels != "course" else _narrowed(contour)


def _largest_component(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The values with other components set to 0 and holes to 1; None where nothing is inside."""
    components, count = ndimage.label(values > INSIDE)
    if not count:
        return None
    largest = components == 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    # What joins at corners only is apart inside, so it is one outside: then the outline is one closed line.
    filled = ndimage.binary_fill_holes(largest, structure=np.ones((3, 3)))
    return np.where(filled, np.where(largest, values, 1.0), np.where(components > 0, 0.0, np.minimum(values, INSIDE)))


def _narrowed(contour: NDArray[np.float64]) -> NDArray[np.float64] | None:
    shrunk = shapely.get_parts(shapely.buffer(shapely.polygons(contour), -COURSE_GROWTH_PX, join_style="mitre"))
    largest = max(shrunk, key=shapely.area, default=None)
    if largest is None or shapely.area(largest) < MIN_AREA_PX:
        return None
    return _enough_points(shapely.get_coordinates(shapely.get_exterior_ring(largest))[:-1])


def _enough_points(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same line with points halfway between, until there are enough."""
    while len(contour) < MIN_POINTS:
        halfway = (contour + np.roll(contour, -1, axis=0)) / 2
        contour = np.stack([contour, halfway], axis=1).reshape(-1, 2)
    return np.ascontiguousarray(contour)
