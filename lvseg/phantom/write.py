"""Write a phantom: studies in the linked layout (``link.csv``, ``dicoms/``, ``contourfiles/``) and ``truth.json``."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lvseg.errors import ConfigError, SourceError
from lvseg.phantom.anatomy import Anatomy, Floats, draw_anatomy, section
from lvseg.phantom.dicom import StudyWriter
from lvseg.phantom.render import SliceRenderer
from lvseg.phantom.truth import Truth, find_truth

__all__ = ["AREA_TOLERANCE", "EF_TOLERANCE", "PhantomSummary", "contour_points", "write_phantom"]

AREA_TOLERANCE = 0.03
"""Largest relative difference of a contour's shoelace area from the true area at 256 x 256.

The file's half-pixel lattice moves each point by up to a quarter pixel in x and in y. Measured on 75 patients:
mean 0.2 %, worst 1.9 % (an apical cavity of 36 pixels); at 128 x 128 the worst is 6 %.
"""

EF_TOLERANCE = 0.005
"""Largest difference of the ejection fraction (0 to 1) from contours and the true one at 256 x 256; measured: 0.001."""

_LIMITS = {"patients": (1, 9999), "seed": (0, 2**31 - 1), "size": (64, 1024), "slices": (1, 40), "phases": (2, 100)}


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomSummary:
    """What ``write_phantom`` wrote."""

    out: Path
    """The folder."""
    patients: int
    """Patients."""
    images: int
    """DICOM files."""
    endocardium_contours: int
    """Contour files at ED and ES."""
    epicardium_contours: int
    """Contour files at ED."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Study:
    """Sizes and folders of one patient."""

    out: Path
    anatomy: Anatomy
    truth: Truth
    slices: int
    phases: int
    size: int
    seed: int

    @property
    def patient_id(self) -> str:
        return f"PHANTOM{self.anatomy.number:04d}"

    @property
    def original_id(self) -> str:
        return f"PH-{self.anatomy.group}-{self.anatomy.number}"

    @property
    def pixel_spacing_mm(self) -> float:
        return self.anatomy.field_of_view_mm / self.size

    def image_number(self, slice_index: int, phase: int) -> int:
        return slice_index * self.phases + phase + 1


def write_phantom(
    out: Path,
    *,
    patients: int = 8,
    seed: int = 0,
    size: int = 256,
    slices: int = 8,
    phases: int = 20,
    labelled_only: bool = False,
) -> PhantomSummary:
    """Write synthetic short-axis cine studies; the same arguments give the same bytes.

    Patients are normal (``PH-N-1``), hypertrophic (``PH-HYP-2``) and failing (``PH-HF-3``) in turn. Contours
    lie at end-diastole (ED) and end-systole (ES), the epicardium's at ED only. ``truth.json`` is written last:
    a folder without it was not finished.

    Args:
        out: the folder to write; new or empty.
        patients: number of patients.
        seed: a different seed gives different patients.
        size: rows and columns; the field of view stays, so that 128 doubles the pixel spacing.
        slices: short-axis slices, from base to apex.
        phases: images a slice over the cardiac cycle.
        labelled_only: write only the images with an endocardium contour, with the same pixels.

    Raises:
        ConfigError: a number out of its range.
        SourceError: ``out`` is a file, holds files, or cannot be written.
    """
    given = {"patients": patients, "seed": seed, "size": size, "slices": slices, "phases": phases}
    for name, value in given.items():
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise ConfigError(f"{name} must be from {low} to {high}, got {value}")
    _make_folder(out)
    studies = [
        _Study(
            out=out, anatomy=a, truth=find_truth(a, slices, phases), slices=slices, phases=phases, size=size, seed=seed
        )
        for a in (draw_anatomy(number, seed, slices) for number in range(1, patients + 1))
    ]
    try:
        return _write_studies(out, studies, given, labelled_only)
    except OSError as error:
        raise SourceError(f"{error.filename or out}: cannot be written: {error.strerror}") from error


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        first = next(out.iterdir(), None)
    except OSError as error:
        raise SourceError(f"{out}: expected a new or empty folder: {error.strerror}") from None
    if first is not None:
        raise SourceError(f"{out}: expected a new or empty folder, found {first.name}")


