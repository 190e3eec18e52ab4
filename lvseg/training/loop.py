"""Train one model, one worker's part: epochs, scores, checkpoints, and what the run shows of itself."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.errors import TrainingError
from lvseg.evaluation import DiceSummary, pooled_dice, summarise
from lvseg.results import EpochRow
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.training.checkpoint import load_checkpoint, save_checkpoint
from lvseg.training.context import RunContext, Shard
from lvseg.training.engine import Engine
from lvseg.training.monitor import Monitor
from lvseg.training.order import EpochOrder, epoch_order, steps_per_epoch, validation_rows
from lvseg.training.state import Outcome, RunState


def configure_threads(threads: int) -> None:
    """Give TensorFlow this many threads; must come before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def train(
    config: TrainConfig,
    shape: tuple[int, int],
    load_shard: Callable[[], Shard],
    context: RunContext,
    monitor: Monitor,
    strategy: tf.distribute.Strategy | None = None,
    classes: int = 2,
) -> Outcome:
    """Train from the last checkpoint, or from the start, to the last epoch.

    Args:
        config: The run.
        shape: (rows, columns) of every image.
        load_shard: Called once, gives the worker's images.
        context: Rank, checkpoints, reports.
        monitor: Shows progress; only rank 0's writes files.
        strategy: Made before any other TensorFlow operation; None: one worker, no distribution.
        classes: Classes of the masks, background included.
    """
    engine = Engine(config, shape, strategy or tf.distribute.get_strategy(), classes)
    state = RunState()
    with context.latest_checkpoint() as folder:
        if folder is not None:
            state = RunState(**load_checkpoint(folder, engine.model, engine.optimizer))
    parameters = engine.model.count_params()
    if state.epoch >= config.epochs:
        return Outcome(state=state, parameters=parameters)
    shard = load_shard()
    trainer = _EpochTrainer(engine, shard, context, monitor)
    try:
        while state.epoch < config.epochs:
            trainer.run(state)
    except TrainingError as error:
        return Outcome(state=state, parameters=parameters, error=str(error))
    finally:
        monitor.close()
    return Outcome(state=state, parameters=parameters)


class _EpochTrainer:
    def __init__(self, engine: Engine, shard: Shard, context: RunContext, monitor: Monitor) -> None:
        self.engine, self.shard, self.context, self.monitor = engine, shard, context, monitor
        self.config = engine.config
        self.steps = steps_per_epoch(shard.train_images, self.config.batch_size)
        self.pixels = int(np.prod(engine.shape))

    def run(self, state: RunState) -> None:
        """One epoch: train, score, judge, report."""
        epoch = state.epoch + 1
        started = time.perf_counter()
        trained = self._train(epoch)
        train_seconds = time.perf_counter() - started
        validated = self._validate()
        val = self._summary(validated, CAVITY)
        loss, accuracy, dice = self._means(trained, self.shard.train_images)
        val_loss, val_accuracy, _ = self._means(validated.sum(axis=0), len(validated))
        row = EpochRow(
            epoch=epoch,
            learning_rate=self.engine.learning_rate(epoch * self.steps - 1),
            loss=loss,
            accuracy=accuracy,
            dice=dice,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            val_dice=val.mean,
            val_dice_pooled=val.pooled,
            val_dice_myocardium=self._summary(validated, MYOCARDIUM).mean if self.engine.columns > 4 else None,
            images_per_second=self.shard.train_images / train_seconds,
            seconds=time.perf_counter() - started,
        )
        improved = _judge(state, row, val)
        self._report(state, row, improved)
        self.monitor.epoch_done(state.rows(), self.engine, self.shard.val)

    def _train(self, epoch: int) -> NDArray[np.float64]:
        """Make an epoch's steps; returns (columns,) the sums of ``image_counts`` over all images of all workers."""
        config, context = self.config, self.context
        order = epoch_order(
            self.shard.train_images, config.batch_size, context.world_size, context.rank, config.seed, epoch
        )
        parts: list[tf.Tensor] = []
        done = 0
        with closing(self.shard.train.chunks(order, config.steps_per_call)) as chunks:
            for chunk in chunks:
                parts.append(self.engine.train_steps(chunk))
                done += chunk.steps
                self.monitor.steps_done(epoch, done, self.steps, parts[-1])
        counts = np.concatenate([part.numpy() for part in parts]).astype(np.float64)
        real = order.weights > 0
        broken = (~np.isfinite(counts).all(axis=2) & real).sum(axis=1)
        summed = self.engine.sum_over_workers(np.concatenate([counts[real].sum(axis=0), broken]))
        sums, broken = np.split(summed, [self.engine.columns])
        if broken.any():
            raise TrainingError(self._not_finite(epoch, int(np.argmax(broken > 0)), order))
        if not self.engine.weights_are_finite():  # the same on every worker
            raise TrainingError(f"weights are not finite after epoch {epoch}")
        return sums

    def _not_finite(self, epoch: int, step: int, order: EpochOrder) -> str:
        own = self.shard.train.names(order.rows[step][order.weights[step] > 0].tolist())
        return f"loss is not finite at epoch {epoch}, step {step + 1} of {len(order.rows)}, images {', '.join(own)}"

    def _validate(self) -> NDArray[np.float64]:
        """(validation images, columns) ``image_counts`` of every image, from whichever worker scored it."""
        counts = np.zeros((len(self.shard.val_names), self.engine.columns))
        rows = validation_rows(len(counts), self.context.world_size, self.context.rank)
        counts[rows.start : rows.stop] = self.engine.score(self.shard.val)
        return self.engine.sum_over_workers(counts)

    def _summary(self, counts: NDArray[np.float64], structure: int) -> DiceSummary:
        """Dice of one class over the validation images."""
        columns = counts[:, 3 * structure - 2 : 3 * structure + 1].T
        return summarise(self.shard.val_names, self.shard.val_case_ids, *columns)

    def _means(self, sums: NDArray[np.float64], images: int) -> tuple[float, float, float]:
        """Loss as mean over images, accuracy over pixels (cavity or not), Dice of the cavity over all pixels."""
        entropy, both, predicted, labelled = (float(value) for value in sums[:4])
        wrong = predicted + labelled - 2 * both
        return entropy / images, 1 - wrong / (images * self.pixels), pooled_dice([both], [predicted], [labelled])

    def _report(self, state: RunState, row: EpochRow, improved: bool) -> None:
        metrics = {**dataclasses.asdict(row), "improved": improved, "best_mark": row.epoch if improved else -1}
        with tempfile.TemporaryDirectory(prefix="lvseg-checkpoint-") as folder:
            checkpoint = Path(folder) if self.context.rank == 0 else None
            if checkpoint:
                save_checkpoint(checkpoint, self.engine.model, self.engine.optimizer, dataclasses.asdict(state))
            self.context.report(metrics, checkpoint)


def _judge(state: RunState, row: EpochRow, val: DiceSummary) -> bool:
    """Enter the epoch into the state; whether it is the best so far. A Dice of NaN never is."""
    state.epoch = row.epoch
    state.history.append(dataclasses.asdict(row))
    improved = not math.isnan(row.val_dice) and row.val_dice > state.best_val_dice
    if improved:
        state.best_epoch, state.best_val_dice = row.epoch, row.val_dice
        state.best_undefined, state.best_by_case = val.undefined, val.by_case
    return improved
