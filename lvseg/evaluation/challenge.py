"""The whole evaluation as the 2009 challenge has it, and more: images, patients, strata, volumes, agreement.

Radau P, Lu Y, Connelly K, Paul G, Dick AJ, Wright GA, "Evaluation Framework for Algorithms Segmenting Short Axis
Cardiac MRI", The MIDAS Journal, 2009, hdl.handle.net/10380/3070.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lvseg.evaluation.agreement import Agreement, measure_agreement
from lvseg.evaluation.frames import Frame
from lvseg.evaluation.scores import GOOD_THRESHOLD, ImageScore, by_case, length_unit, phases_of, score_frames
from lvseg.evaluation.summary import PatientScore, Stratum, score_patients, stratify
from lvseg.evaluation.volumes import Volumes, measure_volumes, slice_spacing_mm
from lvseg.slices import Contours, Place

__all__ = ["ContourEvaluation", "PatientVolumes", "evaluate_frames"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientVolumes:
    """Volumes of one patient from both sets of contours, over the images that have a manual one."""

    case_id: str
    """The patient's pseudonym."""
    group: str | None
    """Pathology group."""
    ed_phase: int | None
    """0-based phase of the largest manual volume."""
    es_phase: int | None
    """0-based phase of the smallest manual volume."""
    slice_spacing_mm: float | None
    """Distance of neighbouring slices' centres."""
    manual: Volumes
    """From the manual contours."""
    auto: Volumes
    """From the automatic contours, at the same phases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContourEvaluation:
    """Everything there is to say about a set of automatic contours."""

    unit: Literal["mm", "px"]
    """Unit of lengths; px where an image carries no pixel spacing."""
    threshold: float
    """APD below which a contour is good, in this unit."""
    images: tuple[ImageScore, ...]
    """Every manual contour."""
    patients: tuple[PatientScore, ...]
    """Every patient and structure."""
    strata: tuple[Stratum, ...]
    """Means over patients: of all images, by phase, level, group."""
    volumes: tuple[PatientVolumes, ...]
    """Every patient whose ED phase and spacings are known."""
    agreements: tuple[Agreement, ...]
    """EDV, ESV, SV, EF, mass: automatic against manual, where at least one patient has both."""
    unscored: int
    """Automatic contours without a manual one of the same image."""


QUANTITIES: tuple[tuple[str, str, float], ...] = (
    ("EDV ml", "edv_ml", 1),
    ("ESV ml", "esv_ml", 1),
    ("SV ml", "sv_ml", 1),
    ("EF %", "ejection_fraction", 100),
    ("mass g", "mass_g", 1),
)


def evaluate_frames(frames: Iterable[Frame], threshold: float = GOOD_THRESHOLD, unscored: int = 0) -> ContourEvaluation:
    """Score contours image by image, patient by patient, and over patients.

    Args:
        frames: images with both sets of contours, of any number of patients.
        threshold: APD below which a contour is good, mm; pixels where an image has no pixel spacing.
        unscored: automatic contours that were left out before, to be counted.

    Raises:
        ContourError: a contour that is none; names the image.
    """
    frames = list(frames)
    images = score_frames(frames, threshold)
    volumes = tuple(
        found for members in by_case(frames).values() if (found := _patient_volumes(members)).manual.edv_ml is not None
    )
    agreements = [
        measure_agreement(
            quantity, [getattr(v.manual, name) for v in volumes], [getattr(v.auto, name) for v in volumes], scale
        )
        for quantity, name, scale in QUANTITIES
    ]
    return ContourEvaluation(
        unit=length_unit(frames),
        threshold=threshold,
        images=images,
        patients=score_patients(images),
        strata=stratify(images),
        volumes=volumes,
        agreements=tuple(agreement for agreement in agreements if agreement.manual),
        unscored=unscored + _unmatched(frames),
    )


def _unmatched(frames: Sequence[Frame]) -> int:
    return sum(name not in dict(frame.manual.named()) for frame in frames for name, _ in frame.auto.named())


def _patient_volumes(frames: Sequence[Frame]) -> PatientVolumes:
    phases = phases_of(frames)
    spacing = slice_spacing_mm(frame.place for frame in frames)
    manual = [(frame.place, frame.manual) for frame in frames]
    auto = [_where_manual(frame) for frame in frames]
    return PatientVolumes(
        case_id=frames[0].case_id,
        group=frames[0].group,
        ed_phase=phases[0],
        es_phase=phases[1],
        slice_spacing_mm=spacing,
        manual=measure_volumes(manual, phases, spacing),
        auto=measure_volumes(auto, phases, spacing),
    )


def _where_manual(frame: Frame) -> tuple[Place, Contours]:
    """The automatic contours that have a manual counterpart: both volumes are of the same slices."""
    manual = dict(frame.manual.named())
    kept: dict[str, Any] = {name: points for name, points in frame.auto.named() if name in manual}
    return frame.place, Contours(**kept)
