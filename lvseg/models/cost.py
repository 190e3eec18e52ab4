"""What a model costs: parameters, floating-point operations, images per second on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import keras
import tensorflow as tf

FEWEST_STEPS = 3
"""Timed even where one takes longer than all the time there is."""


_NORMALISATION = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Images/s, from the median step."""

    train: float
    """Forward, backward, and Adam."""
    predict: float
    """Forward only."""


def count_flops(model: keras.Model) -> int:
    """Floating-point operations of one image's forward pass.

    A multiply-add counts as two. Counted are convolutions, transposed convolutions and dense layers; what remains
    (activations, normalisation, pooling, sums) is a few operations for each value and moves memory, not the count.
    """
    return sum(2 * _multiply_adds(layer) for layer in model.layers)


def _multiply_adds(layer: keras.Layer) -> int:
    if isinstance(layer, keras.layers.Dense):
        positions: tuple[int, ...] = ()
    elif isinstance(layer, keras.layers.Conv2DTranspose):  # every value of the input meets the whole kernel
        positions = layer.input.shape[1:3]
    elif isinstance(layer, keras.layers.Conv2D):
        positions = layer.output.shape[1:3]
    elif not layer.weights or isinstance(layer, _NORMALISATION):
        return 0
    else:
        raise TypeError(f"no count for layers of kind {type(layer).__name__}")
    return int(prod(positions) * prod(layer.kernel.shape))


def measure_speed(model: keras.Model, batch_size: int, seconds: float) -> Speed:
    """Time training and prediction on noise, each for some seconds after a first call that compiles."""
    images = tf.random.normal((batch_size, *model.input_shape[1:]))
    labels = tf.cast(images[..., 0] > 1, tf.int32)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    def logits(training: bool) -> tf.Tensor:
        outputs = model(images, training=training)
        return outputs[0] if isinstance(outputs, list) else outputs

    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits(True))
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    times = [_median_step(tf.function(step), seconds) for step in (train, lambda: tf.argmax(logits(False), -1))]
    return Speed(train=batch_size / times[0], predict=batch_size / times[1])


def _median_step(step: Callable[[], tf.Tensor], seconds: float) -> float:
    for _ in range(2):  # the first compiles, the second still fills caches
        step().numpy()
    times: list[float] = []
    while sum(times) < seconds or len(times) < FEWEST_STEPS:
        started = time.perf_counter()
        step().numpy()  # waits for the result
        times.append(time.perf_counter() - started)
    return statistics.median(times)
