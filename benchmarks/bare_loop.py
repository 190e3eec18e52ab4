"""The yardstick of ``train_throughput``: a plain TensorFlow loop, in a process of its own.

No Ray, no ``tf.distribute`` strategy, no metrics, no checkpoints: one ``@tf.function`` step over batches that
were gathered, standardised and copied to TensorFlow before the clock starts. Model, batch, loss, optimizer and
threads are those of lvseg.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

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


def make_step(config: TrainConfig, shape: tuple[int, int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A compiled training step on a fresh model; returns the loss."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config, shape)
    schedule = keras.optimizers.schedules.ExponentialDecay(
        config.learning_rate, config.decay_steps, config.decay_rate, staircase=config.staircase
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(model.trainable_variables)

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return tf.function(step)  # type: ignore[no-any-return]


def bare_speeds(
    records: tyro.conf.Positional[Path], settings: Annotated[TrainConfig, tyro.conf.arg(name="")]
) -> list[float]:
    """Train and time every epoch.

    Args:
        records: Record set whose training images fill whole batches.
        settings: As for lvseg train; ``cpus_per_worker`` is the number of threads.

    Returns:
        Training images/s of each epoch; the first compiles.
    """
    configure_threads(settings.cpus_per_worker or 1)
    batches = load_batches(records, settings.batch_size)
    _, rows, columns, _ = batches[0][0].shape
    step = make_step(settings, (rows, columns))
    speeds = []
    for _ in range(settings.epochs):
        started = time.perf_counter()
        losses = [step(x, y) for x, y in batches]
        tf.stack(losses).numpy()  # waits for the last step
        speeds.append(len(batches) * settings.batch_size / (time.perf_counter() - started))
    return speeds


if __name__ == "__main__":
    print(json.dumps(tyro.cli(bare_speeds)))
