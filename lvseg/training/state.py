"""Where a run stands and how it ended; needs no TensorFlow to be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lvseg.results import EpochRow

CHECKPOINT_WEIGHTS = "model.weights.h5"
"""Name of the weights file in a checkpoint."""


@dataclass(kw_only=True, slots=True)
class RunState:
    """Where a run stands; saved in every checkpoint as JSON."""

    epoch: int = 0
    """Epochs that are done."""
    best_epoch: int = 0
    """Epoch of the best validation Dice, counted from 1; 0: none yet."""
    best_val_dice: float = -1.0
    """That Dice; −1: none yet."""
    best_undefined: int = 0
    """Validation images without Dice at that epoch: label and prediction empty."""
    best_by_case: dict[str, float] = field(default_factory=dict)
    """Mean Dice by case at that epoch."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of ``EpochRow``."""

    def rows(self) -> list[EpochRow]:
        """The history, typed."""
        return [EpochRow(**row) for row in self.history]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the loop hands back."""

    state: RunState
    """After the last epoch."""
    parameters: int
    """Number of weights."""
    error: str | None = None
    """Why the run cannot go on, where it cannot: the same again on every try."""
