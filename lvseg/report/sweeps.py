"""What a sweep varied, and how the Dice went with it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from lvseg.leaderboard import ABSENT, Importance, Row, rank_settings, varied_settings
from lvseg.leaderboard.importance import is_numeric, word_order
from lvseg.report.curves import COLORS, OTHERS_COLOR, STYLE, new_figure, to_svg

__all__ = ["SweepView", "view_sweeps"]

LEAST_TRIALS = 3
"""Of fewer, nothing can be seen."""
MOST_PLOTS = 8
_LOG_SCALE_FROM = 20.0
"""Ratio of the largest to the smallest value."""
_MOST_TICKS = 6
_MOST_LETTERS = 22
"""Of all ticks together, without tilting them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepView:
    """A sweep as the page shows it."""

    name: str
    finished: int
    """Trials that came to their end."""
    early: int
    """Trials that the sweep has stopped early."""
    failed: int
    best: Row
    varied: Mapping[str, Any]
    """Settings of the best trial that differ between trials."""
    importance: Sequence[Importance]
    """How much the Dice depended on each of them; none of a small sweep."""
    plots: list[tuple[str, Markup]]
    """(setting, drawing of Dice against it), the most important first where that is known."""
    left_out: int
    """Settings that are not drawn."""


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
    importance = rank_settings(trials)
    drawn = [found.setting for found in importance] or varied
    early = sum(_is_early(row) for row in trials)
    return SweepView(
        name=name,
        finished=len(trials) - early,
        early=early,
        failed=failed,
        best=best,
        varied={setting: best.result.config.get(setting) for setting in varied},
        importance=importance,
        # Markup: numbers and the names of settings, which matplotlib escapes.
        plots=[(setting, Markup(_draw(setting, trials, best, key))) for setting in drawn[:MOST_PLOTS]],
        left_out=max(0, len(drawn) - MOST_PLOTS),
    )


def _draw(setting: str, trials: Sequence[Row], best: Row, key: str) -> str:
    known = [row for row in trials if not math.isnan(row.result.val_dice)]
    places, labels = _places([row.result.config.get(setting) for row in known])
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": f"sweep-{key}-{setting}"}):
        figure, axes = new_figure((3.6, 2.6))
        # The best is drawn last, on top of the others.
        for row, place in sorted(zip(known, places, strict=True), key=lambda pair: pair[0] is best):
            color = COLORS[0] if row is best else OTHERS_COLOR
            face, size = "none" if _is_early(row) else color, 6.5 if row is best else 4.5
            axes.plot(place, row.result.val_dice, "o", markersize=size, markeredgecolor=color, markerfacecolor=face)
        axes.set_ylabel("Dice")
        _mark_places(axes, places, labels)
        return to_svg(figure)


def _is_early(row: Row) -> bool:
    return row.result.status == "stopped early"


def _mark_places(axes: Axes, places: Sequence[float], labels: Sequence[str]) -> None:
    """Words, the few short values that there are, or whatever matplotlib finds."""
    different = sorted({place for place in places if not math.isnan(place)})
    if labels:
        tilted: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(labels)), labels, **(tilted if sum(map(len, labels)) > _MOST_LETTERS else {}))
        axes.set_xlim(-0.5, len(labels) - 0.5)
        return
    if different[0] > 0 and different[-1] / different[0] > _LOG_SCALE_FROM:
        axes.set_xscale("log")
    ticks = [f"{value:g}" for value in different]
    if 1 < len(different) <= _MOST_TICKS and sum(map(len, ticks)) <= _MOST_LETTERS:
        if different[0] > 0:
            axes.set_xscale("log")  # so that 1, 2, 4, 8 do not crowd each other
        axes.set_xticks(different, ticks)
        axes.xaxis.set_minor_locator(NullLocator())


def _places(values: Sequence[Any]) -> tuple[list[float], list[str]]:
    """Where each value is drawn, and, of words and of few numbers that some trials lack, the words.

    Of many numbers, a trial that lacks one has no place: NaN.
    """
    if is_numeric(values) and (None not in values or len(set(values)) > _MOST_TICKS):
        return [math.nan if value is None else float(value) for value in values], []
    words = sorted({_word(value) for value in values}, key=word_order)
    return [float(words.index(_word(value))) for value in values], words


def _word(value: Any) -> str:
    return ABSENT if value is None else str(value).replace("$", r"\$")  # a dollar sign would begin a formula
