"""What a run shows of itself while it trains: history, progress, TensorBoard, pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from lvseg.results import EpochRow, picture_path, write_history, write_text_atomically
from lvseg.training.context import Images
from lvseg.training.pictures import comparison_grid, encode_png

if TYPE_CHECKING:
    from lvseg.training.engine import Engine

PROGRESS_NAME = "progress.json"
TENSORBOARD_NAME = "tensorboard"
PROGRESS_SECONDS = 1.0
"""Time between two notes of progress: reading the loss makes the host wait for the step."""
PICTURED_IMAGES = 4


class Monitor:
    """Shows nothing: the monitor of every rank but 0."""

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        """Some steps of an epoch were started; ``counts`` is the last call's ``image_counts``."""

    def epoch_done(self, rows: Sequence[EpochRow], engine: Engine, val: Images) -> None:
        """An epoch was reported; ``rows`` is the history so far."""

    def close(self) -> None:
        """No more will come."""


class FolderMonitor(Monitor):
    """Writes ``progress.json``, ``history.csv``, TensorBoard logs and pictures into the run's folder."""

    def __init__(self, folder: Path, epochs: int, picture_every: int) -> None:
        self.folder, self.epochs, self.picture_every = folder, epochs, picture_every
        self._writer: Any = None
        self._last_note = 0.0

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        """Note the progress, at most once a second."""
        now = time.monotonic()
        if now - self._last_note < PROGRESS_SECONDS:
            return
        self._last_note = now
        self._note(epoch=epoch, step=step, steps=steps, loss=float(np.mean(counts.numpy()[..., 0])))

    def epoch_done(self, rows: Sequence[EpochRow], engine: Engine, val: Images) -> None:
        """Write history, TensorBoard scalars and, when due, a picture."""
        row = rows[-1]
        write_history(self.folder, rows)
        self._note(epoch=row.epoch, step=0, steps=0, loss=row.loss)
        self._write_scalars(row)
        if self.picture_every and len(val.names) and (row.epoch % self.picture_every == 0 or row.epoch == self.epochs):
            self._write_picture(row.epoch, engine, val)

    def close(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()

    def _note(self, **progress: float) -> None:
        write_text_atomically(self.folder / PROGRESS_NAME, json.dumps({**progress, "epochs": self.epochs}))

    def _summaries(self) -> Any:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.folder / TENSORBOARD_NAME))
        return self._writer.as_default()

    def _write_scalars(self, row: EpochRow) -> None:
        with self._summaries():
            for name in EpochRow.__dataclass_fields__:
                if name != "epoch":
                    tf.summary.scalar(name, getattr(row, name), step=row.epoch)
            self._writer.flush()

    def _write_picture(self, epoch: int, engine: Engine, val: Images) -> None:
        chosen = np.unique(np.linspace(0, len(val.names) - 1, PICTURED_IMAGES).round().astype(int))
        images, masks = val.images[chosen], val.masks[chosen]
        grid = comparison_grid(images, masks, engine.predict(images))
        path = picture_path(self.folder, epoch)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(grid))
        with self._summaries():
            tf.summary.image("image | label | prediction", grid[np.newaxis], step=epoch)
            self._writer.flush()
