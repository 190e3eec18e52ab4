"""The table of runs: columns and rows for AG Grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lvseg.dashboard.trials import Section, Trial
from lvseg.leaderboard.importance import differing, is_numeric

__all__ = ["SETTING", "columns", "rows"]

SETTING = "setting:"
"""Before the name of a setting, in the key of its column."""
_NO_VALUE = "params.value == null ? '–' : "


def columns(section: Section) -> list[dict[str, Any]]:
    """Column definitions: score and state, then the settings that differ between the runs."""
    shown = [
        _number("rank", "#", 56, ""),
        {"field": "name", "headerName": "run", "minWidth": 130, "flex": 1, "tooltipField": "key"},
        _state(),
        _number("dice", "Dice", 80, ".4f") | {"headerTooltip": "Mean over the validation images, the best epoch"},
        {"field": "interval", "headerName": "95 %", "width": 106, "sortable": False, "type": "rightAligned"}
        | {"headerTooltip": "Confidence interval of the Dice, over patients"},
        _number("pooled", "pooled", 80, ".4f") | {"headerTooltip": "Dice of all validation pixels together"},
        _number("best_epoch", "best", 64, "") | {"headerTooltip": "Epoch of the highest Dice"},
        _number("epochs", "epochs", 88, "")
        | {"valueFormatter": {"function": "params.value + ' of ' + params.data.planned_epochs"}},
        *(_setting(setting, section) for setting in _settings(section)),
        _number("images_per_second", "images/s", 96, ",.1f"),
        {"field": "ended", "headerName": "ended (UTC)", "width": 148},
    ]
    return [column for column in shown if column["field"] != "ended" or section.of("finished") or section.of("failed")]


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
    rules = {f"state-{state}": f"params.value == '{state}'" for state in ("finished", "running", "failed")}
    return {
        "field": "state",
        "headerName": "state",
        "width": 96,
        "cellClassRules": rules,
        "tooltipField": "error",
    }


def _settings(section: Section) -> list[str]:
    """Settings that differ between any two runs, failed and running ones too."""
    varied = differing(trial.settings for trial in section.trials)
    return [setting for setting in varied if setting not in _OWN_COLUMN]


_OWN_COLUMN = {"epochs"}


def _setting(setting: str, section: Section) -> dict[str, Any]:
    title = setting.replace("_", " ")
    width = max(80, 26 + 7 * len(title))
    if is_numeric([trial.settings.get(setting) for trial in section.trials]):
        return _number(SETTING + setting, title, width, ".3~g" if _has_fractions(setting, section) else "")
    return {"field": SETTING + setting, "headerName": title, "width": width}


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
        "rank": trial.row.rank if trial.row is not None and trial.state == "finished" else None,
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
