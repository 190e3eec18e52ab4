"""Lines for operators, made to be grepped: ``lvseg epoch run=unet epoch=3/30 loss=0.0421``."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from lvseg.results import EpochRow

logger = logging.getLogger("lvseg")

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.,:;/%@#?")
"""A value of these characters needs no quotes."""


def make_line(what: str, /, **values: Any) -> str:
    """One line; values that are None are left out, floats have four digits, texts with blanks stand in quotes."""
    return " ".join(["lvseg", what, *(f"{key}={_value(value)}" for key, value in values.items() if value is not None)])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if text and set(text) <= _PLAIN else json.dumps(text, ensure_ascii=False)


def epoch_line(run: str, row: EpochRow, epochs: int, seconds_left: float | None = None) -> str:
    """The line of an epoch that is done."""
    return make_line(
        "epoch",
        run=run,
        epoch=f"{row.epoch}/{epochs}",
        loss=row.loss,
        dice=row.dice,
        val_loss=row.val_loss,
        val_dice=row.val_dice,
        lr=row.learning_rate,
        images_per_second=row.images_per_second,
        seconds=row.seconds,
        eta=clock_time(seconds_left),
    )


def clock_time(seconds: float | None) -> str:
    """Seconds as hours:minutes:seconds; ``?`` where they are not known."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def utc_now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        print_line(self._console, record.getMessage())


def print_line(console: Console, line: str) -> None:
    """Print a line with the time before it, however wide the terminal is."""
    console.print(f"{utc_now()} {line}", soft_wrap=True, highlight=False, markup=False, emoji=False)


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Print what this process logs as ``lvseg``, for the length of the block."""
    handler, level = _ConsoleHandler(console), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
