"""Progress on the terminal: a bar where there is one, a line now and then where there is not."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from lvseg.errors import RunError
from lvseg.logs import clock_time, epoch_line, make_line, print_line, shown
from lvseg.results import read_history
from lvseg.store import UPath, is_local
from lvseg.training.status import Event, RunProgress, read_events, read_progress

POLL_SECONDS = 0.5
REMOTE_POLL_SECONDS = 5.0
"""The same where a look is requests to an object store."""
STARTING = "starting workers"
"""What happens before the first worker says what it does."""
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
def watch_run(folder: UPath, epochs: int, console: Console, *, logged: bool = False) -> Iterator[None]:
    """Show the progress that a run writes into its folder, until the block ends.

    Args:
        folder: The run's folder; it need not be there yet.
        epochs: Epochs of the run.
        console: A terminal gets a bar, anything else lines for operators.
        logged: What all processes log is shown instead of lines about epochs and events.
    """
    stop = threading.Event()
    with _RunBar(console) as bar, shown(console) if logged else nullcontext():
        watch: _Watch
        if console.is_terminal:
            watch = _Drawn(folder, epochs, bar, logged=logged)
        else:
            watch = _Printed(folder, epochs, console, logged=logged)
        thread = threading.Thread(target=_poll, args=(watch, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)


class _Watch:
    """Looks for what is new in a run's folder; what an earlier start left there is not."""

    def __init__(self, folder: UPath, epochs: int) -> None:
        self.folder, self.epochs = folder, epochs
        self._old = read_progress(folder)
        self._events = len(read_events(folder))

    def look(self, *, ended: bool = False) -> None:
        """Show what is new."""
        events = read_events(self.folder)[self._events :]
        self._events += len(events)
        progress = read_progress(self.folder)
        self.show(None if progress == self._old else progress, events, ended=ended)

    def show(self, progress: RunProgress | None, events: list[Event], *, ended: bool) -> None:
        raise NotImplementedError


def _poll(watch: _Watch, stop: threading.Event) -> None:
    pause = POLL_SECONDS if is_local(watch.folder) else REMOTE_POLL_SECONDS
    ended = False
    while not ended:
        ended = stop.wait(pause)
        watch.look(ended=ended)


class _Drawn(_Watch):
    """A bar; events of which nothing else tells stand above it."""

    def __init__(self, folder: UPath, epochs: int, bar: Progress, *, logged: bool) -> None:
        super().__init__(folder, epochs)
        self._bar, self._logged = bar, logged
        self._task = bar.add_task(folder.name, total=epochs, note=STARTING, left=clock_time(None))

    def show(self, progress: RunProgress | None, events: list[Event], *, ended: bool) -> None:
        for event in [] if self._logged else events:
            if event.kind not in ("start", "finished", "failed"):
                print_line(self._bar.console, event.line(self.folder.name))
        if progress:
            left = clock_time(progress.seconds_left)
            completed = progress.completed if progress.epoch else None
            self._bar.update(self._task, completed=completed, note=describe(progress), left=left)


class _RunBar(Progress):
    """The bar, and the numbers on a line of their own: they fit into 80 columns."""

    def __init__(self, console: Console) -> None:
        left = TextColumn("[progress.remaining]ETA {task.fields[left]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left)
        super().__init__(*columns, console=console, disable=not console.is_terminal)

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["note"], overflow="ellipsis", no_wrap=True)


def describe(progress: RunProgress) -> str:
    """The numbers beside the bar."""
    known = (
        (None if progress.phase in ("training", "done") else progress.phase),
        (f"step {progress.step}/{progress.steps}" if progress.phase == "training" and progress.step else None),
        _named("loss", progress.loss),
        _named("Dice", progress.dice),
        _named("val Dice", progress.val_dice),
        f"{progress.images_per_second:.1f} images/s" if progress.images_per_second else None,
    )
    return "  ".join(text for text in known if text)


def _named(name: str, value: float | None) -> str | None:
    return None if value is None else f"{name} {value:.4f}"


class _Printed(_Watch):
    """Lines for operators: every event; an epoch, or how far it is, at most every quarter minute."""

    def __init__(self, folder: UPath, epochs: int, console: Console, *, logged: bool) -> None:
        super().__init__(folder, epochs)
        self._console, self._logged = console, logged
        self._shown = self._old.epochs_done if self._old else 0
        self._printed, self._last = time.monotonic(), ""
        self._print(make_line("progress", run=folder.name, phase=STARTING))

    def show(self, progress: RunProgress | None, events: list[Event], *, ended: bool) -> None:
        events = [] if self._logged else events
        if progress:
            if progress.epoch:  # a restart may have lost some
                self._shown = min(self._shown, progress.epochs_done)
            due = time.monotonic() - self._printed >= LINE_SECONDS
            if progress.epochs_done > self._shown and (due or ended or events):
                self._shown = progress.epochs_done
                self._tell("" if self._logged else self._epoch_line(progress))
            elif due and not ended:
                self._tell(_progress_line(self.folder.name, progress))
        for event in events:
            self._print(event.line(self.folder.name))

    def _tell(self, line: str) -> None:
        if line and line != self._last:
            self._print(line)
            self._printed, self._last = time.monotonic(), line

    def _epoch_line(self, progress: RunProgress) -> str:
        try:
            rows = read_history(self.folder)[: progress.epochs_done]
        except RunError:
            rows = []
        return epoch_line(self.folder.name, rows[-1], self.epochs, progress.seconds_left) if rows else ""

    def _print(self, line: str) -> None:
        print_line(self._console, line)


def _progress_line(run: str, progress: RunProgress) -> str:
    return make_line(
        "progress",
        run=run,
        phase=progress.phase,
        epoch=f"{progress.epoch}/{progress.epochs}" if progress.epoch else None,
        step=f"{progress.step}/{progress.steps}" if progress.steps else None,
        loss=progress.loss,
        dice=progress.dice,
        images_per_second=progress.images_per_second,
        eta=clock_time(progress.seconds_left),
    )
