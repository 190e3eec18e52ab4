"""The contours of a study's masks, and their places as the evaluation wants them."""

from __future__ import annotations

from lvseg.evaluation import contours_from_mask
from lvseg.evaluation.volumes import Drawn
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.slices import MYOCARDIUM, Contours, Place

__all__ = ["draw_contours", "drawn_images", "place_of"]


def draw_contours(image: PredictedImage) -> Contours:
    """Sub-pixel contours of an image's mask, 1-based; the epicardium where there is myocardium."""
    structures = "endo+myo" if (image.mask == MYOCARDIUM).any() else "endo"
    return contours_from_mask(image.mask, "given", structures)


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
