"""The leaderboard's columns: what stands in each, how it is titled and shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["ABSENT", "ALIKE", "COLUMNS", "PRIORITY", "Column", "is_absent"]

ABSENT = "\N{EN DASH}"
"""Shown where a run has no value."""
ALIKE = "\N{ALMOST EQUAL TO}"
"""Before the p of a run that is not told apart from the leader."""


def is_absent(value: Any) -> bool:
    """Whether there is nothing to show."""
    return value is None or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """How a column of the leaderboard is titled and shown."""

    key: str
    title: str
    show: Callable[[Any], str] = str
    is_number: bool = True


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _hours(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:,.1f}"


def _interval(value: Any) -> str:
    return f"{value.low:.3f}\N{EN DASH}{value.high:.3f}"


def _dice(value: float) -> str:
    return f"{value:.4f}"


COLUMNS = (
    Column(key="rank", title="#"),
    Column(key="name", title="name", is_number=False),
    Column(key="model", title="model", is_number=False),
    Column(key="val_dice", title="Dice", show=_dice),
    Column(key="dice_interval", title="95 %", show=_interval),
    Column(key="p_text", title="p"),
    Column(key="val_dice_pooled", title="pooled", show=_dice),
    Column(key="pooled_interval", title="95 %", show=_interval),
    Column(key="worst", title="worst patient", is_number=False),
    Column(key="best_epoch", title="best"),
    Column(key="epochs", title="epochs"),
    Column(key="batch_size", title="batch"),
    Column(key="learning_rate", title="rate", show="{:.3g}".format),
    Column(key="decay_rate", title="decay", show="{:.3g}".format),
    Column(key="decay_steps", title="steps"),
    Column(key="workers", title="workers"),
    Column(key="images_per_second", title="img/s", show="{:,.1f}".format),
    Column(key="seconds", title="seconds", show=_seconds),
    Column(key="device_hours", title="dev h", show=_hours),
    Column(key="device", title="device", is_number=False),
    Column(key="parameters", title="weights", show="{:,}".format),
    Column(key="date", title="date", is_number=False),
    Column(key="code", title="code", is_number=False),
)
"""The columns in the order they are shown; the command is shown apart, the record set over the table."""

PRIORITY = (
    *("rank", "name", "val_dice", "dice_interval", "p_text", "model", "val_dice_pooled", "learning_rate", "batch_size"),
    *("epochs", "best_epoch", "seconds", "worst", "decay_rate", "decay_steps", "parameters", "images_per_second"),
    *("device_hours", "device", "pooled_interval", "workers", "date", "code"),
)
"""Where the width does not hold all columns, the last ones here go first."""
