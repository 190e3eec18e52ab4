"""Where a run stands and how it ended; needs no TensorFlow to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lvseg.config import TrainConfig
from lvseg.results import CaseCounts, EpochRow

CHECKPOINT_WEIGHTS = "model.weights.h5"
"""Name of the weights file in a checkpoint."""
STATE_NAME = "state.json"
"""Name of the file of the run's state in a checkpoint."""


@dataclass(kw_only=True, slots=True)
class RunState:
    """Where a run stands; saved in every checkpoint as JSON."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps that are done of the epoch after; not 0 in a run that was stopped in the middle of one."""
    partial: list[float] = field(default_factory=list)
    """Sums of ``image_counts`` over the images of these steps, of all workers."""
    partial_seconds: float = 0.0
    """Time that these steps took, s."""
    best_epoch: int = 0
    """Epoch of the best validation Dice, counted from 1; 0: none yet."""
    best_val_dice: float = -1.0
    """That Dice; −1: none yet."""
    best_undefined: int = 0
    """Validation images without Dice at that epoch: label and prediction empty."""
    best_by_case: dict[str, float] = field(default_factory=dict)
    """Mean Dice by case at that epoch."""
    best_counts_by_case: dict[str, dict[str, int]] = field(default_factory=dict)
    """Fields of ``CaseCounts`` by case at that epoch; empty in states that earlier versions saved."""
    rollbacks: int = 0
    """How often the run went back to the end of an epoch, each time to half the learning rate."""
    parameters: int | None = None
    """Number of weights; None in states that earlier versions saved."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of ``EpochRow``."""

    def rows(self) -> list[EpochRow]:
        """The history, typed."""
        return [EpochRow(**row) for row in self.history]

    def best_counts(self) -> dict[str, CaseCounts]:
        """The counts by case, typed."""
        return {case: CaseCounts(**counts) for case, counts in self.best_counts_by_case.items()}

    def at_step(self, step: int, partial: Sequence[float], seconds: float) -> None:
        """Enter how far the epoch after is."""
        self.step, self.partial, self.partial_seconds = step, list(partial), seconds

    def at_epochs_end(self) -> None:
        """Enter that none is begun."""
        self.at_step(0, [], 0.0)

    def is_done(self, config: TrainConfig) -> bool:
        """Whether the last epoch is done, or the score has not risen for so long that the run may end early."""
        patience = config.early_stopping
        tired = patience is not None and self.epoch - self.best_epoch >= patience
        return self.epoch >= config.epochs or tired


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the loop hands back."""

    state: RunState
    """After the last epoch."""
    stopped: bool = False
    """Whether the run was told to stop: it is not done, and its state is saved."""
    error: str | None = None
    """Why the run cannot go on, where it cannot: the same again on every try."""
