"""Closed contours → a mask, under one of two named label conventions.

Contour coordinates are 1-based, as the files have them: the centre of the first pixel is (1, 1).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lvseg.config import RasterConvention, Structures
from lvseg.errors import ContourError
from lvseg.slices import CAVITY, MYOCARDIUM, Contours

__all__ = ["check_contour", "check_on_image", "contour_area_px", "label_mask", "rasterize"]

MIN_AREA_PX = 1e-6
"""Area, px², below which a contour is a line or a point; far below the 0.125 px² of the half-pixel lattice."""

TIE_BREAK_PX = (1e-6, 1e-9)
"""(column, row) step, px, that decides for centres on an edge; no edge between lattice points is parallel to it."""


def label_mask(
    contours: Contours, shape: tuple[int, int], labels: RasterConvention, structures: Structures, *, clip: bool = False
) -> NDArray[np.uint8]:
    """Draw the classes that the structures ask for.

    The cavity is inside the endocardium, papillary muscles included; the myocardium is inside the epicardium and not
    cavity, so both always lie apart, also where the contours cross.

    Args:
        contours: in pixels of the mask, 1-based.
        shape: (rows, columns) of the mask.
        labels: the convention, ``centre`` or ``course``.
        structures: ``endo`` needs the endocardium, ``endo+myo`` the epicardium too.
        clip: see ``rasterize``.

    Returns:
        (rows, columns) uint8: 0, ``CAVITY``, ``MYOCARDIUM``.

    Raises:
        ContourError: a contour that is needed is missing or unusable; names which.
    """
    cavity = _inside("endocardium", contours.endocardium, shape, labels, clip)
    mask = cavity * np.uint8(CAVITY)
    if structures == "endo+myo":
        heart = _inside("epicardium", contours.epicardium, shape, labels, clip)
        mask[(heart == 1) & (cavity == 0)] = MYOCARDIUM
    return mask


def _inside(
    name: str, points: NDArray[np.float64] | None, shape: tuple[int, int], labels: RasterConvention, clip: bool
) -> NDArray[np.uint8]:
    if points is None:
        raise ContourError(f"no {name} contour")
    try:
        return rasterize(points, shape, labels, clip=clip)
    except ContourError as error:
        raise ContourError(f"{name} contour: {error}") from None


def rasterize(
    contour_xy_px: NDArray[np.float64], shape: tuple[int, int], labels: RasterConvention, *, clip: bool = False
) -> NDArray[np.uint8]:
    """Fill a closed contour.

    ``centre``: a pixel is inside when its centre is inside the polygon, after the shift from 1-based to 0-based.
    Contours lie on a half-pixel lattice, so centres exactly on an edge are common. Such a centre counts as
    inside on the polygon's left (and, on horizontal edges, top) side and as outside on the right (bottom)
    side: polygons that share an edge share no pixel, and the area has no bias. Against the polygon's own area,
    on 56 Sunnybrook contours of 78 to 2386 px²: mean error -0.06 %, worst -1.3 %. Counting every such centre as
    inside gives +2.7 % and +10 %, counting none -2.7 % and -13 %.

    ``course``: ``cv2.fillPoly`` on the truncated coordinates, not shifted. This repeats the labels of the
    classic course exercise; the area comes out about 6 % too large.

    Args:
        contour_xy_px: (N, 2) float, 1-based (column, row); the last point is joined to the first.
        shape: (rows, columns) of the mask.
        labels: the convention, ``centre`` or ``course``.
        clip: the contour may leave the image, as it does on a crop; the result is the crop of the whole mask.

    Returns:
        (rows, columns) uint8, 1 inside, else 0.

    Raises:
        ContourError: fewer than three points, not finite, no area, or a point outside the image without ``clip``.
    """
    check_contour(contour_xy_px)
    if clip:
        return _fill_clipped(contour_xy_px, shape, labels)
    check_on_image(contour_xy_px, shape)
    return _fill(contour_xy_px, shape, labels)


def _fill_clipped(
    contour_xy_px: NDArray[np.float64], shape: tuple[int, int], labels: RasterConvention
) -> NDArray[np.uint8]:
    """Draw on a frame that holds both contour and image, then cut: clipped edges would be rounded another way."""
    rows, columns = shape
    before = np.maximum(0, 1 - np.floor(contour_xy_px.min(axis=0)).astype(int))
    after = np.maximum(0, 1 + np.ceil(contour_xy_px.max(axis=0)).astype(int) - np.array([columns, rows]))
    (left, top), (right, bottom) = before.tolist(), after.tolist()
    frame = (top + rows + bottom, left + columns + right)
    return _fill(contour_xy_px + before, frame, labels)[top : top + rows, left : left + columns].copy()


def _fill(contour_xy_px: NDArray[np.float64], shape: tuple[int, int], labels: RasterConvention) -> NDArray[np.uint8]:
    return _fill_course(contour_xy_px, shape) if labels == "course" else _fill_centre(contour_xy_px, shape)


def _fill_centre(contour_xy_px: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Even-odd rule along every row: a centre is inside when an odd number of edges lies to its left."""
    # Moving the polygon a hair to the left and up is moving every centre a hair to the right and down.
    x, y = (contour_xy_px - 1.0 - TIE_BREAK_PX).T
    next_x, next_y = _following(x), _following(y)
    first = np.clip(np.ceil(np.minimum(y, next_y)), 0, shape[0]).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y, next_y)), 0, shape[0]).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(x)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    crossing = x[edge] + (row - y[edge]) * (next_x - x)[edge] / (next_y - y)[edge]
    column = np.clip(np.ceil(crossing), 0, shape[1]).astype(np.int64)
    mask = np.zeros(shape, np.uint8)
    if len(row):
        top, left, bottom, right = int(row.min()), int(column.min()), int(row.max()) + 1, int(column.max())
        width = right - left + 1
        flips = np.bincount((row - top) * width + (column - left), minlength=(bottom - top) * width)
        filled = np.cumsum(flips.astype(np.uint8).reshape(-1, width), axis=1, dtype=np.uint8)
        mask[top:bottom, left:right] = filled[:, :-1] & 1
    return mask


