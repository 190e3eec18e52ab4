"""What a prediction hands to the writers of files: a patient's images, each with the mask that a model drew on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lvseg.config import LabelConvention
from lvseg.outputs.outline import draw_contours
from lvseg.slices import Contours

__all__ = ["PredictedImage", "PredictedStudy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedImage:
    """One image on its native grid, as it came from the scanner, and what was predicted on it."""

    name: str
    """Pseudonymous, unique in its study, safe as a file name: ``SC-HF-I-1-IM-0001-0048``."""
    instance_number: int | None
    """Number of the image in its series (0020,0013), as in the contours' file names."""
    slice_index: int | None
    """0-based slice, 0 the first along the slice normal."""
    phase_index: int | None
    """0-based phase of the cardiac cycle."""
    trigger_time_ms: float | None
    """Delay after the R wave, ms (0018,1060)."""
    image: np.ndarray
    """(rows, columns) float32: native grid, native grey values."""
    mask: np.ndarray
    """(rows, columns) uint8, native grid: 0 background, 1 cavity of the left ventricle, 2 its myocardium."""
    probability: np.ndarray | None
    """(rows, columns) float32, native grid, 0 to 1: of the cavity."""
    uncertainty: float | None
    """One number an image: 0 where the model is sure, 1 at most."""
    look: str | None
    """Why a person should look at this one, or None."""
    pixel_spacing: tuple[float, float] | None
    """(row, column) spacing, mm (0028,0030)."""
    image_position_patient: tuple[float, float, float] | None
    """Centre of the first pixel, mm, patient coordinates (0020,0032)."""
    image_orientation_patient: tuple[float, ...] | None
    """Six direction cosines, of rows and of columns (0020,0037)."""
    source: str | None
    """Path or URI of the source image (a DICOM file), for references to it; never written to a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedStudy:
    """The images of one patient."""

    case_id: str
    """The patient's pseudonym, safe as a folder name."""
    images: tuple[PredictedImage, ...]
    """By slice, then phase, where these are known."""
    slice_spacing_mm: float | None
    """Distance of neighbouring slices' centres, mm; None where it is not known."""
    labels: LabelConvention = "given"
    """Convention in which the model learnt to draw; contours take back on average what it does to them."""
    contours: tuple[Contours, ...] = field(init=False, repr=False, compare=False)
    """Of each image, drawn from its mask: what volumes, contour files and pictures share."""

    def __post_init__(self) -> None:
        contours = tuple(draw_contours(image.mask, self.labels) for image in self.images)
        object.__setattr__(self, "contours", contours)
