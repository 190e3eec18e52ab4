"""What each trial of a sweep does, in its own process.

A trial that has ended is not trained again: it reports again what its history says, so that schedulers and searches,
which keep nothing on disk, are brought to where they were.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ray import tune

from lvseg.distributed.metrics import RunGauges
from lvseg.distributed.search import EPOCH, OBJECTIVE, SCORE, settings_of, trial_place
from lvseg.distributed.session import ray_session, worker_environment
from lvseg.distributed.train import run_training
from lvseg.errors import LvsegError, RunError, StoppedError, TrainingError
from lvseg.ledger import run_path
from lvseg.quiet import import_keras
from lvseg.records import read_manifest
from lvseg.results import ORIGIN_FILE, RESULT_FILE, EpochRow, read_history, read_result
from lvseg.run_folder import CHECKPOINTS_NAME, CONFIG_NAME, Run, fail_run
from lvseg.store import UPath, remove_tree, write_bytes, write_text
from lvseg.sweep import Sweep, final_result
from lvseg.training.context import KEPT_NAME
from lvseg.training.portion import Mode
from lvseg.training.status import record_event

ORIGIN_NAME = "origin.json"
"""In a checkpoint of Ray Tune's: whose it is, and how far it is."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrialPlan:
    """What all trials of one call share."""

    sweep: Sweep
    named: UPath
    """Its record set as the user named it; the sweep has a path that means the same in every process."""
    cpus: int
    """Cores of each worker."""
    ingest: Mode
    """Where they keep their images."""
    started: str
    """When the call began, ISO 8601, UTC."""


