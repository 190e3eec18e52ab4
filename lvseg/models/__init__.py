"""Architectures: functional Keras 3 models from image to per-pixel logits.

Every model takes (batch, rows, columns, 1) float32 images and gives
(batch, rows, columns, classes) float32 logits: background, cavity and, with three classes, myocardium.
"""

from __future__ import annotations

import keras

from lvseg.config import IMAGE_SIDE_MULTIPLE, Precision, TrainConfig
from lvseg.errors import ConfigError
from lvseg.models.fc import build_fc
from lvseg.models.fcn import build_fcn
from lvseg.models.unet import build_unet, build_unet_light

__all__ = ["build_model"]

POLICIES: dict[Precision, str] = {
    "auto": "float32",
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
"""Precision → Keras dtype policy; ``auto`` is settled by who knows the device."""


def build_model(config: TrainConfig, shape: tuple[int, int], classes: int = 2) -> keras.Model:
    """Build a model with fresh weights.

    Args:
        config: Which model, its options, and its precision; weights and logits are float32 in any.
        shape: (rows, columns) of the images.
        classes: Classes of the masks, background included.

    Returns:
        One output, the logits; with ``deep_supervision`` a list of logits at the full size, half, a quarter, and
        so on, of which the first serves inference.

    Raises:
        ConfigError: a shape that is not a multiple of 16.
    """
    if any(side % IMAGE_SIDE_MULTIPLE for side in shape):
        found = f"{shape[0]}x{shape[1]}"
        raise ConfigError(
            f"{config.model} needs images whose sides are multiples of {IMAGE_SIDE_MULTIPLE}, got {found}"
        )
    policy = POLICIES[config.precision]
    match config.model:
        case "fc":
            return build_fc(shape, policy, classes)
        case "fcn":
            return build_fcn(shape, policy, classes)
        case "unet":
            return build_unet(config, shape, policy, classes)
        case "unet-light":
            return build_unet_light(config, shape, policy, classes)
        case unknown:
            raise ConfigError(f"no such model: {unknown}")
