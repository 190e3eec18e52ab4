"""Scores of every image: agreement of the contours, and where in the heart and in its cycle the image lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np

from lvseg.errors import ContourError
from lvseg.evaluation.frames import STRUCTURES, Frame, Structure
from lvseg.evaluation.outlines import ContourScore, compare_contours
from lvseg.evaluation.volumes import find_phases
from lvseg.rasterize import check_contour, contour_area_px
from lvseg.slices import Contours

__all__ = ["GOOD_THRESHOLD", "ImageScore", "Level", "Phase", "by_case", "length_unit", "phases_of", "score_frames"]

Phase = Literal["ED", "ES"]
Level = Literal["base", "mid", "apex"]
LEVELS: tuple[Level, ...] = ("base", "mid", "apex")

GOOD_THRESHOLD = 5.0
"""A contour is good when its APD is below this many mm, as in the papers."""

MISSING = ContourScore(
    dice=0.0, sensitivity=0.0, precision=nan, conformity=nan, apd=nan, apd_missed=nan, hd95=nan, assd=nan
)
"""Of an image that has no automatic contour: nothing of the manual one is found, distances are not defined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """One structure in one image with a manual contour. Lengths are in mm, or in pixels: see the evaluation's unit."""

    name: str
    """Name of the image."""
    case_id: str
    """The patient's pseudonym."""
    group: str | None
    """Pathology group."""
    structure: Structure
    """Which contour."""
    slice_index: int | None
    """0-based slice."""
    phase_index: int | None
    """0-based phase."""
    phase: Phase | None
    """ED or ES by the manual volumes; None: another phase, or none is known."""
    level: Level | None
    """Third of the patient's contoured slices."""
    detected: bool
    """Whether there is an automatic contour."""
    good: bool
    """Whether its APD is below the threshold."""
    score: ContourScore
    """Agreement with the manual contour; Dice and sensitivity are 0 where there is no automatic contour."""
    manual_area: float
    """Area inside the manual contour, mm², or px²."""
    auto_area: float
    """Area inside the automatic contour; 0 where there is none."""


def by_case(frames: Iterable[Frame]) -> dict[str, list[Frame]]:
    """Frames of each patient, in order of first appearance."""
    cases: dict[str, list[Frame]] = {}
    for frame in frames:
        cases.setdefault(frame.case_id, []).append(frame)
    return cases


def length_unit(frames: Iterable[Frame]) -> Literal["mm", "px"]:
    """Millimetres where every image carries its pixel spacing, else pixels: lengths of two units have no mean."""
    return "mm" if all(frame.place.pixel_spacing is not None for frame in frames) else "px"


def phases_of(frames: Sequence[Frame]) -> tuple[int | None, int | None]:
    """(ED, ES) of one patient: phases of the largest and smallest manual volume."""
    return find_phases([(frame.place, frame.manual) for frame in frames])


def score_frames(frames: Sequence[Frame], threshold: float = GOOD_THRESHOLD) -> tuple[ImageScore, ...]:
    """Score every image that has a manual contour, endocardium and epicardium apart.

    Args:
        frames: of any number of patients.
        threshold: APD below which a contour is good; mm, or pixels where a frame has no pixel spacing.

    Raises:
        ContourError: a contour that is none; names the image.
    """
    unit = length_unit(frames)
    scores = []
    for members in by_case(frames).values():
        ed, es = phases_of(members)
        phases: dict[int | None, Phase] = {es: "ES", ed: "ED"}
        levels = _levels(members)
        scores += [
            _score(frame, structure, unit, threshold, phases, levels)
            for frame in members
            for structure in STRUCTURES
            if getattr(frame.manual, structure) is not None
        ]
    return tuple(scores)


def _score(
    frame: Frame,
    structure: Structure,
    unit: Literal["mm", "px"],
    threshold: float,
    phases: Mapping[int | None, Phase],
    levels: Mapping[int, Level],
) -> ImageScore:
    spacing = frame.place.pixel_spacing if unit == "mm" else None
    manual, auto = (_checked(frame, drawn, structure) for drawn in (frame.manual, frame.auto))
    assert manual is not None
    score = MISSING if auto is None else compare_contours(auto, manual, spacing)
    pixel_area = 1.0 if spacing is None else spacing[0] * spacing[1]
    place = frame.place
    phase = None if place.phase_index is None else phases.get(place.phase_index)
    return ImageScore(
        name=frame.name,
        case_id=frame.case_id,
        group=frame.group,
        structure=structure,
        slice_index=place.slice_index,
        phase_index=place.phase_index,
        phase=phase,
        level=None if place.slice_index is None else levels.get(place.slice_index),
        detected=auto is not None,
        good=bool(score.apd < threshold),
        score=score,
        manual_area=contour_area_px(manual) * pixel_area,
        auto_area=0.0 if auto is None else contour_area_px(auto) * pixel_area,
    )


def _checked(frame: Frame, contours: Contours, structure: Structure) -> np.ndarray | None:
    points: np.ndarray | None = getattr(contours, structure)
    if points is not None:
        try:
            check_contour(points)
        except ContourError as error:
            raise ContourError(f"{frame.name}: {structure} contour: {error}") from None
    return points


def _levels(frames: Sequence[Frame]) -> dict[int, Level]:
    """Slice → third of the contoured slices; the basal end is the one whose half has the larger cavities."""
    areas: dict[int, float] = {}
    for frame in frames:
        index, contour = frame.place.slice_index, frame.manual.endocardium
        if index is not None and contour is not None:
            areas[index] = max(areas.get(index, 0.0), contour_area_px(contour))
    slices = sorted(areas)
    half = len(slices) // 2
    first, last = (sum(areas[index] for index in part) for part in (slices[:half], slices[len(slices) - half :]))
    if last > first:
        slices.reverse()
    return {index: LEVELS[3 * rank // len(slices)] for rank, index in enumerate(slices)}
