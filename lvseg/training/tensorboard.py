"""What TensorBoard shows of a run: curves, histograms, pictures, the model's graph, its settings, a profile."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.hparams.summary import session_end_pb

from lvseg.results import TENSORBOARD_FOLDER, EpochRow
from lvseg.store import UPath, is_local, write_bytes

if TYPE_CHECKING:
    import keras

    from lvseg.config import TrainConfig
    from lvseg.training.engine import Engine

BEST_TAG = "metric/val_dice"
"""The best validation Dice so far: what runs are compared by."""
PICTURES_TAG = "image | label | prediction"
CHARTS = {"loss": ("train/loss", "val/loss"), "Dice": ("train/dice", "val/dice", "val/dice_pooled")}
"""Curves that share a chart."""
_HISTOGRAM_BINS = 30
_HISTOGRAM_VALUES = 200_000
"""Values of one weight that are counted at most; more look the same."""


def scalar_tag(field: str) -> str:
    """Where a column of the history is shown: ``val_dice`` → ``val/dice``, ``loss`` → ``train/loss``."""
    return f"val/{field.removeprefix('val_')}" if field.startswith("val_") else f"train/{field}"


class Board:
    """Writes a run's events; the step of everything is the epoch.

    Every start of a run has an events file of its own. TensorBoard's writer appends, which an object store cannot:
    there the files lie in a local folder, and are copied.
    """

    def __init__(self, folder: UPath) -> None:
        self._folder = folder / TENSORBOARD_FOLDER
        self._aside = None if is_local(folder) else tempfile.TemporaryDirectory(prefix="lvseg-tensorboard-")
        self.path = Path(self._aside.name if self._aside else str(self._folder))
        """The local folder."""
        self._writer = tf.summary.create_file_writer(str(self.path))
        self._copied: dict[Path, int] = {}

    def start(self, engine: Engine, epochs_done: int, *, again: bool = False) -> None:
        """Say what is trained, and that what an earlier start told of later epochs is not valid any more.

        Args:
            engine: model and settings.
            epochs_done: by earlier starts.
            again: the last of these will be told of again.
        """
        start = Event(wall_time=time.time(), step=epochs_done + (not again))
        start.session_log.status = SessionLog.START
        tf.raw_ops.ImportEvent(writer=self._writer._resource, event=start.SerializeToString())
        if epochs_done == 0:
            with self._writer.as_default():
                _write_settings(engine.config)
                _write_layout()
                _write_graph(engine)
        self.flush()

    def scalars(self, row: EpochRow, best: float | None) -> None:
        """Every number of an epoch."""
        with self._writer.as_default(step=row.epoch):
            for field in EpochRow.__dataclass_fields__:
                value = getattr(row, field)
                if field != "epoch" and value is not None:
                    tf.summary.scalar(scalar_tag(field), value)
            if best is not None:
                tf.summary.scalar(BEST_TAG, best)

    def histograms(self, epoch: int, model: keras.Model) -> None:
        """Distribution of every trained weight."""
        with self._writer.as_default(step=epoch):
            for weight in model.trainable_weights:
                _write_histogram(f"weights/{weight.path}", weight.numpy())

    def picture(self, epoch: int, grid: NDArray[np.uint8]) -> None:
        """The comparison of images, labels and predictions, (rows, columns, 3)."""
        with self._writer.as_default(step=epoch):
            tf.summary.image(PICTURES_TAG, grid[np.newaxis])

    def finish(self) -> None:
        """Say that the run came to its end."""
        end = session_end_pb(api_pb2.STATUS_SUCCESS)
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)

    def flush(self) -> None:
        """Make all that was written visible."""
        self._writer.flush()
        if self._aside is None:
            return
        for file in (path for path in self.path.rglob("*") if path.is_file()):
            size = file.stat().st_size
            if self._copied.get(file) != size:
                write_bytes(self._folder.joinpath(*file.relative_to(self.path).parts), file.read_bytes())
                self._copied[file] = size

    def close(self) -> None:
        """No more will come."""
        self._writer.close()
        self.flush()
        if self._aside is not None:
            self._aside.cleanup()


def _write_settings(config: TrainConfig) -> None:
    """The settings that decide the result. No list of them all: TensorBoard finds those in which runs differ."""
    hparams.hparams({key: _plain(value) for key, value in config.identity().items() if value is not None})


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _write_layout() -> None:
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags]))
        for title, tags in CHARTS.items()
    ]
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="training and validation", chart=charts)])
    tf.summary.experimental.write_raw_pb(custom_scalar.pb(layout).SerializeToString(), step=0)


def _write_graph(engine: Engine) -> None:
    """The model's operations for one image; traced anew, since a training step holds a whole loop."""
    image = tf.TensorSpec((1, *engine.shape, 1), tf.float32)
    predict = tf.function(lambda x: engine.model(x, training=False))
    tf.summary.graph(predict.get_concrete_function(image).graph)


def _write_histogram(tag: str, values: NDArray[Any]) -> None:
    """Counted here: TensorBoard's own function needs thirty times the memory of the weights."""
    values = values.astype(np.float32).ravel()
    values = values[:: -(-values.size // _HISTOGRAM_VALUES)]
    counts, edges = np.histogram(values[np.isfinite(values)], _HISTOGRAM_BINS)
    buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
    tf.summary.write(tag, tf.constant(buckets, tf.float64), metadata=_HISTOGRAM_METADATA)


_HISTOGRAM_METADATA = histogram_metadata.create_summary_metadata(display_name=None, description=None)
