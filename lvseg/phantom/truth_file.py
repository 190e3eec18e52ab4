"""The entries of ``truth.json``: what is true about each patient, and which traps were planted where."""

from __future__ import annotations

from typing import Any

from lvseg.phantom.layout import Layout
from lvseg.phantom.plan import PatientPlan, PlannedImage, Stray
from lvseg.phantom.planting import Planted
from lvseg.phantom.traps import TRAPS

__all__ = ["TRUTH_SCHEMA", "patient_entry", "trap_entry"]

TRUTH_SCHEMA = 2


def patient_entry(plan: PatientPlan, layout: Layout) -> dict[str, Any]:
    """What is true about a patient, whatever the traps did to the files."""
    study = plan.study
    return {
        "patient_id": study.identity.patient_id,
        "original_id": study.identity.case_id,
        "group": study.identity.group,
        "series_number": study.identity.series_number,
        "pixel_spacing_mm": round(study.pixel_spacing_mm, 6),
        "row_spacing_mm": round(study.pixel_spacing_mm * study.row_stretch, 6),
        "spacing_between_slices_mm": study.anatomy.slice_spacing_mm,
        **study.truth.summary(),
        "images": [_image_entry(plan, layout, s, p) for s, p in study.truth.labelled()],
    }


def _image_entry(plan: PatientPlan, layout: Layout, slice_index: int, phase: int) -> dict[str, Any]:
    study = plan.study
    at_ed = phase == study.truth.ed_phase
    number = plan.image_number(slice_index, phase)
    image = PlannedImage(shows=study, slice_index=slice_index, phase=phase, number=number)
    return {
        "name": layout.slice_name(study, image),
        "image_number": number,
        "slice_index": slice_index,
        "phase_index": phase,
        "endocardium_area_mm2": round(float(study.truth.endocardium_mm2[slice_index, phase]), 4),
        "epicardium_area_mm2": round(float(study.truth.epicardium_mm2[slice_index, phase]), 4) if at_ed else None,
    }


def trap_entry(planted: Planted, plan: PatientPlan, layout: Layout) -> dict[str, Any]:
    """Where a trap is, and what should be said about it.

    ``expect`` is finding (of quality control, with the name of its check), skip (a file left out), decision (a choice
    that is reported with its evidence), or nothing (the images read as if nothing were).
    """
    study, trap = plan.study, TRAPS[planted.trap]
    names, files = [], []
    for file in planted.files:
        if isinstance(file, Stray):
            files.append(layout.stray_file(plan, file))
            continue
        names.append(layout.slice_name(study, file))
        files.append(
            layout.image_file(study, file) if isinstance(file, PlannedImage) else layout.label_file(study, file)
        )
    return {
        "trap": planted.trap,
        "case_id": study.identity.case_id,
        "expect": trap.expect,
        "check": trap.check,
        "names": list(dict.fromkeys(names)),
        "files": list(dict.fromkeys(path.as_posix() for path in files)),
        "note": planted.note,
    }
