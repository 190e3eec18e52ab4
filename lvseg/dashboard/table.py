"""The table of runs: columns and rows for AG Grid."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from lvseg.dashboard.trials import STATES, Section, Trial
from lvseg.leaderboard.importance import differing, is_numeric

__all__ = ["SETTING", "columns", "rows", "state_class"]

SETTING = "setting:"
"""Before the name of a setting, in the key of its column."""
_NO_VALUE = "params.value == null ? '–' : "
_LETTER_PX, _PADDING_PX, _MOST_PX = 8.0, 26, 280
"""Of a column of text."""
_HEAD_LETTERS = 9
"""Of a title's first line, where it has two."""
_HAS_FAILED = "params.data.error != null"


def columns(section: Section) -> list[dict[str, Any]]:
    """Column definitions: score and state, then the settings that differ between the runs."""
    return [
        _number("rank", "#", 56, "") | {"pinned": "left"},
        _text("name", "run", [section.short(trial) for trial in section.trials])
        | {"pinned": "left", "tooltipField": "key"},
        _state(),
        _number("dice", "Dice", 80, ".4f") | {"headerTooltip": "Mean over the validation images, the best epoch"},
        _number("epochs", "epochs", 94, "")
        | {"valueFormatter": {"function": "params.value + ' of ' + params.data.planned_epochs"}},
        _interval(),
        _number("pooled", "pooled", 80, ".4f") | {"headerTooltip": "Dice of all validation pixels together"},
        _number("best_epoch", "best epoch", 70, "") | {"headerTooltip": "Epoch of the highest Dice"},
        _number("images_per_second", "images/s", 88, ",.1f"),
        *(_setting(setting, section) for setting in _settings(section)),
        {"field": "ended", "headerName": "ended (UTC)", "minWidth": 148, "flex": 1},
    ]


def _interval() -> dict[str, Any]:
    """The interval; of a failed run, over this and the next three columns, why it failed."""
    shown = f"{_HAS_FAILED} ? params.data.error : params.value"
    return {
        "field": "interval",
        "headerName": "95 % CI",
        "width": 112,
        "sortable": False,
        "type": "rightAligned",
        "headerTooltip": "Confidence interval of the Dice, over patients; of a failed run, the reason",
        "tooltipField": "error",
        "colSpan": {"function": f"{_HAS_FAILED} ? 4 : 1"},
        "valueFormatter": {"function": shown},
        "filterValueGetter": {"function": shown.replace("params.value", "params.data.interval")},
        "cellClassRules": {"reason": _HAS_FAILED},
    }


def _text(field: str, title: str, values: Sequence[Any]) -> dict[str, Any]:
    """A column as wide as its longest word, up to a limit."""
    letters = max(len(text) for text in (*textwrap.wrap(title, _HEAD_LETTERS), *map(str, values)))
    return {"field": field, "headerName": title, "width": min(_MOST_PX, round(_PADDING_PX + _LETTER_PX * letters))}


def _number(field: str, title: str, width: int, spec: str) -> dict[str, Any]:
    shown = f"d3.format('{spec}')(params.value)" if spec else "params.value"
    return {
        "field": field,
        "headerName": title,
        "width": width,
        "type": "rightAligned",
        "filter": "agNumberColumnFilter",
        "valueFormatter": {"function": f"{_NO_VALUE}{shown}"},
    }


def _state() -> dict[str, Any]:
    rules = {state_class(state): f"params.value == '{state}'" for state in STATES}
    return {
        "field": "state",
        "headerName": "state",
        "width": 112,
        "cellClassRules": rules,
        "tooltipField": "error",
    }


def state_class(state: str) -> str:
    """Of the style sheet."""
    return f"state-{state.partition(' ')[0]}"


def _settings(section: Section) -> list[str]:
    """Settings that differ between any two runs, failed and running ones too."""
    varied = differing(trial.settings for trial in section.trials)
    return [setting for setting in varied if setting not in _OWN_COLUMN]


_OWN_COLUMN = {"epochs"}


def _setting(setting: str, section: Section) -> dict[str, Any]:
    title = setting.replace("_", " ")
    width = max(80, round(30 + _LETTER_PX * max(map(len, textwrap.wrap(title, _HEAD_LETTERS)))))
    if is_numeric([trial.settings.get(setting) for trial in section.trials]):
        return _number(SETTING + setting, title, width, ".3~g" if _has_fractions(setting, section) else "")
    return _text(SETTING + setting, title, [trial.settings.get(setting) for trial in section.trials]) | {
        "valueFormatter": {"function": f"{_NO_VALUE}params.value"}
    }


def _has_fractions(setting: str, section: Section) -> bool:
    return any(isinstance(trial.settings.get(setting), float) for trial in section.trials)


def rows(section: Section) -> list[dict[str, Any]]:
    """One row a run, in the section's order."""
    settings = _settings(section)
    return [_row(trial, section.short(trial), settings) for trial in section.trials]


def _row(trial: Trial, name: str, settings: list[str]) -> dict[str, Any]:
    result = trial.row.result if trial.row is not None else None
    interval = trial.interval
    ended: Mapping[str, Any] = {}
    if result is not None:
        ended = {
            "pooled": None if math.isnan(result.val_dice_pooled) else result.val_dice_pooled,
            "best_epoch": result.best_epoch,
            "ended": result.finished_at[:16].replace("T", " "),
            "error": trial.error,
        }
    return {
        "key": trial.key,
        "rank": None if trial.row is None else trial.row.rank,
        "name": name,
        "state": trial.state,
        "dice": trial.dice,
        "interval": "–" if interval is None else f"{interval.low:.3f}–{interval.high:.3f}",
        "epochs": trial.epochs,
        "planned_epochs": trial.planned_epochs,
        "images_per_second": trial.images_per_second,
        **{SETTING + setting: _plain(trial.settings.get(setting)) for setting in settings},
        **ended,
    }


def _plain(value: Any) -> Any:
    """As JSON and the grid's filters take it: yes and no, and lists, as words."""
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value
    return str(value)
