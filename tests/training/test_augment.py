"""Augmentation against scipy and numpy, and that an image's changes are its own."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import AugmentConfig
from lvseg.training.augment import augment

ROWS, COLUMNS = 36, 45
"""Not square, not a multiple of anything."""
ALL = {
    "augment_rotation_deg": 180.0,
    "augment_flip": True,
    "augment_scale": 0.3,
    "augment_shift": 0.1,
    "augment_elastic_px": 4.0,
    "augment_gamma": 0.5,
    "augment_brightness": 0.5,
    "augment_shading": 0.5,
    "augment_noise": 0.3,
    "augment_blur_px": 1.0,
}
Batch = tuple[NDArray[np.float32], NDArray[np.int32]]


def make_batch(count: int) -> Batch:
    """Standardised images of a ring on noise; labels with cavity and myocardium."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    distance = np.hypot(rows - 16, columns - 25)
    labels = np.where(distance < 6, 1, np.where(distance < 9, 2, 0))
    images = random.normal(0, 0.2, (count, ROWS, COLUMNS)) + 2 * (labels == 1) - (labels == 2)
    images -= images.mean(axis=(1, 2), keepdims=True)
    images /= images.std(axis=(1, 2), keepdims=True)
    return images[..., None].astype(np.float32), np.repeat(labels[None], count, 0).astype(np.int32)


@functools.cache
def compiled(seed: int, **settings: float) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    config = AugmentConfig(**settings)  # type: ignore[arg-type]
    vector = tf.TensorSpec((None,), tf.int32)
    images = tf.TensorSpec((None, ROWS, COLUMNS, 1), tf.float32)
    labels = tf.TensorSpec((None, ROWS, COLUMNS), tf.int32)
    signature = [images, labels, vector, tf.TensorSpec((), tf.int32)]
    return tf.function(lambda *args: augment(*args, config, seed), input_signature=signature)


def run(batch: Batch, numbers: list[int], epoch: int = 0, seed: int = 5, **settings: float) -> Batch:
    images, labels = compiled(seed, **settings)(*batch, np.array(numbers, np.int32), np.int32(epoch))
    return images.numpy(), labels.numpy()


def equal(left: Batch, right: Batch) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, labels = make_batch(8)
    numbers = [3, 14, 15, 92, 65, 35, 89, 79]
    whole = run((images, labels), numbers, **ALL)
    alone = [run((images[[n]], labels[[n]]), [numbers[n]], **ALL) for n in range(8)]
    assert equal(whole, (np.concatenate([i for i, _ in alone]), np.concatenate([m for _, m in alone])))
    order = np.random.default_rng(0).permutation(8)
    permuted = run((images[order], labels[order]), [numbers[n] for n in order], **ALL)
    assert equal(permuted, (whole[0][order], whole[1][order]))


@pytest.mark.parametrize("other", [{"numbers": [2]}, {"epoch": 1}, {"seed": 6}])
def test_images_epochs_and_seeds_differ(other: dict[str, int]) -> None:
    batch = make_batch(1)
    settings = {"augment_noise": 0.3, "augment_rotation_deg": 180.0, "augment_chance": 1.0}
    first = run(batch, [1], **settings)
    assert equal(first, run(batch, [1], **settings))
    second = run(batch, **({"numbers": [1]} | settings | other))  # type: ignore[arg-type]
    assert not np.array_equal(first[0], second[0])
