"""Learning rate as a function of the step, in the graph and outside it."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import keras
import numpy as np

from lvseg.config import Schedule, TrainConfig

ONE_CYCLE_START = 1 / 25
"""First rate of one-cycle as part of the highest: the range that Smith 2018 recommends, as its users have it."""
ONE_CYCLE_RISE = 1 / 3
"""Part of the steps in which one-cycle rises, unless ``warmup_steps`` says otherwise."""


def make_schedule(config: TrainConfig, total_steps: int) -> RateSchedule:
    """The configured schedule of a run of ``total_steps`` steps; make it in the strategy's scope."""
    return RateSchedule(
        config.schedule,
        config.learning_rate,
        total_steps,
        warmup_steps=config.warmup_steps,
        decay_rate=config.decay_rate,
        decay_steps=config.decay_steps,
        staircase=config.staircase,
        final_rate=config.final_rate,
        decay_power=config.decay_power,
    )


@keras.saving.register_keras_serializable("lvseg")
class RateSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Warm-up, then the curve that is named; times ``scale``.

    In ``warmup_steps`` steps the rate rises in a line, never 0, to its highest at step ``warmup_steps``, where the
    curve begins. Cosine, polynomial and one-cycle reach ``final_rate`` when ``total_steps`` steps are made, and stay
    there. Without warm-up the first three are those of Keras. One-cycle (Smith 2018, arXiv 1803.09820) has half
    cosines up and down, and leaves momentum alone; its rise is its warm-up.

    Attributes:
        scale: Factor on the rate, a variable: assign to it to lower the rate of all steps to come. The optimizer
            counts it among its variables, so checkpoints have it.
    """

    def __init__(
        self,
        kind: Schedule,
        learning_rate: float,
        total_steps: int,
        *,
        warmup_steps: int = 0,
        decay_rate: float = 1.0,
        decay_steps: int = 1,
        staircase: bool = False,
        final_rate: float = 0.0,
        decay_power: float = 1.0,
    ) -> None:
        self.kind: Schedule = kind
        self.learning_rate, self.total_steps, self.warmup_steps = learning_rate, total_steps, warmup_steps
        self.decay_rate, self.decay_steps, self.staircase = decay_rate, decay_steps, staircase
        self.final_rate, self.decay_power = final_rate, decay_power
        self.scale = keras.Variable(1.0, trainable=False, name="rate_scale", aggregation="only_first_replica")

    def __call__(self, step: Any) -> Any:
        """Float32 tensor: the rate of a step, counted from 0, times ``scale``."""
        return self._rate(keras.ops, keras.ops.cast(step, "float32")) * self.scale

    def at(self, step: int) -> float:
        """The same as a number; runs nothing of TensorFlow's but to read ``scale``."""
        return float(self._rate(np, np.float32(step))) * float(self.scale.value.numpy())

    def get_config(self) -> dict[str, Any]:
        """All but ``scale``, which is state."""
        return {key: value for key, value in vars(self).items() if key != "scale"}

    def _rate(self, xp: ModuleType, step: Any) -> Any:
        """The rate without ``scale``; ``xp`` is NumPy or its like, so that there is one formula for both."""
        if self.kind == "one-cycle":
            return self.learning_rate * self._one_cycle(xp, step)
        rate = self._after_warmup(xp, xp.maximum(step - self.warmup_steps, 0.0))
        return rate * xp.minimum((step + 1) / (self.warmup_steps + 1), 1.0) if self.warmup_steps else rate

    def _after_warmup(self, xp: ModuleType, step: Any) -> Any:
        if self.kind == "exponential":
            stairs = step / self.decay_steps
            return self.learning_rate * xp.power(self.decay_rate, xp.floor(stairs) if self.staircase else stairs)
        left = 1 - xp.minimum(step / max(self.total_steps - self.warmup_steps, 1), 1.0)
        if self.kind == "cosine":
            left = _half_cosine(xp, left)
        elif self.kind == "polynomial":
            left = xp.power(left, self.decay_power)
        else:
            left = xp.ones_like(left)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * left)

    def _one_cycle(self, xp: ModuleType, step: Any) -> Any:
        rise = self.warmup_steps or max(round(self.total_steps * ONE_CYCLE_RISE), 1)
        risen = _half_cosine(xp, xp.minimum(step / rise, 1.0))
        fallen = _half_cosine(xp, xp.clip((step - rise) / max(self.total_steps - rise, 1), 0.0, 1.0))
        up = ONE_CYCLE_START + (1 - ONE_CYCLE_START) * risen
        return up * (1 - (1 - self.final_rate) * fallen)


def _half_cosine(xp: ModuleType, part: Any) -> Any:
    """0 … 1 → 0 … 1, level at both ends."""
    return 0.5 - 0.5 * xp.cos(math.pi * part)