class Scores:
    """The best score so far, which schedulers compare: an epoch's own is noisy."""

    def __init__(self) -> None:
        self._best = 0.0

    def add(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The epoch's metrics with the best so far; an undefined Dice counts as 0."""
        score = float(metrics[SCORE])
        score = 0.0 if math.isnan(score) else score
        self._best = max(self._best, score)
        return {**metrics, SCORE: score, OBJECTIVE: self._best}


Training = Callable[["Run", "TrialPlan", "Scores"], None]
"""Trains a run from where it is, and reports every epoch."""


def run_trial(params: dict[str, Any], *, plan: TrialPlan, train: Training | None = None) -> None:
    """Train one trial to its end, or on from its last checkpoint; or report again how it went."""
    os.environ.update(worker_environment())
    sweep = plan.sweep
    folder = sweep.folder / trial_place(sweep, tune.get_context().get_trial_id(), params)
    run = dataclasses.replace(sweep.trial(folder, read_manifest(sweep.records)), named=plan.named)
    try:
        run = dataclasses.replace(run, config=dataclasses.replace(sweep.base, **settings_of(sweep, params)))
        scores, pbt = Scores(), sweep.tune.scheduler == "pbt"
        if not pbt:
            _repeat(folder, scores)
        if (ended := final_result(folder)) is not None:
            if pbt:
                tune.report({EPOCH: ended.epochs, SCORE: ended.val_dice, OBJECTIVE: ended.val_dice})
            return
        _raise_again(folder, plan.started)
        if pbt:
            take_over(run)
        train = train or (_train_group if run.config.workers > 1 else _train_here)
        train(run, plan, scores)
    except LvsegError as error:
        if not isinstance(error, StoppedError) and not (folder / RESULT_FILE).exists():
            fail_run(run, str(error))
        raise


def _repeat(folder: UPath, scores: Scores) -> None:
    """Report the epochs that an earlier call has trained; a scheduler may end the trial on the way."""
    for row in _history(folder):
        tune.report(scores.add({EPOCH: row.epoch, SCORE: row.val_dice}))


def _history(folder: UPath) -> list[EpochRow]:
    try:
        return read_history(folder)
    except RunError:
        return []


def _raise_again(folder: UPath, started: str) -> None:
    """Ray Tune tries every failed trial once more; one that failed for a reason of its own would only do so again."""
    if (folder / RESULT_FILE).exists():
        result = read_result(folder)
        if result.status == "failed" and result.finished_at >= started:
            raise TrainingError(result.error or "failed")
        if not (folder / ORIGIN_FILE).exists():
            remove_tree(folder)  # it failed before it was a run: begin anew


def _train_group(run: Run, plan: TrialPlan, scores: Scores) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    class Reports(TuneReportCallback):  # type: ignore[misc]
        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            if SCORE in metrics[0]:
                super().after_report(run_context, [scores.add(metrics[0])], None)

    run = dataclasses.replace(run, config=dataclasses.replace(run.config, cpus_per_worker=plan.cpus))
    with ray_session():
        result = run_training(run, callbacks=[Reports()], ingest=plan.ingest)
    tune.report(scores.add({EPOCH: result.epochs, SCORE: result.val_dice}))


def _train_here(run: Run, plan: TrialPlan, scores: Scores) -> None:
    import_keras()
    import keras

    from lvseg.training.context import LocalContext
    from lvseg.training.local import train_here

    watchdog = Watchdog(plan.sweep.tune.trial_timeout_s)
    pbt = plan.sweep.tune.scheduler == "pbt"

    class TrialContext(LocalContext):
        def must_stop(self) -> bool:
            watchdog.pat()
            return super().must_stop()

        def report(self, metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
            super().report(metrics, checkpoint)
            if SCORE in metrics:
                watchdog.rest()  # Ray Tune may let the trial wait
                report_epoch(run, scores.add(metrics), with_weights=pbt)
                watchdog.pat()

    keras.backend.clear_session()  # the process may have trained another trial
    context = TrialContext(run.folder / CHECKPOINTS_NAME)
    watchdog.pat()
    try:
        gauges = RunGauges(run_path(run.folder, run.sweep))
        result = train_here(run, context, plan.ingest, plan.cpus, [gauges])
    finally:
        watchdog.rest()
    if not context.reports:  # it broke off after its last epoch, and Tune wants a number from every trial
        tune.report(scores.add({EPOCH: result.epochs, SCORE: result.val_dice}))


class Watchdog:
    """Ends this process when it makes no step for too long; needs nothing of what may hang, not even the interpreter.

    Ray Tune then finds the trial's process dead, and starts the trial again from its last checkpoint.
    """

    LEAST_PAUSE_S = 1.0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._patted = -math.inf

    def pat(self) -> None:
        """It lives."""
        if time.monotonic() - self._patted >= self.LEAST_PAUSE_S:
            self._patted = time.monotonic()
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=sys.__stderr__ or 2)

    def rest(self) -> None:
        """Do not watch."""
        self._patted = -math.inf
        faulthandler.cancel_dump_traceback_later()


def report_epoch(run: Run, metrics: dict[str, Any], *, with_weights: bool) -> None:
    """Report to Ray Tune; for population based training with all that another trial needs to go on from here."""
    if not with_weights:
        tune.report(metrics)
        return
    with tempfile.TemporaryDirectory(prefix="lvseg-pbt-") as folder:
        kept = _read_json(run.folder / CHECKPOINTS_NAME / KEPT_NAME)
        for name in set(kept.values()):
            for file in (run.folder / CHECKPOINTS_NAME / name).iterdir():
                write_bytes(Path(folder) / name / file.name, file.read_bytes())
        origin = {"trial": run.name, "epoch": metrics[EPOCH], "kept": kept}
        (Path(folder) / ORIGIN_NAME).write_text(json.dumps(origin), encoding="utf-8")
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def take_over(run: Run) -> None:
    """Population based training: put another trial's weights, optimizer and history in place of the own.

    Settings change with it, or by themselves: the run's configuration is what it goes on with.
    """
    if (run.folder / CONFIG_NAME).exists():
        settings = _settled(run)
        write_text(run.folder / CONFIG_NAME, yaml.safe_dump(settings, sort_keys=False))
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as name:
        folder = Path(name)
        origin = _read_json(folder / ORIGIN_NAME)
        if origin["trial"] == run.name:
            return  # the run's own folder is as far, or farther
        for kept in set(origin["kept"].values()):
            for file in (folder / kept).iterdir():
                write_bytes(run.folder / CHECKPOINTS_NAME / kept / file.name, file.read_bytes())
        write_text(run.folder / CHECKPOINTS_NAME / KEPT_NAME, json.dumps(origin["kept"]) + "\n")
    changed = {key: getattr(run.config, key) for key in sorted(_changed(run))}
    record_event(run.folder, "exploit", origin["epoch"], source=origin["trial"], **changed)


def _settled(run: Run) -> dict[str, Any]:
    return dataclasses.asdict(run.settled().config)


def _changed(run: Run) -> set[str]:
    from lvseg.sweep import PERTURBABLE

    default = type(run.config)()
    return {key for key in PERTURBABLE if getattr(run.config, key) != getattr(default, key)}


def _read_json(path: Path | UPath) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
