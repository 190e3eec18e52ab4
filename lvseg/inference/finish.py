"""Probabilities of a study → masks, volumes, what to look at, files. Pure NumPy, so that any process can do it."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.config import LabelConvention, PredictConfig
from lvseg.evaluation import find_phases, measure_volumes, phase_volumes_ml, slice_spacing_mm
from lvseg.inference.look import Seen, reasons_to_look, see
from lvseg.inference.masks import Probabilities, consistent, decide, on_native_grid, tidy
from lvseg.inference.prepare import PreparedStudy
from lvseg.inference.tables import ImageRow, StudyNote, VolumesRow
from lvseg.outputs.cine import CINE_PHASES, incomplete_phases, measurable
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.rasterize import contour_area_px
from lvseg.slices import Contours, Grid, Place

__all__ = ["Recipe", "finish_study"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What makes studies of probabilities."""

    settings: PredictConfig
    """Smoothing, components, what is worth a look."""
    labels: LabelConvention
    """Convention that the models learnt."""
    kinds: tuple[int, ...]
    """For each model which of a study's inputs it takes."""


def finish_study(
    prepared: PreparedStudy, probabilities: Sequence[Probabilities], recipe: Recipe
) -> tuple[PredictedStudy, StudyNote]:
    """Make masks and numbers.

    Args:
        prepared: the study's images.
        probabilities: of each model, on its own grid.
        recipe: how.

    Returns:
        The study for the writers of files, and its row of the tables.
    """
    settings = recipe.settings
    shape = (prepared.images[0].pixels.shape[0], prepared.images[0].pixels.shape[1])
    places = [image.place for image in prepared.images]
    grids = [prepared.grids[kind] for kind in recipe.kinds]
    native = [on_native_grid(p, g, shape) for p, g in zip(probabilities, grids, strict=True)]
    total = native[0] if len(native) == 1 else np.mean(native, axis=0)
    total = consistent(
        total,
        [place.slice_index for place in places],
        [place.phase_index for place in places],
        settings.smooth_phases,
        settings.smooth_slices,
    )
    raw = decide(total)
    masks = np.stack([tidy(mask) for mask in raw]) if settings.largest_component else raw
    cavity = np.ascontiguousarray(total[..., 0])
    windows = [_window(grid, probabilities[0].shape[1:3], shape) for grid in grids[0]]
    seen = [see(*views) for views in zip(cavity, raw, masks, windows, strict=True)]
    looks = reasons_to_look(seen, list(map(_where, places)), settings.look_uncertainty, settings.look_area_jump)
    labels = _labels(recipe.labels, grids)
    study = _study(prepared, masks, cavity, seen, looks, labels)
    return study, _note(prepared, study)


def _where(place: Place) -> tuple[int, int] | None:
    if place.slice_index is None or place.phase_index is None:
        return None
    return place.slice_index, place.phase_index


def _window(grid: Grid | None, seen_shape: tuple[int, ...], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns that the model saw; of resampled images those of its outermost pixels' centres."""
    if grid is None:
        return slice(0, shape[0]), slice(0, shape[1])
    rows, columns = seen_shape
    ends = (
        (grid.row0, grid.row0 + (rows - 1) * grid.row_step, shape[0]),
        (grid.column0, grid.column0 + (columns - 1) * grid.column_step, shape[1]),
    )
    first, second = (slice(max(math.ceil(low), 0), min(math.floor(high) + 1, side)) for low, high, side in ends)
    return first, second


def _labels(labels: LabelConvention, grids: Sequence[Sequence[Grid | None]]) -> LabelConvention:
    """What the convention does to a contour on the half-pixel lattice is not there on resampled pixels."""
    resampled = any(grid is not None and (grid.row_step, grid.column_step) != (1, 1) for each in grids for grid in each)
    return "given" if resampled and labels == "centre" else labels


def _study(
    prepared: PreparedStudy,
    masks: NDArray[np.uint8],
    cavity: NDArray[np.float32],
    seen: Sequence[Seen],
    looks: Sequence[str | None],
    labels: LabelConvention,
) -> PredictedStudy:
    images = [
        PredictedImage(
            name=image.name,
            instance_number=image.place.instance_number,
            slice_index=image.place.slice_index,
            phase_index=image.place.phase_index,
            trigger_time_ms=image.place.trigger_time_ms,
            image=image.pixels.astype(np.float32),
            mask=mask,
            probability=probability,
            uncertainty=own.uncertainty,
            look=look,
            pixel_spacing=image.place.pixel_spacing,
            image_position_patient=image.place.image_position_patient,
            image_orientation_patient=image.place.image_orientation_patient,
            source=image.source,
        )
        for image, mask, probability, own, look in zip(prepared.images, masks, cavity, seen, looks, strict=True)
    ]
    return PredictedStudy(
        case_id=prepared.case_id,
        images=tuple(images),
        slice_spacing_mm=slice_spacing_mm(image.place for image in prepared.images),
        labels=labels,
    )


def _note(prepared: PreparedStudy, study: PredictedStudy) -> StudyNote:
    """The study's rows of the tables."""
    places = [image.place for image in prepared.images]
    left_out = incomplete_phases(places)
    drawn = measurable(study)
    ed, es = find_phases(drawn)
    rows = tuple(_image_row(study, *each) for each in zip(study.images, study.contours, strict=True))
    curve = phase_volumes_ml(drawn, study.slice_spacing_mm)
    volumes = measure_volumes(drawn, (ed, es), study.slice_spacing_mm)
    return StudyNote(
        case_id=study.case_id,
        volumes=VolumesRow(
            case_id=study.case_id,
            images=len(rows),
            slices=len({place.slice_index for place in places} - {None}),
            phases=len({place.phase_index for place in places} - {None}),
            slice_spacing_mm=study.slice_spacing_mm,
            ed_phase=ed,
            es_phase=es,
            **dataclasses.asdict(volumes),
            look_images=sum(row.look is not None for row in rows),
            unreadable_images=prepared.unreadable,
            left_out_phases=len(left_out),
            missing_slices=_missing_slices(places),
        ),
        images=rows,
        curve_ml=curve,
        trigger_times_ms=_times(places),
        skipped=prepared.skipped,
        decisions=prepared.decisions,
    )


def _missing_slices(places: Sequence[Place]) -> int:
    """Gaps between the slices of a cine; of labelled images alone, most slices have none."""
    slices = {place.slice_index for place in places if place.slice_index is not None}
    if len({place.phase_index for place in places} - {None}) < CINE_PHASES or not slices:
        return 0
    return max(slices) - min(slices) + 1 - len(slices)


def _image_row(study: PredictedStudy, image: PredictedImage, contours: Contours) -> ImageRow:
    contour = contours.endocardium
    area_px = 0.0 if contour is None else contour_area_px(contour)
    spacing = image.pixel_spacing
    return ImageRow(
        case_id=study.case_id,
        name=image.name,
        instance_number=image.instance_number,
        slice_index=image.slice_index,
        phase_index=image.phase_index,
        trigger_time_ms=image.trigger_time_ms,
        area_px=area_px,
        area_mm2=None if spacing is None else area_px * spacing[0] * spacing[1],
        uncertainty=image.uncertainty,
        look=image.look,
    )


def _times(places: Sequence[Place]) -> dict[int, float]:
    """Phase → median trigger time of its images, ms."""
    times: dict[int, list[float]] = defaultdict(list)
    for place in places:
        if place.phase_index is not None and place.trigger_time_ms is not None:
            times[place.phase_index].append(place.trigger_time_ms)
    return {phase: float(np.median(times[phase])) for phase in sorted(times)}
