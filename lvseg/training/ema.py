"""Moving average of the weights, which scores better than the last weights do (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf


class WeightAverage:
    """Averages beside the weights. Make it in the strategy's scope, all workers alike.

    The first weights are as good as random, so the momentum starts small: (1 + step) / (10 + step), up to the one
    asked for (TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``).

    Attributes:
        variables: The averages, in the order of the weights: state for a checkpoint.
    """

    def __init__(self, weights: Sequence[Any], momentum: float) -> None:
        self._weights = [weight.value for weight in weights]
        self._momentum = momentum
        self._strategy = tf.distribute.get_strategy()
        self.variables = [tf.Variable(weight, trainable=False) for weight in self._weights]

    def update(self, step: tf.Tensor) -> None:
        """Take in the weights after a step, counted from 0; in cross-replica context, after ``strategy.run``."""
        step = tf.cast(step, tf.float32)
        new_part = 1 - tf.minimum((1 + step) / (10 + step), self._momentum)
        with self._strategy.scope():
            for average, weight in zip(self.variables, self._weights, strict=True):
                self._strategy.extended.update(average, _move, args=(weight, new_part), group=False)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The model has the averages while this lasts, then its own weights again; eager, between steps."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for average, weight in zip(self.variables, self._weights, strict=True):
            kept = tf.identity(weight)
            weight.assign(tf.identity(average))
            average.assign(kept)


def _move(average: tf.Variable, weight: tf.Tensor, part: tf.Tensor) -> None:
    average.assign_add((weight - average) * part)
