"""The page as a Dash application: what is read anew, and when a part of the page is drawn again."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import flask
import sklearn.ensemble  # noqa: F401 -- the threads of two requests must not meet in half of it
from dash import Dash, Input, Output, State, no_update

from lvseg.dashboard import page
from lvseg.dashboard.figures import draw_curves, draw_importance, draw_parallel, say
from lvseg.dashboard.table import columns, rows
from lvseg.dashboard.trials import Reader, Section, Snapshot

__all__ = ["make_app"]

_UPDATE_PATH = "/_dash-update-component"
"""Dash's one path that is posted to: it asks for a part of the page."""
_LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"]
_MOST_REQUEST_BYTES = 4 * 2**20
_HEADERS = {
    # Plotly's parallel coordinates compile shader code, which counts as eval.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_ASK = """
function (tick, asked, answered) {
    const waits = asked != null && asked !== answered && tick - asked < %d;
    return waits ? window.dash_clientside.no_update : tick;
}
"""
"""Ask again only after an answer, or after so many ticks without one. Dash throws the answer to a question away once it
is asked anew: a store slower than the interval would never be seen."""
_PATIENCE_S = 60
_SHOWN_KEYS = """
function (rows, filter) {
    if (!rows || !filter || Object.keys(filter).length === 0) { return null; }
    return rows.map(row => row.key);
}
"""
"""Keys of the rows that a filter of the table leaves; null without a filter."""


def make_app(reader: Reader, name: str, interval: float, host: str) -> Dash:
    """The application.

    Args:
        reader: reads the runs.
        name: of the folder of runs.
        interval: seconds between two looks.
        host: the address that it will listen on; on loopback only requests that name it are answered.
    """
    app = Dash(
        "lvseg.dashboard",
        assets_folder="assets",
        title=f"lvseg: {name or 'runs'}",
        update_title=None,  # type: ignore[arg-type]
        serve_locally=True,
    )
    app.layout = page.layout(name, interval)
    _guard(app.server, host)
    _ask_often(app, interval)
    _look_when_asked(app, reader)
    _draw_table(app, reader)
    _draw_plots(app, reader)
    return app


def _guard(server: flask.Flask, host: str) -> None:
    server.config["MAX_CONTENT_LENGTH"] = _MOST_REQUEST_BYTES
    if is_loopback(host):
        # A page elsewhere whose name is made to point here is not answered (DNS rebinding).
        server.config["TRUSTED_HOSTS"] = _LOOPBACK_NAMES

    @server.before_request
    def refuse_writes() -> None:
        request = flask.request
        if request.method not in ("GET", "HEAD") and (request.method, request.path) != ("POST", _UPDATE_PATH):
            flask.abort(405)

    @server.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        for header, value in _HEADERS.items():
            response.headers.setdefault(header, value)
        return response


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _ask_often(app: Dash, interval: float) -> None:
    app.clientside_callback(  # type: ignore[no-untyped-call]
        _ASK % max(3, math.ceil(_PATIENCE_S / interval)),
        Output("asked", "data"),
        Input("tick", "n_intervals"),
        State("asked", "data"),
        State("answered", "data"),
    )


def _look_when_asked(app: Dash, reader: Reader) -> None:
    """Pass on only what has changed: what somebody looks at stays as it is."""

    @app.callback(
        Output("summary", "children"),
        Output("looked", "children"),
        Output("section", "options"),
        Output("section", "value"),
        Output("section-choice", "hidden"),
        Output("table-version", "data"),
        Output("curves-version", "data"),
        Output("ended-version", "data"),
        Output("answered", "data"),
        Input("asked", "data"),
        Input("section", "value"),
        State("table-version", "data"),
        State("curves-version", "data"),
        State("ended-version", "data"),
        State("section", "options"),
    )
    def look(asked: int | None, chosen: str | None, *before: Any) -> tuple[Any, ...]:
        snapshot = reader.look()
        section = snapshot.section(chosen)
        options = page.section_options(snapshot.sections)
        versions = [*_versions(section), options]
        changed = [now if now != then else no_update for now, then in zip(versions, before, strict=True)]
        key = None if section is None else section.key
        return (
            page.summary(snapshot, section),
            _looked(snapshot),
            changed[3],
            key if key != chosen else no_update,
            len(options) < 2,
            *changed[:3],
            asked,
        )


def _looked(snapshot: Snapshot) -> str:
    return snapshot.trouble or f"as of {snapshot.looked[11:19]} UTC"


def _versions(section: Section | None) -> tuple[str, str, str]:
    """Marks of what table, curves and the plots of ended runs show."""
    if section is None:
        return "", "", ""
    curves = [(trial.key, trial.state, trial.history[-1:]) for trial in section.trials]
    ended = [(trial.key, trial.dice) for trial in section.ranked]
    return _mark([section.key, rows(section)]), _mark([section.key, curves]), _mark([section.key, ended])


def _mark(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()[:16]


def _draw_table(app: Dash, reader: Reader) -> None:
    app.clientside_callback(  # type: ignore[no-untyped-call]
        _SHOWN_KEYS, Output("shown", "data"), Input("grid", "virtualRowData"), Input("grid", "filterModel")
    )

    @app.callback(
        Output("grid", "rowData"),
        Output("grid", "columnDefs"),
        Output("grid", "style"),
        Input("table-version", "data"),
        State("section", "value"),
        State("grid", "columnDefs"),
    )
    def draw(_: str | None, chosen: str | None, before: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
        section = reader.look().section(chosen)
        if section is None:
            return [], no_update, no_update
        now = columns(section)
        return rows(section), now if now != before else no_update, page.grid_style(len(section.trials))

    @app.callback(Output("shown-text", "children"), Input("shown", "data"))
    def tell(shown: Sequence[str] | None) -> str:
        if shown is None:
            return "Click a run to look at it; a click on a column's head sorts, its funnel filters"
        return f"{len(shown)} shown; the plots follow the filter"


def _draw_plots(app: Dash, reader: Reader) -> None:
    selected = Input("grid", "selectedRows")
    shown = Input("shown", "data")
    section = Input("section", "value")

    @app.callback(
        Output("curves", "figure"), Input("curves-version", "data"), section, Input("metric", "value"), selected, shown
    )
    def curves(_: str, chosen: str, metric: str, picked: Any, keys: Sequence[str] | None) -> Any:
        return _of_section(reader, chosen, lambda found: draw_curves(found, metric, _key(picked), keys))

    @app.callback(Output("panel", "children"), Input("curves-version", "data"), section, selected)
    def panel(_: str, chosen: str, picked: Any) -> Any:
        return page.panel(reader.look().section(chosen), _key(picked))

    @app.callback(Output("parallel", "figure"), Input("ended-version", "data"), section, shown)
    def parallel(_: str, chosen: str, keys: Sequence[str] | None) -> Any:
        return _of_section(reader, chosen, lambda found: draw_parallel(found, keys))

    @app.callback(Output("importance", "figure"), Input("ended-version", "data"), section, shown)
    def importance(_: str, chosen: str, keys: Sequence[str] | None) -> Any:
        return _of_section(reader, chosen, lambda found: draw_importance(found, keys))

    @app.callback(Output("main", "className"), Input("ended-version", "data"), section)
    def arrange(_: str, chosen: str) -> str:
        return page.main_class(reader.look().section(chosen))


def _of_section(reader: Reader, chosen: str | None, draw: Callable[[Section], Any]) -> Any:
    section = reader.look().section(chosen)
    return say("No run yet.") if section is None else draw(section)


def _key(picked: Sequence[dict[str, Any]] | None) -> str | None:
    return picked[0]["key"] if picked else None
