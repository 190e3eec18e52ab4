"""What a run shows of itself while it trains: progress, events, history, TensorBoard, pictures."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from lvseg.evaluation import pooled_dice
from lvseg.logs import epoch_line, logger, make_line, utc_now
from lvseg.results import EpochRow, picture_path, write_history
from lvseg.slices import CAVITY
from lvseg.store import UPath, is_local, write_bytes
from lvseg.training.pace import Pace
from lvseg.training.pictures import comparison_grid, encode_png
from lvseg.training.profile import Profiler
from lvseg.training.status import EventKind, Phase, RunProgress, record_event, write_progress
from lvseg.training.tensorboard import Board

if TYPE_CHECKING:
    from lvseg.training.engine import Engine
    from lvseg.training.feed import Feed

PROGRESS_SECONDS = 1.0
"""Time between two notes of progress: reading the loss makes the host wait for the step."""
REMOTE_PROGRESS_SECONDS = 10.0
"""The same where the note is a request to an object store."""
PICTURED_IMAGES = 4


class Monitor:
    """Shows nothing: the monitor of every rank but 0."""

    def phase(self, phase: Phase) -> None:
        """Something that takes its time begins."""

    def started(self, engine: Engine, val: Feed, rows: Sequence[EpochRow], *, midway: bool) -> None:
        """Model and images are there; the epoch after ``rows``, the history, begins, or goes on midway."""

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        """Some steps of an epoch were started; ``counts`` is the last call's ``image_counts``."""

    def epoch_done(self, rows: Sequence[EpochRow], engine: Engine, val: Feed) -> None:
        """An epoch was reported; ``rows`` is the history so far."""

    def note(self, kind: EventKind, text: str) -> None:
        """Something happened that an operator wants to know of."""

    def close(self) -> None:
        """No more will come."""


class Listener(Protocol):
    """Somebody else who wants to know how a run goes. Nothing that it does may raise, or take long."""

    def heard(self, progress: RunProgress) -> None:
        """How far the run is; at most once a second."""

    def epoch_done(self, row: EpochRow) -> None:
        """An epoch's numbers."""

    def close(self, *, done: bool) -> None:
        """No more will come; ``done``: the last epoch is done."""


