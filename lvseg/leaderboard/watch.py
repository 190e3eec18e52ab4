"""Follow a sweep while it runs: the leaderboard, drawn anew when it has changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lvseg.errors import RunError
from lvseg.leaderboard.board import build
from lvseg.leaderboard.terminal import render_table
from lvseg.leaderboard.view import View
from lvseg.store import UPath

__all__ = ["watch"]

NOTHING_YET = "No run has ended yet.\n"


def watch(
    runs: UPath, view: View, console: Console, interval: float, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Show the leaderboard until Ctrl-C; the folder need not be there yet.

    On a terminal it is drawn in place, as many lines as fit. Elsewhere it is printed, and again when it has changed.

    Args:
        runs: the folder of runs.
        view: which runs, in which order, in which groups.
        console: where to.
        interval: time between two looks, s.
        pause: waits; raises KeyboardInterrupt at Ctrl-C.
    """
    with suppress(KeyboardInterrupt):
        if not console.is_terminal:
            _print_changes(runs, view, console, interval, pause)
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                # A terminal may have been made wider.
                live.update(Text(_text(runs, view, console.width), no_wrap=True), refresh=True)
                pause(interval)


def _print_changes(runs: UPath, view: View, console: Console, interval: float, pause: Callable[[float], None]) -> None:
    before = None
    while True:
        text = _text(runs, view, console.width)
        if text != before:
            console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
        before = text
        pause(interval)


def _text(runs: UPath, view: View, width: int) -> str:
    try:
        board = build(runs, view, allow_empty=True)
    except RunError:
        return NOTHING_YET  # the sweep has not begun
    return render_table(board, width, commands=False) if board.groups or board.running or board.failed else NOTHING_YET
