"""Checks of a patient's slices against each other: areas along the stack and over the cycle, holes, geometry."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lvseg.config import Structures
from lvseg.findings import Finding, Severity
from lvseg.quality.table import Facts, Rows, where

__all__ = ["area_jumps", "geometry", "has_many_phases", "missing_phases", "missing_slices", "phases_of"]

JUMP = 0.25
"""Difference of a cavity's radius from its neighbours' mean, in radii of the phase's largest cavity.

In 30 Sunnybrook patients the largest right ones are +0.20 and -0.18; a cavity of 19 mm² between two of 200 and
100 mm² has -0.27. Twice the area gives +0.3 in mid-stack."""
END_JUMP = 0.3
"""The same for the first and last slice against their only neighbour, larger ones only: towards apex and base
cavities taper. Right ones reach +0.20."""
SYSTOLE_RATIO = 1.3
"""End-systolic over end-diastolic area of a slice; the largest right one is 1.17, of a failing heart's apex."""

SPACING_TOLERANCE = 1e-3
"""Relative difference of pixel spacings that is more than rounding."""
GAP_TOLERANCE = 0.05
"""Relative difference of slice spacings that is more than rounding."""


def phases_of(facts: Facts, rows: Rows) -> dict[int, Rows]:
    """A case's rows by phase, each by slice; only rows whose slice and phase are known, one a slice."""
    phase, index = facts.numbers("phase_index"), facts.numbers("slice_index")
    known = rows[~np.isnan(phase[rows]) & ~np.isnan(index[rows])]
    if not len(known):
        return {}
    fresh = np.r_[True, (np.diff(phase[known]) != 0) | (np.diff(index[known]) != 0)]
    known = known[fresh]
    bounds = np.flatnonzero(np.diff(phase[known])) + 1
    return {int(phase[group[0]]): group for group in np.split(known, bounds)}


def area_jumps(facts: Facts) -> Iterator[Finding]:
    """Cavities much larger or smaller than their neighbours in the stack, or larger in systole than in diastole."""
    for rows in facts.cases():
        phases = phases_of(facts, rows)
        told: set[int] = set()
        for group in phases.values():
            for finding, row in _jumps_along(facts, group):
                told.add(row)
                yield finding
        for finding, rows_of_slice in _grown_in_systole(facts, phases):
            if not told & rows_of_slice:
                yield finding


def _jumps_along(facts: Facts, rows: Rows) -> Iterator[tuple[Finding, int]]:
    if len(rows) < 3:
        return
    index, radius = facts.numbers("slice_index")[rows], np.sqrt(facts.area_mm2[rows] / np.pi)
    jumps = _radius_jumps(index, radius)
    sizes = np.abs(jumps)
    limits = np.r_[END_JUMP, np.full(len(rows) - 2, JUMP), END_JUMP]
    # A slice that jumps makes its neighbours jump the other way: only the largest is told.
    largest = sizes >= np.maximum(np.r_[0, sizes[:-1]], np.r_[sizes[1:], 0])
    for at in where((sizes > limits) & largest):
        beside = [rows[other] for other in (at - 1, at + 1) if 0 <= other < len(rows)]
        areas = " and ".join(f"{facts.area_mm2[other]:.0f}" for other in beside)
        reason = (
            f"area {facts.area_mm2[rows[at]]:.0f} mm² beside {areas} mm²: radius off by {jumps[at]:+.2f} of the "
            f"largest in the stack, expected within {limits[at]:g}"
        )
        yield facts.slice_finding(rows[at], "area-jump", "warning", "endocardium", reason, beside), int(rows[at])


