"""What goes wrong in real copies, planted on purpose: each trap changes one patient's plan and says where.

A trap that finds no place in a patient raises ``NoRoomError`` and leaves the plan as it was; the next patient is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from lvseg.errors import ConfigError
from lvseg.phantom import contour_traps, file_traps, image_traps
from lvseg.phantom.plan import PatientPlan
from lvseg.phantom.planting import NoRoomError, Planted, Roster

__all__ = ["TRAPS", "Trap", "plant", "trap_names"]

Layouts: TypeAlias = tuple[str, ...]
Expect: TypeAlias = Literal["finding", "skip", "decision", "nothing"]

CONTOURS: Layouts = ("challenge", "cap", "linked")
DICOM: Layouts = (*CONTOURS, "segmentation")
ALL: Layouts = (*DICOM, "pairs")


@dataclass(frozen=True, slots=True)
class Trap:
    """One thing that goes wrong."""

    plant: Callable[[PatientPlan, Roster], Planted]
    layouts: Layouts
    """Layouts that can hold it."""
    expect: Expect
    """What an importer with quality control should say: a finding, a skipped file, a decision, or nothing."""
    check: str | None = None
    """Name of the check of that finding."""


# Those that take a whole patient come first.
TRAPS: dict[str, Trap] = {
    "wrong-series-number": Trap(file_traps.wrong_series_number, ("challenge",), "decision"),
    "second-cine": Trap(file_traps.second_cine, ("challenge", "cap"), "decision"),
    "missing-files": Trap(file_traps.missing_files, DICOM, "finding", "incomplete-cine"),
    "copied-epicardium": Trap(contour_traps.copied_epicardium, CONTOURS, "finding", "copied-contour"),
    "missing-phase": Trap(contour_traps.missing_phase, DICOM, "finding", "missing-phase"),
    "non-square-pixels": Trap(image_traps.non_square_pixels, DICOM, "finding", "non-square-pixels"),
    "copied-image": Trap(image_traps.copied_image, ALL, "finding", "copied-image"),
    "missing-es-slice": Trap(contour_traps.missing_es_slice, DICOM, "finding", "missing-slice"),
    "mixed-spacing": Trap(image_traps.mixed_spacing, DICOM, "finding", "mixed-spacing"),
    "duplicate-uid": Trap(image_traps.duplicate_uid, DICOM, "finding", "duplicate-sop-instance-uid"),
    "area-jump": Trap(contour_traps.area_jump, CONTOURS, "finding", "area-jump"),
    "endocardium-outside-epicardium": Trap(
        contour_traps.endocardium_outside_epicardium, CONTOURS, "finding", "endocardium-outside-epicardium"
    ),
    "contour-off-heart": Trap(contour_traps.contour_off_heart, CONTOURS, "finding", "contour-off-heart"),
    "contour-off-image": Trap(contour_traps.contour_off_image, CONTOURS, "finding", "contour-off-image"),
    "two-point-contour": Trap(contour_traps.two_point_contour, CONTOURS, "finding", "unreadable"),
    "contour-without-image": Trap(contour_traps.contour_without_image, ALL, "skip"),
    "constant-image": Trap(image_traps.constant_image, ALL, "finding", "constant-image"),
    "saturated-image": Trap(image_traps.saturated_image, ALL, "finding", "saturated-image"),
    "monochrome1": Trap(image_traps.monochrome1, DICOM, "nothing"),
    "signed-negative": Trap(image_traps.signed_negative, DICOM, "nothing"),
    "rescaled": Trap(image_traps.rescaled, DICOM, "nothing"),
    "compressed": Trap(image_traps.compressed, DICOM, "nothing"),
    "truncated-dicom": Trap(image_traps.truncated, DICOM, "finding", "unreadable"),
    "stray-files": Trap(file_traps.stray_files, ALL, "skip"),
}


def trap_names(wanted: Sequence[str], layout: str) -> tuple[str, ...]:
    """The traps to plant; ``all`` stands for all that the layout can hold.

    Raises:
        ConfigError: a trap that is not known, or that the layout cannot hold.
    """
    held = [name for name, trap in TRAPS.items() if layout in trap.layouts]
    for name in wanted:
        if name != "all" and name not in held:
            raise ConfigError(f"traps must be all, or of {', '.join(held)} in the layout {layout}, got {name!r}")
    return tuple(name for name in held if name in wanted or "all" in wanted)


def plant(names: Sequence[str], roster: Roster) -> list[Planted]:
    """Plant traps, each in the next patient that has room.

    Raises:
        ConfigError: no patient has room.
    """
    planted = []
    for turn, name in enumerate(names):
        trap, count = TRAPS[name], len(roster.studies)
        for step in range(count):
            plan = roster.plan((turn + step) % count)
            try:
                done = trap.plant(plan, roster)
            except NoRoomError:
                continue
            planted.append(replace(done, trap=name, plan=plan))
            break
        else:
            raise ConfigError(f"traps: no room for {name} in {count} patients, take more patients, slices or phases")
    return planted