def _fill_course(contour_xy_px: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.trunc(contour_xy_px).astype(np.int32)], 1)
    return mask


def contour_area_px(contour_xy_px: NDArray[np.float64]) -> float:
    """Area inside a closed contour, px², by the shoelace formula.

    Args:
        contour_xy_px: (N, 2) float, (column, row); the last point is joined to the first.
    """
    x, y = (contour_xy_px - contour_xy_px[0]).T
    return 0.5 * abs(float(x @ _following(y) - y @ _following(x)))


def _following(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of the next point on the closed contour; ``np.roll`` takes ten times as long."""
    return np.concatenate((values[1:], values[:1]))


def check_contour(contour_xy_px: NDArray[np.float64]) -> None:
    """Refuse what is no closed contour.

    Raises:
        ContourError: not (N, 2), fewer than three points, a number that is not finite, or no area.
    """
    if contour_xy_px.ndim != 2 or contour_xy_px.shape[1] != 2:
        raise ContourError(f"expected points of two numbers, (N, 2), found shape {contour_xy_px.shape}")
    if len(contour_xy_px) < 3:
        raise ContourError(f"expected at least three points, found {len(contour_xy_px)}")
    if not np.isfinite(contour_xy_px).all():
        raise ContourError("expected finite numbers, found NaN or infinity")
    if contour_area_px(contour_xy_px) < MIN_AREA_PX:
        raise ContourError(f"expected a contour around an area, found {len(contour_xy_px)} points that enclose none")


def check_on_image(contour_xy_px: NDArray[np.float64], shape: tuple[int, int]) -> None:
    """Refuse a contour that leaves its image; pixels reach half a pixel beyond their 1-based centres.

    Raises:
        ContourError: names the first point outside and the range of both coordinates.
    """
    rows, columns = shape
    limit = np.array([columns, rows]) + 0.5
    outside = ((contour_xy_px < 0.5) | (contour_xy_px > limit)).any(axis=1)
    if outside.any():
        x, y = contour_xy_px[int(np.argmax(outside))]
        raise ContourError(
            f"{int(outside.sum())} of {len(contour_xy_px)} points lie outside the image, first ({x:g}, {y:g}); "
            f"expected columns 0.5 to {limit[0]:g} and rows 0.5 to {limit[1]:g}"
        )
