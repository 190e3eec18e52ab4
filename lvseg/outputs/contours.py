"""The contours of a study's masks, and their places as the evaluation wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.config import Structures
from lvseg.evaluation import contours_from_mask
from lvseg.evaluation.volumes import Drawn
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.slices import MYOCARDIUM, Contours, Place

__all__ = ["draw_contours", "drawn_images", "place_of"]


def draw_contours(image: PredictedImage) -> Contours:
    """Sub-pixel contours of an image's mask, 1-based; the epicardium where there is myocardium."""
    structures: Structures = "endo+myo" if (image.mask == MYOCARDIUM).any() else "endo"
    # Tracing takes time by the pixel, and the heart fills few of them.
    top, bottom = _reach(image.mask.max(axis=1))
    left, right = _reach(image.mask.max(axis=0))
    found = contours_from_mask(image.mask[top:bottom, left:right], "given", structures)
    moved: dict[str, Any] = {name: np.add(points, (left, top)) for name, points in found.named()}
    return Contours(**moved)


def _reach(filled: NDArray[np.uint8]) -> tuple[int, int]:
    """First and one past the last that is filled; all where none is."""
    at = np.flatnonzero(filled)
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, len(filled))


def place_of(image: PredictedImage) -> Place:
    """The place of an image."""
    cosines = image.image_orientation_patient
    return Place(
        instance_number=image.instance_number,
        slice_index=image.slice_index,
        phase_index=image.phase_index,
        trigger_time_ms=image.trigger_time_ms,
        pixel_spacing=image.pixel_spacing,
        image_position_patient=image.image_position_patient,
        image_orientation_patient=None if cosines is None else tuple(cosines),  # type: ignore[arg-type]
    )


def drawn_images(study: PredictedStudy) -> list[Drawn]:
    """Every image with its contours."""
    return [(place_of(image), draw_contours(image)) for image in study.images]
