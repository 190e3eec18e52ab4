"""What stands where on the page, and the panel about one run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import dash_ag_grid as dag
from dash import dcc, html

from lvseg.dashboard.figures import METRICS
from lvseg.dashboard.table import state_class
from lvseg.dashboard.trials import STATES, Section, Snapshot, Trial
from lvseg.leaderboard.folds import CrossValidation
from lvseg.leaderboard.importance import differing
from lvseg.logs import clock_time
from lvseg.report.extremes import find_picture
from lvseg.training.status import Event, read_events

__all__ = ["layout", "panel", "summary"]

_PLOT_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
_STILL = _PLOT_CONFIG | {"displayModeBar": False}
_THEME = (
    "themeQuartz.withParams({backgroundColor: 'var(--page)', foregroundColor: 'var(--text)', "
    "headerBackgroundColor: 'var(--panel)', headerTextColor: 'var(--muted)', borderColor: 'var(--line)', "
    "accentColor: 'var(--accent)', chromeBackgroundColor: 'var(--panel)', fontFamily: 'inherit', fontSize: 13, "
    "headerFontSize: 12, headerFontWeight: 500, rowHeight: 32, headerHeight: 42, wrapperBorderRadius: 6, "
    "cellHorizontalPadding: 10, tooltipBackgroundColor: 'var(--panel)', tooltipTextColor: 'var(--text)'})"
)
_ROW_PX, _HEADER_PX = 32, 60
"""Height of a row of the table; of its head, its borders and a scroll bar below it."""
_TOLD = {"lost", "rollback", "stop", "save"}
"""Kinds of events that a reader of the page wants to know of."""
_STORES = ("asked", "answered", "table-version", "curves-version", "ended-version", "shown")
_MOST_EVENTS = 6
_MOST_FOLD_LINES = 3
_MOST_FOLDS = 10
"""Whose scores are listed one by one."""


def layout(name: str, interval: float) -> html.Div:
    """The page, still without content.

    Args:
        name: of the folder of runs.
        interval: seconds between two looks.
    """
    return html.Div(
        [
            # Without its start the first questions would be asked before one of them is answered.
            dcc.Interval(id="tick", interval=int(1000 * interval), n_intervals=0),
            *(dcc.Store(id=store) for store in _STORES),
            html.Header(
                [
                    html.Div([html.H1(name or "runs"), html.Div(id="summary")]),
                    html.Div(id="looked", className="muted small"),
                ]
            ),
            html.Div(_choice("section", [], None), id="section-choice", hidden=True),
            html.Main(
                id="main",
                children=[
                    _card("Runs", _grid(), "table", html.Span(id="shown-text", className="muted small")),
                    _card(
                        "Learning curves", _graph("curves"), "curves", _choice("metric", METRICS.items(), "val_dice")
                    ),
                    _card("What mattered", _graph("importance", still=True), "importance"),
                    html.Section(id="panel", className="card panel"),
                    _card("Settings and Dice", _graph("parallel", still=True), "parallel"),
                ],
            ),
        ],
        className="page",
    )


def _card(title: str, body: Any, name: str, beside: Any = None) -> html.Section:
    return html.Section([html.Div([html.H2(title), beside], className="head"), body], className=f"card {name}")


def _choice(name: str, options: Any, value: str | None) -> dcc.Dropdown:
    return dcc.Dropdown(
        id=name,
        options=[{"value": key, "label": label} for key, label in options],
        value=value,
        clearable=False,
        searchable=False,
        className="choice",
    )


def _graph(name: str, *, still: bool = False) -> html.Div:
    # Without a figure Plotly would draw empty axes.
    empty = {"data": [], "layout": {"xaxis": {"visible": False}, "yaxis": {"visible": False}}}
    config: Any = _STILL if still else _PLOT_CONFIG
    return html.Div(dcc.Graph(id=name, figure=empty, config=config, style={"height": "100%"}), className="plot")


def _grid() -> dag.AgGrid:
    return dag.AgGrid(
        id="grid",
        rowData=[],
        columnDefs=[],
        defaultColDef={
            "filter": True,
            "resizable": True,
            "sortable": True,
            "suppressHeaderMenuButton": True,
            "wrapHeaderText": True,
        },
        getRowId="params.data.key",
        dashGridOptions={
            "theme": {"function": _THEME},
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "animateRows": False,
            "tooltipShowDelay": 300,
            "localeText": {"noRowsToShow": "No run to show."},
        },
        style={"height": "240px"},
    )


def grid_style(runs: int) -> dict[str, str]:
    """As high as its rows, up to a part of the window."""
    return {"height": f"min({_HEADER_PX + max(1, runs) * _ROW_PX}px, max(200px, 40vh))"}


def summary(snapshot: Snapshot, section: Section | None) -> list[Any]:
    """Counts of the whole folder; the best score, where all scores compare; cross-validations."""
    if section is None:
        return [html.Span("No run yet.", className="muted")]
    counts = [(sum(len(each.of(state)) for each in snapshot.sections), state) for state in STATES]
    parts: list[Any] = [
        html.Span([html.B(str(count)), f" {state}"], className=f"count {state_class(state)}")
        for count, state in counts
        if count
    ]
    best = section.best
    if best is not None and len(snapshot.sections) == 1:
        parts.append(html.Span(["best Dice ", html.B(f"{best.dice:.4f}"), f", {best.key}"], className="count"))
    if snapshot.damaged:
        parts.append(html.Span(f"{len(snapshot.damaged)} unreadable", className="count state-failed"))
    lines = [html.Div(parts, className="counts")]
    lines += [html.Div(_folds(each)) for each in snapshot.cross_validations[:_MOST_FOLD_LINES]]
    if more := snapshot.cross_validations[_MOST_FOLD_LINES:]:
        lines.append(html.Div(f"{len(more)} more cross-validations, of lower Dice or not complete", className="muted"))
    if len(snapshot.sections) < 2:  # else the list to choose from says it
        lines.append(html.Div(section.heading, className="muted small"))
    return lines


def _folds(each: CrossValidation) -> list[Any]:
    score = html.B(f"{each.mean:.4f} ± {each.sd:.4f}")
    of = "" if each.complete else f" of {each.folds}"
    folds = f": {', '.join(f'{dice:.3f}' for dice in each.dice)}" if len(each.dice) <= _MOST_FOLDS else ""
    return ["cross-validation Dice ", score, f" (mean ± SD, {len(each.rows)}{of} folds{folds}), {each.name}"]


def main_class(section: Section | None) -> str:
    """What the style sheet lays the page out by: with fewer than two ranked runs there is nothing to compare."""
    return "alone" if section is None or len(section.ranked) < 2 else ""


def panel(section: Section | None, key: str | None) -> list[Any]:
    """The selected run, or the best one: score, pictures, settings, command."""
    trial = _chosen(section, key)
    if section is None or trial is None:
        return [html.Div(html.H2("Best run"), className="head"), html.P("No run yet.", className="muted small")]
    title = "Best run" if trial is section.best else "Selected run" if trial.key == key else "First run"
    return [
        html.Div(
            [html.H2(title), html.Span(section.short(trial), className="muted small name", title=trial.key)],
            className="head",
        ),
        html.P(_score(trial), className="score"),
        *([html.P(trial.error, className="error small")] if trial.error else []),
        *_picture(trial),
        _settings(section, trial),
        *_events(trial),
        *_command(trial),
    ]


def _chosen(section: Section | None, key: str | None) -> Trial | None:
    if section is None:
        return None
    selected = next((trial for trial in section.trials if trial.key == key), None)
    return selected or section.best or (section.trials[0] if section.trials else None)


def _score(trial: Trial) -> list[Any]:
    if trial.dice is None:
        return [html.Span(_how_far(trial), className="muted")]
    interval = trial.interval
    after = _how_far(trial)
    if trial.row is not None and trial.row.result.best_epoch is not None:
        after = f"at epoch {trial.row.result.best_epoch} of {trial.epochs}"
    between = "" if interval is None else f" ({interval.low:.3f}–{interval.high:.3f})"
    return [html.B(f"Dice {trial.dice:.4f}"), html.Span(f"{between}, {after}", className="muted")]


def _how_far(trial: Trial) -> str:
    done = f"epoch {trial.epochs} of {trial.planned_epochs}" if trial.epochs else "no epoch is done"
    if trial.state != "running":
        return f"{trial.state}, {done}"
    if trial.progress is None:
        return "starting"
    left = trial.progress.seconds_left
    return f"{done}, {trial.progress.phase}" + ("" if left is None else f", {clock_time(left)} left")


def _picture(trial: Trial) -> list[Any]:
    """The newest picture; an object store that is away just now costs the picture only."""
    try:
        found = find_picture(trial.folder)
    except OSError:
        found = None
    if found is None:
        return []
    about = f"Image, label and prediction after epoch {found.epoch}"
    caption: Any = [
        "Image; ",
        html.I("label", className="label"),
        "; ",
        html.I("prediction", className="prediction"),
        f", epoch {found.epoch}",
    ]
    return [html.Figure([html.Img(src=found.uri, alt=about), html.Figcaption(caption)])]


def _settings(section: Section, trial: Trial) -> html.Dl:
    varied = differing(other.settings for other in section.trials)
    own = [name for name in ("model", *varied) if trial.settings.get(name) is not None]
    pairs = [(name.replace("_", " "), _show(trial.settings[name])) for name in own]
    return html.Dl([item for name, value in dict(pairs).items() for item in (html.Dt(name), html.Dd(value))])


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _events(trial: Trial) -> list[Any]:
    told = [event for event in read_events(trial.folder) if event.kind in _TOLD][-_MOST_EVENTS:]
    return [html.Ul([html.Li(_event(event)) for event in told], className="events small")] if told else []


def _event(event: Event) -> list[Any]:
    facts = ", ".join(str(value) for value in event.facts.values())
    return [html.Span(event.time[5:16].replace("T", " "), className="muted"), f" {event.kind}: {facts}"]


def _command(trial: Trial) -> list[Any]:
    if trial.row is None:
        return []
    # Each flag with its value stays on one line where it fits.
    first, *others = re.split(r" (?=--)", trial.row.result.command)
    flags = [part for flag in others for part in (" ", html.Span(flag))]
    return [html.Details([html.Summary("Command"), html.Pre([html.Span(first), *flags])], open=True)]


def section_options(sections: Sequence[Section]) -> list[dict[str, str]]:
    """The sections, to choose from."""
    return [{"value": section.key, "label": f"{section.heading} ({_content(section)})"} for section in sections]


def _content(section: Section) -> str:
    """How many runs; how many of them run or have failed."""
    others = [(len(section.of(state)), state) for state in ("running", "failed")]
    runs = f"{len(section.trials)} {'run' if len(section.trials) == 1 else 'runs'}"
    return ", ".join([runs, *(f"{count} {state}" for count, state in others if count)])
