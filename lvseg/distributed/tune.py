"""A sweep on Ray Tune: many runs over a search space, as many at a time as the cluster holds.

A trial of one worker runs the training loop in the trial's own process. A trial of several workers
is a Ray Train run inside the trial. Both give the same numbers and leave the same run folder.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.tune.experiment import Trial

from lvseg.config import TrainConfig
from lvseg.distributed.capacity import Allotment, Need, allot
from lvseg.distributed.groups import GroupSweeper
from lvseg.distributed.ingest import choose_ingest
from lvseg.distributed.placement import Want, live_nodes, matching, require_place, runs_at_once, wanted
from lvseg.distributed.search import (
    EPOCH,
    SCORE,
    Budget,
    parameters,
    samples,
    schedule,
    search_algorithm,
    trial_place,
)
from lvseg.distributed.session import is_private_cluster
from lvseg.distributed.storage import everywhere, ray_storage
from lvseg.distributed.train import one_line
from lvseg.distributed.trial import TrialPlan, run_trial
from lvseg.errors import ConfigError, RunError, TrainingError
from lvseg.records import Manifest, read_manifest
from lvseg.results import RESULT_FILE, RunResult, read_history, read_result
from lvseg.run_folder import at_signal, fail_run
from lvseg.store import UPath
from lvseg.sweep import Sweep, close_early, open_sweep, trial_folders
from lvseg.training.plan import IngestPlan

TUNE_FOLDER = ".tune"
"""Ray Tune's own files, below the sweep's folder."""
KEPT_EXCHANGES = 4
"""Checkpoints of a trial that population based training keeps: one that is being copied must stay."""

LOW_MEMORY = "running low on memory"
"""What Ray's memory monitor says of a process that it ends; of any dead one Ray says that memory may be the reason."""

PLACE_WAIT_S = 1800.0
"""A cluster that could grow is given so long to hold a trial, as ``START_ATTEMPTS`` gives it to a run's workers."""

TRIAL_CPUS = 0.01
"""Of a trial whose workers are placed by Ray Train."""

Progress = Callable[[str, int, float], None]
"""Called with a trial's name, its epoch and its validation Dice."""
Trainable = Callable[..., None]


