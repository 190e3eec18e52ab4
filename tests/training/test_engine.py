import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.training import engine as engine_module
from lvseg.training.context import Images
from lvseg.training.engine import Engine, standardise
from lvseg.training.feed import MemoryFeed
from lvseg.training.order import EpochOrder, epoch_order
from lvseg.training.scores import image_counts
from tests.discs import SIZE, make_images

CONFIG = TrainConfig(model="fc", batch_size=4, learning_rate=1e-3, decay_rate=0.5, decay_steps=2)

NO_SIGNALS = np.zeros(2, np.float32)


def make_engine(config: TrainConfig = CONFIG) -> Engine:
    return Engine(config, (SIZE, SIZE), tf.distribute.get_strategy())


def train_epoch(engine: Engine, data: Images, order: EpochOrder, steps: int) -> np.ndarray:
    """An epoch, so many steps in a call; returns the counts of every step."""
    chunks = MemoryFeed(data).chunks(order, steps)
    return np.concatenate([engine.train_steps(chunk, 1, NO_SIGNALS)[0].numpy() for chunk in chunks])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return make_engine()


def test_standardise_gives_every_image_mean_0_and_deviation_1() -> None:
    images = make_images(range(3)).images
    images = np.stack([images[0], images[1] * 7 + 300, np.full_like(images[2], 5)])
    values = standardise(tf.constant(images)).numpy()
    assert values.shape == (3, SIZE, SIZE, 1)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=(1, 2, 3)), [1, 1, 0], atol=1e-4)


def test_standardise_undoes_scale_and_offset() -> None:
    images = make_images(range(1)).images
    a, b = (standardise(tf.constant(x)).numpy() for x in (images, images * 3 + 100))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_image_counts_by_hand() -> None:
    labels = np.zeros((2, 2, 2), np.int32)
    labels[0, 0, :] = 1
    logits = np.zeros((2, 2, 2, 2), np.float32)
    logits[0, :, 0, 1] = np.log(3)  # cavity is three times as likely in the left column
    counts = image_counts(tf.constant(logits), tf.constant(labels)).numpy()
    entropy = (-np.log(3 / 4) - np.log(1 / 4) + 2 * np.log(2)) / 4
    np.testing.assert_allclose(counts, [[entropy, 1, 2, 2], [np.log(2), 0, 0, 0]], rtol=1e-6)


def test_image_counts_of_three_classes_by_hand() -> None:
    labels = np.array([[[1, 1], [2, 0]]], np.int32)
    likeliest = np.array([[[1, 2], [2, 2]]])
    counts = image_counts(tf.constant(5 * np.eye(3, dtype=np.float32)[likeliest]), tf.constant(labels)).numpy()
    entropy = np.log(1 + 2 * np.exp(-5)) + 2 * 5 / 4
    np.testing.assert_allclose(counts, [[entropy, 1, 1, 2, 1, 3, 1]], rtol=1e-6)


def test_a_class_that_the_model_does_not_know_is_background() -> None:
    labels = np.array([[[1, 2], [0, 2]]], np.int32)
    logits = tf.constant(np.random.default_rng(0).normal(size=(1, 2, 2, 2)), tf.float32)
    counts = [image_counts(logits, tf.constant(each)).numpy() for each in (labels, labels % 2)]
    np.testing.assert_array_equal(*counts)
    assert counts[0][0, 3] == 1


def test_an_epoch_is_what_a_plain_tensorflow_loop_does(engine: Engine) -> None:
    """Six images in batches of four: the second step has two, and divides by two."""
    data = make_images(range(6))
    plain = keras.models.clone_model(engine.model)
    plain.set_weights(engine.model.get_weights())
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 2, 0.5)
    optimizer = keras.optimizers.Adam(schedule)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    order = epoch_order(6, 4, 1, 0, seed=0, epoch=1)
    for rows, weights in zip(order.rows, order.weights, strict=True):
        chosen = rows[weights > 0]
        with tf.GradientTape() as tape:
            loss = entropy(data.masks[chosen], plain(standardise(tf.constant(data.images[chosen]))))
        gradients = tape.gradient(loss, plain.trainable_variables)
        optimizer.apply(gradients, plain.trainable_variables)
    assert order.weights.sum(axis=1).tolist() == [4, 2]

    before = engine.model.get_weights()
    assert len(train_epoch(engine, data, order, 2)) == 2
    assert int(engine.optimizer.iterations) == 2
    for got, want, start in zip(engine.model.get_weights(), plain.get_weights(), before, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)
        assert np.abs(got - start).max() > 1e-4


