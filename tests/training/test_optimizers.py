import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.training.optimizers import (
    GOOD_STEPS,
    LOSS_SCALE_MOST,
    LOSS_SCALE_START,
    SummedOptimizer,
    apply_gradients,
    make_optimizer,
)
from lvseg.training.schedules import make_schedule

SHAPES = ((3, 3, 2, 4), (4,), (5, 2))
Arrays = list[NDArray[np.float32]]


def start() -> list[keras.Variable]:
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype("float32")) for shape in SHAPES]


def draw(steps: int) -> list[Arrays]:
    random = np.random.default_rng(1)
    return [[random.normal(size=shape).astype("float32") for shape in SHAPES] for _ in range(steps)]


def make(config: TrainConfig, variables: list[keras.Variable]) -> SummedOptimizer:
    optimizer = make_optimizer(config, make_schedule(config, 10))
    optimizer.build(variables)
    return optimizer


def step(optimizer: SummedOptimizer, gradients: Arrays, variables: list[keras.Variable], config: TrainConfig) -> None:
    """In float16 the gradients come scaled, as from the loss."""
    scaled = [optimizer.scale_loss(tf.constant(gradient)) for gradient in gradients]
    apply_gradients(optimizer, scaled, variables, config)


def values(variables: list[keras.Variable]) -> Arrays:
    return [variable.numpy() for variable in variables]


def assert_equal(got: Arrays, want: Arrays, rtol: float = 1e-5) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_steps_are_keras_own(name: str, precision: str) -> None:
    """With decay of the kernels alone, clipping, and, where Keras's momentum allows it, a changing rate."""
    schedule = "constant" if name == "sgd" else "cosine"
    config = TrainConfig(
        optimizer=name, schedule=schedule, learning_rate=0.05, weight_decay=0.1, clip_norm=3.0, precision=precision
    )
    ours, theirs = start(), start()
    own = make(config, ours)
    options = {"weight_decay": 0.1, "global_clipnorm": 3.0}
    rate = make_schedule(config, 10)
    if name == "sgd":
        keras_own = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **options)
    else:
        keras_own = keras.optimizers.AdamW(rate, **options)
    keras_own.exclude_from_weight_decay([theirs[1].value])
    for gradients in draw(6):
        step(own, gradients, ours, config)
        keras_own.apply([tf.constant(g) for g in gradients], theirs)
    assert_equal(values(ours), values(theirs))
    assert int(own.iterations) == 6


def test_a_lower_rate_works_at_once_on_sgds_momentum() -> None:
    config = TrainConfig(optimizer="sgd", schedule="exponential", decay_rate=0.5, decay_steps=1, learning_rate=0.1)
    variables = start()
    expected, momentum = values(variables), [np.zeros(shape) for shape in SHAPES]
    optimizer = make(config, variables)
    for number, gradients in enumerate(draw(4)):
        step(optimizer, gradients, variables, config)
        momentum = [0.9 * m + g for m, g in zip(momentum, gradients, strict=True)]
        pairs = zip(expected, momentum, gradients, strict=True)
        expected = [w - 0.1 * 0.5**number * (g + 0.9 * m) for w, m, g in pairs]
    assert_equal(values(variables), expected)


def test_sgd_without_momentum() -> None:
    config = TrainConfig(optimizer="sgd", momentum=0.0, schedule="constant", learning_rate=0.1)
    variables = start()
    before, (gradients,) = values(variables), draw(1)
    step(make(config, variables), gradients, variables, config)
    assert_equal(values(variables), [w - 0.1 * g for w, g in zip(before, gradients, strict=True)])


