"""What the labels of each case say: how many there are, and the volumes of the ventricle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lvseg.findings import Finding
from lvseg.quality.stack_checks import phases_of
from lvseg.quality.table import Facts, Rows

__all__ = ["CaseSummary", "summarise"]

FULL_PHASE = 0.5
"""A phase with fewer labelled slices than this share of the fullest phase's is no ED or ES."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseSummary:
    """One patient's labels. Volumes are None where positions, spacing or phases are not known."""

    case_id: str
    """The patient's pseudonym."""
    images: int
    """Labelled images."""
    ed_slices: int | None
    """Labelled slices at end-diastole."""
    es_slices: int | None
    """Labelled slices at end-systole."""
    edv_ml: float | None
    """Volume at end-diastole, ml."""
    esv_ml: float | None
    """Volume at end-systole, ml."""
    ef: float | None
    """Ejection fraction, 0 to 1."""
    ed_areas_mm2: tuple[float, ...]
    """Areas along the stack at end-diastole; of all labels in order where phases are not known."""
    es_areas_mm2: tuple[float, ...]
    """The same at end-systole."""
    findings: dict[str, int]
    """Findings by severity."""


def summarise(facts: Facts, findings: Sequence[Finding]) -> Iterator[CaseSummary]:
    """One summary a case, in the facts' order. Cases of which nothing could be loaded are not there."""
    counts = Counter((finding.case_id, finding.severity) for finding in findings)
    for rows in facts.cases():
        case_id = facts.case_id(rows[0])
        own = {severity: counts[case_id, severity] for severity in ("error", "warning", "note")}
        yield _summary(facts, rows, case_id, own)


def _summary(facts: Facts, rows: Rows, case_id: str, findings: dict[str, int]) -> CaseSummary:
    phases = phases_of(facts, rows)
    fullest = max((len(group) for group in phases.values()), default=0)
    sums = {
        phase: float(facts.area_mm2[group].sum())
        for phase, group in phases.items()
        if len(group) >= FULL_PHASE * fullest
    }
    diastole = phases[max(sums, key=sums.__getitem__)] if sums else None
    systole = phases[min(sums, key=sums.__getitem__)] if len(sums) > 1 else None
    gap = _slice_gap_mm(facts, rows)
    edv, esv = (None if group is None else _volume_ml(facts, group, gap) for group in (diastole, systole))
    return CaseSummary(
        case_id=case_id,
        images=len(rows),
        ed_slices=None if diastole is None else len(diastole),
        es_slices=None if systole is None else len(systole),
        edv_ml=edv,
        esv_ml=esv,
        ef=None if not edv or esv is None else (edv - esv) / edv,
        ed_areas_mm2=_areas(facts, rows if diastole is None else diastole),
        es_areas_mm2=() if systole is None else _areas(facts, systole),
        findings=findings,
    )


def _areas(facts: Facts, rows: Rows) -> tuple[float, ...]:
    return tuple(facts.area_mm2[rows].tolist())


def _volume_ml(facts: Facts, rows: Rows, gap_mm: float | None) -> float | None:
    """Sum of area times slice spacing over the slices; mm³ are thousandths of ml."""
    areas = facts.numbers("endocardium_area_mm2")[rows]
    return None if gap_mm is None or np.isnan(areas).any() else float(areas.sum()) * gap_mm / 1000


def _slice_gap_mm(facts: Facts, rows: Rows) -> float | None:
    """Usual distance of neighbouring slices, from their positions, else as the header says."""
    index, position = facts.numbers("slice_index")[rows], facts.numbers("position_mm")[rows]
    known = np.flatnonzero(~np.isnan(index) & ~np.isnan(position))
    slices, first = np.unique(index[known], return_index=True)
    if len(slices) > 1:
        return float(np.median(np.abs(np.diff(position[known][first]) / np.diff(slices))))
    said = facts.numbers("spacing_between_slices_mm")[rows]
    return float(np.nanmedian(said)) if not np.isnan(said).all() else None
