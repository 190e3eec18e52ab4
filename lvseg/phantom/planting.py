"""What all traps share: the patients at hand, the place that a trap takes, the note of what it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lvseg.phantom.painter import Painter
from lvseg.phantom.plan import PatientPlan, PlannedContour, PlannedImage, Stray, Study

__all__ = [
    "NoRoomError",
    "Place",
    "Planted",
    "Roster",
    "contours_at",
    "image_at",
    "labelled",
    "middle_first",
    "take",
    "whole",
]

Place = tuple[int, int]
"""Slice and phase."""


class NoRoomError(Exception):
    """The patient has no place for the trap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """What a trap did."""

    trap: str = ""
    plan: PatientPlan | None = None
    """The patient."""
    files: tuple[PlannedImage | PlannedContour | Stray, ...] = ()
    """The files that are wrong."""
    note: str = ""
    """What was done, in a few words."""


class Roster:
    """All patients; plans are made when a trap needs them."""

    def __init__(self, studies: Sequence[Study], make_plan: Callable[[Study], PatientPlan]) -> None:
        self.studies, self.painter = studies, Painter()
        self._make_plan = make_plan
        self._plans: dict[int, PatientPlan] = {}

    def plan(self, index: int) -> PatientPlan:
        """The plan of a patient; traps change it."""
        if index not in self._plans:
            self._plans[index] = self._make_plan(self.studies[index])
        return self._plans[index]

    def pop(self, index: int) -> PatientPlan:
        """The plan of a patient, which the roster forgets."""
        plan = self.plan(index)
        del self._plans[index]
        return plan

    def others(self, plan: PatientPlan) -> list[PatientPlan]:
        """The plans of all other patients."""
        plans = [self.plan(index) for index in range(len(self.studies))]
        return [other for other in plans if other is not plan]


def labelled(plan: PatientPlan, phase: int | None = None) -> list[Place]:
    """Untouched places with an endocardium contour and an image, from base to apex."""
    imaged = {(image.slice_index, image.phase) for image in plan.series("sax")}
    drawn = [(contour.slice_index, contour.phase) for contour in plan.contours_of("i")]
    return sorted(
        place
        for place in drawn
        if place in imaged and place not in plan.touched and (phase is None or place[1] == phase)
    )


def middle_first(places: Sequence[Place]) -> list[Place]:
    """Places by their distance from the middle slice."""
    if not places:
        return []
    middle = sum(slice_index for slice_index, _ in places) / len(places)
    return sorted(places, key=lambda place: (abs(place[0] - middle), place))


def take(plan: PatientPlan, places: Sequence[Place], count: int = 1) -> list[Place]:
    """Take the first places for a trap.

    Raises:
        NoRoomError: there are not so many.
    """
    if len(places) < count:
        raise NoRoomError
    plan.touched.update(places[:count])
    return list(places[:count])


def whole(plan: PatientPlan) -> None:
    """Take the whole patient.

    Raises:
        NoRoomError: a trap is there already.
    """
    if plan.touched or plan.strays:
        raise NoRoomError
    plan.touched.update((image.slice_index, image.phase) for image in plan.images)
    plan.touched.update((contour.slice_index, contour.phase) for contour in plan.contours)


def image_at(plan: PatientPlan, place: Place) -> PlannedImage:
    """The image of the short-axis cine at a place."""
    return next(image for image in plan.series("sax") if (image.slice_index, image.phase) == place)


def contours_at(plan: PatientPlan, place: Place, kind: str) -> list[PlannedContour]:
    """The contours at a place whose kind starts with a letter."""
    return [
        contour
        for contour in plan.contours
        if (contour.slice_index, contour.phase) == place and contour.kind.startswith(kind)
    ]
