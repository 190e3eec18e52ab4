"""Train one model, one worker's part: epochs, scores, checkpoints, and what the run shows of itself."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.errors import TrainingError
from lvseg.evaluation import DiceSummary, pooled_dice, summarise
from lvseg.results import EpochRow
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.training.calls import Calls
from lvseg.training.checkpoint import load_checkpoint, save_checkpoint, set_training_values, training_values
from lvseg.training.context import RunContext, Shard
from lvseg.training.engine import Engine
from lvseg.training.epoch import NotFiniteError, Told, Trained, train_epoch
from lvseg.training.monitor import Monitor
from lvseg.training.order import steps_per_epoch, validation_rows
from lvseg.training.state import Outcome, RunState

MOST_ROLLBACKS = 5
"""After so many the loss is not finite for another reason than too high a learning rate."""
ROLLBACK_FACTOR = 0.5
"""On the learning rate, at every rollback."""


def configure_threads(threads: int) -> None:
    """Give TensorFlow this many threads; after its first operation, as in a notebook, they stay as they are."""
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def train(
    config: TrainConfig,
    shape: tuple[int, int],
    train_images: int,
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
        train_images: Training images over all workers.
        load_shard: Called at most once, gives the worker's images.
        context: Rank, checkpoints, reports.
        monitor: Shows progress; only rank 0's writes files.
        strategy: Made before any other TensorFlow operation; None: one worker, no distribution.
        classes: Classes of the masks, background included.
    """
    monitor.phase("building the model")
    total_steps = config.epochs * steps_per_epoch(train_images, config.batch_size)
    engine = Engine(config, shape, strategy or tf.distribute.get_strategy(), classes, total_steps)
    state = RunState()
    with context.latest_checkpoint() as folder:
        if folder is not None:
            state = RunState(**load_checkpoint(folder, engine))
    state.parameters = engine.model.count_params()
    if state.is_done(config):
        return Outcome(state=state)
    try:
        monitor.phase("loading images")
        trainer = _Trainer(engine, load_shard(), context, monitor, state)
        with engine.scored_weights():
            monitor.started(engine, trainer.shard.val, state.rows(), midway=state.step > 0)
        stopped = trainer.run()
    except TrainingError as error:
        return Outcome(state=state, error=str(error))
    finally:
        monitor.close()
    return Outcome(state=state, stopped=stopped)


