"""Checks of one slice at a time: its image, its contours, and whether these lie on the heart."""

from __future__ import annotations

from collections.abc import Iterator, Set

import numpy as np
from numpy.typing import NDArray

from lvseg.findings import Finding, Severity
from lvseg.quality.table import Facts, Rows, where

__all__ = ["FITS_CONTRAST", "OFF_CASE_CONTRAST", "cases_off_heart", "contours_off_heart", "images", "nesting", "shapes"]

SATURATED_SHARE = 0.005
"""Share of the pixels at the largest value; of 582 Sunnybrook images none is above 0.0001."""

TINY_MM2 = 20.0
"""A cavity of 5 mm diameter; of 526 Sunnybrook masks one is below."""
TINY_PX = 1.0
"""Below this a mask is no shape."""

OFF_CONTRAST = 0.3
"""Of the right contours of Sunnybrook with ``SURE_MM2`` or more the lowest has 0.46, one in a hundred below 0.6."""
SURE_MM2 = 100.0
"""In smaller cavities blurring and papillary muscles can leave no bright pixel: there the contrast only warns."""
OFF_CASE_CONTRAST = 0.6
"""Median of a case; of 29 rightly drawn Sunnybrook patients the lowest has 1.23, the wrongly drawn one 0.17."""
FITS_CONTRAST = 1.0
"""From here up a contour is on its heart: a twentieth of the right ones are below, all of the wrong case's are."""
FEWEST_SLICES = 3
"""Slices from which a case's median says something."""
OFF_DISTANCE_MM = 40.0
"""From the median centre of the case's cavities; the farthest Sunnybrook apex, of a tilted heart, is 22 mm away."""

CROSSING_MM = 2.0
"""Endocardium outside the epicardium; the largest distance in 28 Sunnybrook pairs is 0.5 px = 0.7 mm."""
CROSSING_SHARE = 0.1
"""Share of the endocardium's points outside; the largest in those 28 is 0.02."""
MISFIT_MM = 5.0
"""Farther out than a wall is thick, the two contours cannot be of one heart …"""
MISFIT_SHARE = 0.5
"""… nor when half of one lies outside the other."""


def images(facts: Facts) -> Iterator[Finding]:
    """Constant and saturated images."""
    low, high, share = facts.numbers("image_min"), facts.numbers("image_max"), facts.numbers("share_at_max")
    constant = low == high
    for row in where(constant):
        reason = f"every pixel is {high[row]:g}"
        yield facts.slice_finding(row, "constant-image", "error", "image", reason)
    for row in where((share >= SATURATED_SHARE) & ~constant):
        reason = (
            f"{100 * share[row]:.1f} % of the pixels have the largest value {high[row]:g}, "
            f"expected below {100 * SATURATED_SHARE:g} %"
        )
        yield facts.slice_finding(row, "saturated-image", "warning", "image", reason)


def shapes(facts: Facts) -> Iterator[Finding]:
    """Empty masks, tiny and self-intersecting contours, epicardium files that could not be used."""
    cavity, area_px = facts.numbers("cavity_px"), facts.numbers("endocardium_area_px")
    empty = cavity == 0
    for row in where(empty):
        yield facts.slice_finding(row, "empty-mask", "note", "endocardium", "no pixel of cavity in the mask")
    for row in where(~empty & ((facts.area_mm2 < TINY_MM2) | (area_px < TINY_PX))):
        reason = (
            f"cavity of {facts.area_mm2[row]:.0f} mm² ({area_px[row]:.1f} px²), expected {TINY_MM2:.0f} mm² or more"
        )
        yield facts.slice_finding(row, "tiny-contour", "warning", "endocardium", reason)
    for target in ("endocardium", "epicardium"):
        crossings = facts.numbers(f"{target}_crossings")
        for row in where(crossings > 0):
            reason = f"{target} contour crosses itself {crossings[row]:.0f} times"
            yield facts.slice_finding(row, "self-intersecting-contour", "warning", target, reason)
    for row in where(facts.numbers("epicardium_dropped") > 0):
        reason = (
            "epicardium file without a usable contour: unreadable, fewer than three points, no area, or off the image"
        )
        yield facts.slice_finding(row, "unreadable", "error", "epicardium", reason)