@pytest.mark.parametrize(("clip_norm", "factor"), [(None, 1.0), (50.0, 1.0), (1.0, 0.1)])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_gradients_are_clipped_by_their_norm_over_all_weights(
    clip_norm: float | None, factor: float, precision: str
) -> None:
    config = TrainConfig(
        optimizer="sgd", momentum=0.0, schedule="constant", learning_rate=1.0, clip_norm=clip_norm, precision=precision
    )
    variables = start()
    before, (gradients,) = values(variables), draw(1)
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    gradients = [g * 10 / norm for g in gradients]
    step(make(config, variables), gradients, variables, config)
    assert_equal(values(variables), [w - factor * g for w, g in zip(before, gradients, strict=True)])


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_float16_skips_a_step_that_is_not_finite(name: str, bad: float) -> None:
    config = TrainConfig(optimizer=name, precision="float16", weight_decay=0.1, clip_norm=1.0)
    variables = start()
    optimizer = make(config, variables)
    first, broken, last = draw(3)
    step(optimizer, first, variables, config)
    before = values([*variables, *optimizer.variables[:-2]])
    broken[1][2] = bad
    step(optimizer, broken, variables, config)
    for got, want in zip(values([*variables, *optimizer.variables[:-2]]), before, strict=True):
        np.testing.assert_array_equal(got, want)
    assert [v.numpy() for v in optimizer.variables[-2:]] == [LOSS_SCALE_START / 2, 0]
    step(optimizer, last, variables, config)
    assert int(optimizer.iterations) == 2
    assert all(np.isfinite(value).all() for value in values(variables))


@pytest.mark.parametrize(("scale", "grown"), [(8.0, 16.0), (LOSS_SCALE_MOST, LOSS_SCALE_MOST)])
def test_the_loss_scale_is_doubled_after_many_good_steps(scale: float, grown: float) -> None:
    config = TrainConfig(precision="float16")
    variables = start()
    optimizer = make(config, variables)
    loss_scale, good_steps = optimizer.variables[-2:]
    loss_scale.assign(scale)
    good_steps.assign(GOOD_STEPS - 2)
    seen = []
    for gradients in draw(3):
        step(optimizer, gradients, variables, config)
        seen.append((float(loss_scale.numpy()), int(good_steps.numpy())))
    assert seen == [(scale, GOOD_STEPS - 1), (grown, 0), (grown, 1)]


def test_the_loss_scale_stays_above_nothing() -> None:
    config = TrainConfig(precision="float16")
    variables = start()
    optimizer = make(config, variables)
    optimizer.variables[-2].assign(1.0)
    step(optimizer, [np.full(shape, np.nan, np.float32) for shape in SHAPES], variables, config)
    assert float(optimizer.variables[-2].numpy()) == 1.0


def test_a_gradient_that_is_not_finite_shows_in_float32() -> None:
    config = TrainConfig(clip_norm=1.0)
    variables = start()
    (gradients,) = draw(1)
    gradients[0][0] = np.nan
    step(make(config, variables), gradients, variables, config)
    assert all(np.isnan(value).any() for value in values(variables))


def test_a_variable_without_gradient_stays() -> None:
    config = TrainConfig()
    variables = start()
    before, (gradients,) = values(variables), draw(1)
    apply_gradients(make(config, variables), [tf.constant(gradients[0]), None, None], variables, config)
    np.testing.assert_array_equal(variables[1].numpy(), before[1])
    assert not np.array_equal(variables[0].numpy(), before[0])


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_variables_are_all_the_state(name: str, precision: str) -> None:
    """A second optimizer with the first one's variables goes on as it does, its lowered rate included."""
    config = TrainConfig(optimizer=name, precision=precision, decay_rate=0.5, decay_steps=1)
    variables = start()
    optimizer = make(config, variables)
    *early, last = draw(4)
    for gradients in early:
        step(optimizer, gradients, variables, config)
    next(variable for variable in optimizer.variables if variable.name == "rate_scale").assign(0.5)
    others = start()
    other = make(config, others)
    for a, b in zip([*others, *other.variables], [*variables, *optimizer.variables], strict=True):
        a.assign(b)
    for each, weights in ((optimizer, variables), (other, others)):
        step(each, last, weights, config)
    assert_equal(values(others), values(variables), rtol=0)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_an_optimizer_is_made_again_from_its_config(name: str) -> None:
    config = TrainConfig(optimizer=name, weight_decay=0.1, precision="float16", momentum=0.8)
    optimizer = make(config, start())
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
