"""Learning curves as SVG that takes its text colour from the page."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from lvseg.results import EpochRow

__all__ = ["COLORS", "OTHERS_COLOR", "STYLE", "Curve", "colors", "draw_dice", "draw_loss", "new_figure", "to_svg"]

COLORS = ("#2f6fde", "#d9822b", "#2a9d74", "#b05cc6", "#c94f5c")
"""Lines of the first runs, best first; legible on white and on near-black. The others are grey."""

OTHERS_COLOR = "#8c939d"

# matplotlib wants a colour; this one is exchanged for the page's own text colour.
_TEXT_COLOR = "#010203"

_LOG_SCALE_FROM = 10.0  # ratio of the largest to the smallest loss

STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11.0,
    "text.color": _TEXT_COLOR,
    "axes.labelcolor": _TEXT_COLOR,
    "axes.edgecolor": OTHERS_COLOR,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": OTHERS_COLOR,
    "ytick.color": OTHERS_COLOR,
    "xtick.labelcolor": _TEXT_COLOR,
    "ytick.labelcolor": _TEXT_COLOR,
    "grid.color": OTHERS_COLOR,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One run's history and the colour of its line."""

    rows: Sequence[EpochRow]
    color: str


def draw_loss(curves: Sequence[Curve], key: str) -> str:
    """Draw the validation loss of every run, the best run (the first) also with its training loss.

    Args:
        curves: best run first.
        key: part of the drawing's inner names; must differ between the drawings of a page.

    Returns:
        An ``<svg>`` element.
    """
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": f"loss-{key}"}):
        figure, axes = _epochs_figure()
        _draw_lines(axes, curves, "val_loss", "loss")
        losses = [row.val_loss for curve in curves for row in curve.rows if math.isfinite(row.val_loss)]
        if losses and min(losses) > 0 and max(losses) / min(losses) > _LOG_SCALE_FROM:
            _use_log_scale(axes)
        return to_svg(figure)


def draw_dice(curves: Sequence[Curve], key: str) -> str:
    """Draw the validation Dice of every run, the best also with its training Dice; see ``draw_loss``."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": f"dice-{key}"}):
        figure, axes = _epochs_figure()
        _draw_lines(axes, curves, "val_dice", "dice")
        axes.set_ylim(0, 1)
        return to_svg(figure)


def _use_log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def new_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A drawing, (width, height) inches of 72 points, under ``STYLE``."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y")
    return figure, axes


def _epochs_figure() -> tuple[Figure, Axes]:
    figure, axes = new_figure((6.4, 3.6))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure, axes


def _draw_lines(axes: Axes, curves: Sequence[Curve], validation: str, training: str) -> None:
    last_epoch = max(row.epoch for curve in curves for row in curve.rows)
    axes.set_xlim(0, last_epoch * 1.03)
    # The best run is drawn last, on top of the others.
    for order, curve in reversed(list(enumerate(curves))):
        alpha = 0.5 if curve.color == OTHERS_COLOR else 1.0
        epochs = [row.epoch for row in curve.rows]
        marker = "o" if len(epochs) == 1 else ""
        if order == 0:
            values = [getattr(row, training) for row in curve.rows]
            axes.plot(epochs, values, color=curve.color, linewidth=1.2, linestyle=(0, (3, 2)), marker=marker)
        values = [getattr(row, validation) for row in curve.rows]
        axes.plot(epochs, values, color=curve.color, alpha=alpha, linewidth=2.4 if order == 0 else 1.3, marker=marker)


def to_svg(figure: Figure) -> str:
    """An ``<svg>`` element that takes text colour and size from the page."""
    text = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=no_metadata)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_TEXT_COLOR, "currentColor")
    # Groups are numbered alike in every drawing, and a page's ids must be unique; nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # The size comes from the page, by the viewBox.
    return re.sub(r"<svg[^>]*>", lambda tag: re.sub(r' (width|height)="[^"]*"', "", tag[0]), svg, count=1)


def colors(count: int) -> list[str]:
    """Colours of ``count`` lines, best first."""
    return list(itertools.islice(itertools.chain(COLORS, itertools.repeat(OTHERS_COLOR)), count))
