"""A trial that trains nothing: its scores follow from its settings, its files are those of a real one."""

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from lvseg.config import TrainConfig
from lvseg.distributed.search import SCORE
from lvseg.distributed.trial import Scores, TrialPlan, report_epoch, run_trial
from lvseg.results import EpochRow, write_history
from lvseg.run_folder import Run, finish_run, open_run
from lvseg.store import write_bytes
from lvseg.training.context import LocalContext
from lvseg.training.state import CHECKPOINT_WEIGHTS, Outcome, RunState

BEST_RATE = 1e-2


def pretended_dice(config: TrainConfig, epoch: int) -> float:
    """Higher the nearer the learning rate is to the best one, and the longer the training."""
    return 0.9 / (1 + abs(math.log10(config.learning_rate / BEST_RATE))) * (1 - 0.5**epoch)


def row_of(config: TrainConfig, epoch: int) -> EpochRow:
    dice = pretended_dice(config, epoch)
    zeros = dict.fromkeys((f.name for f in dataclasses.fields(EpochRow) if f.name != "val_dice_myocardium"), 0.0)
    return EpochRow(**{**zeros, "epoch": epoch, "val_dice": dice, "val_dice_pooled": dice, "images_per_second": 1.0})


def pretend(params: dict[str, Any], *, plan: TrialPlan) -> None:
    run_trial(params, plan=plan, train=train)


def train(run: Run, plan: TrialPlan, scores: Scores) -> None:
    if open_run(run) is not None:
        return
    note(run, "started")
    context = LocalContext(run.folder / "checkpoints")
    state = RunState(parameters=1)
    with context.latest_checkpoint() as folder:
        if folder is not None:
            state = RunState(**json.loads((folder / "state.json").read_text()))
    mischief(run, state.epoch)
    while not state.is_done(run.config):
        one_epoch(run, plan, scores, context, state)
    finish_run(run, Outcome(state=state), context.best_checkpoint)


def one_epoch(run: Run, plan: TrialPlan, scores: Scores, context: LocalContext, state: RunState) -> None:
    row = row_of(run.config, state.epoch + 1)
    time.sleep(float(os.environ.get("PRETEND_EPOCH_S", "0")))
    state.epoch = row.epoch
    state.history.append(dataclasses.asdict(row))
    improved = row.val_dice > state.best_val_dice
    if improved:
        state.best_epoch, state.best_val_dice, state.best_by_case = row.epoch, row.val_dice, {"CASE-1": row.val_dice}
    folder = Path(str(run.folder)) / "aside"
    # What stands for the weights says where they come from.
    write_bytes(folder / CHECKPOINT_WEIGHTS, f"{run.name} {row.epoch}".encode())
    (folder / "state.json").write_text(json.dumps(dataclasses.asdict(state)))
    note(run, str(row.epoch))
    metrics = {**dataclasses.asdict(row), "improved": improved}
    context.report(metrics, folder)
    report_epoch(run, scores.add(metrics), with_weights=plan.sweep.tune.scheduler == "pbt")
    write_history(run.folder, state.rows())


def note(run: Run, text: str) -> None:
    """What was really done, and by which process, for the tests to read."""
    with (Path(str(run.folder)) / "done.txt").open("a") as file:
        file.write(f"{text} {os.getpid()}\n")


def mischief(run: Run, epoch: int) -> None:
    """A trial of momentum 0.1 hangs, one of 0.2 dies; momentum is no part of the score."""
    from lvseg.distributed.trial import Watchdog

    if run.config.momentum == 0.1:
        Watchdog(1).pat()
        time.sleep(600)
    if run.config.momentum == 0.2:
        os._exit(1)


def epochs_done(folder: Path) -> list[int]:
    """Epochs that were really trained, in order."""
    words = [line.split()[0] for line in (folder / "done.txt").read_text().splitlines()]
    return [int(word) for word in words if word != "started"]


__all__ = ["SCORE", "epochs_done", "pretend", "pretended_dice"]