def test_steps_in_one_call_or_in_several_are_the_same() -> None:
    data, order = make_images(range(6)), epoch_order(6, 2, 1, 0, seed=0, epoch=1)
    at_once, *others = make_engine(), make_engine()
    counts = train_epoch(at_once, data, order, 16)
    for steps, other in enumerate(others, start=1):
        np.testing.assert_allclose(train_epoch(other, data, order, steps), counts, rtol=1e-6)
        for a, b in zip(at_once.model.get_weights(), other.model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("count", [1, 8, 9, 16, 21])
def test_every_image_is_scored_once(engine: Engine, count: int) -> None:
    data = make_images(range(count))
    scored = engine.score(MemoryFeed(data))
    predicted = engine.predict(data.images)
    assert scored.shape == (count, 4)
    np.testing.assert_array_equal(scored[:, 3], data.masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(scored[:, 2], predicted.sum(axis=(1, 2)))
    np.testing.assert_array_equal(scored[:, 1], (predicted & data.masks).sum(axis=(1, 2)))


def test_the_score_does_not_depend_on_its_batch(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    data = MemoryFeed(make_images(range(10)))
    scored = engine.score(data)
    monkeypatch.setattr(engine_module, "SCORE_BATCH", 3)
    np.testing.assert_allclose(engine.score(data), scored, rtol=1e-5)


def test_no_images_have_no_scores(engine: Engine) -> None:
    nothing = np.zeros((0, SIZE, SIZE), np.uint8)
    data = MemoryFeed(Images(images=nothing, masks=nothing, names=(), case_ids=()))
    assert engine.score(data).shape == (0, 4)


@pytest.mark.parametrize(
    ("staircase", "expected"),
    [(False, [1e-3, 1e-3 * 0.5**0.5, 5e-4, 1e-3 * 0.5**2.5]), (True, [1e-3, 1e-3, 5e-4, 2.5e-4])],
)
def test_the_learning_rate_falls_smoothly_or_in_stairs(staircase: bool, expected: list[float]) -> None:
    engine = make_engine(
        TrainConfig(model="fc", learning_rate=1e-3, decay_rate=0.5, decay_steps=2, staircase=staircase)
    )
    assert [engine.learning_rate(step) for step in (0, 1, 2, 5)] == pytest.approx(expected, rel=1e-6)


def test_the_seed_decides_the_first_weights() -> None:
    a, b, other = (make_engine(TrainConfig(model="fc", seed=seed)).model.get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[0], other[0])


def test_the_sum_over_one_worker_is_its_own(engine: Engine) -> None:
    values = np.array([[1.0, 2.5], [1e12, 1.0]])
    np.testing.assert_array_equal(engine.sum_over_workers(values), values)


@pytest.mark.parametrize("changes", [{"precision": "float16"}, {"loss": "dice"}, {"ema": 0.9}, {"xla": True}])
def test_every_way_of_stepping_trains(changes: dict[str, Any]) -> None:
    engine = make_engine(dataclasses.replace(CONFIG, learning_rate=5e-3, schedule="constant", **changes))
    losses = [
        train_epoch(engine, make_images(range(8)), epoch_order(8, 4, 1, 0, 0, epoch), 2)[..., 0].mean()
        for epoch in range(1, 7)
    ]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_a_batch_in_parts_makes_the_same_step(accumulate: int) -> None:
    data, order = make_images(range(6)), epoch_order(6, 4, 1, 0, seed=0, epoch=1)
    whole, parts = make_engine(), make_engine(dataclasses.replace(CONFIG, accumulate=accumulate))
    np.testing.assert_allclose(train_epoch(parts, data, order, 2), train_epoch(whole, data, order, 2), rtol=1e-5)
    for a, b in zip(parts.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


@pytest.mark.slow
def test_augmentation_depends_on_the_epoch_and_not_on_the_call() -> None:
    config = dataclasses.replace(CONFIG, augment_rotation_deg=90, augment_noise=0.5, augment_chance=1)
    data, order = make_images(range(8)), epoch_order(8, 4, 1, 0, seed=0, epoch=1)
    (at_once,) = MemoryFeed(data).chunks(order, 2)
    one, other = MemoryFeed(data).chunks(order, 1)
    first, again, later = make_engine(config), make_engine(config), make_engine(config)
    whole = first.train_steps(at_once, 1, NO_SIGNALS)[0].numpy()
    parts = [again.train_steps(chunk, 1, NO_SIGNALS)[0].numpy() for chunk in (one, other)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)
    assert np.abs(later.train_steps(one, 2, NO_SIGNALS)[0].numpy() - whole[:1]).max() > 1e-3
