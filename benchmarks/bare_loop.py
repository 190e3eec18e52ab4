"""The yardsticks of ``train_throughput``: a plain TensorFlow loop, and Keras's ``fit``, in a process of their own.

No Ray, no ``tf.distribute`` strategy, no metrics, no checkpoints: batches were gathered, standardised and copied to
TensorFlow before the clock starts. Model, batch, loss, optimizer and threads are those of lvseg; loss and optimizer
are Keras's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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


def loop_speeds(settings: TrainConfig, batches: list[Batch], shape: tuple[int, int]) -> list[float]:
    """Images/s of every epoch of the plain loop."""
    step = make_step(settings, shape)
    speeds = []
    for _ in range(settings.epochs):
        started = time.perf_counter()
        losses = [step(x, y) for x, y in batches]
        tf.stack(losses).numpy()  # waits for the last step
        speeds.append(len(batches) * settings.batch_size / (time.perf_counter() - started))
    return speeds


def fit_speeds(settings: TrainConfig, batches: list[Batch], shape: tuple[int, int]) -> list[float]:
    """Images/s of every epoch of ``fit`` over the same batches in a ``tf.data`` pipeline."""
    model, optimizer = make_model(settings, shape)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = (tf.concat(part, axis=0) for part in zip(*batches, strict=True))
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(settings.batch_size).prefetch(2)
    clock = _EpochClock()
    model.fit(data, epochs=settings.epochs, verbose=0, callbacks=[clock])
    return [len(images) / seconds for seconds in clock.seconds]


class _EpochClock(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def bare_speeds(
    records: tyro.conf.Positional[Path], settings: Annotated[TrainConfig, tyro.conf.arg(name="")], fit: bool = False
) -> list[float]:
    """Train and time every epoch.

    Args:
        records: Record set whose training images fill whole batches.
        settings: As for lvseg train; ``cpus_per_worker`` is the number of threads.
        fit: Keras's ``fit`` instead of the loop.

    Returns:
        Training images/s of each epoch; the first compiles.
    """
    configure_threads(settings.cpus_per_worker or 1)
    batches = load_batches(records, settings.batch_size)
    _, rows, columns, _ = batches[0][0].shape
    return (fit_speeds if fit else loop_speeds)(settings, batches, (rows, columns))


if __name__ == "__main__":
    print(json.dumps(tyro.cli(bare_speeds)))