def _radius_jumps(index: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """(slices,) radius minus what the neighbours lead to expect, over the largest radius; at the ends growth only."""
    between = (index[1:-1] - index[:-2]) / (index[2:] - index[:-2])
    inner = radius[1:-1] - (radius[:-2] * (1 - between) + radius[2:] * between)
    ends = max(radius[0] - radius[1], 0.0), max(radius[-1] - radius[-2], 0.0)
    return np.asarray(np.r_[ends[0], inner, ends[1]] / (radius.max() or 1.0))


def _grown_in_systole(facts: Facts, phases: dict[int, Rows]) -> Iterator[tuple[Finding, set[int]]]:
    """Slices whose cavity is larger in the phase that is the smaller one over the whole stack."""
    index = facts.numbers("slice_index")
    by_slice = {phase: dict(zip(index[rows].tolist(), rows.tolist(), strict=True)) for phase, rows in phases.items()}
    if len(phases) < 2:
        return
    shared = sorted(set.intersection(*(set(rows) for rows in by_slice.values())))
    if len(shared) < 3:
        return
    areas = {phase: np.array([facts.area_mm2[rows[at]] for at in shared]) for phase, rows in by_slice.items()}
    mean = np.mean(list(areas.values()), axis=0)
    # The median, so that one slice gone wrong does not turn diastole and systole round.
    sizes = {phase: float(np.median(own / np.maximum(mean, 1e-9))) for phase, own in areas.items()}
    diastole, systole = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    for at in shared:
        large, small = by_slice[diastole][at], by_slice[systole][at]
        if facts.area_mm2[small] > SYSTOLE_RATIO * facts.area_mm2[large]:
            reason = (
                f"area {facts.area_mm2[small]:.0f} mm² at end-systole, {facts.area_mm2[large]:.0f} mm² at "
                f"end-diastole, expected at most {SYSTOLE_RATIO:g} times as much"
            )
            yield (
                facts.slice_finding(small, "area-jump", "warning", "endocardium", reason, [large]),
                {small, large},
            )


def missing_slices(facts: Facts) -> Iterator[Finding]:
    """Holes in the stack of labelled slices of one phase."""
    index = facts.numbers("slice_index")
    for rows in facts.cases():
        for phase, group in phases_of(facts, rows).items():
            for at in where(np.diff(index[group]) > 1):
                before, after = group[at], group[at + 1]
                holes = ", ".join(str(hole) for hole in range(int(index[before]) + 1, int(index[after])))
                reason = (
                    f"no label in slice {holes} at phase {phase}, though slices {index[before]:.0f} and "
                    f"{index[after]:.0f} have one"
                )
                yield facts.case_finding(before, "missing-slice", "warning", reason, [before, after])


def has_many_phases(facts: Facts) -> bool:
    """Whether any case has labels in two phases."""
    return any(len(phases_of(facts, rows)) > 1 for rows in facts.cases())


def missing_phases(facts: Facts, structures: Structures, many_phases: bool) -> Iterator[Finding]:
    """Cases with labels in one phase only, so that no ejection fraction can be had.

    A warning where other cases have two; else the source is labelled that way: a note. With the myocardium asked
    for there is none: Sunnybrook has epicardia at end-diastole only.
    """
    if structures == "endo+myo":
        return
    for rows in facts.cases():
        phases = phases_of(facts, rows)
        if len(phases) == 1:
            reason = f"{len(rows)} labels, all at phase {next(iter(phases))}, expected end-diastole and end-systole"
            severity: Severity = "warning" if many_phases else "note"
            yield facts.case_finding(rows[0], "missing-phase", severity, reason, [rows[0]])


def geometry(facts: Facts) -> Iterator[Finding]:
    """Sizes and spacings that differ within a case, and pixels that are not square."""
    height, width = facts.numbers("row_spacing_mm"), facts.numbers("column_spacing_mm")
    rows_px, columns_px = facts.numbers("rows"), facts.numbers("columns")
    for rows in facts.cases():
        odd = _odd_one(np.stack([rows_px[rows], columns_px[rows]], axis=1), 0.0)
        if odd is not None:
            reason = _differs("image size", rows_px[rows], columns_px[rows], odd, "px")
            yield facts.case_finding(rows[odd], "mixed-image-sizes", "warning", reason, [rows[odd]], "image_file")
        known = rows[~np.isnan(height[rows])]
        if not len(known):
            continue
        odd = _odd_one(np.stack([height[known], width[known]], axis=1), SPACING_TOLERANCE)
        if odd is not None:
            reason = _differs("pixel spacing", height[known], width[known], odd, "mm")
            yield facts.case_finding(known[odd], "mixed-spacing", "warning", reason, [known[odd]], "image_file")
        oblong = known[np.abs(height[known] - width[known]) > SPACING_TOLERANCE * width[known]]
        if len(oblong):
            row = oblong[0]
            reason = f"pixels are {height[row]:g} x {width[row]:g} mm (row x column) in {len(oblong)} slices"
            yield facts.case_finding(row, "non-square-pixels", "warning", reason, [row], "image_file")
        yield from _uneven_gaps(facts, rows)


def _odd_one(values: NDArray[np.float64], tolerance: float) -> int | None:
    """The first of the rows that are not as the usual one is."""
    kinds, counts = np.unique(values, axis=0, return_counts=True)
    usual = kinds[counts.argmax()]
    odd = np.flatnonzero((np.abs(values - usual) > tolerance * usual).any(axis=1))
    return int(odd[0]) if len(odd) else None


def _differs(what: str, first: NDArray[np.float64], second: NDArray[np.float64], odd: int, unit: str) -> str:
    kinds = {f"{one:g} x {other:g}" for one, other in zip(first.tolist(), second.tolist(), strict=True)}
    this = f"{first[odd]:g} x {second[odd]:g}"
    return f"{what} {this} {unit}, in other slices {', '.join(sorted(kinds - {this})[:3])} {unit}"


def _uneven_gaps(facts: Facts, rows: Rows) -> Iterator[Finding]:
    index, position = facts.numbers("slice_index")[rows], facts.numbers("position_mm")[rows]
    known = np.flatnonzero(~np.isnan(index) & ~np.isnan(position))
    slices, first = np.unique(index[known], return_index=True)
    if len(slices) < 3:
        return
    gaps = np.abs(np.diff(position[known][first]) / np.diff(slices))
    if gaps.max() > gaps.min() * (1 + GAP_TOLERANCE):
        row = rows[known[first[int(np.argmax(np.abs(gaps - np.median(gaps))))]]]
        reason = f"neighbouring slices are {gaps.min():.1f} to {gaps.max():.1f} mm apart"
        yield facts.case_finding(row, "mixed-spacing", "warning", reason, [row], "image_file")
