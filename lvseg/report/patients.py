"""Dice of every patient under the best runs: which patients are hard for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lvseg.leaderboard import Row

__all__ = ["PatientTable", "tabulate_patients"]

MOST_RUNS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientTable:
    """Patients by runs."""

    runs: tuple[Row, ...]
    """Of the columns."""
    lines: list[tuple[str, list[float | None]]]
    """(patient, Dice under each run), the patient with the lowest mean first; None where a run has none."""


def tabulate_patients(rows: Sequence[Row]) -> PatientTable | None:
    """The patients of the best runs; None where no patient's score is known."""
    runs = tuple(rows[:MOST_RUNS])
    cases = dict.fromkeys(case for row in runs for case in row.result.val_dice_by_case)
    lines = [(case, [_known(row.result.val_dice_by_case.get(case)) for row in runs]) for case in cases]
    lines.sort(key=lambda line: (_mean(line[1]), line[0]))
    return PatientTable(runs=runs, lines=lines) if lines else None


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.inf