class _Trainer:
    def __init__(self, engine: Engine, shard: Shard, context: RunContext, monitor: Monitor, state: RunState) -> None:
        self.engine, self.shard, self.context, self.monitor, self.state = engine, shard, context, monitor, state
        self.config = engine.config
        self.steps = steps_per_epoch(shard.train_images, self.config.batch_size)
        self.pixels = int(np.prod(engine.shape))
        self.snapshot: list[NDArray[np.generic]] = []
        self.calls = Calls()

    def run(self) -> bool:
        """Train to the end; whether the run was stopped before."""
        self.engine.schedule.scale.assign(ROLLBACK_FACTOR**self.state.rollbacks)
        while not self.state.is_done(self.config):
            self._remember()
            try:
                if self._epoch() is Told.STOP and not self.state.is_done(self.config):
                    return True
            except NotFiniteError as error:
                self._go_back(error)
        if self.state.epoch < self.config.epochs:
            self.monitor.note("stop", f"no better val Dice for {self.config.early_stopping} epochs")
        return False

    def _remember(self) -> None:
        """Keep the state in memory, where a rollback may need it; in the middle of an epoch there is none to keep."""
        if self.config.on_nan == "rollback" and self.state.step == 0:
            self.snapshot = training_values(self.engine)

    def _go_back(self, error: NotFiniteError) -> None:
        """To the end of the epoch before, with a lower learning rate; the same on every worker."""
        state = self.state
        if not self.snapshot or state.rollbacks >= MOST_ROLLBACKS:
            tried = f" after {state.rollbacks} rollbacks" if state.rollbacks else ""
            raise TrainingError(f"{error}{tried}") from None
        set_training_values(self.engine, self.snapshot)
        state.at_epochs_end()
        state.rollbacks += 1
        self.engine.schedule.scale.assign(ROLLBACK_FACTOR**state.rollbacks)
        self.monitor.note("rollback", f"{error}; back to epoch {state.epoch}, learning rate halved")

    def _epoch(self) -> Told:
        """One epoch, or what is left of it: train, score, judge, report."""
        started = time.perf_counter()
        trained = self._train()
        if trained.steps < self.steps:
            return trained.told
        with self.engine.scored_weights():
            validated = self._validate()
        row, val = self._row(trained, validated, time.perf_counter() - started)
        improved = self._judge(row, val)
        self._save({**dataclasses.asdict(row), "improved": improved, "best_mark": row.epoch if improved else -1})
        with self.engine.scored_weights():
            self.monitor.epoch_done(self.state.rows(), self.engine, self.shard.val)
        return trained.told

    def _train(self) -> Trained:
        """The epoch's steps; on the way the state is saved when the context says so."""
        state = self.state
        while True:
            trained = train_epoch(self.engine, self.shard, self.context, self.monitor, state, self.steps, self.calls)
            if trained.steps == self.steps:
                state.at_epochs_end()
                if not self.engine.weights_are_finite():  # the same on every worker
                    raise NotFiniteError(f"weights are not finite after epoch {state.epoch + 1}")
                return trained
            state.at_step(trained.steps, trained.sums.tolist(), trained.seconds)
            self._save({"epoch": state.epoch, "step": state.step, "improved": False, "best_mark": -1})
            stopped = trained.told is Told.STOP
            self.monitor.note("stop" if stopped else "save", f"epoch {state.epoch + 1}, step {state.step}")
            if stopped:
                return trained

    def _validate(self) -> NDArray[np.float64]:
        """(validation images, columns) ``image_counts`` of every image, from whichever worker scored it."""
        counts = np.zeros((len(self.shard.val_names), self.engine.columns))
        rows = validation_rows(len(counts), self.context.world_size, self.context.rank)
        counts[rows.start : rows.stop] = self.engine.score(self.shard.val)
        return self.engine.sum_over_workers(counts)

    def _row(self, trained: Trained, validated: NDArray[np.float64], seconds: float) -> tuple[EpochRow, DiceSummary]:
        """The epoch's line of the history, and the score of the cavity."""
        epoch = self.state.epoch + 1
        val = self._summary(validated, CAVITY)
        loss, accuracy, dice = self._means(trained.sums, self.shard.train_images)
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
            images_per_second=self.shard.train_images / trained.seconds,
            seconds=max(seconds, trained.seconds),
        )
        return row, val

    def _summary(self, counts: NDArray[np.float64], structure: int) -> DiceSummary:
        """Dice of one class over the validation images."""
        columns = counts[:, 3 * structure - 2 : 3 * structure + 1].T
        return summarise(self.shard.val_names, self.shard.val_case_ids, *columns)

    def _means(self, sums: NDArray[np.float64], images: int) -> tuple[float, float, float]:
        """Loss as mean over images, accuracy over pixels (cavity or not), Dice of the cavity over all pixels."""
        loss, both, predicted, labelled = (float(value) for value in sums[:4])
        wrong = predicted + labelled - 2 * both
        return loss / images, 1 - wrong / (images * self.pixels), pooled_dice([both], [predicted], [labelled])

    def _judge(self, row: EpochRow, val: DiceSummary) -> bool:
        """Enter the epoch into the state; whether it is the best so far. A Dice of NaN never is."""
        state = self.state
        state.epoch = row.epoch
        state.history.append(dataclasses.asdict(row))
        improved = not math.isnan(row.val_dice) and row.val_dice > state.best_val_dice
        if improved:
            state.best_epoch, state.best_val_dice = row.epoch, row.val_dice
            state.best_undefined, state.best_by_case = val.undefined, val.by_case
            state.best_counts_by_case = {case: dataclasses.asdict(each) for case, each in val.counts_by_case.items()}
        return improved

    def _save(self, metrics: dict[str, float | bool]) -> None:
        with tempfile.TemporaryDirectory(prefix="lvseg-checkpoint-") as folder:
            checkpoint = Path(folder) if self.context.rank == 0 else None
            if checkpoint:
                save_checkpoint(checkpoint, self.engine, dataclasses.asdict(self.state))
            self.context.report(metrics, checkpoint)