def _no_progress(*_: Any) -> None:
    pass


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a trial takes."""

    allotment: Allotment
    """Cores and GPUs of each worker, and trials at the same time."""
    ingest: IngestPlan
    """Where their workers keep their images."""

    @property
    def concurrency(self) -> int:
        """Trials at the same time."""
        return self.allotment.concurrency

    @property
    def cpus(self) -> int:
        """Cores of each worker."""
        return self.allotment.cpus

    def want(self, base: TrainConfig) -> Want:
        """What a trial asks of the cluster."""
        return dataclasses.replace(wanted(base), gpus=self.allotment.gpus)

    def describe(self, sweep: Sweep) -> str:
        """One line for the user."""
        gpus = f" and {self.allotment.gpus:g} GPU" if self.allotment.gpus else ""
        workers = max(1, sweep.base.workers)
        group = f"{workers} workers a trial, each" if workers > 1 else "each"
        waits = "; the cluster must grow first" if self.allotment.waits else ""
        return f"{sweep.trials} trials, {self.concurrency} at a time, {group} with {self.cpus} CPU(s){gpus}{waits}"


def plan_resources(sweep: Sweep) -> Resources:
    """Share the cluster out among trials that run at the same time.

    Raises:
        ConfigError: not one trial fits.
        RecordsError: the records cannot be used.
    """
    nodes, want, can_grow = live_nodes(), wanted(sweep.base), not is_private_cluster()
    cpus = sweep.base.cpus_per_worker
    limit = sweep.tune.concurrency or sweep.trials
    if not can_grow:
        require_place(nodes, want, cpus or 1)
        limit = min(limit, runs_at_once(nodes, want, cpus or 1)) if sweep.tune.gpus_per_trial is None else limit
    need = Need(
        trials=sweep.trials,
        workers=want.workers,
        cpus=cpus,
        gpus=sweep.tune.gpus_per_trial or want.gpus if sweep.base.gpu else 0.0,
        concurrency=limit if not can_grow else sweep.tune.concurrency,
    )
    allotment = allot(matching(nodes, want.labels), need, can_grow=can_grow)
    data = sweep.first_run(read_manifest(sweep.records)).data
    ingest = choose_ingest(sweep.base.ingest, data, sweep.records, want.workers, allotment.concurrency, shared=True)
    return Resources(allotment=allotment, ingest=ingest)


def run_sweep(
    sweep: Sweep, resources: Resources, progress: Progress = _no_progress, trainable: Trainable = run_trial
) -> list[RunResult]:
    """Run every trial; one that fails costs itself only. Needs a Ray session.

    Args:
        sweep: What to search.
        resources: See ``plan_resources``.
        progress: Called for every epoch of every trial.
        trainable: What a trial does.

    Returns:
        The results of the trials that have ended, failed ones too, in trial order.

    Raises:
        ConfigError, RecordsError: nothing could run at all.
        RunError: the sweep's name is taken.
        TrainingError: every trial failed, or the cluster has not grown to hold one.
    """
    manifest = open_sweep(sweep)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C ends the sweep, and is not a failure of its trials.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    # A trial reports rarely; Ray Tune's own state is never read again.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    budget, sweeper = Budget(sweep), GroupSweeper()
    watch = Watch(sweep, manifest, progress, resources, sweeper if sweep.base.workers > 1 else None)
    try:
        with at_signal(signal.SIGINT, watch.interrupt):
            grid = _tuner(sweep, resources, trainable, budget, watch).fit()
            watch.end_if_interrupted()
    finally:
        if sweep.base.workers > 1:
            sweeper.finish()
    return _gather(sweep, manifest, watch, budget, [one_line(error) for error in grid.errors])


def _tuner(sweep: Sweep, resources: Resources, trainable: Trainable, budget: Budget, watch: Watch) -> tune.Tuner:
    # Trials have working folders of their own.
    fixed = dataclasses.replace(sweep, folder=everywhere(sweep.folder), records=everywhere(sweep.records))
    plan = TrialPlan(
        sweep=fixed,
        named=sweep.records,
        cpus=resources.cpus,
        ingest=resources.ingest.mode,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    pbt = sweep.tune.scheduler == "pbt"
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, plan=plan), _trial_resources(sweep.base, resources)),
        param_space=parameters(sweep),
        tune_config=tune.TuneConfig(
            num_samples=samples(sweep),
            max_concurrent_trials=None if sweep.tune.search == "tpe" else resources.concurrency,
            search_alg=search_algorithm(sweep, resources.concurrency),
            scheduler=schedule(sweep),
            # The next trial of the same process need not load TensorFlow again. A group's trial must end with its
            # process: what Ray Train started from there ends with it.
            reuse_actors=sweep.base.workers <= 1,
        ),
        run_config=tune.RunConfig(
            **ray_storage(sweep.folder),
            name=f"{TUNE_FOLDER}/{time.time_ns()}",
            # A trial whose node is lost goes on from its last checkpoint on another.
            failure_config=tune.FailureConfig(max_failures=sweep.base.max_failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT_EXCHANGES if pbt else None),
            callbacks=[watch],
            stop=budget,
            verbose=0,
        ),
    )


def _trial_resources(base: TrainConfig, resources: Resources) -> tune.PlacementGroupFactory:
    if base.workers > 1:
        # The workers are placed by the Ray Train run inside the trial, which itself only looks on.
        return tune.PlacementGroupFactory([{"CPU": TRIAL_CPUS}])
    want = resources.want(base)
    labels = {"bundle_label_selector": [dict(want.labels)]} if want.labels else {}
    return tune.PlacementGroupFactory([want.bundle(resources.cpus)], want.strategy, **labels)


class Watch(tune.Callback):  # type: ignore[misc]
    """Follows the trials from the driver: tells of epochs, closes those that are ended early, notes why one died."""

    def __init__(
        self, sweep: Sweep, manifest: Manifest, progress: Progress, resources: Resources, sweeper: GroupSweeper | None
    ) -> None:
        self._sweep, self._manifest, self._progress, self._sweeper = sweep, manifest, progress, sweeper
        self._resources, self._last_running = resources, time.monotonic()
        self._heard: dict[str, float] = {}
        self.died: dict[str, str] = {}
        """Why a trial's process died, by the trial's name."""
        self._interrupted = False

    def __getstate__(self) -> dict[str, Any]:
        # Tune saves its callbacks; a progress bar holds locks and has no meaning elsewhere.
        return {}

    def interrupt(self) -> None:
        """Ctrl-C: ends the sweep with Ray Tune's next step, a second one at once.

        Raised in the middle of a step, the exception was now and then lost and the sweep went on: Python ignores those
        of destructors and of callbacks.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._interrupted = True

    def end_if_interrupted(self) -> None:
        """Raises KeyboardInterrupt if so."""
        if self._interrupted:
            raise KeyboardInterrupt

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Now and then look for what trials left behind, and whether any can ever run.

        Raises:
            KeyboardInterrupt: the sweep was interrupted.
            TrainingError: for half an hour the cluster has had no place for a trial.
        """
        self.end_if_interrupted()
        if self._sweeper is not None:
            self._sweeper.look()
        if any(trial.status == Trial.RUNNING for trial in trials):
            self._last_running = time.monotonic()
        elif time.monotonic() - self._last_running >= PLACE_WAIT_S:
            self._require_place()
            self._last_running = time.monotonic()  # there is one, which others hold

    def _require_place(self) -> None:
        try:
            require_place(live_nodes(), self._resources.want(self._sweep.base), self._resources.cpus)
        except ConfigError as error:
            raise TrainingError(f"no trial could start, and the cluster has not grown: {error}") from None

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """It lives."""
        self._heard[self._name(trial)] = time.monotonic()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """It lives, and has a score."""
        self._heard[self._name(trial)] = time.monotonic()
        if SCORE in result:
            self._progress(self._name(trial), int(result[EPOCH]), float(result[SCORE]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial without a result has been ended by its scheduler."""
        folder = self._sweep.folder / self._name(trial)
        if not (folder / RESULT_FILE).exists():
            close_early(self._sweep.trial(folder, self._manifest))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Keep the reason, should the trial itself not have said one."""
        name, seconds = self._name(trial), self._sweep.tune.trial_timeout_s
        silent = time.monotonic() - self._heard.get(name, 0.0)
        self.died[name] = _why(trial, silent >= seconds, seconds)

    def _name(self, trial: Any) -> str:
        return trial_place(self._sweep, trial.trial_id, trial.config)


def _why(trial: Any, hung: bool, seconds: int) -> str:
    error = trial.get_pickled_error() or trial.get_error()
    text = " ".join(str(error).split())
    if isinstance(error, OutOfMemoryError) or LOW_MEMORY in text:
        return "ran out of memory"
    return f"made no step for {seconds} s" if hung else "process died"


def _gather(sweep: Sweep, manifest: Manifest, watch: Watch, budget: Budget, errors: list[str]) -> list[RunResult]:
    """Every trial's result; a trial that died without a word gets one that says so."""
    results = []
    for folder in trial_folders(sweep):
        if not (folder / RESULT_FILE).exists():
            _close(sweep, manifest, folder, watch, budget)
        if (folder / RESULT_FILE).exists():
            results.append(read_result(folder))
    if not any(result.status != "failed" for result in results) and not (budget.over and not results):
        reasons = [result.error for result in results if result.error] + errors
        reason = reasons[0] if reasons else "no trial ran"
        raise TrainingError(f"sweep {sweep.folder.name}: all {sweep.trials} trials failed, the first with: {reason}")
    return results


def _close(sweep: Sweep, manifest: Manifest, folder: UPath, watch: Watch, budget: Budget) -> None:
    run = sweep.trial(folder, manifest)
    if budget.over:
        return  # the next call goes on with it
    if budget.reached and folder.name not in watch.died:
        close_early(run)
        return
    why = watch.died.get(folder.name, "process died")
    fail_run(
        run,
        f"the trial's {why} after {_epochs_done(folder)} epochs"
        if why.startswith("process")
        else f"the trial {why}, after {_epochs_done(folder)} epochs",
    )


def _epochs_done(folder: UPath) -> int:
    try:
        return len(read_history(folder))
    except RunError:
        return 0
