"""The table of ``lvseg models``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
from rich.table import Table

from lvseg.config import MODEL_NAMES, TrainConfig
from lvseg.errors import ConfigError
from lvseg.models import build_model
from lvseg.models.cost import Speed, count_flops, measure_speed

VARIANTS = (
    *((TrainConfig(model=name), f"--model {name}") for name in MODEL_NAMES),
    (TrainConfig(model="unet", unet_residual=True), "--model unet --unet-residual"),
    (TrainConfig(model="unet", unet_attention=True), "--model unet --unet-attention"),
    (TrainConfig(model="unet", norm="group"), "--model unet --norm group"),
    (TrainConfig(model="unet", norm="instance"), "--model unet --norm instance"),
)
"""What is listed, and the flags of lvseg train that choose it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCost:
    """One line of the table."""

    flags: str
    parameters: int
    flops: int
    """Of one image's forward pass."""
    speed: Speed | None
    """None where it was not measured."""


def parse_shape(text: str) -> tuple[int, int]:
    """``256x192`` → (256, 192).

    Raises:
        ConfigError: anything else.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or "0" in found.groups():
        raise ConfigError(f"shape must be ROWSxCOLUMNS such as 256x256, got {text!r}")
    return int(found[1]), int(found[2])


def list_models(
    shape: tuple[int, int], batch_size: int, seconds: float | None, tell: Callable[[str], None]
) -> list[ModelCost]:
    """Build every model, count, and measure.

    Args:
        shape: (rows, columns) of the images.
        batch_size: Images in a step that is timed.
        seconds: How long training, and again prediction, is measured for each model; None: not at all.
        tell: Called with a model's flags before it is built.

    Raises:
        ConfigError: a shape that is not a multiple of 16.
    """
    costs = []
    for config, flags in VARIANTS:
        tell(flags)
        model = build_model(config, shape)
        speed = None if seconds is None else measure_speed(model, batch_size, seconds)
        costs.append(ModelCost(flags=flags, parameters=model.count_params(), flops=count_flops(model), speed=speed))
        keras.backend.clear_session()
    return costs


def models_table(costs: Sequence[ModelCost], shape: tuple[int, int], batch_size: int) -> Table:
    """Lay the lines out; speeds only where they were measured."""
    table = Table(title=f"Models on images of {shape[0]}x{shape[1]}")
    table.add_column("flags")
    for heading in ("parameters", "GFLOP/image"):
        table.add_column(heading, justify="right")
    measured = [cost.speed for cost in costs if cost.speed]
    if measured:
        for heading in ("training, images/s", "prediction, images/s"):
            table.add_column(heading, justify="right")
        table.caption = f"float32, batch {batch_size}, measured on this machine"
    for cost in costs:
        speeds = [f"{cost.speed.train:.1f}", f"{cost.speed.predict:.1f}"] if cost.speed else []
        table.add_row(cost.flags, f"{cost.parameters:,}", f"{cost.flops / 1e9:.3f}", *speeds)
    return table
