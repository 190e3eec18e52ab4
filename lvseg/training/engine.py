"""The compiled part: one training step over ``strategy.run``, many steps in one call, and scoring.

Everything works on arrays that were copied to TensorFlow once; a step gathers its images by row,
so the host does nothing between two steps.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.models import build_model
from lvseg.training.context import Images
from lvseg.training.order import EpochOrder

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

    Counts up to 2^24 pixels are exact in float32.
    """
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    predicted = logits[..., 1] > logits[..., 0]
    labelled = labels > 0
    masks = tf.stack([predicted & labelled, predicted, labelled], axis=1)
    pixels = tf.reduce_sum(tf.cast(masks, tf.float32), axis=[2, 3])
    return tf.concat([tf.reduce_mean(entropy, axis=[1, 2])[:, tf.newaxis], pixels], axis=1)


class Engine:
    """Model, optimizer and compiled functions of one worker."""

    def __init__(self, config: TrainConfig, shape: tuple[int, int], strategy: tf.distribute.Strategy) -> None:
        self.config = config
        self.strategy = strategy
        with strategy.scope():
            keras.utils.set_random_seed(config.seed)
            self.model = build_model(config.model, shape, config.precision)
            self.schedule = keras.optimizers.schedules.ExponentialDecay(
                config.learning_rate, config.decay_steps, config.decay_rate, staircase=config.staircase
            )
            self.optimizer = keras.optimizers.Adam(self.schedule)
            self.optimizer.build(self.model.trainable_variables)
        self._train_steps = tf.function(self._train_steps_eager)
        self._score_batch = tf.function(self._score_batch_eager)
        self._sum = tf.function(self._sum_eager)

    def place(self, images: Images) -> tuple[tf.Tensor, tf.Tensor]:
        """Copy images and masks to TensorFlow, in host memory."""
        with tf.device("CPU:0"):
            return tf.constant(images.images), tf.constant(images.masks)

    def train_steps(self, data: tuple[tf.Tensor, tf.Tensor], order: EpochOrder, start: int, stop: int) -> tf.Tensor:
        """Make steps ``start`` to ``stop`` of an epoch.

        Returns:
            (stop - start, local images, 4) float32, ``image_counts`` of every place; not yet waited for.
        """
        tensors = (order.rows, order.weights, order.batch_images, np.int32(start), np.int32(stop))
        return self._train_steps(*data, *map(tf.constant, tensors))

    def _train_steps_eager(
        self,
        images: tf.Tensor,
        masks: tf.Tensor,
        rows: tf.Tensor,
        weights: tf.Tensor,
        batch_images: tf.Tensor,
        start: tf.Tensor,
        stop: tf.Tensor,
    ) -> tf.Tensor:
        counts = tf.TensorArray(tf.float32, size=stop - start, element_shape=(rows.shape[1], 4))
        for step in tf.range(start, stop):
            # Collectives of two steps must not overtake each other.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            x = standardise(tf.gather(images, rows[step]))
            y = tf.cast(tf.gather(masks, rows[step]), tf.int32)
            result = self.strategy.run(self._replica_step, args=(x, y, weights[step], batch_images[step]))
            counts = counts.write(step - start, result)
        return counts.stack()

    def _replica_step(self, x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor, batch_images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            counts = image_counts(self.model(x, training=True), y)
            # Keras sums gradients over replicas: dividing by the images of the whole batch makes their mean.
            loss = tf.reduce_sum(counts[:, 0] * weights) / batch_images
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return counts

    def score(self, data: tuple[tf.Tensor, tf.Tensor]) -> NDArray[np.float32]:
        """(n, 4) ``image_counts`` of all the worker's own images; no communication."""
        total = int(data[0].shape[0])
        counts = np.zeros((total, 4), np.float32)
        for start in range(0, total, SCORE_BATCH):
            rows = np.minimum(np.arange(start, start + SCORE_BATCH), total - 1)
            batch = self._score_batch(*data, tf.constant(rows, tf.int32)).numpy()
            counts[start : start + SCORE_BATCH] = batch[: total - start]
        return counts

    def _score_batch_eager(self, images: tf.Tensor, masks: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        labels = tf.cast(tf.gather(masks, rows), tf.int32)
        return image_counts(self.model(standardise(tf.gather(images, rows)), training=False), labels)

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0 over the whole run."""
        return float(self.schedule(step))

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite; a loss can stay finite over dead units."""
        return all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in self.model.weights)

    def predict(self, images: NDArray[np.integer]) -> NDArray[np.uint8]:
        """(n, rows, columns) images → masks of the same shape, 1 where cavity is the likelier class."""
        logits = self.model(standardise(tf.constant(images)), training=False)
        return tf.cast(logits[..., 1] > logits[..., 0], tf.uint8).numpy()  # type: ignore[no-any-return]

    def sum_over_workers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Element-wise sum of every worker's array; all workers must call it with the same shape."""
        return np.asarray(self._sum(tf.constant(values, tf.float64)))

    def _sum_eager(self, values: tf.Tensor) -> tf.Tensor:
        return self.strategy.reduce(
            tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, args=(values,)), axis=None
        )
