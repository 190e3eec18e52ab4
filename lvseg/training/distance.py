"""Exact Euclidean distance maps in the graph, for labels that augmentation has just made."""

from __future__ import annotations

import tensorflow as tf

_FAR = 1e12
"""Squared distance to a pixel that is not there: above any in an image, and finite, so that sums stay numbers."""


def signed_distance(masks: tf.Tensor) -> tf.Tensor:
    """(n, rows, columns) bool → float32 of the same shape, pixels: to the mask outside it, minus the way out inside.

    A mask without any pixel, or without any outside, has no border: its map is 0. Equal to two of SciPy's
    ``distance_transform_edt``, one for each side. Squared distances separate into rows and columns (Felzenszwalb &
    Huttenlocher 2012, doi 10.4086/toc.2012.v008a019); the minimum over the source pixels is taken one row, or column,
    of them at a time. Sources of either side need to be sought only in the masks' bounding box and one pixel around:
    the way out of a mask never leads past its box. So a small heart costs a small loop.
    """
    n = tf.shape(masks)[0]
    sources = tf.concat([masks, ~masks], axis=0)
    squared = tf.where(sources, 0.0, _FAR)
    for axis in (1, 2):
        squared = _lower_envelope(squared, masks, axis)
    outside, inside = tf.split(tf.sqrt(squared), [n, n])
    has_border = tf.reduce_any(masks, axis=[1, 2], keepdims=True) & ~tf.reduce_all(masks, axis=[1, 2], keepdims=True)
    return tf.where(has_border, outside - inside, 0.0)


def _lower_envelope(squared: tf.Tensor, masks: tf.Tensor, axis: int) -> tf.Tensor:
    """At every place along an axis: the least of ``squared`` at a source plus the squared way there."""
    size = tf.shape(squared)[axis]
    first, last = _box(masks, axis)
    places = tf.reshape(tf.range(size), (1, -1, 1) if axis == 1 else (1, 1, -1))

    def nearer(source: tf.Tensor, least: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        way = tf.cast(places - source, tf.float32)
        return source + 1, tf.minimum(least, tf.gather(squared, [source], axis=axis) + way * way)

    start = tf.fill(tf.shape(squared), _FAR)
    return tf.while_loop(lambda source, _: source <= last, nearer, (first, start), parallel_iterations=1)[1]


def _box(masks: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """First and last place along an axis that is at most one pixel from some mask of the batch."""
    taken = tf.reduce_any(masks, axis=[0, 3 - axis])
    size = tf.shape(taken)[0]
    places = tf.range(size)
    first = tf.reduce_min(tf.where(taken, places, size)) - 1
    last = tf.reduce_max(tf.where(taken, places, -2)) + 1  # without any mask before the first: no round of the loop
    return tf.maximum(first, 0), tf.minimum(last, size - 1)
