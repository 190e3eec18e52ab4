"""Volumes of the left ventricle from contours: the sum over slices of area times the distance of the slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lvseg.evaluation.frames import Structure
from lvseg.rasterize import contour_area_px
from lvseg.slices import Contours, Place

__all__ = ["Drawn", "Volumes", "find_phases", "measure_volumes", "phase_volumes_ml", "slice_spacing_mm"]

Drawn = tuple[Place, Contours]
"""An image's place and its contours, in pixels of that image."""

MYOCARDIUM_G_PER_ML = 1.05
FULL_PHASE = 0.5
"""A phase with fewer contours than this share of the fullest phase's is no ED or ES: single contours stray."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Volumes:
    """The numbers of one study; None where phases, spacings or contours are missing."""

    edv_ml: float | None = None
    """Volume at end-diastole, ml."""
    esv_ml: float | None = None
    """Volume at end-systole, ml."""
    sv_ml: float | None = None
    """Stroke volume, EDV - ESV, ml."""
    ejection_fraction: float | None = None
    """(EDV - ESV) / EDV, 0 to 1."""
    mass_g: float | None = None
    """Mass of the left ventricle's wall at end-diastole, g."""


def slice_spacing_mm(places: Iterable[Place]) -> float | None:
    """Distance of neighbouring slices' centres: from their positions, else as the headers say; None: not known."""
    places = list(places)
    along = {place.slice_index: _along_mm(place) for place in places if place.slice_index is not None}
    known = sorted((index, at) for index, at in along.items() if at is not None)
    if len(known) > 1:
        indices, positions = np.array(known, np.float64).T
        return float(np.median(np.abs(np.diff(positions) / np.diff(indices))))
    said = [place.spacing_between_slices_mm for place in places if place.spacing_between_slices_mm]
    return float(np.median(said)) if said else None


def _along_mm(place: Place) -> float | None:
    """Position along the normal of the image."""
    position, cosines = place.image_position_patient, place.image_orientation_patient
    if position is None or cosines is None:
        return None
    return float(np.cross(cosines[:3], cosines[3:]) @ np.array(position))


def _area_mm2(place: Place, contours: Contours, structure: Structure) -> float | None:
    contour = getattr(contours, structure)
    if contour is None or place.pixel_spacing is None:
        return None
    return contour_area_px(contour) * place.pixel_spacing[0] * place.pixel_spacing[1]


def _areas(drawn: Iterable[Drawn], structure: Structure) -> dict[int, dict[int, float]]:
    """Phase → slice → area, mm²; of images whose phase, slice and spacing are known."""
    areas: dict[int, dict[int, float]] = defaultdict(dict)
    for place, contours in drawn:
        area = _area_mm2(place, contours, structure)
        if area is not None and place.phase_index is not None and place.slice_index is not None:
            areas[place.phase_index][place.slice_index] = area
    return dict(areas)


def phase_volumes_ml(drawn: Sequence[Drawn], spacing_mm: float | None = None) -> dict[int, float]:
    """Volume of the cavity at every phase that has a contour: the volume–time curve of a cine.

    Args:
        drawn: one patient's images; slices without a contour have no volume.
        spacing_mm: distance of the slices; default: what the places of these images say.

    Returns:
        0-based phase → ml, by phase; empty where phases, slices or spacings are not known.
    """
    spacing = slice_spacing_mm(place for place, _ in drawn) if spacing_mm is None else spacing_mm
    if spacing is None:
        return {}
    areas = _areas(drawn, "endocardium")
    return {phase: sum(areas[phase].values()) * spacing / 1000 for phase in sorted(areas)}


def find_phases(drawn: Sequence[Drawn]) -> tuple[int | None, int | None]:
    """(ED, ES): the phases of the largest and the smallest volume of the cavity, 0-based.

    Phases with less than half as many contours as the fullest one are passed over. None where no phase is known; ES
    is None where there is only one.
    """
    volumes = phase_volumes_ml(drawn, 1.0)
    slices = {phase: len(areas) for phase, areas in _areas(drawn, "endocardium").items()}
    full = {phase: ml for phase, ml in volumes.items() if slices[phase] >= FULL_PHASE * max(slices.values())}
    if not full:
        return None, None
    return max(full, key=full.__getitem__), min(full, key=full.__getitem__) if len(full) > 1 else None


def measure_volumes(
    drawn: Sequence[Drawn], phases: tuple[int | None, int | None] | None = None, spacing_mm: float | None = None
) -> Volumes:
    """EDV, ESV, stroke volume, ejection fraction and mass of one patient.

    The mass counts the slices that have both contours at ED.

    Args:
        drawn: his images.
        phases: (ED, ES); default: those of the largest and smallest volume. A phase without contours has 0 ml.
        spacing_mm: distance of the slices; default: what the places of these images say.
    """
    spacing = slice_spacing_mm(place for place, _ in drawn) if spacing_mm is None else spacing_mm
    ed, es = find_phases(drawn) if phases is None else phases
    if spacing is None or ed is None:
        return Volumes()
    volumes = phase_volumes_ml(drawn, spacing)
    edv, esv = volumes.get(ed, 0.0), None if es is None else volumes.get(es, 0.0)
    return Volumes(
        edv_ml=edv,
        esv_ml=esv,
        sv_ml=None if esv is None else edv - esv,
        ejection_fraction=None if esv is None or not edv else (edv - esv) / edv,
        mass_g=_mass_g(drawn, ed, spacing),
    )


def _mass_g(drawn: Sequence[Drawn], ed: int, spacing_mm: float) -> float | None:
    inner, outer = (_areas(drawn, structure).get(ed, {}) for structure in ("endocardium", "epicardium"))
    both = inner.keys() & outer.keys()
    if not both:
        return None
    wall_mm2 = sum(outer[index] - inner[index] for index in both)
    return MYOCARDIUM_G_PER_ML * wall_mm2 * spacing_mm / 1000
