"""The page's plots, as Plotly figures; colours of text and paper come from the page's style sheet."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import plotly.graph_objects as go

from lvseg.dashboard.trials import Section, Trial
from lvseg.leaderboard import rank_settings, varied_settings
from lvseg.leaderboard.importance import FEWEST_RUNS, is_numeric
from lvseg.report.curves import COLORS, OTHERS_COLOR

__all__ = ["METRICS", "draw_curves", "draw_importance", "draw_parallel"]

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
_MOST_AXES = 10
"""Parallel axes; of more, the least important settings are left out."""
_MOST_TICKS = 8
_SELECTED_COLOR = "#1c9aa8"
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
        return _say("No epoch is done yet.")
    named = dict(zip([trial.key for trial in drawn], COLORS, strict=False))
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


def _say(text: str) -> go.Figure:
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
    """One line a finished run, through the value of every setting that varied, to its Dice.

    Args:
        section: the runs.
        keys: those that are shown; default: all.
    """
    shown = None if keys is None else set(keys)
    trials = [trial for trial in section.of("finished") if trial.dice is not None]
    rows = [trial.row for trial in trials if trial.row is not None]
    settings = [importance.setting for importance in rank_settings(rows)] or varied_settings(rows)
    trials = [trial for trial in trials if shown is None or trial.key in shown]
    if len(trials) < 2 or not settings:
        return _say("Two finished runs with different settings are needed.")
    chosen = set(settings[:_MOST_AXES])
    dice = [trial.dice or 0.0 for trial in trials]
    axes = [
        _dimension(setting, [trial.settings.get(setting) for trial in trials])
        for setting in varied_settings(rows)
        if setting in chosen
    ]
    low, high = min(dice), max(dice)
    line = {"color": dice, "colorscale": _SCALE, "cmin": low, "cmax": high if high > low else low + 1e-6}
    layout = _base() | {"margin": {"l": 64, "r": 48, "t": 48, "b": 24}, "uirevision": "parallel"}
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


def _dimension(setting: str, values: Sequence[Any]) -> dict[str, Any]:
    """One axis: of numbers a linear or logarithmic one, of words one tick each."""
    label = setting.replace("_", " ")
    if not is_numeric(values) or None in values:
        words = sorted({str(value) for value in values}, key=_word_order)
        places = [words.index(str(value)) for value in values]
        return {"label": label, "values": places, "tickvals": list(range(len(words))), "ticktext": words}
    numbers = [float(value) for value in values]
    scale: Literal["log", "linear"] = "linear"
    if min(numbers) > 0 and max(numbers) / min(numbers) > _LOG_SCALE_FROM:
        scale = "log"
    places_ = [math.log10(number) for number in numbers] if scale == "log" else numbers
    different = sorted(set(numbers))
    if len(different) <= _MOST_TICKS or scale == "log":
        ticks = different if len(different) <= _MOST_TICKS else _decades(different[0], different[-1])
        ticktext = [f"{tick:.3g}" for tick in ticks]
        tickvals = [math.log10(tick) for tick in ticks] if scale == "log" else ticks
        return {"label": label, "values": places_, "tickvals": tickvals, "ticktext": ticktext}
    return {"label": label, "values": places_}


def _word_order(word: str) -> tuple[bool, float, str]:
    try:
        return False, float(word), word
    except ValueError:
        return True, 0.0, word


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade between two numbers, and the two themselves."""
    marks = [low, high]
    steps = (1, 2, 5) if high / low < 100 else (1,)
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        marks += [step * 10.0**exponent for step in steps]
    inside = [mark for mark in marks if low * 1.15 < mark < high / 1.15]
    return [low, *inside, high]


def draw_importance(section: Section) -> go.Figure:
    """How much the Dice depended on each setting."""
    found = rank_settings(section.rows)
    if not found:
        return _say(f"{FEWEST_RUNS} finished runs with different settings and scores are needed.")
    figure = go.Figure(layout=_importance_layout())
    for trend, color in TREND_COLORS.items():
        own = [importance for importance in found if importance.trend == trend]
        if own:
            figure.add_trace(
                go.Bar(
                    x=[importance.share for importance in own],
                    y=[importance.setting.replace("_", " ") for importance in own],
                    error_x={"array": [importance.sd for importance in own], "thickness": 1, "width": 3},
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