def nesting(facts: Facts, copied_epicardia: Set[str]) -> Iterator[Finding]:
    """Endocardia outside their epicardium, and which of the two is wrong.

    Args:
        facts: of the whole source.
        copied_epicardia: names of slices whose epicardium is in another patient too.
    """
    share, distance = facts.numbers("outside_share"), facts.numbers("outside_px") * facts.mm_per_px
    for row in where((distance > CROSSING_MM) | (share > CROSSING_SHARE)):
        found = f"{100 * share[row]:.0f} % of the endocardium outside the epicardium, up to {distance[row]:.1f} mm"
        contrast = facts.contrast[row]
        severity: Severity = "error"
        if facts.name(row) in copied_epicardia:
            target, reason = "epicardium", "the epicardium is another patient's too"
        elif contrast < OFF_CONTRAST:
            target, reason = "endocardium", f"the endocardium lies on no cavity: contrast {contrast:.2f}"
        elif distance[row] <= MISFIT_MM and share[row] <= MISFIT_SHARE:
            target, reason, severity = "epicardium", "the contours cross", "warning"
        else:
            target, reason = "epicardium", f"the endocardium lies on its cavity: contrast {contrast:.2f}"
        yield facts.slice_finding(
            row,
            "endocardium-outside-epicardium",
            severity,
            target,  # type: ignore[arg-type]
            f"{found}; {reason}",
        )


def cases_off_heart(facts: Facts) -> tuple[int, int]:
    """Cases with a median contrast, and those of them where it is too low."""
    medians = _case_medians(facts)
    by_case = medians[np.unique(facts.case_codes, return_index=True)[1]]
    by_case = by_case[~np.isnan(by_case)]
    return len(by_case), int(np.count_nonzero(by_case < OFF_CASE_CONTRAST))


def contours_off_heart(facts: Facts, other_kind: bool) -> Iterator[Finding]:
    """Endocardia that do not lie on a bright cavity, or lie far from the case's others.

    Args:
        facts: of whole cases.
        other_kind: most cases of the source look wrong: it is the images that are of another kind (dark blood), and
            nothing is quarantined.
    """
    medians, distances = _case_medians(facts), _distances_mm(facts)
    off_case = (medians < OFF_CASE_CONTRAST) & ~(facts.contrast >= FITS_CONTRAST) & ~np.isnan(facts.contrast)
    off_slice = facts.contrast < OFF_CONTRAST
    far = distances > OFF_DISTANCE_MM
    sure = off_case | (off_slice & (facts.area_mm2 >= SURE_MM2)) | (far & ~(facts.contrast >= FITS_CONTRAST))
    for row in where(off_case | off_slice | far):
        severity: Severity = "error" if sure[row] and not other_kind else "warning"
        reason = _off_heart_reason(facts, row, medians[row], distances[row], bool(off_case[row]))
        if other_kind:
            reason += "; so it is in most cases: are these bright-blood cine images?"
        yield facts.slice_finding(row, "contour-off-heart", severity, "endocardium", reason)


def _off_heart_reason(facts: Facts, row: int, median: float, distance: float, is_case: bool) -> str:
    parts = []
    if is_case or facts.contrast[row] < OFF_CONTRAST:
        inside, ring = facts.numbers("cavity_mean")[row], facts.numbers("ring_mean")[row]
        parts.append(f"mean {inside:.0f} inside and {ring:.0f} around, contrast {facts.contrast[row]:.2f}")
        parts.append(
            f"median of the case {median:.2f}, expected {OFF_CASE_CONTRAST:g} or more"
            if is_case
            else f"expected {OFF_CONTRAST:g} or more (median of the case {median:.2f})"
        )
    if distance > OFF_DISTANCE_MM:
        expected = f"expected {OFF_DISTANCE_MM:.0f} mm or less"
        parts.append(f"{distance:.0f} mm from the centre of the case's other contours, {expected}")
    return ", ".join(parts)


def _case_medians(facts: Facts) -> NDArray[np.float64]:
    """(rows,) median contrast of the row's case; NaN for a case of few slices."""
    medians = np.full(len(facts), np.nan)
    for rows in facts.cases():
        values = facts.contrast[rows]
        values = values[~np.isnan(values)]
        if len(values) >= FEWEST_SLICES:
            medians[rows] = np.median(values)
    return medians


def _distances_mm(facts: Facts) -> NDArray[np.float64]:
    """(rows,) distance of the cavity's centre from the median centre in its case; NaN where that says nothing."""
    distances = np.full(len(facts), np.nan)
    x, y = facts.numbers("endocardium_x_px"), facts.numbers("endocardium_y_px")
    for rows in facts.cases():
        if len(rows) >= FEWEST_SLICES and _same_size(facts, rows):
            known = rows[~np.isnan(x[rows])]
            if len(known):
                away = np.hypot(x[known] - np.median(x[known]), y[known] - np.median(y[known]))
                distances[known] = away * facts.mm_per_px[known]
    return distances


def _same_size(facts: Facts, rows: Rows) -> bool:
    return all(np.ptp(facts.numbers(column)[rows]) == 0 for column in ("rows", "columns"))
