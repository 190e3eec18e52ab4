"""Slices with a heart drawn from contours, for the tests of this room."""

from __future__ import annotations

from typing import Any

import numpy as np

from lvseg.phantom.anatomy import draw_anatomy, section
from lvseg.rasterize import label_mask
from lvseg.slices import Contours, Place, Slice

PLACE = Place(
    instance_number=48,
    slice_index=3,
    phase_index=7,
    pixel_spacing=(1.4, 1.3),
    slice_thickness_mm=8.0,
    image_position_patient=(-100.0, -120.0, 30.0),
    image_orientation_patient=(0.6, 0.8, 0.0, 0.0, 0.0, -1.0),
)


def phantom_contours(number: int, spacing: tuple[float, float], middle_xy_px: tuple[float, float]) -> Contours:
    """Mid-ventricular contours of a phantom patient, around a 0-based (column, row)."""
    heart = section(draw_anatomy(number, 5, 9), 4, 0.0)

    def points(outline_mm: np.ndarray) -> np.ndarray:
        return (outline_mm - heart.centre_mm) / spacing[::-1] + middle_xy_px + 1

    return Contours(
        endocardium=points(heart.outline(heart.endocardium_mm)),
        epicardium=points(heart.outline(heart.epicardium_mm)),
        papillaries=tuple(points(outline) for outline in heart.papillaries_mm),
    )


def heart_slice(
    number: int = 1,
    shape: tuple[int, int] = (160, 180),
    structures: str = "endo+myo",
    labels: str = "centre",
    middle_xy_px: tuple[float, float] = (70.3, 95.8),
    place: Place = PLACE,
    **fields: Any,
) -> Slice:
    """A slice whose image is noise on a bright heart, int16."""
    contours = phantom_contours(number, place.pixel_spacing or (1.4, 1.3), middle_xy_px)
    mask = label_mask(contours, shape, labels, structures)
    noise = np.random.Generator(np.random.PCG64(number)).normal(300, 40, shape)
    image = (noise + 500 * (mask == 1)).astype(np.int16)
    return Slice(
        **{"name": "PH-N-1-IM-0001-0048", "case_id": "PH-N-1", "image": image, "mask": mask, "place": place}
        | {"contours": contours, "source_sha256": "abc"}
        | fields
    )
