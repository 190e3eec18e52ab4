"""What a run shows of itself while it trains: history, progress, TensorBoard, pictures."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from lvseg.results import EpochRow, picture_path, write_history
from lvseg.slices import CAVITY
from lvseg.store import UPath, is_local, write_bytes, write_text
from lvseg.training.pictures import comparison_grid, encode_png

if TYPE_CHECKING:
    from lvseg.training.engine import Engine
    from lvseg.training.feed import Feed

PROGRESS_NAME = "progress.json"
TENSORBOARD_NAME = "tensorboard"
PROGRESS_SECONDS = 1.0
"""Time between two notes of progress: reading the loss makes the host wait for the step."""
REMOTE_PROGRESS_SECONDS = 10.0
"""The same where the note is a request to an object store."""
PICTURED_IMAGES = 4


class Monitor:
    """Shows nothing: the monitor of every rank but 0."""

    def started(self, engine: Engine, val: Feed, epoch: int) -> None:
        """The run begins after so many epochs."""

    def note(self, kind: str, text: str) -> None:
        """Something happened that the user should know of."""

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        """Some steps of an epoch were started; ``counts`` is the last call's ``image_counts``."""

    def epoch_done(self, rows: Sequence[EpochRow], engine: Engine, val: Feed) -> None:
        """An epoch was reported; ``rows`` is the history so far."""

    def close(self) -> None:
        """No more will come."""


class FolderMonitor(Monitor):
    """Writes ``progress.json``, ``history.csv``, TensorBoard logs and pictures into the run's folder."""

    def __init__(self, folder: UPath, epochs: int, picture_every: int) -> None:
        self.folder, self.epochs, self.picture_every = folder, epochs, picture_every
        self._note_seconds = PROGRESS_SECONDS if is_local(folder) else REMOTE_PROGRESS_SECONDS
        self._writer: Any = None
        self._events: tempfile.TemporaryDirectory[str] | None = None
        self._last_note = 0.0

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        """Note the progress, at most once a second."""
        now = time.monotonic()
        if now - self._last_note < self._note_seconds:
            return
        self._last_note = now
        self._note(epoch=epoch, step=step, steps=steps, loss=float(np.mean(counts.numpy()[..., 0])))

    def epoch_done(self, rows: Sequence[EpochRow], engine: Engine, val: Feed) -> None:
        """Write history, TensorBoard scalars and, when due, a picture."""
        row = rows[-1]
        write_history(self.folder, rows)
        self._note(epoch=row.epoch, step=0, steps=0, loss=row.loss)
        self._write_scalars(row)
        if self.picture_every and len(val) and (row.epoch % self.picture_every == 0 or row.epoch == self.epochs):
            self._write_picture(row.epoch, engine, val)
        self._copy_events()

    def close(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()
        if self._events is not None:
            self._copy_events()
            self._events.cleanup()

    def _note(self, **progress: float) -> None:
        write_text(self.folder / PROGRESS_NAME, json.dumps({**progress, "epochs": self.epochs}))

    def _summaries(self) -> Any:
        if self._writer is None:
            if not is_local(self.folder):
                self._events = tempfile.TemporaryDirectory(prefix="lvseg-tensorboard-")
            events = self._events.name if self._events else str(self.folder / TENSORBOARD_NAME)
            self._writer = tf.summary.create_file_writer(events)
        return self._writer.as_default()

    def _copy_events(self) -> None:
        """TensorBoard's writer appends, which an object store cannot: there the log so far is copied."""
        for file in Path(self._events.name).iterdir() if self._events else ():
            write_bytes(self.folder / TENSORBOARD_NAME / file.name, file.read_bytes())

    def _write_scalars(self, row: EpochRow) -> None:
        with self._summaries():
            for name in EpochRow.__dataclass_fields__:
                value = getattr(row, name)
                if name != "epoch" and value is not None:
                    tf.summary.scalar(name, value, step=row.epoch)
            self._writer.flush()

    def _write_picture(self, epoch: int, engine: Engine, val: Feed) -> None:
        chosen = np.unique(np.linspace(0, len(val) - 1, PICTURED_IMAGES).round().astype(int))
        images, masks = val.take(chosen.tolist())
        cavities = [(mask == CAVITY).astype(np.uint8) for mask in (masks, engine.predict(images))]
        grid = comparison_grid(images, *cavities)
        write_bytes(picture_path(self.folder, epoch), encode_png(grid))
        with self._summaries():
            tf.summary.image("image | label | prediction", grid[np.newaxis], step=epoch)
            self._writer.flush()
