"""Counts of each image from which accuracy and Dice are computed, and its loss."""

from __future__ import annotations

import tensorflow as tf

from lvseg.slices import CAVITY
from lvseg.training.losses import cross_entropy, known_labels, logit_difference


def image_counts(logits: tf.Tensor, labels: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
    """(n, 4) float32: for each image its loss, and pixels of intersection, prediction and label.

    With three classes (n, 7): the cavity's pixels, then the myocardium's. A class that the model does not know is
    background. Counts up to 2^24 pixels are exact in float32.

    Args:
        logits: (n, rows, columns, classes) float32.
        labels: (n, rows, columns) int32.
        losses: (n,) to be put first; default: the cross-entropy.
    """
    classes = logits.shape[-1]
    labels = known_labels(labels, classes)
    if losses is None:
        losses = cross_entropy(logits, labels)
    if classes == 2:
        likeliest = tf.cast(logit_difference(logits) > 0, tf.int32)  # as argmax: of equal logits the first
    else:
        likeliest = tf.argmax(logits, axis=-1, output_type=tf.int32)
    columns = [losses]
    for structure in range(CAVITY, classes):
        predicted, labelled = (tf.cast(classes_ == structure, tf.float32) for classes_ in (likeliest, labels))
        columns += [tf.reduce_sum(pixels, axis=[1, 2]) for pixels in (predicted * labelled, predicted, labelled)]
    return tf.stack(columns, axis=1)
