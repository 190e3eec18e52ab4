"""Traps in what files there are and what they are called."""

from __future__ import annotations

from dataclasses import replace

from lvseg.phantom.plan import PatientPlan, PlannedContour, PlannedImage, Stray
from lvseg.phantom.planting import NoRoomError, Planted, Roster, whole

__all__ = ["missing_files", "second_cine", "stray_files", "wrong_series_number"]

_MISSING = 2
"""Files missing from a cine, as in SC-HYP-37: 218 where 220 are expected."""

_SECOND_CINE_MM = (-35.0, 30.0)
"""Where the heart lies in a second cine, from where it lies in the first."""


def wrong_series_number(plan: PatientPlan, _: Roster) -> Planted:
    """The short-axis series has another number than the table says; that one is the long-axis cine's."""
    whole(plan)
    identity = plan.study.identity
    plan.study = replace(plan.study, identity=replace(identity, series_number=identity.series_number + 1))
    return Planted(
        files=tuple(plan.series("sax")), note=f"series {identity.series_number + 1}, not {identity.series_number}"
    )


def second_cine(plan: PatientPlan, _: Roster) -> Planted:
    """A second short-axis cine has the same size and the same image numbers; the contours do not fit it."""
    whole(plan)
    x, y = plan.study.anatomy.centre_mm
    moved = replace(plan.study.anatomy, centre_mm=(x + _SECOND_CINE_MM[0], y + _SECOND_CINE_MM[1]))
    shows = replace(plan.study, anatomy=moved, seed=plan.study.seed + 1)
    second = [
        PlannedImage(
            shows=shows, slice_index=image.slice_index, phase=image.phase, number=image.number, series="second-sax"
        )
        for image in plan.series("sax")
    ]
    plan.images += second
    return Planted(files=tuple(second), note="the heart lies elsewhere")


def missing_files(plan: PatientPlan, _: Roster) -> Planted:
    """Two images without contours are missing and the rest is numbered without a gap, so that counting is wrong."""
    study = plan.study
    drawn = {study.truth.ed_phase, study.truth.es_phase}
    slice_index = min(1, study.slices - 1)
    phases = [phase for phase in range(study.phases) if phase not in drawn][-_MISSING:]
    if len(phases) < _MISSING:
        raise NoRoomError
    whole(plan)
    first = study.image_number(slice_index, phases[0])
    gone = [study.image_number(slice_index, phase) for phase in phases]
    plan.images = [image for image in plan.images if image.series != "sax" or image.number not in gone]
    files: list[PlannedImage | PlannedContour] = [*plan.series("sax"), *plan.contours]
    for file in files:
        file.number -= sum(number < file.number for number in gone)
    later = [image for image in plan.series("sax") if image.number >= first]
    return Planted(files=tuple(later), note=f"{_MISSING} images of slice {slice_index + 1} are gone, these moved up")


def stray_files(plan: PatientPlan, _: Roster) -> Planted:
    """What file managers and people leave behind, and an empty DICOM file."""
    if plan.strays:
        raise NoRoomError
    places = ("root", "images", "contours")
    clutter = [Stray(place=place, name=".DS_Store", content=b"\0\0\0\1Bud1") for place in places]  # type: ignore[arg-type]
    strays = [
        Stray(place="images", name="Thumbs.db", content=b"\xd0\xcf\x11\xe0"),
        Stray(place="images", name="notes.txt", content=b"remember to check this one\n"),
        Stray(place="contours", name="notes.txt", content=b"remember to check this one\n"),
        Stray(place="images", name="empty.dcm", content=b""),
    ]
    plan.strays += clutter + strays
    return Planted(files=tuple(plan.strays), note="clutter may be passed over in silence; the others are skipped")
