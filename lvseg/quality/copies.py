"""Images and contours that are there twice, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from lvseg.findings import Finding
from lvseg.quality.slice_checks import CROSSING_SHARE, FITS_CONTRAST, OFF_CASE_CONTRAST
from lvseg.quality.table import Facts, Rows

__all__ = ["contours", "images", "instance_uids"]

MOST_OTHERS = 3
"""Copies named in one finding."""


def contours(facts: Facts, target: Literal["endocardium", "epicardium"]) -> Iterator[Finding]:
    """Identical contours in two patients.

    Copies come in sets, so the patients are judged by all the contours that the same patients share: the one whose
    hearts these fit keeps them, by contrast for the endocardium, by nesting for the epicardium.
    """
    groups = [group for group in facts.repeated(f"{target}_hash") if len(set(facts.case_codes[group])) > 1]
    sets: dict[tuple[int, ...], list[Rows]] = {}
    for group in groups:
        sets.setdefault(tuple(sorted(set(facts.case_codes[group].tolist()))), []).append(group)
    for cases, members in sets.items():
        owner, evidence = _owner(facts, cases, np.concatenate(members), target)
        for group in members:
            for row in group[facts.case_codes[group] != owner]:
                others = group[facts.case_codes[group] != facts.case_codes[row]][:MOST_OTHERS]
                reason = f"same {target} points as {_names(facts, others)}; {evidence}"
                severity: Literal["error", "warning"] = "warning" if owner is None else "error"
                yield facts.slice_finding(row, "copied-contour", severity, target, reason, others.tolist())


def _owner(facts: Facts, cases: Sequence[int], rows: Rows, target: str) -> tuple[int | None, str]:
    """The one case that the shared contours fit, None where that is undecided; and the evidence."""
    if target == "endocardium":
        scores = [_mean(facts.contrast[rows[facts.case_codes[rows] == case]]) for case in cases]
        fits, misfits = [s >= FITS_CONTRAST for s in scores], [s < OFF_CASE_CONTRAST for s in scores]
        told = [f"{score:.2f}" for score in scores]
        what = "mean contrast"
    else:
        outside = facts.numbers("outside_share")
        scores = [_mean(outside[rows[facts.case_codes[rows] == case]]) for case in cases]
        fits, misfits = [s <= CROSSING_SHARE for s in scores], [s > CROSSING_SHARE for s in scores]
        told = [f"{100 * score:.0f} %" for score in scores]
        what = "endocardium outside it"
    ids = [facts.case_id(int(np.searchsorted(facts.case_codes, case))) for case in cases]
    evidence = f"{what} " + ", ".join(f"{text} in {case_id}" for text, case_id in zip(told, ids, strict=True))
    if sum(fits) == 1 and sum(misfits) == len(cases) - 1:
        owner = fits.index(True)
        return cases[owner], f"{evidence}: it belongs to {ids[owner]}"
    return None, f"{evidence}: undecided whose it is"


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def images(facts: Facts) -> Iterator[Finding]:
    """Images of identical pixels, in two patients or twice in one; constant ones have a check of their own."""
    constant = facts.numbers("image_min") == facts.numbers("image_max")
    for group in facts.repeated("image_hash"):
        if constant[group[0]]:
            continue
        contrast = facts.contrast[group]
        fits, misfits = contrast >= FITS_CONTRAST, contrast < OFF_CASE_CONTRAST
        decided = fits.sum() == 1 and misfits.sum() == len(group) - 1 and len(set(facts.case_codes[group])) > 1
        for row in group[misfits] if decided else group:
            others = group[group != row][:MOST_OTHERS]
            reason = f"same pixels as {_names(facts, others)}"
            if decided:
                reason += f"; contrast of its contour {facts.contrast[row]:.2f}, there {contrast.max():.2f}: theirs"
            yield facts.slice_finding(
                row, "copied-image", "error" if decided else "warning", "image", reason, others.tolist()
            )


def instance_uids(facts: Facts) -> Iterator[Finding]:
    """Different images under one SOPInstanceUID, which must be unique in the world."""
    for group in facts.repeated("instance_key"):
        for row in group[1:]:
            reason = f"same SOPInstanceUID as {_names(facts, group[:1])}"
            yield facts.slice_finding(row, "duplicate-sop-instance-uid", "warning", "image", reason, group[:1].tolist())


def _names(facts: Facts, rows: Rows) -> str:
    return ", ".join(facts.name(row) for row in rows)
