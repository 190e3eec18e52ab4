"""One slice → the slice as it is stored: resampled, cropped, normalised, and everything else moved along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvseg.config import Normalisation, PreprocessConfig, RasterConvention, Structures
from lvseg.errors import SourceError
from lvseg.preprocess.grid import Layout, contour_to_grid, find_layout, to_grid
from lvseg.rasterize import label_mask
from lvseg.slices import Contours, Grid, Place, Slice

__all__ = ["lay_out_image", "normalise", "preprocess"]

PERCENTILES = (1.0, 99.0)
"""Values that become 0 and 1; what lies beyond is clipped: the brightest fat next to the coil is of no interest."""


def preprocess(
    item: Slice,
    config: PreprocessConfig,
    labels: RasterConvention | None,
    structures: Structures,
    heart_xy_px: tuple[float, float] | None,
) -> Slice:
    """Resample, crop and normalise a slice as it was loaded; contours, mask, place and grid go with the image.

    After resampling the mask is drawn again from the contours, where there are some; a mask that came as a file takes
    the nearest pixel. A crop alone cuts the mask exactly. Contours may leave the crop.

    Args:
        item: as loaded, on its source image.
        config: what to do.
        labels: label convention of the mask that is drawn; None is ``centre``.
        structures: classes of the mask.
        heart_xy_px: middle of the crop around the heart: (column, row), 0-based, in the source image.

    Returns:
        The new slice, image float32 if resampled or normalised; the same object where there is nothing to do.

    Raises:
        SourceError: spacing or heart are needed and not known, or a contour is; names the slice.
        ValueError: the slice is preprocessed already.
    """
    if item.grid is not None:
        raise ValueError(f"{item.name} is preprocessed already")
    shape = (item.image.shape[0], item.image.shape[1])
    try:
        layout = find_layout(shape, item.place.pixel_spacing, config, heart_xy_px)
        if not layout.is_source:
            item = _lay_out(item, layout, labels or "centre", structures)
    except SourceError as error:
        raise SourceError(f"{item.name}: {error}") from None
    return item if config.normalise == "none" else replace(item, image=normalise(item.image, config.normalise))


def _lay_out(item: Slice, layout: Layout, labels: RasterConvention, structures: Structures) -> Slice:
    contours = _contours_on_grid(item.contours, layout.grid)
    if layout.resampled and contours.endocardium is not None:
        mask = label_mask(contours, layout.shape, labels, structures, clip=True)
    else:
        mask = to_grid(item.mask, layout.grid, layout.shape)
    return replace(
        item,
        image=lay_out_image(item.image, layout),
        mask=mask,
        contours=contours,
        place=_place_on_grid(item.place, layout),
        grid=layout.grid,
    )


def _contours_on_grid(contours: Contours, grid: Grid) -> Contours:
    endocardium, epicardium = contours.endocardium, contours.epicardium
    return Contours(
        endocardium=None if endocardium is None else contour_to_grid(endocardium, grid),
        epicardium=None if epicardium is None else contour_to_grid(epicardium, grid),
        papillaries=tuple(contour_to_grid(points, grid) for points in contours.papillaries),
    )


def _place_on_grid(place: Place, layout: Layout) -> Place:
    """Spacing and position of the new pixels (DICOM PS3.3, C.7.6.2.1.1); None where the source lacks what it takes."""
    spacing, position = place.pixel_spacing, place.image_position_patient
    grid, cosines = layout.grid, place.image_orientation_patient
    moved = None
    if spacing is not None and position is not None and cosines is not None:
        along_row = np.array(cosines[:3]) * grid.column0 * spacing[1]
        along_column = np.array(cosines[3:]) * grid.row0 * spacing[0]
        x, y, z = (np.array(position) + along_row + along_column).tolist()
        moved = (x, y, z)
    return replace(
        place,
        pixel_spacing=None if spacing is None else (spacing[0] * grid.row_step, spacing[1] * grid.column_step),
        image_position_patient=moved,
    )


def lay_out_image(image: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Resample the whole field of view, then cut it; where the crop leaves it, the image's minimum stands.

    Args:
        image: (rows, columns) of the source image.
        layout: where the new image lies.

    Returns:
        (rows, columns): float32 if resampled, else the image's own type.
    """
    if layout.resampled:
        image = _resample(image, layout)
    if layout.shape == layout.whole_shape and layout.start == (0, 0):
        return image
    result = np.full(layout.shape, image.min(), image.dtype)
    (top, left), (rows, columns) = layout.start, layout.shape
    inside = image[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)]
    first_row, first_column = max(-top, 0), max(-left, 0)
    result[first_row : first_row + inside.shape[0], first_column : first_column + inside.shape[1]] = inside
    return result


def _resample(image: NDArray[Any], layout: Layout) -> NDArray[np.float32]:
    """Linear interpolation; where pixels grow, each averages what it covers with a triangle of two new pixels' width.

    Pillow's filter: positions are exact, unlike those of older OpenCV, and it takes a quarter of SciPy's time.
    """
    (rows, columns), grid = layout.whole_shape, layout.grid
    height, width = rows * grid.row_step, columns * grid.column_step
    top, left = max((grid.rows - height) / 2, 0.0), max((grid.columns - width) / 2, 0.0)
    box = (left, top, min(left + width, grid.columns), min(top + height, grid.rows))
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR, box))


def normalise(image: NDArray[Any], method: Normalisation) -> NDArray[np.float32]:
    """Scale the values of one image.

    Args:
        image: (rows, columns), any number type.
        method: ``percentile``: percentile 1 becomes 0, percentile 99 becomes 1, what lies beyond is clipped;
            ``zscore``: mean 0 and standard deviation 1; ``none``: the values stay.

    Returns:
        (rows, columns) float32; 0 throughout where the image has no contrast.
    """
    values = image.astype(np.float32)
    if method == "none":
        return values
    if method == "percentile":
        low, high = (float(bound) for bound in np.percentile(values, PERCENTILES))
        values = np.clip(values, low, high)
        centre, scale = low, high - low
    else:
        centre, scale = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    if not scale > 0:
        return np.zeros_like(values)
    return ((values - np.float32(centre)) / np.float32(scale)).astype(np.float32)
