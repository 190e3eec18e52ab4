from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import MODEL_NAMES, Precision, TrainConfig
from lvseg.errors import ConfigError, RunError
from lvseg.models import build_model
from lvseg.training.checkpoint import load_weights

SHAPE = (32, 48)
PARAMETERS = {
    "fc": 32 * 48 * 64 + 64 + (64 + 1) * 32 * 48 * 2,
    "fcn": 1_857_848,
    "unet": 1_409_154,
    "unet-light": 345_730,
}


def build(name: str, shape: tuple[int, int] = SHAPE, classes: int = 2, **settings: Any) -> keras.Model:
    return build_model(TrainConfig(model=name, **settings), shape, classes)


@pytest.fixture(scope="module", params=MODEL_NAMES)
def model(request: pytest.FixtureRequest) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build(request.param)


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *SHAPE, 1)).astype(np.float32)


def test_parameter_count(model: keras.Model) -> None:
    assert model.count_params() == PARAMETERS[model.name]


@pytest.mark.parametrize("shape", [(16, 16), (256, 256), (192, 256)])
def test_the_fcn_has_the_course_network_s_parameters_at_any_size(shape: tuple[int, int]) -> None:
    assert build("fcn", shape).count_params() == 1_857_848


def test_the_fc_at_the_course_s_size() -> None:
    assert build("fc", (256, 256)).count_params() == 256 * 256 * 64 + 64 + 65 * 256 * 256 * 2


def test_two_logits_for_every_pixel(model: keras.Model) -> None:
    logits = model(images())
    assert logits.shape == (2, *SHAPE, 2)
    assert logits.dtype == "float32"
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_three_classes_have_three_logits(name: str) -> None:
    model = build(name, classes=3)
    assert model(images(1)).shape == (1, *SHAPE, 3)
    assert model.count_params() > PARAMETERS[name]


def test_weights_of_other_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fcn.weights.h5"
    build("fcn", classes=3).save_weights(path)
    with pytest.raises(RunError, match=r"fcn\.weights\.h5: not weights of this fcn"):
        load_weights(path, build("fcn"))


def test_every_weight_learns(model: keras.Model) -> None:
    labels = (images()[..., 0] > 0.5).astype(np.int32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images())))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(gradient).all() and np.any(gradient) for gradient in gradients)


def test_no_softmax_at_the_end(model: keras.Model) -> None:
    logits = model(images() * 100).numpy()
    assert not np.allclose(logits.sum(axis=-1), 1, atol=1e-3)
    assert logits.min() < 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_mixed_precision_keeps_weights_and_logits_in_float32(name: str, precision: Precision) -> None:
    model = build(name, precision=precision)
    assert model(images(1)).dtype == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert precision in {layer.compute_dtype for layer in model.layers}
    assert model.count_params() == PARAMETERS[name]


def test_the_default_precision_is_float32(model: keras.Model) -> None:
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_weights_survive_a_file(model: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    keras.utils.set_random_seed(99)
    other = build(model.name)
    assert not np.array_equal(other(images()).numpy(), model(images()).numpy())
    load_weights(path, other)
    np.testing.assert_array_equal(other(images()).numpy(), model(images()).numpy())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fc.weights.h5"
    build("fc", (16, 16)).save_weights(path)
    for other in (build("fcn", (16, 16)), build("fc", (32, 32))):
        with pytest.raises(RunError, match=f"not weights of this {other.name}") as caught:
            load_weights(path, other)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_weights_that_are_missing_or_no_weights_are_named(tmp_path: Path) -> None:
    model = build("fc", (16, 16))
    with pytest.raises(RunError, match=r"none\.h5: no such weights file"):
        load_weights(tmp_path / "none.h5", model)
    path = tmp_path / "text.weights.h5"
    path.write_text("no weights")
    with pytest.raises(RunError, match=r"text\.weights\.h5: not weights of this fc"):
        load_weights(path, model)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_size_that_cannot_be_halved_four_times_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} needs images whose sides are multiples of 16, got 32x40"):
        build(name, (32, 40))
