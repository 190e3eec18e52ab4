"""The page's plots, as Plotly figures; colours of text and paper come from the page's style sheet."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from lvseg.dashboard.trials import Section, Trial
from lvseg.leaderboard import Row, rank_settings, varied_settings
from lvseg.leaderboard.importance import FEWEST_RUNS, is_numeric, word_order
from lvseg.report.curves import COLORS, OTHERS_COLOR

__all__ = ["METRICS", "draw_curves", "draw_importance", "draw_parallel", "say"]

METRICS: Mapping[str, str] = {
    "val_dice": "validation Dice",
    "val_dice_pooled": "validation Dice, pooled",
    "val_loss": "validation loss",
    "dice": "training Dice",
    "loss": "training loss",
    "learning_rate": "learning rate",
    "images_per_second": "images/s",
}
"""Columns of the history that can be drawn, and what they are called."""
_LOG_METRICS = {"val_loss", "loss", "learning_rate"}
_LOG_SCALE_FROM = 10.0
"""Ratio of the largest to the smallest value."""
_MOST_BARS = 12
_MOST_AXES = 10
"""Parallel axes; of more, the least important settings are left out."""
_MOST_TICKS = 8
_MOST_LETTERS = 12
_TICK_GAP = 0.06
"""Between two ticks, of an axis' length."""
_ABSENT = "absent"
_ABSENT_BELOW = 0.15
"""Of an axis' length."""
_SELECTED_COLOR = "#14b4d8"
_ERROR_COLOR = "#5d6670"
_GRID = "rgba(140, 147, 157, 0.25)"
_SCALE = [[0.0, "#b3bac4"], [0.5, "#86a3d6"], [1.0, "#2361d8"]]
_FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12}
TREND_COLORS = {1: COLORS[0], -1: COLORS[1], 0: OTHERS_COLOR}
TREND_NAMES = {1: "higher is better", -1: "lower is better", 0: "no clear direction"}


def draw_curves(
    section: Section, metric: str, selected: str | None = None, keys: Iterable[str] | None = None
) -> go.Figure:
    """One curve a run, the best five in colours, the selected one thick.

    Args:
        section: the runs.
        metric: one of ``METRICS``.
        selected: key of a trial.
        keys: those that are shown; default: all.
    """
    shown = None if keys is None else set(keys)
    drawn = [trial for trial in section.trials if trial.history and (shown is None or trial.key in shown)]
    if not drawn:
        return say("No run that is shown has come to the end of an epoch.")
    # Failed runs have a colour where there are no others.
    first = [trial.key for trial in drawn if trial.state != "failed"] or [trial.key for trial in drawn]
    named = dict(zip(first, COLORS, strict=False))
    figure = go.Figure(layout=_layout(metric))
    grey = [trial for trial in drawn if trial.key not in named and trial.key != selected]
    if grey:
        figure.add_trace(_bundle(section, grey, metric))
    # The first ones are drawn last, on top of the others.
    for trial in reversed([trial for trial in drawn if trial.key in named or trial.key == selected]):
        color, is_selected = named.get(trial.key, _SELECTED_COLOR), trial.key == selected
        figure.add_trace(_line(section.short(trial), trial, metric, color, is_selected=is_selected))
    values = [value for trial in drawn for value in _values(trial, metric) if value is not None]
    positive = [value for value in values if value > 0]
    if metric in _LOG_METRICS and positive and max(positive) / min(positive) > _LOG_SCALE_FROM:
        figure.update_yaxes(type="log", dtick=1 if max(positive) / min(positive) > 1000 else "D2")
    return figure


def _values(trial: Trial, metric: str) -> list[float | None]:
    values = [getattr(row, metric) for row in trial.history]
    return [value if value is not None and math.isfinite(value) else None for value in values]


