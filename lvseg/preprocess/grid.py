"""Where the pixels of a resampled or cropped image lie, and the way there and back for masks and contours.

Positions in ``Grid`` are 0-based pixel centres, contours are 1-based as in contour files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lvseg.config import PreprocessConfig
from lvseg.errors import SourceError
from lvseg.slices import Grid

__all__ = ["Layout", "contour_to_grid", "contour_to_source", "find_layout", "to_grid", "to_source"]

_ROUNDING = 1e-6
"""Pixels, or the relative difference of two spacings, that floating point may be off."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the preprocessed image lies: on the source image, and on the resampled image that it is cut from."""

    grid: Grid
    """On the source image."""
    shape: tuple[int, int]
    """Rows and columns."""
    whole_shape: tuple[int, int]
    """Rows and columns of the whole field of view after resampling, before the crop."""
    start: tuple[int, int]
    """Row and column of the first pixel in that; negative where the crop has to pad."""

    @property
    def resampled(self) -> bool:
        """Whether pixels change their size."""
        return (self.grid.row_step, self.grid.column_step) != (1, 1)

    @property
    def is_source(self) -> bool:
        """Whether the image stays as it is."""
        return not self.resampled and self.start == (0, 0) and self.shape == self.whole_shape


def find_layout(
    shape: tuple[int, int],
    pixel_spacing: tuple[float, float] | None,
    config: PreprocessConfig,
    heart_xy_px: tuple[float, float] | None,
) -> Layout:
    """Lay the resampled and cropped image on its source image.

    Resampling keeps the middle of the field of view and as many whole pixels as fit into it. The crop starts at the
    nearest whole pixel of the resampled image, of two at the smaller one.

    Args:
        shape: (rows, columns) of the source image.
        pixel_spacing: (row, column) spacing of the source image, mm.
        config: ``spacing_mm``, ``crop``, ``crop_size``.
        heart_xy_px: (column, row), 0-based, in the source image; for the crop around the heart.

    Raises:
        SourceError: spacing or heart are needed and not known, or the image is smaller than one new pixel.
    """
    middle: tuple[float | None, float | None] = (None, None)
    if config.crop == "heart":
        if heart_xy_px is None:
            raise SourceError("no cine to find the heart in; expected one, to crop around the heart")
        middle = heart_xy_px[::-1]
    rows, columns = (
        _find_axis(shape[axis], _step(pixel_spacing, axis, config), middle[axis], config.crop_size) for axis in (0, 1)
    )
    return Layout(
        grid=Grid(*shape, rows.first, columns.first, rows.step, columns.step),
        shape=(rows.size, columns.size),
        whole_shape=(rows.whole, columns.whole),
        start=(rows.start, columns.start),
    )


class _Axis(NamedTuple):
    first: float
    """Position of the first pixel in the source image."""
    step: float
    """Source pixels for each pixel."""
    size: int
    """Pixels."""
    whole: int
    """Pixels before the crop."""
    start: int
    """First pixel in those."""


def _find_axis(source_size: int, step: float, middle: float | None, crop_size: int | None) -> _Axis:
    """``middle`` is the crop's, a position in the source image; None is the image's own."""
    whole = math.floor(source_size / step + _ROUNDING)
    if whole < 1:
        raise SourceError(f"expected an image larger than one new pixel, found {source_size / step:.2g} of it")
    first = ((source_size - 1) - (whole - 1) * step) / 2
    if crop_size is None:
        return _Axis(first, step, whole, whole, 0)
    centre = (whole - 1) / 2 if middle is None else (middle - first) / step
    start = math.ceil(centre - (crop_size - 1) / 2 - 0.5 - _ROUNDING)
    return _Axis(first + start * step, step, crop_size, whole, start)


def _step(pixel_spacing: tuple[float, float] | None, axis: int, config: PreprocessConfig) -> float:
    """Source pixels for each new pixel."""
    if config.spacing_mm is None:
        return 1.0
    if pixel_spacing is None:
        raise SourceError(f"no pixel spacing; expected one, to resample to {config.spacing_mm:g} mm")
    if not pixel_spacing[axis] > 0:
        raise SourceError(f"expected a pixel spacing above 0 mm, found {pixel_spacing[axis]:g}")
    step = config.spacing_mm / pixel_spacing[axis]
    return 1.0 if abs(step - 1) < _ROUNDING else step


def to_grid(mask: NDArray[Any], grid: Grid, shape: tuple[int, int]) -> NDArray[Any]:
    """Read a mask of the source image at the pixels of the grid; the nearest pixel counts, 0 beyond the image.

    Args:
        mask: (grid.rows, grid.columns), any dtype.
        grid: where the new pixels lie.
        shape: (rows, columns) of the result.
    """
    rows = np.floor(grid.row0 + np.arange(shape[0]) * grid.row_step + 0.5).astype(np.int64)
    columns = np.floor(grid.column0 + np.arange(shape[1]) * grid.column_step + 0.5).astype(np.int64)
    return _take(mask, rows, columns)


def to_source(mask: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Bring a mask on the grid back to the source image; the nearest pixel counts, 0 beyond the crop.

    Args:
        mask: (rows, columns) on the grid, any dtype.
        grid: where its pixels lie on the source image.

    Returns:
        (grid.rows, grid.columns), same dtype.
    """
    rows = np.floor((np.arange(grid.rows) - grid.row0) / grid.row_step + 0.5).astype(np.int64)
    columns = np.floor((np.arange(grid.columns) - grid.column0) / grid.column_step + 0.5).astype(np.int64)
    return _take(mask, rows, columns)


def _take(mask: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
    """Pixels at the crossings of rows and columns; 0 where these lie outside."""
    taken = mask[np.clip(rows, 0, mask.shape[0] - 1)[:, None], np.clip(columns, 0, mask.shape[1] - 1)]
    taken[(rows < 0) | (rows >= mask.shape[0])] = 0
    taken[:, (columns < 0) | (columns >= mask.shape[1])] = 0
    return taken


def contour_to_grid(contour_xy_px: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Points of the source image in pixels of the grid: (N, 2), (column, row), both 1-based."""
    return (contour_xy_px - 1 - (grid.column0, grid.row0)) / (grid.column_step, grid.row_step) + 1


def contour_to_source(contour_xy_px: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Points on the grid in pixels of the source image: (N, 2), (column, row), both 1-based."""
    return (contour_xy_px - 1) * (grid.column_step, grid.row_step) + (grid.column0, grid.row0) + 1
