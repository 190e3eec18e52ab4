import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.models import build_model

SHAPE = (16, 32)
NORMS = ("none", "group", "instance")
TINY = {"model": "unet", "unet_width": 4, "unet_depth": 3}
IMAGES = np.random.default_rng(0).normal(size=(2, *SHAPE, 1)).astype(np.float32)


def build(classes: int = 2, **settings: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_model(TrainConfig(**{**TINY, **settings}), SHAPE, classes)


def cross_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Against bright pixels, at the logits' own size."""
    small = tf.image.resize(IMAGES, logits.shape[1:3])[..., 0]
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(small > 0.2, tf.int32), logits))


@pytest.mark.parametrize(
    ("residual", "attention", "norm"), list(itertools.product([False, True], [False, True], NORMS))
)
def test_every_combination_of_options_learns(residual: bool, attention: bool, norm: str) -> None:
    deep = residual != attention  # heads only: both values meet every other option
    options = {"unet_residual": residual, "unet_attention": attention, "norm": norm}
    model = build(unet_width=8, deep_supervision=deep, **options)

    def loss() -> tf.Tensor:
        outputs = model(IMAGES)
        return sum(map(cross_entropy, outputs)) if deep else cross_entropy(outputs)

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, model.trainable_variables)
    assert all(np.any(gradient) for gradient in gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.003 * gradient)
    assert loss() < before


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_s_logits_do_not_depend_on_its_neighbour(norm: str) -> None:
    model = build(norm=norm, unet_attention=True, unet_residual=True)
    alone = np.concatenate([model(IMAGES[:1], training=True), model(IMAGES[1:], training=True)])
    np.testing.assert_allclose(model(IMAGES, training=True), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "groups"), [("group", 2), ("instance", 6)])
def test_normalisation_against_numpy(norm: str, groups: int) -> None:
    model = build(norm=norm, unet_width=6, unet_depth=1)
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization))
    x = np.random.default_rng(1).normal(2, 3, size=(2, 8, 16, 6)).astype(np.float32)
    parts = x.reshape(2, 8, 16, groups, 6 // groups)
    mean, deviation = parts.mean((1, 2, 4), keepdims=True), parts.std((1, 2, 4), keepdims=True)
    np.testing.assert_allclose(layer(x), ((parts - mean) / deviation).reshape(x.shape), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("stem", [1, 2, 4])
def test_deep_supervision_gives_logits_from_the_full_size_down(stem: int) -> None:
    model = build(3, deep_supervision=True, unet_stem=stem)
    sizes = [(16, 32), (8, 16), (4, 8)][: {1: 3, 2: 2, 4: 1}[stem]]
    assert [tuple(output.shape) for output in model.outputs] == [(None, *size, 3) for size in sizes]
    assert all(output.dtype == "float32" for output in model(IMAGES))


def test_deep_supervision_adds_heads_only() -> None:
    widths_of_coarser_levels = (8,)
    heads = sum(2 * 2 * width * 2 + 2 for width in widths_of_coarser_levels)
    assert build(deep_supervision=True).count_params() == build().count_params() + heads


def test_a_closed_attention_gate_cuts_the_skip_connection() -> None:
    model = build(unet_attention=True, unet_depth=2)
    gate = next(layer for layer in model.layers if isinstance(layer, keras.layers.Multiply))
    weight = next(layer for layer in model.layers if getattr(layer, "activation", None) is keras.activations.sigmoid)
    weight.bias.assign([-1e4])
    kept = keras.Model(model.input, gate.output)(IMAGES)
    np.testing.assert_array_equal(kept, 0)
    weight.bias.assign([1e4])
    kept = keras.Model(model.input, [gate.output, gate.input[0]])(IMAGES)
    np.testing.assert_allclose(kept[0], kept[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("width", "depth", "stem", "parameters"),
    [
        # 3×3×1×4+4 and 3×3×4×4+4; 3×3×4×8+8 and 3×3×8×8+8; up 1×1×8×4+4 and 3×3×4×4+4; head 1×1×4×2+2
        (4, 1, 1, 40 + 148 + 296 + 584 + 36 + 148 + 10),
        # 4×4×1×4+4 and 3×3×4×4+4; head 2×2×4×2+2
        (4, 1, 2, 68 + 148 + 34),
        # 8×8×1×4+4 and 3×3×4×4+4; head 4×4×4×2+2
        (4, 2, 4, 260 + 148 + 130),
    ],
)
def test_parameters_against_a_count_by_hand(width: int, depth: int, stem: int, parameters: int) -> None:
    assert build(unet_width=width, unet_depth=depth, unet_stem=stem).count_params() == parameters


def test_a_stem_that_shrinks_more_than_the_whole_net_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^unet_depth must be at least 2 with unet_stem 4, got 1$"):
        build(unet_depth=1, unet_stem=4)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", ["unet", "unet-light"])
def test_a_new_net_without_normalisation_keeps_its_logits_in_range(name: str, residual: bool) -> None:
    keras.utils.set_random_seed(0)
    model = build_model(TrainConfig(model=name, unet_residual=residual), (32, 32))
    logits = model(np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)).numpy()
    assert 0.1 < logits.std() < 10


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_reaches_every_convolution(precision: str) -> None:
    options = {"unet_residual": True, "unet_attention": True, "norm": "group", "deep_supervision": True}
    model = build(precision=precision, **options)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {precision}
    assert all(output.dtype == "float32" and np.isfinite(output).all() for output in model(IMAGES))