def _line(name: str, trial: Trial, metric: str, color: str, *, is_selected: bool) -> go.Scatter:
    epochs = [row.epoch for row in trial.history]
    return go.Scatter(
        x=epochs,
        y=_values(trial, metric),
        name=_cut(name),
        mode="lines+markers" if len(epochs) == 1 or trial.state == "running" else "lines",
        marker={"size": 4 if len(epochs) > 1 else 7},
        line={"color": color, "width": 3 if is_selected else 1.6},
        hovertemplate=f"{name}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    )


def _bundle(section: Section, trials: Sequence[Trial], metric: str) -> go.Scatter:
    """Many runs as one trace, with gaps in between: a browser draws that far quicker."""
    x: list[int | None] = []
    y: list[float | None] = []
    names: list[str] = []
    for trial in trials:
        x += [*(row.epoch for row in trial.history), None]
        y += [*_values(trial, metric), None]
        names += [section.short(trial)] * (len(trial.history) + 1)
    alone = all(len(trial.history) == 1 for trial in trials)
    return go.Scatter(
        x=x,
        y=y,
        customdata=names,
        name=f"{len(trials)} more" if len(trials) > 1 else _cut(names[0]),
        mode="markers" if alone else "lines",
        line={"color": OTHERS_COLOR, "width": 1},
        opacity=0.55,
        hovertemplate="%{customdata}<br>epoch %{x}: %{y:.4g}<extra></extra>",
    )


def _layout(metric: str) -> dict[str, Any]:
    return _base() | {
        "uirevision": metric,  # what was zoomed stays so while the sweep runs
        "margin": {"l": 56, "r": 8, "t": 8, "b": 40},
        "xaxis": _axis("epoch") | {"rangemode": "tozero", "tickformat": "d", "nticks": 12},
        "yaxis": _axis(METRICS[metric]),
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.16, "x": 0, "traceorder": "reversed"},
    }


def _base() -> dict[str, Any]:
    return {
        "template": None,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": _FONT,
        "autosize": True,
        "dragmode": "zoom",
    }


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "tickfont": {"size": 12},
        "gridcolor": _GRID,
        "linecolor": OTHERS_COLOR,
        "zeroline": False,
        "automargin": True,
    }


def say(text: str) -> go.Figure:
    """A place that has nothing to show yet says why."""
    figure = go.Figure(layout=_base() | {"margin": {"l": 8, "r": 8, "t": 8, "b": 8}})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    text = "<br>".join(textwrap.wrap(text, 34))
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"size": 13})
    return figure


def _cut(text: str, most: int = 28) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"


def draw_parallel(section: Section, keys: Iterable[str] | None = None) -> go.Figure:
    """One line a ranked run, through the value of every setting that varied, to its Dice.

    Args:
        section: the runs.
        keys: those that are shown; default: all.
    """
    trials = [trial for trial in _shown(section, keys) if trial.dice is not None]
    rows = _rows(trials)
    settings = [importance.setting for importance in rank_settings(rows)] or varied_settings(rows)
    if len(trials) < 2 or not settings:
        return say("Two ended runs with different settings are needed.")
    chosen = set(settings[:_MOST_AXES])
    dice = [trial.dice or 0.0 for trial in trials]
    axes = [
        _dimension(setting, [trial.settings.get(setting) for trial in trials])
        for setting in varied_settings(rows)
        if setting in chosen
    ]
    # The lower half is grey: of many lines one wants to see what the good ones have in common.
    low, high = statistics.median(dice), max(dice)
    line = {"color": dice, "colorscale": _SCALE, "cmin": low, "cmax": high if high > low else low + 1e-6}
    layout = _base() | {"margin": {"l": 76, "r": 32, "t": 48, "b": 20}, "uirevision": "parallel"}
    figure = go.Figure(layout=layout)
    figure.add_trace(
        go.Parcoords(
            line=line,
            dimensions=[*axes, {"label": "Dice", "values": dice, "tickformat": ".3f"}],
            labelfont=_FONT,
            tickfont={"size": 11},
            rangefont={"size": 11, "color": "rgba(0,0,0,0)"},
            unselected={"line": {"opacity": 0.08}},
        )
    )
    return figure


def _shown(section: Section, keys: Iterable[str] | None) -> list[Trial]:
    """The ranked runs that a filter leaves."""
    shown = None if keys is None else set(keys)
    return [trial for trial in section.ranked if shown is None or trial.key in shown]


def _rows(trials: Iterable[Trial]) -> list[Row]:
    return [trial.row for trial in trials if trial.row is not None]


