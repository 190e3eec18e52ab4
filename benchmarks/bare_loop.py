"""The yardsticks of ``train_throughput``: a plain TensorFlow loop, and Keras's ``fit``, in a process of their own.

No Ray, no ``tf.distribute`` strategy, no metrics, no checkpoints: batches were gathered, standardised and copied to
TensorFlow beforehand. Model, batch, loss, optimizer and threads are those of lvseg; loss and optimizer
are Keras's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import keras
import tensorflow as tf
import tyro

from lvseg.config import TrainConfig
from lvseg.models import build_model
from lvseg.records import read_manifest
from lvseg.store import location
from lvseg.training.engine import standardise
from lvseg.training.loop import configure_threads
from lvseg.training.portion import whole

Batch = tuple[tf.Tensor, tf.Tensor]
"""(batch, rows, columns, 1) float32 images and (batch, rows, columns) int32 labels."""


def load_batches(records: Path, batch_size: int) -> list[Batch]:
    """All training images of a record set in memory, batch by batch; the last batch must be full."""
    manifest = read_manifest(location(records))
    train = whole(location(records), manifest, "train")
    images, masks = train.read(0, len(train.rows))
    starts = range(0, len(images), batch_size)
    parts = [(images[start : start + batch_size], masks[start : start + batch_size]) for start in starts]
    return [(standardise(tf.constant(x)), tf.constant(y, tf.int32)) for x, y in parts]


def make_model(config: TrainConfig, shape: tuple[int, int]) -> tuple[keras.Model, keras.Optimizer]:
    """A fresh model and its optimizer."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config, shape)
    schedule = keras.optimizers.schedules.ExponentialDecay(
        config.learning_rate, config.decay_steps, config.decay_rate, staircase=config.staircase
    )
    return model, keras.optimizers.Adam(schedule)


def make_step(config: TrainConfig, shape: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A compiled training step on a fresh model; returns the loss."""
    model, optimizer = make_model(config, shape)
    optimizer.build(model.trainable_variables)

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return tf.function(step)  # type: ignore[no-any-return]


class Count:
    """Images that were trained on, in a file that another process reads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.images = 0

    def add(self, images: int) -> None:
        """After a step."""
        self.images += images
        self._file.seek(0)
        self._file.write(str(self.images).encode())


def loop(settings: TrainConfig, batches: list[Batch], shape: tuple[int, int], count: Count) -> None:
    """The plain loop, until the process is ended."""
    step = make_step(settings, shape)
    for x, y in itertools.cycle(batches):
        step(x, y)
        count.add(settings.batch_size)


def fit(settings: TrainConfig, batches: list[Batch], shape: tuple[int, int], count: Count) -> None:
    """Keras's ``fit`` over the same batches in a ``tf.data`` pipeline, until the process is ended."""
    model, optimizer = make_model(settings, shape)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = (tf.concat(part, axis=0) for part in zip(*batches, strict=True))
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(settings.batch_size).prefetch(2)
    counting = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs=None: count.add(settings.batch_size)
    )
    model.fit(data, epochs=1_000_000, verbose=0, callbacks=[counting])


def train(
    records: tyro.conf.Positional[Path],
    settings: Annotated[TrainConfig, tyro.conf.arg(name="")],
    count: Path,
    way: Literal["loop", "fit"] = "loop",
) -> None:
    """Train until the process is ended.

    Args:
        records: Record set whose training images fill whole batches.
        settings: As for lvseg train; ``cpus_per_worker`` is the number of threads.
        count: File for the number of images trained on, written after every step.
        way: The plain loop or Keras's ``fit``.
    """
    configure_threads(settings.cpus_per_worker or 1)
    batches = load_batches(records, settings.batch_size)
    _, rows, columns, _ = batches[0][0].shape
    {"loop": loop, "fit": fit}[way](settings, batches, (rows, columns), Count(count))


if __name__ == "__main__":
    tyro.cli(train)
