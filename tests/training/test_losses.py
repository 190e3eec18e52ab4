import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.training.distance import signed_distance
from lvseg.training.losses import image_losses, shrink_labels
from lvseg.training.scores import image_counts

LOSSES = ("cross-entropy", "dice", "dice+cross-entropy", "focal-tversky", "boundary")
WEIGHTS = {2: (0.5, 2.0), 3: (0.5, 2.0, 3.0)}


def draw(classes: int, images: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Random logits and labels; the last label is empty."""
    random = np.random.default_rng(classes)
    labels = random.integers(classes, size=(images, 12, 8)).astype(np.int32)
    labels[-1] = 0
    return 2 * random.normal(size=(*labels.shape, classes)).astype(np.float32), labels


def losses_of(config: TrainConfig, logits: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.float32]:
    return image_losses(config, tf.constant(logits), tf.constant(labels)).numpy()  # type: ignore[no-any-return]


def reference(loss: str, logits: NDArray[np.float32], label: NDArray[np.int32], weights: tuple[float, ...]) -> float:
    """One image's loss in NumPy, pixel sums written out."""
    values = np.exp(logits.astype(np.float64))
    p = values / values.sum(axis=-1, keepdims=True)
    y = np.eye(logits.shape[-1])[label]
    w = np.array(weights)
    entropy = -(y * np.log(p) * w).sum() / (y * w).sum()
    p, y, w = p[..., 1:], y[..., 1:], w[1:]
    both, missed, extra = ((a * b).sum(axis=(0, 1)) for a, b in ((p, y), (1 - p, y), (p, 1 - y)))
    dice = 1 - (2 * both + 1) / (2 * both + missed + extra + 1)
    tversky = (1 - (both + 1) / (both + 0.7 * missed + 0.3 * extra + 1)) ** 0.75
    maps = np.stack([signed_edt(y[..., k] == 1) for k in range(y.shape[-1])], axis=-1)
    distance = (p * maps).mean(axis=(0, 1))
    of_structures = {
        "cross-entropy": 0 * dice,
        "dice": dice,
        "dice+cross-entropy": dice,
        "focal-tversky": tversky,
        "boundary": dice + 0.01 * distance,
    }
    with_entropy = loss in ("cross-entropy", "dice+cross-entropy", "boundary")
    return float((of_structures[loss] * w).sum() / w.sum() + entropy * with_entropy)


def signed_edt(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    return distance_transform_edt(~mask) - distance_transform_edt(mask)  # type: ignore[no-any-return]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_its_formula_for_each_image(loss: str, classes: int) -> None:
    logits, labels = draw(classes)
    for weights in (None, WEIGHTS[classes]):
        config = TrainConfig(loss=loss, class_weights=weights)
        expected = [reference(loss, x, y, weights or (1.0,) * classes) for x, y in zip(logits, labels, strict=True)]
        np.testing.assert_allclose(losses_of(config, logits, labels), expected, rtol=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_image_has_the_same_loss_in_any_company(loss: str) -> None:
    logits, labels = draw(3)
    config = TrainConfig(loss=loss)
    together = losses_of(config, logits, labels)
    np.testing.assert_allclose(losses_of(config, logits[::-1], labels[::-1])[::-1], together, rtol=1e-6)
    alone = [losses_of(config, logits[i : i + 1], labels[i : i + 1])[0] for i in range(len(labels))]
    np.testing.assert_allclose(alone, together, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sure", [-60.0, 0.0, 60.0])
def test_losses_and_gradients_of_empty_labels_and_of_sure_predictions_are_finite(loss: str, sure: float) -> None:
    logits = tf.stack([tf.zeros((2, 16, 16)), tf.fill((2, 16, 16), sure)], axis=-1)
    labels = tf.stack([tf.zeros((16, 16), tf.int32), tf.ones((16, 16), tf.int32)])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = image_losses(TrainConfig(loss=loss), logits, labels)
    assert np.isfinite(losses).all()
    assert np.isfinite(tape.gradient(losses, logits)).all()
    if sure:
        right, wrong = (0, 1) if sure < 0 else (1, 0)
        assert losses[right] < losses[wrong]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_the_slope(loss: str, classes: int) -> None:
    logits, labels = draw(classes, images=2)
    config = TrainConfig(loss=loss, class_weights=WEIGHTS[classes])
    direction = np.random.default_rng(9).normal(size=logits.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        x = tf.constant(logits)
        tape.watch(x)
        total = tf.reduce_sum(image_losses(config, x, tf.constant(labels)))
    slope = float(tf.reduce_sum(tape.gradient(total, x) * direction))
    step = 1e-3
    ends = [
        sum(reference(loss, image, label, WEIGHTS[classes]) for image, label in zip(moved, labels, strict=True))
        for moved in (logits.astype(np.float64) + step * direction, logits.astype(np.float64) - step * direction)
    ]
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-3)


def test_the_quick_cross_entropy_of_two_classes_is_tensorflows_own() -> None:
    logits = tf.constant(np.random.default_rng(0).normal(scale=20, size=(2, 8, 8, 2)), tf.float32)
    labels = tf.constant(np.random.default_rng(1).integers(2, size=(2, 8, 8)), tf.int32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        own = image_losses(TrainConfig(), logits, labels)
        theirs = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), axis=[1, 2])
    np.testing.assert_allclose(own, theirs, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(own, logits), tape.gradient(theirs, logits), atol=1e-8)


def test_a_common_factor_of_the_class_weights_changes_nothing() -> None:
    logits, labels = draw(2)
    for loss in LOSSES:
        plain, doubled = (TrainConfig(loss=loss, class_weights=(w, 3 * w)) for w in (1.0, 2.0))
        np.testing.assert_allclose(losses_of(plain, logits, labels), losses_of(doubled, logits, labels), rtol=1e-6)


def test_class_weights_are_one_for_each_class() -> None:
    logits, labels = draw(2)
    with pytest.raises(ConfigError, match="class_weights must be 2 numbers, one for each class, got 3"):
        losses_of(TrainConfig(class_weights=(1.0, 2.0, 3.0)), logits, labels)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_that_the_model_does_not_know_is_background(loss: str) -> None:
    logits, labels = draw(2)
    strange = np.where(labels == 0, 2, labels)
    config = TrainConfig(loss=loss)
    np.testing.assert_array_equal(losses_of(config, logits, strange), losses_of(config, logits, labels))
    np.testing.assert_array_equal(image_counts(logits, strange), image_counts(logits, labels))


def test_deep_supervision_weighs_coarser_levels_by_halves() -> None:
    fine, labels = draw(2)
    coarse, coarser = fine[:, ::2, ::2], fine[:, ::4, ::4]
    config = TrainConfig(loss="dice+cross-entropy")
    levels = [tf.constant(each) for each in (fine, coarse, coarser)]
    of_levels = [
        losses_of(config, fine, labels),
        losses_of(config, coarse, labels[:, 1::2, 1::2]),
        losses_of(config, coarser, labels[:, 2::4, 2::4]),
    ]
    expected = (4 * of_levels[0] + 2 * of_levels[1] + of_levels[2]) / 7
    np.testing.assert_allclose(image_losses(config, levels, tf.constant(labels)), expected, rtol=1e-6)


def test_shrunk_labels_keep_their_place() -> None:
    labels = tf.constant(np.kron([[0, 1], [2, 0]], np.ones((4, 4)))[np.newaxis], tf.int32)
    np.testing.assert_array_equal(shrink_labels(labels, 2)[0], [[0, 1], [2, 0]])
    np.testing.assert_array_equal(shrink_labels(labels, 8), labels)


def test_distances_are_scipys_on_any_mask() -> None:
    masks = np.zeros((6, 20, 14), bool)
    masks[0, 5:9, 0:7] = True  # at the image's edge
    masks[1] = np.random.default_rng(0).random(masks[1].shape) < 0.2
    masks[2, -1, -1] = True
    masks[3] = True
    masks[3, 3, 3] = False
    masks[4] = True  # no outside; the last has no inside
    expected = np.stack([signed_edt(mask) for mask in masks])
    distances = tf.function(signed_distance)
    np.testing.assert_allclose(distances(masks), expected, rtol=1e-6)
    for mask, one in zip(masks, expected, strict=True):
        np.testing.assert_allclose(distances(mask[np.newaxis])[0], one, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_counts_are_of_the_likeliest_class(classes: int) -> None:
    logits, labels = draw(classes)
    logits[0, :3] = 0  # equal logits: the first class
    predicted = logits.argmax(axis=-1)
    counts = image_counts(tf.constant(logits), tf.constant(labels), tf.range(3.0)).numpy()
    assert counts.shape == (3, 1 + 3 * (classes - 1))
    np.testing.assert_array_equal(counts[:, 0], [0, 1, 2])
    for structure in range(1, classes):
        both, own, label = counts[:, 3 * structure - 2 : 3 * structure + 1].T
        np.testing.assert_array_equal(both, ((predicted == structure) & (labels == structure)).sum(axis=(1, 2)))
        np.testing.assert_array_equal(own, (predicted == structure).sum(axis=(1, 2)))
        np.testing.assert_array_equal(label, (labels == structure).sum(axis=(1, 2)))


def test_counts_have_the_cross_entropy_unless_told_otherwise() -> None:
    logits, labels = draw(3)
    np.testing.assert_array_equal(image_counts(logits, labels)[:, 0], losses_of(TrainConfig(), logits, labels))


def test_xla_is_refused_for_the_boundary_loss() -> None:
    with pytest.raises(ConfigError, match="xla cannot compile the boundary loss"):
        dataclasses.replace(TrainConfig(loss="boundary"), xla=True)
