"""Where a study's pixels lie in the patient, checked; a missing number is told with the image's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import SourceError
from lvseg.outputs.study import PredictedImage

__all__ = ["DirectionCosines", "StackGeometry", "check_same_plane", "stack_geometry"]

DirectionCosines = NDArray[np.float64]
"""(2, 3): directions of a row and of a column of the image, LPS."""

POSITION_TOLERANCE_MM = 0.5
"""Distance from an even grid of slices up to which a slice is on it; positions are rounded, patients do not move so."""
DIRECTION_TOLERANCE = 1e-3
"""Difference of direction cosines, which are rounded too: 0.1 mm at the end of a row of 100 mm."""
SPACING_TOLERANCE = 1e-4
"""Relative difference of pixel spacings that are the same."""
GEOMETRY = {
    "pixel_spacing": "PixelSpacing",
    "image_position_patient": "ImagePositionPatient",
    "image_orientation_patient": "ImageOrientationPatient",
}


@dataclass(frozen=True, slots=True, eq=False)
class StackGeometry:
    """An even stack of slices."""

    affine: NDArray[np.float64]
    """(4, 4) mm: 0-based (column, row, slice index less ``first_slice``, 1) → DICOM patient coordinates, LPS."""
    first_slice: int
    """The lowest slice index."""
    slices: int
    """Planes from the lowest to the highest slice index, those that are missing between them counted too."""


def check_same_plane(images: Sequence[PredictedImage]) -> DirectionCosines:
    """Check that all images have a place, and the same shape, spacing and orientation.

    Returns:
        The directions of their rows and columns.

    Raises:
        SourceError: names the first image that is not as the others, and how.
    """
    for image in images:
        if missing := [keyword for field, keyword in GEOMETRY.items() if getattr(image, field) is None]:
            raise SourceError(f"{image.name}: no {', '.join(missing)}, without which its place is not known")
    first = images[0]
    for image in images:
        if image.mask.shape != first.mask.shape:
            raise SourceError(f"{image.name}: shape is {image.mask.shape}, of {first.name} {first.mask.shape}")
        if not np.allclose(_spacing(image), _spacing(first), rtol=SPACING_TOLERANCE, atol=0):
            raise SourceError(
                f"{image.name}: PixelSpacing is {image.pixel_spacing}, of {first.name} {first.pixel_spacing}"
            )
        if not np.allclose(_cosines(image), _cosines(first), rtol=0, atol=DIRECTION_TOLERANCE):
            raise SourceError(f"{image.name}: ImageOrientationPatient is not that of {first.name}")
    return _cosines(first)


def stack_geometry(images: Sequence[PredictedImage], slice_spacing_mm: float | None) -> StackGeometry:
    """Find the grid on which the images of a stack lie; of one slice, the normal gives the third axis.

    The line from slice to slice need not be the normal: where a stack is sheared, the affine is too.

    Args:
        images: all of one stack, in any order; several of one slice are of several phases.
        slice_spacing_mm: distance of the slices, used where there is one slice only.

    Raises:
        SourceError: an image has no place or no slice index, or lies off the grid.
    """
    row, column = check_same_plane(images)
    for image in images:
        if image.slice_index is None:
            raise SourceError(f"{image.name}: its slice is not known, expected one in a stack")
    indices = np.array([image.slice_index for image in images], np.float64)
    positions = np.array([image.image_position_patient for image in images], np.float64)
    first, last = int(indices.min()), int(indices.max())
    if first == last:
        origin, step = positions.mean(axis=0), np.cross(row, column) * (slice_spacing_mm or 1.0)
    else:
        origin, step = np.linalg.lstsq(np.stack([np.ones_like(indices), indices - first], axis=1), positions)[0]
    off = np.linalg.norm(positions - origin - (indices - first)[:, None] * step, axis=1)
    if off.max() > POSITION_TOLERANCE_MM:
        raise SourceError(
            f"{images[int(off.argmax())].name}: lies {off.max():.1f} mm off the even stack of the other slices, "
            f"expected at most {POSITION_TOLERANCE_MM} mm"
        )
    row_mm, column_mm = _spacing(images[0])
    affine = np.eye(4)
    # A step along a row is a step of one column, so the row's direction goes with the columns' spacing.
    affine[:3] = np.stack([row * column_mm, column * row_mm, step, origin], axis=1)
    return StackGeometry(affine, first, last - first + 1)


def _spacing(image: PredictedImage) -> tuple[float, float]:
    assert image.pixel_spacing is not None
    return image.pixel_spacing


def _cosines(image: PredictedImage) -> DirectionCosines:
    return np.array(image.image_orientation_patient, np.float64).reshape(2, 3)
