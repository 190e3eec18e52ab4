"""The U-Net family after Ronneberger, Fischer, Brox 2015 (https://arxiv.org/abs/1505.04597).

Same-padded. Nothing in it looks across images: batch normalisation would make the result depend on how a batch is
shared out among workers. Without normalisation layers, He initialisation (https://arxiv.org/abs/1502.01852) and
standardised images keep the activations in range.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from lvseg.config import Norm, TrainConfig

GROUPS = 4
"""Of group normalisation; every width of the family is a multiple of it."""
BRANCH_SCALE = 0.2
"""Variance of a residual branch at the start, beside the shortcut's: without normalisation layers sums of equal parts
would double it in every block (Zhang et al. 2019, https://arxiv.org/abs/1901.09321)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetDesign:
    """What distinguishes the members of the family."""

    width: int
    """Channels of the first level; they double at every halving."""
    depth: int
    """How often the image is halved."""
    residual: bool = False
    """He et al. 2015 (https://arxiv.org/abs/1512.03385)."""
    attention: bool = False
    """Gates on the skip connections, Oktay et al. 2018 (https://arxiv.org/abs/1804.03999)."""
    norm: Norm = "none"
    """After every 3×3 convolution: Wu, He 2018 (https://arxiv.org/abs/1803.08494), or Ulyanov et al. 2016
    (https://arxiv.org/abs/1607.08022)."""
    deep_supervision: bool = False
    """Logits of every decoder level, Lee et al. 2014 (https://arxiv.org/abs/1409.5185)."""
    dtype: str = "float32"
    """Keras dtype policy."""


def build_unet(config: TrainConfig, shape: tuple[int, int], dtype: str = "float32", classes: int = 2) -> keras.Model:
    """16 to 256 channels."""
    return _build("unet", _design(config, dtype, width=16, depth=4), shape, classes)


def build_unet_light(
    config: TrainConfig, shape: tuple[int, int], dtype: str = "float32", classes: int = 2
) -> keras.Model:
    """8 to 128 channels."""
    return _build("unet-light", _design(config, dtype, width=8, depth=4), shape, classes)


def _design(config: TrainConfig, dtype: str, *, width: int, depth: int) -> UNetDesign:
    return UNetDesign(
        width=config.unet_width or width,
        depth=config.unet_depth or depth,
        residual=config.unet_residual,
        attention=config.unet_attention,
        norm=config.norm,
        deep_supervision=config.deep_supervision,
        dtype=dtype,
    )


def _build(name: str, design: UNetDesign, shape: tuple[int, int], classes: int) -> keras.Model:
    """With deep supervision the outputs are a list, from the full size down, each half as large as the one before."""
    layers = keras.layers
    widths = [design.width * 2**level for level in range(design.depth + 1)]
    inputs = keras.Input((*shape, 1), name="image")
    x = inputs
    skips = []
    for width in widths[:-1]:
        x = _block(x, width, design)
        skips.append(x)
        x = layers.MaxPooling2D(2, dtype=design.dtype)(x)
    x = _block(x, widths[-1], design)
    levels = []
    for width, skip in zip(widths[-2::-1], reversed(skips), strict=True):
        kept = _attend(skip, x, design) if design.attention else skip
        x = layers.Conv2DTranspose(width, 2, strides=2, padding="same", dtype=design.dtype)(x)
        x = layers.Concatenate(dtype=design.dtype)([kept, x])
        x = _block(x, width, design)
        levels.append(x)
    if not design.deep_supervision:
        return keras.Model(inputs, _head(levels[-1], classes, "logits", design), name=name)
    heads = [_head(level, classes, f"logits_{2**power}", design) for power, level in enumerate(reversed(levels))]
    return keras.Model(inputs, heads, name=name)


def _block(x: keras.KerasTensor, width: int, design: UNetDesign) -> keras.KerasTensor:
    layers = keras.layers
    y = layers.ReLU(dtype=design.dtype)(_convolution(x, width, 2.0, design))
    if not design.residual:
        return layers.ReLU(dtype=design.dtype)(_convolution(y, width, 2.0, design))
    y = _convolution(y, width, BRANCH_SCALE, design)
    if x.shape[-1] != width:
        x = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", dtype=design.dtype)(x)
    return layers.ReLU(dtype=design.dtype)(layers.Add(dtype=design.dtype)([x, y]))


def _convolution(x: keras.KerasTensor, width: int, scale: float, design: UNetDesign) -> keras.KerasTensor:
    start = keras.initializers.VarianceScaling(scale, "fan_in", "truncated_normal")
    biased = design.norm == "none"
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=biased, kernel_initializer=start, dtype=design.dtype)(x)
    if design.norm == "none":
        return x
    groups = GROUPS if design.norm == "group" else -1
    return keras.layers.GroupNormalization(groups, dtype=design.dtype)(x)


def _attend(skip: keras.KerasTensor, coarser: keras.KerasTensor, design: UNetDesign) -> keras.KerasTensor:
    """The skip connection, times a weight for each pixel that is found at the coarser level's size."""
    layers = keras.layers
    width = skip.shape[-1]
    seen = layers.Conv2D(width, 2, strides=2, use_bias=False, dtype=design.dtype)(skip)
    gate = layers.Conv2D(width, 1, dtype=design.dtype)(coarser)
    x = layers.ReLU(dtype=design.dtype)(layers.Add(dtype=design.dtype)([seen, gate]))
    x = layers.Conv2D(1, 1, activation="sigmoid", dtype=design.dtype)(x)
    weight = layers.UpSampling2D(2, interpolation="bilinear", dtype=design.dtype)(x)
    return layers.Multiply(dtype=design.dtype)([skip, weight])


def _head(x: keras.KerasTensor, classes: int, name: str, design: UNetDesign) -> keras.KerasTensor:
    x = keras.layers.Conv2D(classes, 1, dtype=design.dtype)(x)
    return keras.layers.Activation("linear", dtype="float32", name=name)(x)