def _dimension(setting: str, values: Sequence[Any]) -> dict[str, Any]:
    """One axis: of few values or of words one tick each, of many numbers a linear or logarithmic one."""
    label = {"label": _wrap(setting.replace("_", " "))}
    words = sorted({_word(value) for value in values}, key=word_order)
    if not is_numeric(values) or (None in values and len(words) <= _MOST_TICKS):
        places = [words.index(_word(value)) for value in values]
        every = math.ceil(len(words) / _MOST_TICKS)
        return label | {
            "values": places,
            "tickvals": list(range(0, len(words), every)),
            "ticktext": _shorten(words)[::every],
        }
    return label | _number_axis([None if value is None else float(value) for value in values])


def _number_axis(values: Sequence[float | None]) -> dict[str, Any]:
    """A linear or logarithmic axis; runs without the setting meet it below its lowest number."""
    different = sorted({value for value in values if value is not None})
    low, high = different[0], different[-1]
    to_place: Callable[[float], float] = float
    ticks = different if len(different) <= _MOST_TICKS else _even_ticks(low, high)
    if low > 0 and high / low > _LOG_SCALE_FROM:
        to_place = math.log10
        ticks = different if len(different) <= _MOST_TICKS else _decades(low, high)
    absent = to_place(low) - _ABSENT_BELOW * ((to_place(high) - to_place(low)) or 1.0)
    places = [absent if value is None else to_place(value) for value in values]
    tickvals, ticktext = [to_place(tick) for tick in ticks], [f"{tick:.3g}" for tick in ticks]
    if None in values:
        tickvals, ticktext = [absent, *tickvals], [_ABSENT, *ticktext]
    return {"values": places, "tickvals": tickvals, "ticktext": ticktext}


def _even_ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= _MOST_TICKS - 2)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _word(value: Any) -> str:
    return _ABSENT if value is None else str(value)


def _shorten(words: Sequence[str]) -> list[str]:
    """Words as long as fit between two axes, and as long as they need to be to tell them apart."""
    for most in range(_MOST_LETTERS, max(len(word) for word in words)):
        short = [word if len(word) <= most else f"{word[: most - 1]}…" for word in words]
        if len(set(short)) == len(words):
            return short
    return list(words)


def _wrap(label: str) -> str:
    """A long name of a setting in two lines."""
    return label if len(label) <= _MOST_LETTERS else "<br>".join(textwrap.wrap(label, _MOST_LETTERS)[:2])


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade between two numbers, and the two themselves."""
    marks = [low, high]
    steps = (1, 2, 5) if high / low < 100 else (1,)
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        marks += [step * 10.0**exponent for step in steps]
    gap = (high / low) ** _TICK_GAP
    inside = [mark for mark in marks if low * gap < mark < high / gap]
    return [low, *inside, high]


def draw_importance(section: Section, keys: Iterable[str] | None = None) -> go.Figure:
    """How much the Dice of ranked runs depended on each setting.

    Args:
        section: the runs.
        keys: those that are shown; default: all.
    """
    found = rank_settings(_rows(_shown(section, keys)))
    if not found:
        return say(f"{FEWEST_RUNS} ended runs with different settings and scores are needed.")
    found = found[:_MOST_BARS]
    figure = go.Figure(layout=_importance_layout())
    for trend, color in TREND_COLORS.items():
        own = [importance for importance in found if importance.trend == trend]
        if own:
            figure.add_trace(
                go.Bar(
                    x=[importance.share for importance in own],
                    y=[importance.setting.replace("_", " ") for importance in own],
                    error_x={
                        "array": [importance.sd for importance in own],
                        "thickness": 1,
                        "width": 3,
                        "color": _ERROR_COLOR,
                    },
                    orientation="h",
                    marker={"color": color},
                    name=TREND_NAMES[trend],
                    hovertemplate="%{y}: %{x:.0%}<extra></extra>",
                )
            )
    order = [importance.setting.replace("_", " ") for importance in reversed(found)]
    figure.update_yaxes(categoryorder="array", categoryarray=order)
    return figure


def _importance_layout() -> dict[str, Any]:
    return _base() | {
        "margin": {"l": 8, "r": 12, "t": 8, "b": 40},
        "xaxis": _axis("share of the importance") | {"tickformat": ".0%", "rangemode": "tozero", "fixedrange": True},
        "yaxis": {"automargin": True, "fixedrange": True, "ticksuffix": "  "},
        "bargap": 0.45,
        "showlegend": True,
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
    }
