"""Exact Euclidean distance maps in the graph, for labels that augmentation has just made."""

from __future__ import annotations

import tensorflow as tf

_FAR = 1e12
"""Squared distance to a pixel that is not there: above any in an image, and finite, so that sums stay numbers."""


def signed_distance(masks: tf.Tensor) -> tf.Tensor:
    """(n, rows, columns) bool → float32 of the same shape, pixels: to the mask outside it, minus the way out inside.

    A mask without any pixel, or without any outside, has no border: its map is 0. Equal to two of SciPy's
    ``distance_transform_edt``, one for each side. Squared distances separate into rows and columns (Felzenszwalb &
    Huttenlocher 2012, doi 10.4086/toc.2012.v008a019). Only the masks' bounding box and one pixel around it can hold
    the nearest pixel of either side, since the way out of a mask never leads past its box: a small heart costs little.
    """
    rows, columns = masks.shape[1:]
    top, bottom = _box(masks, axis=1)
    left, right = _box(masks, axis=2)
    box = masks[:, top:bottom, left:right]
    outside = _to_nearest(box, (top, left), (rows, columns))
    inside = _to_nearest(~box, (0, 0), (bottom - top, right - left))
    inside = tf.pad(inside, [(0, 0), (top, rows - bottom), (left, columns - right)])
    has_border = tf.reduce_any(masks, axis=[1, 2], keepdims=True) & ~tf.reduce_all(masks, axis=[1, 2], keepdims=True)
    return tf.where(has_border, outside - inside, 0.0)


def _to_nearest(
    sources: tf.Tensor, origin: tuple[tf.Tensor, tf.Tensor], size: tuple[tf.Tensor, tf.Tensor]
) -> tf.Tensor:
    """Distance of each pixel of an image to the nearest of the sources, whose first row and column are ``origin``."""
    squared = tf.where(sources, 0.0, _FAR)
    for axis in (1, 2):
        squared = _lower_envelope(squared, origin[axis - 1], size[axis - 1], axis)
    return tf.sqrt(squared)


def _lower_envelope(squared: tf.Tensor, origin: tf.Tensor, size: tf.Tensor, axis: int) -> tf.Tensor:
    """At each of ``size`` places along an axis: the least of ``squared`` at a source plus the squared way to it."""
    places = tf.reshape(tf.range(size) - origin, (1, -1, 1) if axis == 1 else (1, 1, -1))

    def nearer(source: tf.Tensor, least: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        way = tf.cast(places - source, tf.float32)
        return source + 1, tf.minimum(least, tf.gather(squared, [source], axis=axis) + way * way)

    n, height, width = tf.unstack(tf.shape(squared))
    start = tf.fill((n, size, width) if axis == 1 else (n, height, size), _FAR)
    count = tf.shape(squared)[axis]
    return tf.while_loop(
        lambda source, _: source < count,
        nearer,
        (0, start),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None, None])),
        parallel_iterations=1,
    )[1]


def _box(masks: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """First place along an axis, and the one after the last, that is at most a pixel from some mask of the batch."""
    taken = tf.reduce_any(masks, axis=[0, 3 - axis])
    size = tf.shape(taken)[0]
    places = tf.range(size)
    first = tf.maximum(tf.reduce_min(tf.where(taken, places, size)) - 1, 0)
    last = tf.minimum(tf.reduce_max(tf.where(taken, places, -1)) + 1, size - 1)
    return first, tf.maximum(last + 1, first)
