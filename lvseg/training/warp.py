"""Geometry of augmentation: one image and its label moved, turned and bent together, in a single resampling.

Images are (rows, columns) float32, labels (rows, columns) int32. What lies outside is filled with the nearest pixel
of the edge, in image and label alike: what is shown then has the label it is shown with, and the grey values keep
their distribution, which a fill of one colour would shift when the image is standardised again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.slices import CAVITY, MYOCARDIUM

DEGREE = 3
"""Of the B-splines behind smooth random fields."""


class Affine(NamedTuple):
    """Mirror, then zoom, then turn about the image's centre, then shift; scalars."""

    angle: tf.Tensor
    """Radians; turns the row axis towards the column axis."""
    zoom: tf.Tensor
    """Above 1 the picture gets larger."""
    mirror_rows: tf.Tensor
    """-1 mirrors top and bottom, 1 does not."""
    mirror_columns: tf.Tensor
    """-1 mirrors left and right, 1 does not."""
    shift_rows: tf.Tensor
    """Pixels, downwards."""
    shift_columns: tf.Tensor
    """Pixels, to the right."""


def spline_basis(length: int, cells: int) -> NDArray[np.float32]:
    """(length, cells + 3): uniform cubic B-splines at the pixels of an axis that is cut into ``cells`` cells.

    No value is negative and each row sums to 1, so a field is nowhere beyond its coefficients.
    """
    position = np.arange(length) / max(length - 1, 1) * cells
    cell = np.minimum(position.astype(int), cells - 1)
    t = (position - cell)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    basis = np.zeros((length, cells + DEGREE))
    np.put_along_axis(basis, cell[:, None] + np.arange(DEGREE + 1), weights, axis=1)
    return basis.astype(np.float32)


def smooth_field(coefficients: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """(cells + 3, cells + 3) coefficients → (rows, columns) field."""
    cells = coefficients.shape[0] - DEGREE
    down, across = spline_basis(rows, cells), spline_basis(columns, cells)
    return tf.matmul(down, tf.matmul(coefficients, across, transpose_b=True))


def source_coordinates(affine: Affine, bend: tf.Tensor | None, rows: int, columns: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Row and column, each (rows, columns), of the old image that every pixel of the new one shows.

    Args:
        affine: what the picture goes through first.
        bend: (2, cells + 3, cells + 3) coefficients, pixels, of a displacement along rows and along columns on top.
        rows: of the image.
        columns: of the image.
    """
    centre_row, centre_column = (rows - 1) / 2, (columns - 1) / 2
    row = tf.range(rows, dtype=tf.float32)[:, tf.newaxis] - (centre_row + affine.shift_rows)
    column = tf.range(columns, dtype=tf.float32)[tf.newaxis, :] - (centre_column + affine.shift_columns)
    if bend is not None:
        row += smooth_field(bend[0], rows, columns)
        column += smooth_field(bend[1], rows, columns)
    cosine, sine = tf.cos(affine.angle) / affine.zoom, tf.sin(affine.angle) / affine.zoom
    old_row = affine.mirror_rows * (cosine * row + sine * column)
    old_column = affine.mirror_columns * (cosine * column - sine * row)
    return old_row + centre_row, old_column + centre_column


def resample(image: tf.Tensor, label: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Image and label at some coordinates: bilinear, and the class with the largest bilinear share.

    At whole coordinates both come back exactly. Shares keep a structure's area, where the nearest label would move
    its edge by up to half a pixel.

    Args:
        image: (rows, columns) float32, at least 2 by 2.
        label: (rows, columns) int32 classes 0 to 2.
        row: (m, n) float32, where to look.
        column: (m, n) float32.

    Returns:
        (m, n) float32 and (m, n) int32.
    """
    rows, columns = image.shape
    row = tf.clip_by_value(row, 0.0, rows - 1.0)
    column = tf.clip_by_value(column, 0.0, columns - 1.0)
    top, left = tf.minimum(tf.floor(row), rows - 2.0), tf.minimum(tf.floor(column), columns - 2.0)
    # One look-up of eight neighbouring numbers costs a fraction of eight look-ups.
    found = tf.gather(_neighbours(image, label), tf.cast(top * columns + left, tf.int32))
    low_row, low_column = row - top, column - left
    up, before = 1.0 - low_row, 1.0 - low_column
    weights = (up * before, up * low_column, low_row * before, low_row * low_column)
    greys, labels = tf.unstack(found[..., :4], axis=-1), tf.unstack(found[..., 4:], axis=-1)
    moved = tf.add_n([weight * grey for weight, grey in zip(weights, greys, strict=True)])
    return moved, _likeliest(labels, weights)


def _neighbours(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """(pixels, 8): of each pixel, the one right of it, below it, and below right, the greys and then the labels."""
    pixels, columns = image.shape.num_elements(), image.shape[1]
    offsets = (0, 1, columns, columns + 1)
    flat = [tf.pad(tf.reshape(each, [-1]), [[0, columns + 1]]) for each in (image, tf.cast(label, tf.float32))]
    return tf.stack([each[offset : offset + pixels] for each in flat for offset in offsets], axis=-1)


def _likeliest(labels: list[tf.Tensor], weights: tuple[tf.Tensor, ...]) -> tf.Tensor:
    def share(structure: int) -> tf.Tensor:
        parts = zip(labels, weights, strict=True)
        return tf.add_n([tf.where(label == structure, weight, 0.0) for label, weight in parts])

    cavity, myocardium = share(CAVITY), share(MYOCARDIUM)
    background = 1.0 - cavity - myocardium
    ring = tf.where(myocardium > tf.maximum(background, cavity), MYOCARDIUM, 0)
    return tf.where((cavity > background) & (cavity >= myocardium), CAVITY, ring)
