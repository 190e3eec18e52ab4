"""Progress on the terminal: a bar where there is one, a line now and then where there is not."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lvseg.errors import RunError
from lvseg.results import read_history
from lvseg.store import UPath

POLL_SECONDS = 0.5
_NOT_DONE = 0.99
"""An epoch counts when it is in the history."""
LINE_SECONDS = 15.0
"""Time between two lines where no bar can be drawn."""


def make_progress(console: Console) -> Progress:
    """A bar with description, count, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


class Reporter:
    """Counts up to a total; draws a bar, or prints a line when there is no terminal."""

    def __init__(self, title: str, console: Console, progress: Progress, total: float | None) -> None:
        self.title, self.console, self.progress = title, console, progress
        self.task = progress.add_task(title, total=total, note="")
        self._printed = (0.0, -1.0)

    def update(self, done: float, total: float, note: str = "") -> None:
        """Say how far it is."""
        self.progress.update(self.task, completed=done, total=total, note=note)
        time, count = self._printed
        now = self.progress.get_time()
        due = done >= total or now - time >= LINE_SECONDS
        if not self.console.is_terminal and count != done and due:
            self.console.print(f"{self.title}: {done:g}/{total:g} {note}", highlight=False, soft_wrap=True)
            self._printed = (now, done)


@contextmanager
def reporter(title: str, console: Console, total: float | None = None) -> Iterator[Reporter]:
    """A ``Reporter`` for the length of the block."""
    with make_progress(console) as progress:
        yield Reporter(title, console, progress, total)


def sweep_progress(total: int, update: Callable[[float, float, str], None]) -> Callable[[str, int, float], None]:
    """Turn reports (trial, epoch, Dice) into epochs done over all trials, and the best Dice so far."""
    epochs: dict[str, int] = {}
    best = 0.0

    def report(trial: str, epoch: int, dice: float) -> None:
        nonlocal best
        epochs[trial] = epoch
        best = max(best, 0.0 if math.isnan(dice) else dice)
        update(sum(epochs.values()), total, f"{trial} epoch {epoch}, best val Dice {best:.4f}")

    return report


@contextmanager
def watch_run(folder: UPath, epochs: int, console: Console) -> Iterator[None]:
    """Show the progress that a run writes into its folder, until the block ends."""
    stop = threading.Event()
    with reporter(folder.name, console, epochs) as shown:
        shown.update(0, epochs, "starting workers")
        thread = threading.Thread(target=_poll, args=(folder, epochs, shown, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)


def _poll(folder: UPath, epochs: int, shown: Reporter, stop: threading.Event) -> None:
    while True:
        ended = stop.wait(POLL_SECONDS)
        state = _state(folder)
        if state:
            shown.update(*state[:1], epochs, state[1])
        if ended:
            return


def _state(folder: UPath) -> tuple[float, str] | None:
    """Epochs done, with the fraction of the running one, and a note."""
    try:
        rows = read_history(folder)
    except RunError:
        rows = []
    try:
        step = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        step = None
    if not rows and not step:
        return None
    done, note = float(len(rows)), ""
    if rows:
        last = rows[-1]
        note = f"loss {last.loss:.4f}  val Dice {last.val_dice:.4f}  {last.images_per_second:.1f} images/s"
    elif step:
        note = f"loss {step['loss']:.4f}"
    if step and step["steps"] and step["epoch"] > len(rows):
        done += min(step["step"] / step["steps"], _NOT_DONE)
    return round(done, 2), note
