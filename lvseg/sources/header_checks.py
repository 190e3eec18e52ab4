"""What is wrong with the headers of a patient's images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from lvseg.findings import Finding, Severity
from lvseg.sources.headers import ImageHeader
from lvseg.sources.listing import Collector
from lvseg.sources.series import Series

__all__ = ["check_headers"]

SPACING_TOLERANCE = 1e-3
"""Difference of two pixel spacings, mm, that is more than rounding."""
COSINE_TOLERANCE = 1e-3
"""Difference of two direction cosines that is more than rounding."""
GAP_TOLERANCE = 0.05
"""Relative difference of two slice spacings that is more than rounding."""


def check_headers(headers: Sequence[ImageHeader], series: Series, found: Collector, case_id: str) -> Iterator[Finding]:
    """Look at a patient's headers.

    Args:
        headers: of all the patient's images.
        series: the chosen one.
        found: knows how to name files.
        case_id: the patient's.
    """

    def finding(check: str, severity: Severity, image: ImageHeader, reason: str) -> Finding:
        file = found.shown(image.path, case_id)
        return Finding(
            severity=severity, check=check, case_id=case_id, name="", target="case", file=file, reason=reason
        )

    for reason, image in _mixed(series):
        yield finding("mixed-spacing", "warning", image, f"series {series.label}: {reason}")
    first = series.images[0]
    for image in series.images:
        row, column = image.pixel_spacing or (1.0, 1.0)
        if abs(row - column) > SPACING_TOLERANCE * column:
            yield finding("non-square-pixels", "warning", image, f"pixels are {row:g} x {column:g} mm (row x column)")
            break
    if lacking := _missing(series):
        yield finding("incomplete-cine", "note", first, f"series {series.label}: {lacking}")
    if repeats := _repeated(headers):
        other, image = repeats[0]
        of = found.shown(other.path, case_id)
        repeated = f"{len(repeats)} files repeat the SOPInstanceUID of another, e.g. of {of}"
        yield finding("duplicate-sop-instance-uid", "warning", image, repeated)


def _mixed(series: Series) -> Iterator[tuple[str, ImageHeader]]:
    """What is not the same all over a series, each with an image that is not as most are."""
    kinds: tuple[tuple[str, list[tuple[float, ...] | None], float], ...] = (
        ("Rows and Columns", [image.shape for image in series.images], 0.0),
        ("PixelSpacing", [image.pixel_spacing for image in series.images], SPACING_TOLERANCE),
        ("ImageOrientationPatient", [image.orientation for image in series.images], COSINE_TOLERANCE),
    )
    for keyword, values, tolerance in kinds:
        usual = Counter(values).most_common(1)[0][0]
        odd = [index for index, value in enumerate(values) if _differ(value, usual, tolerance)]
        if odd:
            yield (
                f"{keyword} {_text(values[odd[0]])} in {len(odd)} images, {_text(usual)} in the others",
                series.images[odd[0]],
            )
    gaps, first = series.gaps_mm, series.images[0]
    if not len(gaps):
        return
    said = first.spacing_between_slices_mm
    if gaps.max() > gaps.min() * (1 + GAP_TOLERANCE):
        yield f"neighbouring slices are {gaps.min():.1f} to {gaps.max():.1f} mm apart", first
    elif said and abs(said - gaps.mean()) > GAP_TOLERANCE * gaps.mean():
        yield f"SpacingBetweenSlices is {said:g} mm, but slices are {gaps.mean():.1f} mm apart", first


def _differ(one: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is not other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) > tolerance


def _text(values: tuple[float, ...] | None) -> str:
    return "missing" if values is None else " x ".join(f"{value:g}" for value in values)


def _missing(series: Series) -> str | None:
    """How many images a cine lacks, where positions tell its slices."""
    if series.ranks is None or not series.phases:
        return None
    counts = np.bincount(series.ranks)
    short = np.maximum(series.phases - counts, 0)
    if not short.any():
        return None
    expected = f"expected {len(counts) * series.phases} ({len(counts)} slices of {series.phases} phases)"
    return f"{len(series.images)} images, {expected}; {int((short > 0).sum())} slices lack some"


def _repeated(headers: Sequence[ImageHeader]) -> list[tuple[ImageHeader, ImageHeader]]:
    """Images whose SOPInstanceUID an image before has, each with that image."""
    first: dict[str, ImageHeader] = {}
    return [
        (other, image)
        for image in headers
        if image.instance_key and (other := first.setdefault(image.instance_key, image)) is not image
    ]
