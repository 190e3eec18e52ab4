"""Traps in contour files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from skimage.measure import points_in_poly

from lvseg.phantom.anatomy import Floats
from lvseg.phantom.plan import PatientPlan
from lvseg.phantom.planting import (
    NoRoomError,
    Planted,
    Roster,
    contours_at,
    image_at,
    labelled,
    middle_first,
    take,
    whole,
)
from lvseg.rasterize import rasterize

__all__ = [
    "area_jump",
    "contour_off_heart",
    "contour_off_image",
    "contour_without_image",
    "copied_epicardium",
    "endocardium_outside_epicardium",
    "missing_es_slice",
    "missing_phase",
    "two_point_contour",
]

_AREA_JUMP = 2.0
"""Factor on a contour's diameter."""

_OUTSIDE = 0.2
"""Share of endocardium points that must lie outside a copied epicardium: else nobody could see it."""

_OFF_HEART = (2.5, 3.0, 2.0)
"""Distances, in radii, at which a contour is tried beside the heart."""

_RING_PX = 3


def copied_epicardium(plan: PatientPlan, roster: Roster) -> Planted:
    """All epicardium contours are those of another patient, byte for byte; the endocardium falls outside them."""
    if plan.touched:
        raise NoRoomError
    donors = [other for other in roster.others(plan) if not other.touched and other.contours_of("o")]
    share, donor = max(
        ((_share_outside(plan, other), other) for other in donors), key=lambda pair: pair[0], default=(0.0, plan)
    )
    if share < _OUTSIDE:
        raise NoRoomError
    whole(plan)
    donor.touched.update((contour.slice_index, contour.phase) for contour in donor.contours_of("o"))
    copied = []
    for mine, theirs in zip(plan.contours_of("o"), donor.contours_of("o"), strict=False):
        mine.points = theirs.points
        copied.append(mine)
    return Planted(files=tuple(copied), note=f"byte-identical to those of {donor.study.identity.case_id}")


def _share_outside(plan: PatientPlan, donor: PatientPlan) -> float:
    """Share of endocardium points outside the donor's epicardia."""
    inner = {contour.number: contour.points for contour in plan.contours_of("i")}
    shares = [
        1 - float(np.mean(points_in_poly(inner[mine.number], theirs.points)))  # type: ignore[no-untyped-call]
        for mine, theirs in zip(plan.contours_of("o"), donor.contours_of("o"), strict=False)
    ]
    return float(np.mean(shares)) if shares else 0.0


def missing_phase(plan: PatientPlan, _: Roster) -> Planted:
    """End-systole is not drawn at all."""
    whole(plan)
    gone = [contour for contour in plan.contours if contour.phase == plan.study.truth.es_phase]
    plan.contours = [contour for contour in plan.contours if contour not in gone]
    return Planted(files=tuple(gone), note="removed")


def missing_es_slice(plan: PatientPlan, _: Roster) -> Planted:
    """A slice between two drawn ones is not drawn at end-systole."""
    places = labelled(plan, plan.study.truth.es_phase)
    drawn = [slice_index for slice_index, _phase in places]
    inner = [place for place in places if place[0] - 1 in drawn and place[0] + 1 in drawn]
    (place,) = take(plan, middle_first(inner))
    gone = [contour for contour in plan.contours if (contour.slice_index, contour.phase) == place]
    plan.contours = [contour for contour in plan.contours if contour not in gone]
    return Planted(files=tuple(gone), note="removed")


def area_jump(plan: PatientPlan, _: Roster) -> Planted:
    """A contour is twice as wide as its image's heart."""
    for place in middle_first(labelled(plan, plan.study.truth.es_phase)):
        (contour,) = contours_at(plan, place, "i")
        centre = contour.points.mean(axis=0)
        points = _on_lattice(centre + _AREA_JUMP * (contour.points - centre))
        if _on_image(points, plan.study.size):
            take(plan, [place])
            contour.points = points
            return Planted(files=(contour,), note=f"{_AREA_JUMP:g} times as wide")
    raise NoRoomError


def endocardium_outside_epicardium(plan: PatientPlan, _: Roster) -> Planted:
    """An epicardium lies beside its endocardium."""
    for place in middle_first(labelled(plan, plan.study.truth.ed_phase)):
        for outer in contours_at(plan, place, "o"):
            shift = 0.8 * _radius(outer.points)
            for points in (outer.points + np.array([step, 0.0]) for step in (-shift, shift)):
                if _on_image(points, plan.study.size):
                    take(plan, [place])
                    outer.points = _on_lattice(points)
                    return Planted(files=(outer,), note=f"epicardium moved sideways by {shift:.1f} px")
    raise NoRoomError


def contour_off_heart(plan: PatientPlan, roster: Roster) -> Planted:
    """An endocardium lies on its image but beside the heart, around nothing brighter than its surroundings."""
    for place in middle_first(labelled(plan, plan.study.truth.es_phase)):
        (contour,) = contours_at(plan, place, "i")
        pixels = roster.painter.paint(image_at(plan, place))
        candidates = [
            _on_lattice(contour.points + distance * _radius(contour.points) * np.array([np.cos(angle), np.sin(angle)]))
            for distance in _OFF_HEART
            for angle in np.arange(8) * np.pi / 4
        ]
        contrasts = {_contrast(pixels, points): points for points in candidates if _on_image(points, plan.study.size)}
        if contrasts and min(contrasts) < 0:
            take(plan, [place])
            contour.points = contrasts[min(contrasts)]
            return Planted(files=(contour,), note="moved beside the heart")
    raise NoRoomError


def contour_off_image(plan: PatientPlan, _: Roster) -> Planted:
    """Half of a contour lies beyond the image's right edge."""
    (place,) = take(plan, labelled(plan, plan.study.truth.es_phase))
    (contour,) = contours_at(plan, place, "i")
    middle = np.floor(contour.points[:, 0].mean())
    contour.points = contour.points + np.array([plan.study.size - middle, 0.0])
    return Planted(files=(contour,), note="half of the points lie outside the image")


def two_point_contour(plan: PatientPlan, _: Roster) -> Planted:
    """A contour file holds two points."""
    (place,) = take(plan, labelled(plan, plan.study.truth.es_phase)[::-1])
    (contour,) = contours_at(plan, place, "i")
    contour.points = contour.points[:2]
    return Planted(files=(contour,), note="two points")


def contour_without_image(plan: PatientPlan, _: Roster) -> Planted:
    """A contour (or mask) carries the number of an image that is not there."""
    last = plan.contours_of("i")
    if not last:
        raise NoRoomError
    number = plan.study.slices * plan.study.phases + 1
    extra = replace(last[-1], number=number, slice_index=plan.study.slices)
    if any(contour.number == number for contour in plan.contours):
        raise NoRoomError
    plan.contours.append(extra)
    return Planted(files=(extra,), note=f"there is no image {number}")


def _radius(points: Floats) -> float:
    return float(np.linalg.norm(points - points.mean(axis=0), axis=1).mean())


def _on_lattice(points: Floats) -> Floats:
    return np.asarray(np.round(points * 2) / 2)


def _on_image(points: Floats, size: int) -> bool:
    return bool((points >= 1).all() and (points <= size).all())


def _contrast(pixels: NDArray[np.int16], points: Floats) -> float:
    """Mean inside the contour less the mean of a ring around it."""
    inside = rasterize(points, pixels.shape, "centre").astype(bool)
    ring = binary_dilation(inside, iterations=_RING_PX) & ~inside
    return float(pixels[inside].mean() - pixels[ring].mean())
