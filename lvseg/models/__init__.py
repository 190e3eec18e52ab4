"""Architectures: functional Keras 3 models from image to per-pixel logits.

Every model takes (batch, rows, columns, 1) float32 images and gives
(batch, rows, columns, classes) float32 logits: background, cavity and, with three classes, myocardium.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from lvseg.config import IMAGE_SIDE_MULTIPLE
from lvseg.errors import ConfigError
from lvseg.models.fc import build_fc
from lvseg.models.fcn import build_fcn
from lvseg.models.unet import build_unet

__all__ = ["BUILDERS", "build_model"]

BUILDERS: dict[str, Callable[[tuple[int, int], str, int], keras.Model]] = {
    "fc": build_fc,
    "fcn": build_fcn,
    "unet": build_unet,
}


def build_model(name: str, shape: tuple[int, int], precision: str = "float32", classes: int = 2) -> keras.Model:
    """Build a model with fresh weights.

    Args:
        name: One of ``BUILDERS``.
        shape: (rows, columns) of the images.
        precision: ``float32`` or ``bfloat16``, the layers' arithmetic; weights and logits are float32.
        classes: Classes of the masks, background included.

    Raises:
        ConfigError: an unknown name, or a shape that is not a multiple of 16.
    """
    if name not in BUILDERS:
        raise ConfigError(f"model must be one of {', '.join(BUILDERS)}, got {name!r}")
    if any(side % IMAGE_SIDE_MULTIPLE for side in shape):
        raise ConfigError(
            f"{name} needs images whose sides are multiples of {IMAGE_SIDE_MULTIPLE}, got {shape[0]}x{shape[1]}"
        )
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    return BUILDERS[name](shape, policy, classes)
