"""The compiled part: one training step over ``strategy.run``, many steps in one call, and scoring.

A step gathers, standardises and augments its images by row, so the host does nothing between two steps of a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.models import build_model
from lvseg.training.augment import augment
from lvseg.training.ema import WeightAverage
from lvseg.training.feed import Chunk, Feed
from lvseg.training.losses import image_losses
from lvseg.training.optimizers import apply_gradients, make_optimizer
from lvseg.training.schedules import make_schedule
from lvseg.training.scores import image_counts

__all__ = ["CONTRAST_FLOOR", "Engine", "likeliest_class", "standardise"]

SCORE_BATCH = 8
"""Images scored at once; the score does not depend on it."""
CONTRAST_FLOOR = 1e-6
"""Keeps a constant image from dividing by zero."""


def standardise(images: tf.Tensor) -> tf.Tensor:
    """(n, rows, columns) stored values → (n, rows, columns, 1) float32 with mean 0 and deviation 1 in each image.

    The intensity scale differs threefold between patients, so a fixed divisor would not do.
    """
    values = tf.cast(images, tf.float32)[..., tf.newaxis]
    mean, variance = tf.nn.moments(values, axes=[1, 2, 3], keepdims=True)
    return (values - mean) * tf.math.rsqrt(variance + CONTRAST_FLOOR)


def _gather(images: tf.Tensor, masks: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The standardised images and the labels at some rows; only these leave the host's memory for a GPU."""
    with tf.device("CPU:0"):
        chosen, labels = tf.gather(images, rows), tf.gather(masks, rows)
    return standardise(chosen), tf.cast(labels, tf.int32)


