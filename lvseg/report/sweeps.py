"""What a sweep varied, and how the Dice went with it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup

from lvseg.leaderboard import Importance, Row, rank_settings, varied_settings
from lvseg.report.curves import COLORS, OTHERS_COLOR, STYLE, new_figure, to_svg

__all__ = ["SweepView", "view_sweeps"]

LEAST_TRIALS = 3
"""Of fewer, nothing can be seen."""
MOST_PLOTS = 8
_LOG_SCALE_FROM = 20.0
"""Ratio of the largest to the smallest value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepView:
    """A sweep as the page shows it."""

    name: str
    trials: int
    failed: int
    best: Row
    varied: Mapping[str, Any]
    """Settings of the best trial that differ between trials."""
    importance: Sequence[Importance]
    """How much the Dice depended on each of them; none of a small sweep."""
    plots: list[tuple[str, Markup]]
    """(setting, drawing of Dice against it)."""


def view_sweeps(rows: Sequence[Row], failed: Sequence[Row], key: str) -> list[SweepView]:
    """Every sweep of a group of runs, the one with the best trial first.

    Args:
        rows: ranked runs, best first.
        failed: failed runs; those of the sweeps are counted.
        key: part of the drawings' inner names.
    """
    by_sweep = defaultdict(list)
    for row in rows:
        if row.result.sweep:
            by_sweep[row.result.sweep].append(row)
    return [
        _view(name, trials, sum(row.result.sweep == name for row in failed), f"{key}-{number}")
        for number, (name, trials) in enumerate(by_sweep.items())
        if len(trials) >= LEAST_TRIALS
    ]


def _view(name: str, trials: Sequence[Row], failed: int, key: str) -> SweepView:
    best = min(trials, key=lambda row: row.rank or 0)
    varied = varied_settings(trials)
    return SweepView(
        name=name,
        trials=len(trials),
        failed=failed,
        best=best,
        varied={setting: best.result.config[setting] for setting in varied},
        importance=rank_settings(trials),
        # Markup: numbers and the names of settings, which matplotlib escapes.
        plots=[(setting, Markup(_draw(setting, trials, best, key))) for setting in varied[:MOST_PLOTS]],
    )


def _draw(setting: str, trials: Sequence[Row], best: Row, key: str) -> str:
    points = [
        (row.result.config.get(setting), row.result.val_dice, row is best)
        for row in trials
        if not math.isnan(row.result.val_dice)
    ]
    places, labels = _places([value for value, _, _ in points])
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": f"sweep-{key}-{setting}"}):
        figure, axes = new_figure((3.6, 2.6))
        colors = [COLORS[0] if is_best else OTHERS_COLOR for _, _, is_best in points]
        axes.scatter(places, [dice for _, dice, _ in points], c=colors, s=[44 if best else 22 for *_, best in points])
        axes.set_ylabel("Dice")
        if labels:
            axes.set_xticks(range(len(labels)), labels)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        elif min(places) > 0 and max(places) / min(places) > _LOG_SCALE_FROM:
            axes.set_xscale("log")
        return to_svg(figure)


def _places(values: Sequence[Any]) -> tuple[list[float], list[str]]:
    """Where each value is drawn, and, of words, the words."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values], []
    words = sorted({_word(value) for value in values})
    return [float(words.index(_word(value))) for value in values], words


def _word(value: Any) -> str:
    return str(value).replace("$", r"\$")  # a dollar sign would begin a formula
