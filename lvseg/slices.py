"""One labelled image and where it comes from: the value that every source yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CAVITY", "CLASSES", "MYOCARDIUM", "Contours", "Grid", "Place", "Slice"]

CAVITY = 1
"""Class inside the endocardium, papillary muscles included; 0 is background."""
MYOCARDIUM = 2
"""Class between endocardium and epicardium."""
CLASSES = {"endo": 2, "endo+myo": 3}
"""Classes of the masks, background included, by the structures of a record set."""


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
class Contours:
    """Closed contours as in contour files: each (N, 2) float64, (column, row), 1-based, pixels of the slice's image."""

    endocardium: NDArray[np.float64] | None = None
    """Border of the cavity; None where the source has only a mask."""
    epicardium: NDArray[np.float64] | None = None
    """Outer border of the myocardium; drawn at end-diastole only in Sunnybrook."""
    papillaries: tuple[NDArray[np.float64], ...] = ()
    """Papillary muscles; they count as cavity."""

    def named(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """(name, points) of every contour there is; papillary muscles are ``papillary-1``, ``papillary-2``."""
        if self.endocardium is not None:
            yield "endocardium", self.endocardium
        if self.epicardium is not None:
            yield "epicardium", self.epicardium
        yield from ((f"papillary-{number}", points) for number, points in enumerate(self.papillaries, start=1))


@dataclass(frozen=True, slots=True)
class Grid:
    """How the pixels of a resampled or cropped image lie on the image that it was made from.

    The centre of pixel (i, j), 0-based, is at row ``row0 + i * row_step`` and column ``column0 + j * column_step``
    of the source image, 0-based; it may lie outside, where the crop had to pad.
    """

    rows: int
    """Rows of the source image."""
    columns: int
    """Columns of the source image."""
    row0: float
    """Row of the first pixel's centre in the source image."""
    column0: float
    """Column of the first pixel's centre in the source image."""
    row_step: float
    """Source rows for each row."""
    column_step: float
    """Source columns for each column."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slice:
    """An image, its mask, its contours, where it comes from."""

    name: str
    """Unique in a record set, e.g. ``SC-HF-I-1-IM-0001-0048``."""
    case_id: str
    """The patient's pseudonym, e.g. ``SC-HF-I-1``."""
    group: str | None = None
    """Pathology group (N, HYP, HF-NI, HF-I, …), where it is known."""
    image: NDArray[Any]
    """(rows, columns): stored values in their own integer type, or float32 once rescaled or normalised."""
    mask: NDArray[np.uint8]
    """(rows, columns): 0 background, 1 ``CAVITY``, and 2 ``MYOCARDIUM`` where the structures ask for it."""
    place: Place
    """Position in patient and cardiac cycle."""
    contours: Contours = Contours()
    """The contours that the mask was made from, in this image's pixels; empty where the source has only a mask."""
    grid: Grid | None = None
    """Where this image lies on its source image; None where it is the source image."""
    source_sha256: str = ""
    """Hash over the bytes of the files it was read from."""
    instance_key: str = ""
    """Hash of the DICOM SOPInstanceUID, to find an image that is there twice; never written to records."""