class Engine:
    """Model, optimizer and compiled functions of one worker."""

    def __init__(
        self,
        config: TrainConfig,
        shape: tuple[int, int],
        strategy: tf.distribute.Strategy,
        classes: int = 2,
        total_steps: int = 1,
    ) -> None:
        """Build the model with its start values.

        Args:
            config: The run; its precision is no longer auto.
            shape: (rows, columns) of every image.
            strategy: Under which variables are made and steps run.
            classes: Classes of the masks, background included.
            total_steps: Steps of the whole run, for schedules that end.
        """
        self.config = config
        self.columns = 1 + 3 * (classes - 1)
        self.shape = shape
        self.strategy = strategy
        self.local_replicas = len(strategy.extended.worker_devices) if strategy.num_replicas_in_sync > 1 else 1
        with strategy.scope():
            keras.utils.set_random_seed(config.seed)
            self.model = build_model(config, shape, classes)
            self.schedule = make_schedule(config, total_steps)
            self.optimizer = make_optimizer(config, self.schedule)
            self.optimizer.build(self.model.trainable_variables)
            self.average = WeightAverage(self.model.trainable_variables, config.ema) if config.ema else None
        self._differentiate = tf.function(self._differentiate_eager, jit_compile=config.xla or None)
        self._train_steps = tf.function(self._train_steps_eager)
        self._score_batch = tf.function(self._score_batch_eager)
        self._sum = tf.function(self._sum_eager)

    @property
    def variables(self) -> list[Any]:
        """All that changes while a run trains: weights, optimizer, average of the weights."""
        average = self.average.variables if self.average is not None else []
        return [*self.model.weights, *self.optimizer.variables, *average]

    @contextmanager
    def scored_weights(self) -> Iterator[None]:
        """The model has the weights that are scored and kept: the averaged ones, where there is an average."""
        if self.average is None:
            yield
            return
        with self.average.swapped_in():
            yield

    def train_steps(self, chunk: Chunk, epoch: int, signals: NDArray[np.float32]) -> tuple[tf.Tensor, tf.Tensor]:
        """Make some steps of an epoch.

        Args:
            chunk: Images, and which of them each step shows.
            epoch: Counted from 1; seeds the augmentation.
            signals: (k,) what this worker has to say to the others.

        Returns:
            (steps, local images, columns) float32, ``image_counts`` of every place, and (k + 1,) float32, the
            signals summed over all workers, and the number of images whose loss is not finite. Neither is waited for.
        """
        order = chunk.order
        arrays = (order.rows, order.weights, order.numbers, order.batch_images, np.int32(chunk.steps), np.int32(epoch))
        return self._train_steps(chunk.images, chunk.masks, *map(tf.constant, (*arrays, signals)))  # type: ignore[no-any-return]

    def _train_steps_eager(
        self,
        images: tf.Tensor,
        masks: tf.Tensor,
        rows: tf.Tensor,
        weights: tf.Tensor,
        numbers: tf.Tensor,
        batch_images: tf.Tensor,
        steps: tf.Tensor,
        epoch: tf.Tensor,
        signals: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        counts = tf.TensorArray(tf.float32, size=steps, element_shape=(rows.shape[1], self.columns))
        broken = tf.zeros((), tf.float32)
        for step in tf.range(steps):
            # Collectives of two steps must not overtake each other.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            places = [rows[step], numbers[step], weights[step] / batch_images[step]]
            filled = [self._filled_up(values) for values in places]
            results = self.strategy.run(self._replica_step, args=(images, masks, *filled, epoch))
            # A worker with several GPUs has a result of each.
            result = tf.concat(self.strategy.experimental_local_results(results), axis=0)[: rows.shape[1]]
            if self.average is not None:
                self.average.update(self.optimizer.iterations.value - 1)
            finite = tf.reduce_all(tf.math.is_finite(result), axis=1)
            broken += tf.reduce_sum(tf.where(finite, 0.0, weights[step]))
            counts = counts.write(step, result)
        return counts.stack(), self._sum_eager(tf.concat([signals, broken[tf.newaxis]], axis=0))

    def _filled_up(self, values: tf.Tensor) -> tf.Tensor:
        """(images,) of this worker's share of a step, with zeros so that its replicas get equally many."""
        if self.local_replicas == 1:
            return values
        return tf.pad(values, [[0, -values.shape[0] % self.local_replicas]])

    def _replica_step(
        self,
        images: tf.Tensor,
        masks: tf.Tensor,
        rows: tf.Tensor,
        numbers: tf.Tensor,
        weights: tf.Tensor,
        epoch: tf.Tensor,
    ) -> tf.Tensor:
        """One replica's part of a step: neighbouring ones of the worker's places."""
        size = rows.shape[0] // self.local_replicas
        if self.local_replicas > 1:
            start = self._own_place() * size
            rows, numbers, weights = (tf.slice(values, [start], [size]) for values in (rows, numbers, weights))
        x, y = _gather(images, masks, rows)
        if self.config.augments():
            x, y = augment(x, y, numbers, epoch, self.config, self.config.seed)
        variables = self.model.trainable_variables
        parts = min(self.config.accumulate, size)
        if parts == 1:
            counts, gradients = self._differentiate(x, y, weights)
        else:
            counts, gradients = self._accumulate(x, y, weights, parts)
        apply_gradients(self.optimizer, gradients, variables, self.config)
        return counts

    def _own_place(self) -> int:
        """Of this replica among those of its worker; workers have equally many, numbered one worker after another."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return number % self.local_replicas  # type: ignore[no-any-return]

    def _differentiate_eager(self, x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Counts of each image, and the gradient of the weighted sum of their losses.

        The weights hold the images of the whole batch, over all workers: the sum over replicas is the batch's mean.
        """
        with tf.GradientTape() as tape:
            outputs = self.model(x, training=True)
            losses = image_losses(self.config, outputs, y)
            scaled = self.optimizer.scale_loss(tf.reduce_sum(losses * weights))
        gradients = tape.gradient(scaled, self.model.trainable_variables)
        return image_counts(_main(outputs), y, losses), gradients

    def _accumulate(
        self, x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor, parts: int
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The same for one part of the images after another."""
        size = -(-int(x.shape[0]) // parts)
        total = [tf.zeros_like(variable) for variable in self.model.trainable_variables]
        counts = []
        for start in range(0, int(x.shape[0]), size):
            # Without an order between them TensorFlow would compute the parts side by side, and save no memory.
            with tf.control_dependencies(total):
                part = [tf.identity(values[start : start + size]) for values in (x, y, weights)]
            found, gradients = self._differentiate(*part)
            counts.append(found)
            total = [a + b for a, b in zip(total, gradients, strict=True)]
        return tf.concat(counts, axis=0), total

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
        outputs = self.model(x, training=False)
        return image_counts(_main(outputs), y, image_losses(self.config, outputs, y))

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0 over the whole run."""
        return self.schedule.at(step)

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite; a loss can stay finite over dead units."""
        return all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in self.model.weights)

    def predict(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        """(n, rows, columns) images → masks of the same shape: the likeliest class."""
        return likeliest_class(self.model, images)

    def sum_over_workers(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Element-wise sum of every worker's array; all workers must call it with the same shape."""
        return np.asarray(self._sum(tf.constant(values, tf.float64)))

    def _sum_eager(self, values: tf.Tensor) -> tf.Tensor:
        if self.strategy.num_replicas_in_sync == 1:
            return tf.identity(values)

        def own() -> tf.Tensor:
            return values if self.local_replicas == 1 else values * tf.cast(self._own_place() == 0, values.dtype)

        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(own), axis=None)


def likeliest_class(model: keras.Model, images: NDArray[Any]) -> NDArray[np.uint8]:
    """(n, rows, columns) stored images → masks of the same shape."""
    logits = _main(model(standardise(tf.constant(images)), training=False))
    return tf.cast(tf.argmax(logits, axis=-1), tf.uint8).numpy()  # type: ignore[no-any-return]


def _main(outputs: Any) -> tf.Tensor:
    """The logits at full size, of a model that may give those of coarser levels too."""
    return outputs[0] if isinstance(outputs, list | tuple) else outputs
