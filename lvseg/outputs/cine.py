"""What a study's images are to each other: phases and the time between them, contours for the volumes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from lvseg.evaluation.volumes import Drawn
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.slices import Contours, Place

__all__ = ["CINE_PHASES", "contours_by_name", "incomplete_phases", "measurable", "phase_step_ms", "place_of"]

CINE_PHASES = 5
"""Phases from which a study is a cine; a few labelled phases need not have the same slices, nor be near in time."""


def contours_by_name(study: PredictedStudy) -> dict[str, Contours]:
    """Contours of every image, by its name."""
    return {image.name: contours for image, contours in zip(study.images, study.contours, strict=True)}


def measurable(study: PredictedStudy) -> list[Drawn]:
    """Places and contours of the images that volumes are measured on: without phases that lack a slice."""
    drawn = [(place_of(image), contours) for image, contours in zip(study.images, study.contours, strict=True)]
    left_out = incomplete_phases(place for place, _ in drawn)
    return [pair for pair in drawn if pair[0].phase_index not in left_out]


def incomplete_phases(places: Iterable[Place]) -> set[int]:
    """Phases of a cine that lack a slice: their volume would be too small."""
    slices: dict[int, set[int]] = defaultdict(set)
    for place in places:
        if place.phase_index is not None and place.slice_index is not None:
            slices[place.phase_index].add(place.slice_index)
    if len(slices) < CINE_PHASES:
        return set()
    most = max(map(len, slices.values()))
    return {phase for phase, found in slices.items() if len(found) < most}


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


def phase_step_ms(images: Sequence[PredictedImage]) -> float | None:
    """Time from one phase to the next, ms, by the trigger times; None where these do not say."""
    steps = []
    for index in {image.slice_index for image in images}:
        times = sorted(
            (image.phase_index, image.trigger_time_ms)
            for image in images
            if image.slice_index == index and image.phase_index is not None and image.trigger_time_ms is not None
        )
        steps += [(t1 - t0) / (p1 - p0) for (p0, t0), (p1, t1) in pairwise(times) if p1 > p0]
    step = float(np.median(steps)) if steps else 0.0
    return step if step > 0 else None