def _write_studies(out: Path, studies: list[_Study], given: dict[str, int], labelled_only: bool) -> PhantomSummary:
    with (out / "link.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["patient_id", "original_id"])
        rows.writerows((study.patient_id, study.original_id) for study in studies)
    images, truths = 0, []
    for study in studies:
        images += _write_images(study, labelled_only)
        truths.append(_write_contours(study))
    truth = {"schema": 1, "settings": given, "patients": truths}
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    labelled = [image for patient in truths for image in patient["images"]]
    return PhantomSummary(
        out=out,
        patients=len(studies),
        images=images,
        endocardium_contours=len(labelled),
        epicardium_contours=sum(image["epicardium_area_mm2"] is not None for image in labelled),
    )


def _write_images(study: _Study, labelled_only: bool) -> int:
    """Write the DICOM files; return their number."""
    folder = study.out / "dicoms" / study.patient_id
    folder.mkdir(parents=True)
    writer = StudyWriter(study.anatomy, study.seed, (study.slices, study.phases), study.size)
    every = list(itertools.product(range(study.slices), range(study.phases)))
    wanted = study.truth.labelled() if labelled_only else every
    for slice_index, group in itertools.groupby(wanted, key=lambda pair: pair[0]):
        renderer = SliceRenderer(study.anatomy, study.seed, slice_index, study.size)
        for _, phase in group:
            path = folder / f"{study.image_number(slice_index, phase)}.dcm"
            writer.write(path, renderer.render(phase, study.phases), slice_index, phase)
    return len(wanted)


def _write_contours(study: _Study) -> dict[str, Any]:
    """Write the contour files; return the patient's entry of ``truth.json``."""
    folder = study.out / "contourfiles" / study.original_id
    for kind in "iop":
        (folder / f"{kind}-contours").mkdir(parents=True)
    images = []
    for slice_index, phase in study.truth.labelled():
        at_ed = phase == study.truth.ed_phase
        number = study.image_number(slice_index, phase)
        state = section(study.anatomy, slice_index, phase / study.phases)
        outlines = {"i": state.outline(np.asarray(state.endocardium_mm))}
        if at_ed:
            outlines["o"] = state.outline(np.asarray(state.epicardium_mm))
        outlines |= {f"p{n}": outline for n, outline in enumerate(state.papillaries_mm, start=1)}
        for kind, outline in outlines.items():
            path = folder / f"{kind[0]}-contours" / f"IM-0001-{number:04d}-{kind}contour-manual.txt"
            _write_contour(path, contour_points(outline, study.pixel_spacing_mm, study.size))
        images.append(
            {
                "image_number": number,
                "slice_index": slice_index,
                "phase_index": phase,
                "endocardium_area_mm2": round(float(study.truth.endocardium_mm2[slice_index, phase]), 4),
                "epicardium_area_mm2": round(float(study.truth.epicardium_mm2[slice_index, phase]), 4)
                if at_ed
                else None,
            }
        )
    return {
        "patient_id": study.patient_id,
        "original_id": study.original_id,
        "group": study.anatomy.group,
        "pixel_spacing_mm": round(study.pixel_spacing_mm, 6),
        "spacing_between_slices_mm": study.anatomy.slice_spacing_mm,
        **study.truth.summary(),
        "images": images,
    }


def contour_points(outline_mm: Floats, pixel_spacing_mm: float, size: int) -> Floats:
    """Turn an outline (N, 2) in mm into a contour file's points: (M, 2) column and row, 1-based, half-pixel lattice."""
    pixels = outline_mm / pixel_spacing_mm + (size - 1) / 2 + 1
    points = np.floor(pixels * 2 + 0.5) / 2
    return np.asarray(points[np.any(points != np.roll(points, 1, axis=0), axis=1)])


def _write_contour(path: Path, points: Floats) -> None:
    path.write_text("".join(f"{x:.2f} {y:.2f}\n" for x, y in points), encoding="ascii")
