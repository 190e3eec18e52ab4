"""Grey values of augmentation: one (rows, columns) float32 image in, one of the same shape out."""

from __future__ import annotations

import math

import tensorflow as tf

from lvseg.training.warp import smooth_field

BLUR_REACH = 3.0
"""Standard deviations of the Gaussian after which it is cut off."""
_VARIANCE_FLOOR = 1e-6
"""Keeps a constant image from dividing by zero; the same as when the image is standardised first."""


def shade(image: tf.Tensor, coefficients: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Multiply by a smooth field between 1 - strength and 1 + strength, counted from the darkest pixel.

    Args:
        image: (rows, columns).
        coefficients: (cells + 3, cells + 3) of the field; only its shape counts, not its size.
        strength: scalar, largest gain or loss.
    """
    rows, columns = image.shape
    field = smooth_field(coefficients, rows, columns)
    gain = 1.0 + field * (strength / tf.reduce_max(tf.abs(field)))
    darkest = tf.reduce_min(image)
    return (image - darkest) * gain + darkest


def blur(image: tf.Tensor, sigma: tf.Tensor, largest: float) -> tf.Tensor:
    """Gaussian blur; beyond the edge the image is mirrored.

    Args:
        image: (rows, columns).
        sigma: scalar above 0, standard deviation in pixels.
        largest: the largest that sigma can be; sets how many neighbours are looked at.
    """
    reach = min(math.ceil(BLUR_REACH * largest), *image.shape)
    kernel = tf.exp(-tf.square(tf.range(-reach, reach + 1, dtype=tf.float32) / sigma) / 2)
    kernel /= tf.reduce_sum(kernel)
    rows, columns = image.shape
    # Sums of shifted images: TensorFlow's convolutions take ten times as long for a single channel.
    padded = tf.pad(image, [[reach, reach], [0, 0]], "SYMMETRIC")
    image = tf.add_n([kernel[at] * padded[at : at + rows] for at in range(2 * reach + 1)])
    padded = tf.pad(image, [[0, 0], [reach, reach]], "SYMMETRIC")
    return tf.add_n([kernel[at] * padded[:, at : at + columns] for at in range(2 * reach + 1)])


def gamma(image: tf.Tensor, exponent: tf.Tensor) -> tf.Tensor:
    """Raise the grey values, scaled to 0..1, to a power; they stay 0..1."""
    darkest = tf.reduce_min(image)
    scaled = tf.math.divide_no_nan(image - darkest, tf.reduce_max(image) - darkest)
    return tf.pow(scaled, exponent)


def standardise(image: tf.Tensor) -> tf.Tensor:
    """Mean 0 and standard deviation 1; a row at a time, so that the sums do not depend on the number of threads."""
    centred = image - _mean(image)
    return centred * tf.math.rsqrt(_mean(tf.square(centred)) + _VARIANCE_FLOOR)


def _mean(image: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.reduce_mean(image, axis=1))
