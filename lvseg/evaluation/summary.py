"""From scores of images to numbers of patients, and from these to mean and standard deviation over patients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from math import nan

import numpy as np

from lvseg.evaluation.frames import STRUCTURES, Structure
from lvseg.evaluation.scores import ImageScore

__all__ = ["MeanSD", "PatientScore", "Stratum", "score_patients", "stratify", "summarise_patients"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientScore:
    """One structure of one patient over his images with a manual contour; NaN where nothing is defined.

    ``good`` numbers are means over the good contours, as the challenge has them; ``all`` ones count every manual
    contour, a missing automatic one with Dice and sensitivity 0; the others are means over the automatic contours.
    """

    case_id: str
    """The patient's pseudonym."""
    group: str | None
    """Pathology group."""
    structure: Structure
    """Which contour."""
    contours: int
    """Manual contours."""
    detected_percent: float
    """Automatic contours over manual ones."""
    good_percent: float
    """Good contours over manual ones."""
    dice_good: float
    """Dice, good contours."""
    dice_all: float
    """Dice, all manual contours."""
    apd_good: float
    """APD, good contours."""
    apd: float
    """APD, automatic contours."""
    conformity_good: float
    """Conformity, good contours."""
    sensitivity_all: float
    """Sensitivity, all manual contours."""
    precision: float
    """Precision, automatic contours."""
    hd95: float
    """Hausdorff distance of 95 %, automatic contours."""
    assd: float
    """Average symmetric surface distance, automatic contours."""


MEASURES = tuple(field.name for field in fields(PatientScore))[4:]
"""Numbers of a patient that have a mean over patients."""


@dataclass(frozen=True, slots=True)
class MeanSD:
    """Mean and standard deviation (n - 1) over the patients in whom a number is defined."""

    mean: float
    sd: float
    patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """A part of the images, scored by itself."""

    by: str
    """What tells the parts apart: phase, level, group; or ``all``."""
    value: str
    """Which part: ED, apex, HF-I …"""
    structure: Structure
    """Which contour."""
    patients: int
    """Patients with such images."""
    contours: int
    """Manual contours."""
    over_patients: dict[str, MeanSD]
    """Measure → mean over these patients' own values."""


def score_patients(images: Iterable[ImageScore]) -> tuple[PatientScore, ...]:
    """One score a patient and structure, in order of first appearance."""
    groups: dict[tuple[str, Structure], list[ImageScore]] = {}
    for image in images:
        groups.setdefault((image.case_id, image.structure), []).append(image)
    return tuple(map(_score_patient, groups.values()))


def _score_patient(images: Sequence[ImageScore]) -> PatientScore:
    good = [image.score for image in images if image.good]
    detected = [image.score for image in images if image.detected]
    everything = [image.score for image in images]
    return PatientScore(
        case_id=images[0].case_id,
        group=images[0].group,
        structure=images[0].structure,
        contours=len(images),
        detected_percent=100 * len(detected) / len(images),
        good_percent=100 * len(good) / len(images),
        dice_good=_mean(score.dice for score in good),
        dice_all=_mean(score.dice for score in everything),
        apd_good=_mean(score.apd for score in good),
        apd=_mean(score.apd for score in detected),
        conformity_good=_mean(score.conformity for score in good),
        sensitivity_all=_mean(score.sensitivity for score in everything),
        precision=_mean(score.precision for score in detected),
        hd95=_mean(score.hd95 for score in detected),
        assd=_mean(score.assd for score in detected),
    )


def _mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else nan


def summarise_patients(patients: Sequence[PatientScore]) -> dict[str, MeanSD]:
    """Measure → mean and SD over patients of one structure."""
    return {name: _mean_sd([getattr(patient, name) for patient in patients]) for name in MEASURES}


def _mean_sd(values: Sequence[float]) -> MeanSD:
    defined = np.array([value for value in values if not np.isnan(value)])
    sd = float(defined.std(ddof=1)) if len(defined) > 1 else nan
    return MeanSD(_mean(values), sd, len(defined))


PARTS: dict[str, Callable[[ImageScore], str | None]] = {
    "all": lambda image: "all",
    "phase": lambda image: image.phase,
    "level": lambda image: image.level,
    "group": lambda image: image.group,
}
ORDER = ("all", "ED", "ES", "base", "mid", "apex")


def stratify(images: Sequence[ImageScore]) -> tuple[Stratum, ...]:
    """All images, then by ED and ES, by base, mid and apex, and by pathology group, each structure apart.

    Parts that no image is known to belong to are not there.
    """
    strata = []
    for structure, (by, part_of) in itertools.product(STRUCTURES, PARTS.items()):
        parts: dict[str, list[ImageScore]] = {}
        for image in images:
            if image.structure == structure and (value := part_of(image)) is not None:
                parts.setdefault(value, []).append(image)
        strata += [_stratum(by, value, structure, parts[value]) for value in sorted(parts, key=_order)]
    return tuple(strata)


def _order(value: str) -> tuple[int, str]:
    return (ORDER.index(value) if value in ORDER else len(ORDER), value)


def _stratum(by: str, value: str, structure: Structure, images: Sequence[ImageScore]) -> Stratum:
    patients = score_patients(images)
    return Stratum(
        by=by,
        value=value,
        structure=structure,
        patients=len(patients),
        contours=len(images),
        over_patients=summarise_patients(patients),
    )
