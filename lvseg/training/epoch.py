"""The steps of one epoch, or of what is left of it, and what the workers tell each other meanwhile."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.errors import TrainingError
from lvseg.training.calls import Calls
from lvseg.training.context import RunContext, Shard
from lvseg.training.engine import Engine
from lvseg.training.monitor import Monitor
from lvseg.training.order import EpochOrder, epoch_order
from lvseg.training.state import RunState


class NotFiniteError(TrainingError):
    """Loss or weights are NaN or infinite; raised by every worker at the same step."""


class Told(Enum):
    """What the run was told from outside."""

    NOTHING = auto()
    SAVE = auto()
    """Save the state and go on: a node is about to be lost."""
    STOP = auto()
    """Save the state and stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What came of some steps."""

    steps: int
    """Steps of the epoch that are done."""
    sums: NDArray[np.float64]
    """(columns,) sums of ``image_counts`` over the images of these steps, of all workers."""
    seconds: float
    """Time that they took."""
    told: Told
    """What the workers heard meanwhile; it may have come too late to break the epoch off."""


def train_epoch(
    engine: Engine, shard: Shard, context: RunContext, monitor: Monitor, state: RunState, steps: int, calls: Calls
) -> Trained:
    """Make the steps of the epoch after ``state.epoch``, from ``state.step`` on.

    Every call of the compiled function also sums what the workers have to say, which is looked at one call later,
    so that nobody waits for it. All workers thus break off at the same step.

    Args:
        engine: Model and compiled functions.
        shard: This worker's images.
        context: Says when to save or stop.
        monitor: Is told how far it is.
        state: Where the run stands.
        steps: Of a whole epoch.
        calls: How long they are.

    Raises:
        NotFiniteError: a loss is not finite; names step and images.
    """
    config = engine.config
    epoch, started = state.epoch + 1, time.perf_counter()
    whole = epoch_order(shard.train_images, config.batch_size, context.world_size, context.rank, config.seed, epoch)
    order = whole.cut(state.step, steps)
    parts: list[tf.Tensor] = []
    done, told, said = state.step, Told.NOTHING, None
    with closing(shard.train.chunks(order, config.steps_per_call)) as chunks:
        for chunk in calls.of(chunks):
            pace = calls.seconds_per_step if context.rank == 0 else 0.0
            signals = np.array([context.must_stop(), context.wants_look(), pace], np.float32)
            counts, saying = engine.train_steps(chunk, epoch, signals)
            parts.append(counts)
            done += chunk.steps
            monitor.steps_done(epoch, done, steps, counts)
            told, broken = _hear(context, calls, said)
            said = saying
            if broken or told is not Told.NOTHING:
                break
    if told is Told.NOTHING:
        told, _ = _hear(context, calls, said)
    sums, broken_steps = _sums(engine, order, parts)
    if broken_steps.any():
        step = state.step + int(np.argmax(broken_steps > 0))
        raise NotFiniteError(_not_finite(shard, epoch, step, steps, whole))
    if state.partial:
        sums = sums + np.array(state.partial)
    seconds = state.partial_seconds + time.perf_counter() - started
    return Trained(steps=done, sums=sums, seconds=seconds, told=told)


def _hear(context: RunContext, calls: Calls, said: tf.Tensor | None) -> tuple[Told, bool]:
    """What the workers said together; and whether a loss was not finite."""
    if said is None:
        return Told.NOTHING, False
    stop, look, pace, broken = said.numpy()
    calls.agreed(float(pace))
    if stop > 0:
        return Told.STOP, broken > 0
    return (Told.SAVE if look > 0 and context.must_save() else Told.NOTHING), broken > 0


def _sums(engine: Engine, order: EpochOrder, parts: list[tf.Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over the images of all workers: sums of ``image_counts``, and for each step the images that broke it."""
    counts = np.concatenate([part.numpy() for part in parts]).astype(np.float64)
    real = order.weights[: len(counts)] > 0
    broken = np.zeros(len(order.rows))
    broken[: len(counts)] = (~np.isfinite(counts).all(axis=2) & real).sum(axis=1)
    summed = engine.sum_over_workers(np.concatenate([counts[real].sum(axis=0), broken]))
    return summed[: engine.columns], summed[engine.columns :]


def _not_finite(shard: Shard, epoch: int, step: int, steps: int, order: EpochOrder) -> str:
    own = shard.train.names(order.rows[step][order.weights[step] > 0].tolist())
    return f"loss is not finite at epoch {epoch}, step {step + 1} of {steps}, images {', '.join(own)}"