class FolderMonitor(Monitor):
    """Shows a run in its folder, and logs epochs and events; tells listeners too.

    Nothing of that is worth a run: what cannot be written is logged, once, and the training goes on.
    """

    def __init__(self, folder: UPath, epochs: int, picture_every: int, listeners: Sequence[Listener] = ()) -> None:
        self.folder, self.epochs, self.picture_every = folder, epochs, picture_every
        self._note_seconds = PROGRESS_SECONDS if is_local(folder) else REMOTE_PROGRESS_SECONDS
        self._last_note = -math.inf
        self._progress = RunProgress(phase="building the model", epochs=epochs, started=utc_now())
        self._pace = Pace(epochs)
        self._batch_size = 0
        self._board: Board | None = None
        self._profiler: Profiler | None = None
        self._refused: set[str] = set()
        self._listeners = listeners

    def phase(self, phase: Phase) -> None:
        """Note it."""
        self._write(phase=phase)

    def started(self, engine: Engine, val: Feed, rows: Sequence[EpochRow], *, midway: bool) -> None:
        """Note where the run begins, and show the model and its settings.

        The last epoch of the history is shown again: the run may have been killed before it was shown. Midway the
        weights are not those of its end, and a run that saves midway has shown it.
        """
        config, done = engine.config, len(rows)
        again = done > 0 and not midway
        self._batch_size = config.batch_size
        self._write(phase="compiling", epochs_done=done, epoch=done + 1, **_val_dice(rows))
        self._record("resume" if done or midway else "start", model=config.model, workers=config.workers)
        with self._spared("tensorboard"):
            board = self._open_board()
            if config.profile:
                self._profiler = Profiler(board.path, self.epochs, lambda text: self._record("profile", text=text))
            board.start(engine, done, again=again)
        if again:
            self._tell_of(rows, engine, val)
        self._begin(done + 1)

    def _begin(self, epoch: int) -> None:
        """An epoch begins: at once when the one before was shown, since the loop does nothing in between."""
        self._pace.begin(epoch)
        if self._profiler:
            self._profiler.begin(epoch)

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        """Note the progress, at most once a second, and at the end of the epoch's steps."""
        if self._profiler:
            self._profiler.called(counts)
        now = time.monotonic()
        if now - self._last_note < self._note_seconds and step < steps:
            return
        self._last_note = now
        values = counts.numpy().reshape(-1, counts.shape[-1])
        self._pace.made(step, steps)
        self._write(
            phase="validating" if step >= steps else "training",
            epoch=epoch,
            step=step,
            steps=steps,
            loss=float(values[:, 0].mean()),
            dice=pooled_dice(*values[:, 1:4].T),
            images_per_second=self._pace.steps_per_second(times=self._batch_size),
        )

    def epoch_done(self, rows: Sequence[EpochRow], engine: Engine, val: Feed) -> None:
        """Write history, TensorBoard's events and, when due, histograms and a picture."""
        row = rows[-1]
        if self._profiler:
            self._profiler.stop()
        self._pace.end()
        self._tell_of(rows, engine, val)
        logger.info(epoch_line(self.folder.name, row, self.epochs, self._pace.seconds_left()))
        done = row.epoch >= self.epochs
        self._write(
            phase="done" if done else "training",
            epoch=row.epoch if done else row.epoch + 1,
            epochs_done=row.epoch,
            step=0,
            loss=row.loss,
            dice=row.dice,
            images_per_second=row.images_per_second,
            **_val_dice(rows),
        )
        if not done:
            self._begin(row.epoch + 1)

    def _tell_of(self, rows: Sequence[EpochRow], engine: Engine, val: Feed) -> None:
        """The last of the epochs, everywhere but in the log; the engine has the weights that were scored."""
        with self._spared("history"):
            write_history(self.folder, rows)
        with self._spared("tensorboard"):
            self._show(rows, engine, val)
        for listener in self._listeners:
            listener.epoch_done(rows[-1])

    def _show(self, rows: Sequence[EpochRow], engine: Engine, val: Feed) -> None:
        board, epoch = self._open_board(), rows[-1].epoch
        board.scalars(rows[-1], _val_dice(rows)["best_val_dice"])
        if self.picture_every and (epoch % self.picture_every == 0 or epoch == self.epochs):
            board.histograms(epoch, engine.model)
            if len(val):
                chosen = np.unique(np.linspace(0, len(val) - 1, PICTURED_IMAGES).round().astype(int))
                images, masks = val.take(chosen.tolist())
                cavities = [(mask == CAVITY).astype(np.uint8) for mask in (masks, engine.predict(images))]
                grid = comparison_grid(images, *cavities)
                write_bytes(picture_path(self.folder, epoch), encode_png(grid))
                board.picture(epoch, grid)
        board.flush()

    def note(self, kind: EventKind, text: str) -> None:
        """Record and log it; a rolled back epoch begins anew."""
        self._record(kind, text=text)
        if kind == "rollback":
            self._begin(self._progress.epochs_done + 1)

    def _record(self, kind: EventKind, **facts: Any) -> None:
        record_event(self.folder, kind, self._progress.epochs_done, **facts)

    def close(self) -> None:
        """Close the TensorBoard log, and send the listeners home."""
        for listener in self._listeners:
            listener.close(done=self._progress.phase == "done")
        if self._profiler:
            self._profiler.stop()
        if self._board is None:
            return
        with self._spared("tensorboard"):
            if self._progress.phase == "done":
                self._board.finish()
            self._board.close()

    def _open_board(self) -> Board:
        if self._board is None:
            self._board = Board(self.folder)
        return self._board

    def _write(self, **changes: Any) -> None:
        left = self._pace.seconds_left()
        self._progress = dataclasses.replace(self._progress, **changes, seconds_left=left, updated=utc_now())
        with self._spared("progress"):
            write_progress(self.folder, self._progress)
        for listener in self._listeners:
            listener.heard(self._progress)

    @contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if what not in self._refused:
                self._refused.add(what)
                logger.warning(make_line("warning", run=self.folder.name, unwritten=what, reason=error))


def _val_dice(rows: Sequence[EpochRow]) -> dict[str, float | None]:
    """Of the last epoch, and the best: NaN never is."""
    known = [row.val_dice for row in rows if not math.isnan(row.val_dice)]
    return {"val_dice": rows[-1].val_dice if rows else None, "best_val_dice": max(known, default=None)}
