"""One labelled image and where it comes from: the value that every source yields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Place", "Slice"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an image lies in its patient and in the cardiac cycle; ``None`` where the source does not say.

    Names are DICOM's keywords in snake_case. Nothing here identifies a person.
    """

    instance_number: int | None = None
    """Number of the image in its series (0020,0013); also the number in the contour's file name."""
    slice_index: int | None = None
    """0-based slice of the stack."""
    phase_index: int | None = None
    """0-based phase of the cardiac cycle."""
    trigger_time_ms: float | None = None
    """Delay after the R wave, ms (0018,1060)."""
    pixel_spacing: tuple[float, float] | None = None
    """(row, column) spacing, mm (0028,0030)."""
    slice_thickness_mm: float | None = None
    """Slice thickness, mm (0018,0050)."""
    spacing_between_slices_mm: float | None = None
    """Distance of neighbouring slices' centres, mm (0018,0088)."""
    image_position_patient: tuple[float, float, float] | None = None
    """Centre of the first pixel, mm, patient coordinates (0020,0032)."""
    image_orientation_patient: tuple[float, float, float, float, float, float] | None = None
    """Direction cosines of rows and columns (0020,0037)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slice:
    """An image, its mask, where it comes from."""

    name: str
    """Unique in a record set, e.g. ``SC-HF-I-1-IM-0001-0048``."""
    case_id: str
    """The patient's pseudonym, e.g. ``SC-HF-I-1``."""
    image: NDArray[np.integer]
    """(rows, columns), the stored pixel values in their own integer type."""
    mask: NDArray[np.uint8]
    """(rows, columns), 1 inside the endocardium, else 0."""
    place: Place
    """Position in patient and cardiac cycle."""
    contour_xy_px: NDArray[np.float64] | None = None
    """(N, 2) endocardium as in the contour file: 1-based (column, row); None where the source has only a mask."""
    source_sha256: str = ""
    """Hash over the bytes of the files it was read from."""
