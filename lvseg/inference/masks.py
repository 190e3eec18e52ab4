"""Probabilities of a study → masks on its native grid: averaged, smoothed over the study, one component each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.slices import CAVITY, MYOCARDIUM, Grid

__all__ = ["bounding_box", "consistent", "decide", "on_native_grid", "tidy"]

HALF = 0.5
"""Of two classes the likelier has more than this."""

Probabilities = NDArray[np.float32]
"""(images, rows, columns, structures): cavity and, where the model knows it, myocardium; the rest is background."""


def on_native_grid(probabilities: Probabilities, grids: Sequence[Grid | None], shape: tuple[int, int]) -> Probabilities:
    """Bring probabilities back to the images that they were made of.

    On a crop the pixels stay; resampled ones are interpolated linearly. Beyond the crop all is background.

    Args:
        probabilities: on the models' grid.
        grids: where the pixels of each image lie.
        shape: (rows, columns) of the native images.
    """
    if all(grid is None for grid in grids):
        return probabilities
    native = np.zeros((len(probabilities), *shape, probabilities.shape[3]), np.float32)
    for image, values, grid in zip(native, probabilities, grids, strict=True):
        if grid is None:
            image[:] = values
        elif (grid.row_step, grid.column_step) == (1, 1):
            _paste(image, values, round(grid.row0), round(grid.column0))
        else:
            image[:] = _interpolated(values, grid)
    return native


def _paste(image: NDArray[np.float32], values: NDArray[np.float32], row: int, column: int) -> None:
    rows, columns = values.shape[:2]
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + rows, image.shape[0]), min(column + columns, image.shape[1])
    if bottom > top and right > left:
        image[top:bottom, left:right] = values[top - row : bottom - row, left - column : right - column]


def _interpolated(values: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    rows = ((np.arange(grid.rows) - grid.row0) / grid.row_step).astype(np.float32)
    columns = ((np.arange(grid.columns) - grid.column0) / grid.column_step).astype(np.float32)
    at_columns, at_rows = np.meshgrid(columns, rows)
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": 0}
    planes = [
        cv2.remap(np.ascontiguousarray(values[..., plane]), at_columns, at_rows, cv2.INTER_LINEAR, **border)  # type: ignore[call-overload]
        for plane in range(values.shape[2])
    ]
    return np.stack(planes, axis=-1).astype(np.float32)


def consistent(
    probabilities: Probabilities,
    slices: Sequence[int | None],
    phases: Sequence[int | None],
    sigma_phases: float,
    sigma_slices: float,
) -> Probabilities:
    """Smooth the probabilities over the phases of each slice, and over the slices of each phase.

    The heart beats in a circle: the last phase comes before the first. Weights are Gaussian; images that are not
    there have none. Images whose slice or phase is not known stay as they are.

    Args:
        probabilities: of all images of a study.
        slices: index of each image's slice.
        phases: index of each image's phase.
        sigma_phases: standard deviation of the weights, phases; 0 leaves them.
        sigma_slices: the same over slices.
    """
    known = [(s, p) for s, p in zip(slices, phases, strict=True) if s is not None and p is not None]
    if known and sigma_phases:
        cycle = max(phase for _, phase in known) + 1
        probabilities = _smoothed(probabilities, slices, phases, sigma_phases, cycle)
    if known and sigma_slices:
        probabilities = _smoothed(probabilities, phases, slices, sigma_slices, None)
    return probabilities


def _smoothed(
    probabilities: Probabilities,
    groups: Sequence[int | None],
    places: Sequence[int | None],
    sigma: float,
    cycle: int | None,
) -> Probabilities:
    """Within each group, over its places."""
    result = probabilities.copy()
    for group in {group for group in groups if group is not None}:
        members = [i for i, own in enumerate(groups) if own == group and places[i] is not None]
        at = np.array([places[i] for i in members], np.float64)
        distance = np.abs(at[:, None] - at)
        if cycle is not None:
            distance = np.minimum(distance, cycle - distance)
        weights = np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        result[members] = np.tensordot(weights, probabilities[members], axes=1)
    return result


def decide(probabilities: Probabilities) -> NDArray[np.uint8]:
    """(images, rows, columns) the likeliest class: 0 background, 1 cavity, 2 myocardium."""
    if probabilities.shape[-1] == 1:
        return (probabilities[..., 0] > HALF).astype(np.uint8)
    background = 1 - probabilities.sum(axis=-1)
    mask: NDArray[np.uint8] = (1 + probabilities.argmax(axis=-1)).astype(np.uint8)
    mask[probabilities.max(axis=-1) <= background] = 0
    return mask


def tidy(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest component of the heart and in it of the cavity, and fill their holes.

    Args:
        mask: (rows, columns) classes.

    Returns:
        A new mask; empty where there is no cavity.
    """
    result = np.zeros_like(mask)
    box = bounding_box(mask > 0)
    if box is None:
        return result
    part = mask[box]
    heart = _largest(part > 0)
    cavity = _largest((part == CAVITY) & heart)
    if cavity.any():
        inside = result[box]
        if (part == MYOCARDIUM).any():
            inside[heart] = MYOCARDIUM
        inside[cavity] = CAVITY
    return result


def bounding_box(region: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns that hold all of a region; None where it is empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _largest(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest component, its holes filled; what joins at corners only is apart."""
    components, count = ndimage.label(region)
    if not count:
        return region
    if count > 1:
        region = components == 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    filled: NDArray[Any] = ndimage.binary_fill_holes(region, structure=np.ones((3, 3)))
    return filled.astype(bool)
