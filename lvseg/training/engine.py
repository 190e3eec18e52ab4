"""The compiled part: one training step over ``strategy.run``, many steps in one call, and scoring.

A step gathers its images by row, so the host does nothing between two steps of a call.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.models import build_model
from lvseg.slices import CAVITY
from lvseg.training.feed import Chunk, Feed

SCORE_BATCH = 8
"""Images scored at once; the score does not depend on it."""
_CONTRAST_FLOOR = 1e-6
"""Keeps a constant image from dividing by zero."""


def standardise(images: tf.Tensor) -> tf.Tensor:
    """(n, rows, columns) stored values → (n, rows, columns, 1) float32 with mean 0 and deviation 1 in each image.

    The intensity scale differs threefold between patients, so a fixed divisor would not do.
    """
    values = tf.cast(images, tf.float32)[..., tf.newaxis]
    mean, variance = tf.nn.moments(values, axes=[1, 2, 3], keepdims=True)
    return (values - mean) * tf.math.rsqrt(variance + _CONTRAST_FLOOR)


def image_counts(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """(n, 4) float32: for each image the cross-entropy, and pixels of intersection, prediction and label.

    With three classes (n, 7): the cavity's pixels, then the myocardium's. A class that the model does not know is
    background. Counts up to 2^24 pixels are exact in float32.
    """
    classes = logits.shape[-1]
    labels = tf.where(labels < classes, labels, 0)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    likeliest = tf.argmax(logits, axis=-1, output_type=tf.int32)
    masks = []
    for structure in range(CAVITY, classes):
        predicted, labelled = likeliest == structure, labels == structure
        masks += [predicted & labelled, predicted, labelled]
    pixels = tf.reduce_sum(tf.cast(tf.stack(masks, axis=1), tf.float32), axis=[2, 3])
    return tf.concat([tf.reduce_mean(entropy, axis=[1, 2])[:, tf.newaxis], pixels], axis=1)


def _gather(images: tf.Tensor, masks: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The standardised images and the labels at some rows; only these leave the host's memory for a GPU."""
    with tf.device("CPU:0"):
        chosen, labels = tf.gather(images, rows), tf.gather(masks, rows)
    return standardise(chosen), tf.cast(labels, tf.int32)


class Engine:
    """Model, optimizer and compiled functions of one worker."""

    def __init__(
        self, config: TrainConfig, shape: tuple[int, int], strategy: tf.distribute.Strategy, classes: int = 2
    ) -> None:
        self.config = config
        self.columns = 1 + 3 * (classes - 1)
        self.shape = shape
        self.strategy = strategy
        with strategy.scope():
            keras.utils.set_random_seed(config.seed)
            self.model = build_model(config, shape, classes)
            self.schedule = keras.optimizers.schedules.ExponentialDecay(
                config.learning_rate, config.decay_steps, config.decay_rate, staircase=config.staircase
            )
            self.optimizer = keras.optimizers.Adam(self.schedule)
            self.optimizer.build(self.model.trainable_variables)
        self._train_steps = tf.function(self._train_steps_eager)
        self._score_batch = tf.function(self._score_batch_eager)
        self._sum = tf.function(self._sum_eager)

    def train_steps(self, chunk: Chunk) -> tf.Tensor:
        """Make some steps of an epoch.

        Returns:
            (steps, local images, columns) float32, ``image_counts`` of every place; not yet waited for.
        """
        order = (chunk.order.rows, chunk.order.weights, chunk.order.batch_images, np.int32(chunk.steps))
        return self._train_steps(chunk.images, chunk.masks, *map(tf.constant, order))

    def _train_steps_eager(
        self,
        images: tf.Tensor,
        masks: tf.Tensor,
        rows: tf.Tensor,
        weights: tf.Tensor,
        batch_images: tf.Tensor,
        steps: tf.Tensor,
    ) -> tf.Tensor:
        counts = tf.TensorArray(tf.float32, size=steps, element_shape=(rows.shape[1], self.columns))
        for step in tf.range(steps):
            # Collectives of two steps must not overtake each other.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            x, y = _gather(images, masks, rows[step])
            result = self.strategy.run(self._replica_step, args=(x, y, weights[step], batch_images[step]))
            counts = counts.write(step, result)
        return counts.stack()

    def _replica_step(self, x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor, batch_images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            counts = image_counts(self.model(x, training=True), y)
            # Keras sums gradients over replicas: dividing by the images of the whole batch makes their mean.
            loss = tf.reduce_sum(counts[:, 0] * weights) / batch_images
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return counts

    def score(self, feed: Feed) -> NDArray[np.float32]:
        """(n, columns) ``image_counts`` of all the worker's own images; no communication."""
        parts = [np.zeros((0, self.columns), np.float32)]
        with closing(feed.batches()) as batches:
            for images, masks, count in batches:
                for start in range(0, count, SCORE_BATCH):
                    rows = np.minimum(np.arange(start, start + SCORE_BATCH), count - 1)
                    counts = self._score_batch(images, masks, tf.constant(rows, tf.int32)).numpy()
                    parts.append(counts[: count - start])
        return np.concatenate(parts)

    def _score_batch_eager(self, images: tf.Tensor, masks: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        x, y = _gather(images, masks, rows)
        return image_counts(self.model(x, training=False), y)

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0 over the whole run."""
        return float(self.schedule(step))

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite; a loss can stay finite over dead units."""
        return all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in self.model.weights)

    def predict(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        """(n, rows, columns) images → masks of the same shape: the likeliest class."""
        logits = self.model(standardise(tf.constant(images)), training=False)
        return tf.cast(tf.argmax(logits, axis=-1), tf.uint8).numpy()  # type: ignore[no-any-return]

    def sum_over_workers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Element-wise sum of every worker's array; all workers must call it with the same shape."""
        return np.asarray(self._sum(tf.constant(values, tf.float64)))

    def _sum_eager(self, values: tf.Tensor) -> tf.Tensor:
        return self.strategy.reduce(
            tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, args=(values,)), axis=None
        )
