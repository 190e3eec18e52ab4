"""Builds the report page from a leaderboard and its run folders."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lvseg.errors import RunError
from lvseg.leaderboard import ABSENT, COLUMNS, Column, Group, Leaderboard, Row
from lvseg.leaderboard.folds import cross_validations
from lvseg.leaderboard.statistics import ALPHA, RESAMPLES
from lvseg.leaderboard.terminal import running_text
from lvseg.report.curves import OTHERS_COLOR, Curve, colors, draw_dice, draw_loss
from lvseg.report.extremes import EvaluationView, Picture, find_evaluation, find_picture
from lvseg.report.patients import PatientTable, tabulate_patients
from lvseg.report.sweeps import SweepView, view_sweeps
from lvseg.results import read_history
from lvseg.store import UPath, write_text

__all__ = ["render_page", "write_report"]

MOST_CURVES = 12
"""Runs of a group whose curves are drawn."""

TOP_RUNS = 3
"""Runs of a group shown with picture, settings and command."""

_ALWAYS = {"rank", "name", "val_dice", "val_dice_pooled", "worst", "best_epoch"}
_BELOW = {"val_dice": "dice_interval", "val_dice_pooled": "pooled_interval"}
"""What stands in small print in the same cell."""
_NOT_ON_PAGE = {"seconds", "code", *_BELOW.values()}
"""Columns for which a page has no room; the device hours say the same, the versions stand at its end."""
_LONG_TITLES = {
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "decay_rate": "decay rate",
    "decay_steps": "decay steps",
    "images_per_second": "images/s",
    "device_hours": "device hours",
}
"""Titles where there is room for them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Legend:
    name: str
    color: str
    is_other: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plots:
    loss: Markup
    dice: Markup
    legend: list[_Legend]
    left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Detail:
    row: Row
    picture: Picture | None
    evaluation: EvaluationView | None
    configuration: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Section:
    group: Group
    columns: list[Column]
    same: list[tuple[str, str]]
    plots: _Plots | None
    sweeps: list[SweepView]
    patients: PatientTable | None
    details: list[_Detail]
    other_rows: tuple[Row, ...]


def write_report(leaderboard: Leaderboard, out: Path | UPath) -> Path | UPath:
    """Write the report page, whole or not at all; return its path.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        write_text(out, render_page(leaderboard))
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror or error}") from None
    return out


def render_page(leaderboard: Leaderboard) -> str:
    """The report as one HTML document: tables, curves, pictures, settings and commands; it requests nothing.

    A run without readable history or picture is shown without them.
    """
    environment = Environment(
        loader=PackageLoader("lvseg.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["dice"] = _show_dice
    own = [row for group in leaderboard.groups if group.training_labels is None for row in group.every_row]
    folds = cross_validations(own)
    sections = [_section(group, leaderboard.failed, index) for index, group in enumerate(leaderboard.groups)]
    return environment.get_template("page.html.j2").render(
        board=leaderboard,
        sections=sections,
        shown={column.key for section in sections for column in section.columns},
        has_intervals=any(row.dice_interval for row in leaderboard.rows),
        versions=_versions(leaderboard),
        finished=sum(row.result.status == "finished" for row in own),
        early=sum(row.result.status == "stopped early" for row in own),
        folds=folds,
        most_folds=1 + max((row.result.config["fold"] for each in folds for row in each.rows), default=0),
        running=[(name, running_text(progress)) for name, progress in leaderboard.running],
        alpha=ALPHA,
        resamples=RESAMPLES,
        below={key: next(column for column in COLUMNS if column.key == small) for key, small in _BELOW.items()},
        finished_at=max((row.result.finished_at for row in [*leaderboard.rows, *leaderboard.failed]), default=""),
    )


def _columns(group: Group) -> tuple[list[Column], list[tuple[str, str]]]:
    """Columns with a value that differs between the runs, and (title, text) of what is the same in all."""
    columns, same = [], []
    for column in COLUMNS:
        texts = {row.text(column) for row in group.rows}
        if column.key in _ALWAYS or len(texts) > 1:
            columns.append(column)
        elif texts != {ABSENT} and column.key not in _BELOW.values():
            same.append((_LONG_TITLES.get(column.key, column.title), texts.pop()))
    return [column for column in columns if column.key not in _NOT_ON_PAGE], same


def _section(group: Group, failed: Sequence[Row], index: int) -> _Section:
    columns, same = _columns(group)
    own = group.training_labels is None  # of evaluations, curves and sweeps stand with the training
    return _Section(
        group=group,
        columns=columns,
        same=same,
        plots=_plots(group.rows, str(index)) if own else None,
        sweeps=view_sweeps(group.every_row, failed, str(index)) if own else [],
        patients=tabulate_patients(group.rows),
        details=[_detail(row) for row in group.rows[:TOP_RUNS]],
        other_rows=group.rows[TOP_RUNS:],
    )


def _plots(rows: Sequence[Row], key: str) -> _Plots | None:
    drawn = [(row, history) for row in rows[:MOST_CURVES] if (history := _history(row))]
    if not drawn:
        return None
    curves = [Curve(rows=history, color=color) for (_, history), color in zip(drawn, colors(len(drawn)), strict=True)]
    legend = [
        _Legend(name=row.name, color=curve.color, is_other=curve.color == OTHERS_COLOR)
        for (row, _), curve in zip(drawn, curves, strict=True)
    ]
    # Markup: drawn from numbers alone, no text of the user's is in it.
    return _Plots(
        loss=Markup(draw_loss(curves, key)),
        dice=Markup(draw_dice(curves, key)),
        legend=legend,
        left_out=len(rows) - len(drawn),
    )


def _history(row: Row) -> list[Any]:
    try:
        return list(read_history(row.folder))
    except RunError as error:
        logger.warning("%s", error)
        return []


def _detail(row: Row) -> _Detail:
    part = "val" if row.evaluation is None else row.evaluation.part
    return _Detail(
        row=row,
        picture=find_picture(row.folder) if row.evaluation is None else None,
        evaluation=find_evaluation(row.folder, part, row.result.records_sha256),
        configuration=yaml.safe_dump(dict(row.result.config), sort_keys=False, allow_unicode=True).strip(),
    )


def _versions(leaderboard: Leaderboard) -> Mapping[str, str]:
    found: dict[str, dict[str, None]] = {}
    for group in leaderboard.groups:
        for row in group.rows:
            for package, version in row.result.versions.items():
                found.setdefault(package, {})[version] = None
    return {package: ", ".join(versions) for package, versions in sorted(found.items())}


def _show_dice(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.4f}"
