"""Write a phantom: studies in one of the layouts that users have, and ``truth.json`` beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvseg.config import SourceLayout
from lvseg.errors import ConfigError, SourceError
from lvseg.phantom.anatomy import draw_anatomy
from lvseg.phantom.fast import FastWriter
from lvseg.phantom.identifiers import Person
from lvseg.phantom.layout import Layout
from lvseg.phantom.pairs import PairFormat, PairsLayout
from lvseg.phantom.plan import Study, contour_points, plan_patient
from lvseg.phantom.planting import Roster
from lvseg.phantom.traps import plant, trap_names
from lvseg.phantom.trees import CapTree, ChallengeTree, LinkedTree
from lvseg.phantom.truth import find_truth
from lvseg.phantom.truth_file import TRUTH_SCHEMA, patient_entry, trap_entry

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
    """Image files."""
    endocardium_contours: int
    """Endocardium contours, or masks, at ED and ES."""
    epicardium_contours: int
    """Epicardium contours at ED."""


def write_phantom(
    out: Path,
    *,
    patients: int = 8,
    seed: int = 0,
    size: int = 256,
    slices: int = 8,
    phases: int = 20,
    labelled_only: bool = False,
    layout: SourceLayout = "linked",
    traps: Sequence[str] = (),
    pair_format: PairFormat = "png",
    identifiers: bool = False,
    fast: bool = False,
) -> PhantomSummary:
    """Write synthetic short-axis cine studies; the same arguments give the same bytes.

    Patients are normal (``PH-N-1``), hypertrophic (``PH-HYP-2``) and failing (``PH-HF-3``) in turn; the layouts
    ``challenge`` and ``cap`` have the challenge's own case ids (``SC-HF-I-1``), its parts in turn. Contours
    lie at end-diastole (ED) and end-systole (ES), the epicardium's at ED only. ``truth.json`` is written last:
    a folder without it was not finished.

    Args:
        out: the folder to write; new or empty.
        patients: number of patients; the layouts with the challenge's case ids hold 45.
        seed: a different seed gives different patients.
        size: rows and columns; the field of view stays, so that 128 doubles the pixel spacing.
        slices: short-axis slices, from base to apex.
        phases: images a slice over the cardiac cycle.
        labelled_only: write only the images with an endocardium contour, with the same pixels.
        layout: where the files lie and what they are called.
        traps: names of what shall be wrong, ``all`` for everything that the layout can hold; ``truth.json`` says
            where each was planted. To keep them apart, take as many patients as traps.
        pair_format: kind of file in the layout ``pairs``.
        identifiers: write made-up personal data into every header; ``planted_identifiers`` lists it.
        fast: a few hearts over and over, with new noise in every image and a contour on each: thousands of files a
            second, for benchmarks. In the layout ``linked``, without traps and personal data.

    Raises:
        ConfigError: a number out of its range, a layout or trap that is not known, no room for a trap.
        SourceError: ``out`` is a file, holds files, or cannot be written.
    """
    given = {"patients": patients, "seed": seed, "size": size, "slices": slices, "phases": phases}
    _check_limits(given)
    tree = _make_layout(layout, pair_format, labelled_only)
    names = trap_names(traps, "nifti" if layout == "pairs" and pair_format == "nifti" else layout)
    if patients > tree.max_patients:
        raise ConfigError(f"patients must be from 1 to {tree.max_patients} in the layout {layout}, got {patients}")
    if fast and (layout != "linked" or names or identifiers):
        raise ConfigError("fast goes with the layout linked only, without traps and identifiers")
    _make_folder(out)
    about = {"layout": layout, "settings": given}
    try:
        if fast:
            return _write_fast(out, given, about)
        studies = [_draw_study(number, given, tree, identifiers) for number in range(1, patients + 1)]
        return _write_studies(out, studies, tree, about, names, labelled_only)
    except OSError as error:
        raise SourceError(f"{error.filename or out}: cannot be written: {error.strerror}") from error


def _make_layout(layout: SourceLayout, pair_format: PairFormat, labelled_only: bool) -> Layout:
    trees: dict[SourceLayout, type[Layout]] = {"challenge": ChallengeTree, "cap": CapTree, "linked": LinkedTree}
    if layout == "segmentation":
        from lvseg.phantom.segmentation import SegmentationLayout  # highdicom takes a second to import

        return SegmentationLayout()
    if layout == "pairs":
        return PairsLayout(pair_format, labelled_only=labelled_only)
    if layout not in trees:
        raise ConfigError(f"layout must be one of {', '.join(trees)}, pairs, segmentation, got {layout!r}")
    return trees[layout]()


def _check_limits(given: dict[str, int]) -> None:
    for name, value in given.items():
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise ConfigError(f"{name} must be from {low} to {high}, got {value}")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        first = next(out.iterdir(), None)
    except OSError as error:
        raise SourceError(f"{out}: expected a new or empty folder: {error.strerror}") from None
    if first is not None:
        raise SourceError(f"{out}: expected a new or empty folder, found {first.name}")


def _draw_study(number: int, given: dict[str, int], tree: Layout, identifiers: bool) -> Study:
    slices, phases, seed = given["slices"], given["phases"], given["seed"]
    anatomy = draw_anatomy(number, seed, slices, tree.anatomy_group(number))
    return Study(
        anatomy=anatomy,
        truth=find_truth(anatomy, slices, phases),
        identity=tree.identity(number),
        slices=slices,
        phases=phases,
        size=given["size"],
        seed=seed,
        person=Person.draw(number, seed) if identifiers else None,
    )


def _write_studies(
    out: Path, studies: list[Study], tree: Layout, about: dict[str, Any], traps: tuple[str, ...], labelled_only: bool
) -> PhantomSummary:
    roster = Roster(studies, lambda study: plan_patient(study, labelled_only=labelled_only, others=tree.others))
    planted = plant(traps, roster)
    for name, text in tree.tables(studies).items():
        (out / name).write_text(text, encoding="utf-8")
    summary = {"images": 0, "endocardium_contours": 0, "epicardium_contours": 0}
    truths, trapped = [], []
    for index in range(len(studies)):
        plan = roster.pop(index)
        summary["images"] += tree.write(out, plan)
        summary["endocardium_contours"] += len(plan.contours_of("i"))
        summary["epicardium_contours"] += len(plan.contours_of("o"))
        for stray in plan.strays:
            (out / tree.stray_file(plan, stray)).write_bytes(stray.content)
        truths.append(patient_entry(plan, tree))
        trapped += [trap_entry(each, plan, tree) for each in planted if each.plan is plan]
    _write_truth(out, {**about, "traps": trapped, "patients": truths})
    return PhantomSummary(out=out, patients=len(studies), **summary)


def _write_fast(out: Path, given: dict[str, int], about: dict[str, Any]) -> PhantomSummary:
    writer = FastWriter(given["seed"], given["size"], given["slices"], given["phases"])
    studies = [writer.study(number) for number in range(1, given["patients"] + 1)]
    for name, text in LinkedTree().tables(studies).items():
        (out / name).write_text(text, encoding="utf-8")
    images = epicardia = 0
    for study in studies:
        counts = writer.write(out, study.anatomy.number)
        images, epicardia = images + counts[0], epicardia + counts[1]
    _write_truth(out, {**about, "fast": True, "traps": [], "patients": []})
    return PhantomSummary(
        out=out, patients=len(studies), images=images, endocardium_contours=images, epicardium_contours=epicardia
    )


def _write_truth(out: Path, content: dict[str, Any]) -> None:
    truth = {"schema": TRUTH_SCHEMA, "phantom": True, **content}
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
