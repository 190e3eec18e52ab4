"""The challenge's tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lvseg.evaluation.agreement import Agreement
from lvseg.evaluation.challenge import ContourEvaluation
from lvseg.evaluation.frames import STRUCTURES, Structure
from lvseg.evaluation.summary import MeanSD, PatientScore, Stratum

__all__ = ["print_evaluation"]

Column = tuple[str, str, int]
"""Heading, measure, decimals."""
COLUMNS: tuple[Column, ...] = (
    ("good %", "good_percent", 1),
    ("Dice good", "dice_good", 3),
    ("Dice all", "dice_all", 3),
    ("APD good", "apd_good", 2),
)
PATIENT_COLUMNS: tuple[Column, ...] = (
    ("n", "contours", 0),
    ("found %", "detected_percent", 1),
    *COLUMNS,
    ("HD95", "hd95", 2),
    ("ASSD", "assd", 2),
)


def print_evaluation(evaluation: ContourEvaluation, console: Console) -> None:
    """Print tables of patients and of parts of heart and cycle for each structure, and one of volumes."""
    for structure in STRUCTURES:
        patients = [patient for patient in evaluation.patients if patient.structure == structure]
        strata = [stratum for stratum in evaluation.strata if stratum.structure == structure]
        if patients:
            console.print(_patient_table(patients, strata[0].over_patients, evaluation))
        if len(strata) > 1:
            console.print(_stratum_table(structure, strata[1:]))
    if evaluation.agreements:
        console.print(_agreement_table(evaluation.agreements))
    for line in _notes(evaluation):
        console.print(line, soft_wrap=True)


def _table(title: str, *left: str, right: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _patient_table(
    patients: Sequence[PatientScore], over_patients: dict[str, MeanSD], evaluation: ContourEvaluation
) -> Table:
    title = f"{patients[0].structure}, good: APD < {evaluation.threshold:g} {evaluation.unit}"
    table = _table(title, "case", right=[heading for heading, _, _ in PATIENT_COLUMNS])
    for patient in patients:
        cells = [_number(getattr(patient, name), decimals) for _, name, decimals in PATIENT_COLUMNS]
        table.add_row(patient.case_id, *cells)
    table.add_section()
    for row in ("mean", "SD"):
        values = [(getattr(over_patients[name], row.lower()), decimals) for _, name, decimals in PATIENT_COLUMNS[1:]]
        total = str(sum(patient.contours for patient in patients)) if row == "mean" else ""
        table.add_row(row, total, *(_number(value, decimals) for value, decimals in values))
    return table


def _stratum_table(structure: Structure, strata: Sequence[Stratum]) -> Table:
    headings = ("patients", "n", *(heading for heading, _, _ in COLUMNS))
    table = _table(f"{structure}, mean over patients", "part", right=headings)
    for before, stratum in zip([strata[0], *strata], strata, strict=False):
        if before.by != stratum.by:
            table.add_section()
        cells = [_number(stratum.over_patients[name].mean, decimals) for _, name, decimals in COLUMNS]
        table.add_row(stratum.value, str(stratum.patients), str(stratum.contours), *cells)
    return table


def _agreement_table(agreements: Sequence[Agreement]) -> Table:
    headings = ("patients", "manual", "automatic", "bias", "limits of agreement", "r")
    table = _table("volumes, automatic against manual contours", "", right=headings)
    for agreement in agreements:
        count = len(agreement.manual)
        table.add_row(
            agreement.quantity,
            str(count),
            f"{sum(agreement.manual) / count:.1f}",
            f"{sum(agreement.auto) / count:.1f}",
            _signed(agreement.bias),
            "–" if math.isnan(agreement.sd) else f"{_signed(agreement.lower)} to {_signed(agreement.upper)}",
            _number(agreement.correlation, 3),
        )
    return table


def _notes(evaluation: ContourEvaluation) -> list[str]:
    notes = []
    if evaluation.unit == "px":
        notes.append("lengths are in pixels: not every image carries its pixel spacing")
    missed = [image for image in evaluation.images if image.detected and image.score.apd_missed > 0]
    if missed:
        share = sum(image.score.apd_missed for image in missed) / len(evaluation.images)
        notes.append(
            f"APD: in {len(missed)} images some normals ({100 * share:.1f} % of all) do not meet the manual contour; "
            "the nearest distance counts there"
        )
    if evaluation.unscored:
        notes.append(f"{evaluation.unscored} automatic contours have no manual one and are not scored")
    return notes


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # 0 has no minus sign


def _number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"
