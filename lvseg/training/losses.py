"""What training minimises: a loss of every image alone, so that sharing a batch out changes nothing.

Dice and its kin are therefore taken image by image, never over the pixels of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.training.distance import signed_distance

SMOOTH_PX = 1.0
"""Added above and below a Dice or Tversky quotient, pixels: defines it where label and prediction are empty."""
TVERSKY_MISSED, TVERSKY_EXTRA = 0.7, 0.3
"""Weights of missed and of superfluous pixels: alpha and beta of Abraham & Khan 2019."""
FOCAL_GAMMA = 4 / 3
"""The Tversky loss is raised to 1 / gamma, which favours the hard images: gamma of Abraham & Khan 2019."""
FOCAL_FLOOR = 1e-6
"""The root's slope at 0 is infinite: below this Tversky loss there is none."""
BOUNDARY_WEIGHT = 0.01
"""Of the boundary term beside the regional one: the start value of Kervadec 2019, kept."""


def image_losses(config: TrainConfig, logits: tf.Tensor | Sequence[tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
    """The loss of each image.

    Args:
        config: Names the loss and the classes' weights.
        logits: (n, rows, columns, classes) float32. For deep supervision a list of them from fine to coarse, each
            level compared with the labels at its own size, with weights 1, 1/2, 1/4, … divided by their sum (nnU-Net,
            Isensee 2021).
        labels: (n, rows, columns) int32. A class that the model does not know is background.

    Returns:
        (n,) float32.

    Raises:
        ConfigError: the classes' weights are not one for each class.
    """
    if isinstance(logits, tf.Tensor):
        return _level_losses(config, logits, labels)
    shares = [0.5**level for level in range(len(logits))]
    losses = [
        share / sum(shares) * _level_losses(config, level, shrink_labels(labels, level.shape[1]))
        for share, level in zip(shares, logits, strict=True)
    ]
    return tf.add_n(losses)


def shrink_labels(labels: tf.Tensor, rows: int) -> tf.Tensor:
    """Labels at a coarser size: of each square of pixels the one at its middle, so that no class is ever mixed."""
    factor = labels.shape[1] // rows
    return labels[:, factor // 2 :: factor, factor // 2 :: factor]


def _level_losses(config: TrainConfig, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    weights = _class_weights(config, logits.shape[-1])
    labels = known_labels(labels, logits.shape[-1])
    if config.loss == "cross-entropy":
        return cross_entropy(logits, labels, weights)
    predicted = foreground_probabilities(logits)
    labelled = tf.cast(_foreground(labels, logits.shape[-1]), tf.float32)
    structures = weights and weights[1:]
    if config.loss == "dice":
        return soft_dice(predicted, labelled, structures)
    if config.loss == "focal-tversky":
        return focal_tversky(predicted, labelled, structures)
    losses = soft_dice(predicted, labelled, structures) + cross_entropy(logits, labels, weights)
    if config.loss == "boundary":
        losses += BOUNDARY_WEIGHT * boundary(predicted, _foreground(labels, logits.shape[-1]), structures)
    return losses


def _class_weights(config: TrainConfig, classes: int) -> tuple[float, ...] | None:
    weights = config.class_weights
    if weights is not None and len(weights) != classes:
        raise ConfigError(f"class_weights must be {classes} numbers, one for each class, got {len(weights)}")
    return weights


def known_labels(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Labels in which a class that the model does not know is background."""
    return tf.where(labels < classes, labels, 0)


def logit_difference(logits: tf.Tensor) -> tf.Tensor:
    """(…, 2) → (…): how far the second class is ahead; its sigmoid is the softmax, at a fraction of the cost."""
    background, cavity = tf.unstack(logits, axis=-1)
    return cavity - background


def foreground_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """(…, classes) logits → (…, classes - 1) softmax probabilities of all but the background."""
    if logits.shape[-1] == 2:
        return tf.sigmoid(logit_difference(logits))[..., tf.newaxis]
    return tf.nn.softmax(logits)[..., 1:]


def _foreground(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """(…) labels → (…, classes - 1) bool, one mask a structure."""
    return labels[..., tf.newaxis] == tf.range(1, classes)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, weights: tuple[float, ...] | None = None) -> tf.Tensor:
    """(n,) mean over an image's pixels of -log of the probability that the label's class got.

    With class weights a weighted mean, as in PyTorch, but over the image instead of the batch: divided by the sum of
    the weights of the image's own pixels. Weights 1, 1 and 2, 2 are thus the same.
    """
    if logits.shape[-1] == 2:
        ahead = logit_difference(logits)
        entropy = tf.nn.softplus(tf.where(labels == 1, -ahead, ahead))
    else:
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if weights is None:
        return tf.reduce_mean(entropy, axis=[1, 2])
    pixel_weights = tf.gather(tf.constant(weights, tf.float32), labels)
    return tf.reduce_sum(entropy * pixel_weights, axis=[1, 2]) / tf.reduce_sum(pixel_weights, axis=[1, 2])


def soft_dice(predicted: tf.Tensor, labelled: tf.Tensor, weights: Sequence[float] | None = None) -> tf.Tensor:
    """(n,) 1 - Dice of probabilities and label, mean over structures (Milletari 2016, without its squares).

    Args:
        predicted: (n, rows, columns, structures) probabilities.
        labelled: The same shape, 0 or 1.
        weights: Of the structures in the mean; default: equal.
    """
    both = tf.reduce_sum(predicted * labelled, axis=[1, 2])
    pixels = tf.reduce_sum(predicted, axis=[1, 2]) + tf.reduce_sum(labelled, axis=[1, 2])
    return _mean_over_structures(1 - (2 * both + SMOOTH_PX) / (pixels + SMOOTH_PX), weights)


def focal_tversky(predicted: tf.Tensor, labelled: tf.Tensor, weights: Sequence[float] | None = None) -> tf.Tensor:
    """(n,) focal Tversky loss (Abraham & Khan 2019, arXiv 1810.07842); arguments as of ``soft_dice``."""
    both = tf.reduce_sum(predicted * labelled, axis=[1, 2])
    missed = tf.reduce_sum(labelled, axis=[1, 2]) - both
    extra = tf.reduce_sum(predicted, axis=[1, 2]) - both
    index = (both + SMOOTH_PX) / (both + TVERSKY_MISSED * missed + TVERSKY_EXTRA * extra + SMOOTH_PX)
    return _mean_over_structures(tf.maximum(1 - index, FOCAL_FLOOR) ** (1 / FOCAL_GAMMA), weights)


def boundary(predicted: tf.Tensor, masks: tf.Tensor, weights: Sequence[float] | None = None) -> tf.Tensor:
    """(n,) mean over pixels of probability times signed distance to the label's border, pixels.

    Negative where the probability lies inside the label (Kervadec 2019, arXiv 1812.07032). It needs a regional loss
    beside it. A structure without label has no border, and the regional loss alone.

    Args:
        predicted: (n, rows, columns, structures) probabilities.
        masks: The same shape, bool.
        weights: As of ``soft_dice``.
    """
    maps = [signed_distance(mask) for mask in tf.unstack(masks, axis=-1)]
    return _mean_over_structures(tf.reduce_mean(predicted * tf.stack(maps, axis=-1), axis=[1, 2]), weights)


def _mean_over_structures(losses: tf.Tensor, weights: Sequence[float] | None) -> tf.Tensor:
    """(n, structures) → (n,)."""
    if weights is None:
        return tf.reduce_mean(losses, axis=-1)
    return tf.reduce_sum(losses * tf.constant(weights, tf.float32), axis=-1) / sum(weights)
