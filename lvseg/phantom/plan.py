"""One phantom patient as a list of files still to be written: what a layout places and a trap changes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from lvseg.phantom.anatomy import Anatomy, Floats, section
from lvseg.phantom.identifiers import Person
from lvseg.phantom.truth import Truth

__all__ = [
    "ContourKind",
    "Encoding",
    "Identity",
    "PatientPlan",
    "PlannedContour",
    "PlannedImage",
    "SeriesKind",
    "Stray",
    "Study",
    "contour_points",
    "plan_patient",
]

SeriesKind: TypeAlias = Literal["sax", "second-sax", "long-axis", "localiser"]
ContourKind: TypeAlias = Literal["i", "o", "p1", "p2"]
Content: TypeAlias = Literal["heart", "constant", "saturated"]
Encoding: TypeAlias = Literal[
    "plain", "monochrome1", "signed-negative", "rescaled", "rle", "jpeg-ls", "jpeg-2000", "truncated"
]

LOCALISER_IMAGES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a layout calls a patient."""

    patient_id: str
    """PatientID in the headers."""
    case_id: str
    """The patient's public pseudonym."""
    group: str
    """Pathology group, as the case id says it."""
    series_number: int
    """SeriesNumber of the short-axis cine."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """One patient: heart, sizes, names."""

    anatomy: Anatomy
    truth: Truth
    identity: Identity
    slices: int
    phases: int
    size: int
    seed: int
    person: Person | None = None
    """Personal data for the headers."""
    row_stretch: float = 1.0
    """Row spacing over column spacing, as the headers say it."""

    @property
    def pixel_spacing_mm(self) -> float:
        """Distance of neighbouring columns."""
        return self.anatomy.field_of_view_mm / self.size

    def image_number(self, slice_index: int, phase: int) -> int:
        """InstanceNumber of an image of the short-axis cine."""
        return slice_index * self.phases + phase + 1


@dataclass(kw_only=True, slots=True, eq=False)
class PlannedImage:
    """A DICOM file that is still to be written."""

    shows: Study
    """Whose heart is in the picture."""
    slice_index: int
    phase: int
    number: int
    """InstanceNumber, also in the file's name."""
    series: SeriesKind = "sax"
    content: Content = "heart"
    encoding: Encoding = "plain"
    uid_of: str = ""
    """What the SOPInstanceUID is derived from; two images that share it share the UID."""
    own_uid: str = field(init=False)
    """What it was derived from at first."""
    spacing_factor: float = 1.0
    """Factor on the PixelSpacing in the header."""

    def __post_init__(self) -> None:
        self.own_uid = f"{'' if self.series == 'sax' else self.series + ' '}image {self.number}"
        self.uid_of = self.uid_of or self.own_uid


@dataclass(kw_only=True, slots=True, eq=False)
class PlannedContour:
    """A contour file that is still to be written."""

    slice_index: int
    phase: int
    number: int
    """Image number in the file's name."""
    kind: ContourKind
    points: Floats
    """(N, 2) column and row, 1-based pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stray:
    """A file that does not belong there."""

    place: Literal["root", "images", "contours"]
    """The tree's root, or this patient's folder of images or of contours."""
    name: str
    content: bytes


@dataclass(kw_only=True, slots=True, eq=False)
class PatientPlan:
    """All files of one patient."""

    study: Study
    images: list[PlannedImage]
    contours: list[PlannedContour]
    strays: list[Stray] = field(default_factory=list)
    touched: set[tuple[int, int]] = field(default_factory=set)
    """(slice, phase) of what a trap has changed: the next one takes another."""

    def series(self, kind: SeriesKind) -> list[PlannedImage]:
        """The images of one series."""
        return [image for image in self.images if image.series == kind]

    def image_number(self, slice_index: int, phase: int) -> int:
        """Number of an image of the short-axis cine, as its file and its contours have it."""
        here = (
            image.number for image in self.series("sax") if (image.slice_index, image.phase) == (slice_index, phase)
        )
        return next(here, self.study.image_number(slice_index, phase))

    def contours_of(self, kind: ContourKind) -> list[PlannedContour]:
        """The contours of one kind."""
        return [contour for contour in self.contours if contour.kind == kind]


def plan_patient(study: Study, *, labelled_only: bool, others: tuple[SeriesKind, ...] = ()) -> PatientPlan:
    """List the files of an untouched patient.

    Args:
        study: the patient.
        labelled_only: only the images with an endocardium contour.
        others: further series, where whole cines are written.
    """
    places = itertools.product(range(study.slices), range(study.phases))
    wanted = study.truth.labelled() if labelled_only else list(places)
    images = [PlannedImage(shows=study, slice_index=s, phase=p, number=study.image_number(s, p)) for s, p in wanted]
    for kind in () if labelled_only else others:
        count = LOCALISER_IMAGES if kind == "localiser" else study.phases
        images += [
            PlannedImage(shows=study, slice_index=0, phase=index, number=index + 1, series=kind)
            for index in range(count)
        ]
    contours = [contour for s, p in study.truth.labelled() for contour in _contours(study, s, p)]
    return PatientPlan(study=study, images=images, contours=contours)


def _contours(study: Study, slice_index: int, phase: int) -> list[PlannedContour]:
    state = section(study.anatomy, slice_index, phase / study.phases)
    outlines: dict[Any, Floats] = {"i": state.outline(np.asarray(state.endocardium_mm))}
    if phase == study.truth.ed_phase:
        outlines["o"] = state.outline(np.asarray(state.epicardium_mm))
    outlines |= {f"p{n}": outline for n, outline in enumerate(state.papillaries_mm, start=1)}
    return [
        PlannedContour(
            slice_index=slice_index,
            phase=phase,
            number=study.image_number(slice_index, phase),
            kind=kind,
            points=contour_points(outline, study.pixel_spacing_mm, study.size),
        )
        for kind, outline in outlines.items()
    ]


def contour_points(outline_mm: Floats, pixel_spacing_mm: float, size: int) -> Floats:
    """Turn an outline (N, 2) in mm into a contour file's points: (M, 2) column and row, 1-based, half-pixel lattice."""
    pixels = outline_mm / pixel_spacing_mm + (size - 1) / 2 + 1
    points = np.floor(pixels * 2 + 0.5) / 2
    return np.asarray(points[np.any(points != np.roll(points, 1, axis=0), axis=1)])
