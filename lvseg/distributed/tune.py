"""A sweep on Ray Tune: many runs over a search space, as many at a time as the cluster holds.

A trial of one worker runs the training loop in the trial's own process. A trial of several workers
is a Ray Train run inside the trial. Both give the same numbers and leave the same run folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed.ingest import choose_ingest
from lvseg.distributed.metrics import RunGauges
from lvseg.distributed.placement import (
    beside_the_driver,
    live_nodes,
    require_place,
    runs_at_once,
    share_of_cpus,
    wanted,
)
from lvseg.distributed.session import ray_session, worker_environment
from lvseg.distributed.storage import everywhere, ray_storage
from lvseg.distributed.train import one_line, run_training
from lvseg.errors import LvsegError, RunError, StoppedError, TrainingError
from lvseg.ledger import run_path
from lvseg.records import Manifest, read_manifest
from lvseg.results import RESULT_FILE, RunResult, read_history, read_result
from lvseg.run_folder import CHECKPOINTS_NAME, Run, fail_run
from lvseg.space import Dimension
from lvseg.store import UPath, write_text
from lvseg.training.plan import IngestPlan

TUNE_FOLDER = ".tune"
"""Ray Tune's own files, below the sweep's folder."""
PLAN_NAME = "sweep.json"
"""What the sweep searches."""
METRIC = "val_dice"

Progress = Callable[[str, int, float], None]
"""Called with a trial's name, its epoch and its validation Dice."""


def _no_progress(*_: Any) -> None:
    pass


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What to search."""

    folder: UPath
    """``RUNS/SWEEP``; each trial is a run folder in it."""
    base: TrainConfig
    """Settings that do not vary."""
    space: Mapping[str, Dimension]
    """Settings that do."""
    tune: TuneConfig
    """How many, how many at a time."""
    records: UPath
    """The record set."""

    @property
    def trials(self) -> int:
        """Trials in all."""
        count = self.tune.trials
        for dimension in self.space.values():
            count *= len(dimension.values) if dimension.kind == "grid" else 1
        return count

    def trial(self, folder: UPath, manifest: Manifest) -> Run:
        """The run of a trial, with the settings that do not vary."""
        return Run(folder=folder, config=self.base, records=self.records, manifest=manifest, sweep=self.folder.name)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a trial takes."""

    cpus: int
    """Cores of each worker."""
    concurrency: int
    """Trials at the same time."""
    ingest: IngestPlan
    """Where their workers keep their images."""


def plan_resources(sweep: Sweep) -> Resources:
    """Share the cluster out among trials that run at the same time.

    Raises:
        ConfigError: not one trial fits.
        RecordsError: the records cannot be used.
    """
    nodes, want = live_nodes(), wanted(sweep.base)
    require_place(nodes, want, sweep.base.cpus_per_worker or 1)
    limit = min(sweep.trials, sweep.tune.concurrency or sweep.trials)
    limit = min(limit, runs_at_once(nodes, want, sweep.base.cpus_per_worker or 1))
    cpus = sweep.base.cpus_per_worker or share_of_cpus(nodes, want, limit)
    data = sweep.trial(sweep.folder, read_manifest(sweep.records)).data
    ingest = choose_ingest(sweep.base.ingest, data, sweep.records, want.workers, limit)
    return Resources(cpus=cpus, concurrency=limit, ingest=ingest)


def run_sweep(sweep: Sweep, resources: Resources, progress: Progress = _no_progress) -> list[RunResult]:
    """Run every trial; one that fails costs itself only. Needs a Ray session.

    Returns:
        The trials' results, failed ones too, in trial order.

    Raises:
        ConfigError, RecordsError: nothing could run at all.
        RunError: the sweep's name is taken.
        TrainingError: every trial failed.
    """
    manifest = open_sweep(sweep)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C ends the sweep, and is not a failure of its trials.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    # Trials have working folders of their own.
    fixed = dataclasses.replace(sweep, folder=everywhere(sweep.folder), records=everywhere(sweep.records))
    trainable = tune.with_parameters(run_trial, sweep=fixed, resources=resources)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _trial_resources(sweep.base, resources)),
        param_space={key: _domain(dimension) for key, dimension in sweep.space.items()},
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=sweep.tune.trials,
            max_concurrent_trials=resources.concurrency,
            search_alg=tune.search.BasicVariantGenerator(
                random_state=sweep.tune.search_seed, max_concurrent=resources.concurrency
            ),
        ),
        run_config=tune.RunConfig(
            **ray_storage(sweep.folder),
            name=f"{TUNE_FOLDER}/{time.time_ns()}",
            # A trial whose node is lost goes on from its last checkpoint on another.
            failure_config=tune.FailureConfig(max_failures=sweep.base.max_failures),
            callbacks=[_Reports(progress)],
            verbose=0,
        ),
    )
    return _gather(sweep, manifest, tuner.fit().errors)


def open_sweep(sweep: Sweep) -> Manifest:
    """Refuse what cannot work and claim the sweep's folder; needs no Ray session.

    Raises:
        ConfigError, RecordsError: nothing could run at all.
        RunError: the sweep's name is taken, or its folder cannot be written.
    """
    manifest = read_manifest(sweep.records)
    sweep.trial(sweep.folder, manifest).check_fits()
    _claim_folder(sweep, manifest)
    return manifest


def _claim_folder(sweep: Sweep, manifest: Manifest) -> None:
    """Write what the sweep searches, or check that the folder's sweep is the same: it is then gone on with.

    The draw is seeded, so trial N has the same settings again: finished trials are not repeated,
    broken-off ones resume.
    """
    plan = {
        "base": sweep.base.identity(),
        "space": {key: dataclasses.asdict(dimension) for key, dimension in sweep.space.items()},
        "tune": dataclasses.asdict(dataclasses.replace(sweep.tune, concurrency=None)),
        "records_sha256": manifest.records_sha256,
    }
    path = sweep.folder / PLAN_NAME
    text = json.dumps(plan, indent=2) + "\n"
    try:
        if path.exists():
            if path.read_text(encoding="utf-8") != text:
                raise RunError(
                    f"sweep name {sweep.folder.name} is taken by another sweep (see {path}); choose another name"
                )
        elif sweep.folder.exists() and any(sweep.folder.iterdir()):
            raise RunError(f"{sweep.folder}: holds other files, not a sweep; choose another name")
        write_text(path, text)
    except OSError as error:
        raise RunError(f"{sweep.folder}: cannot be written: {error.strerror or error}") from None


def _domain(dimension: Dimension) -> Any:
    if dimension.kind == "choice":
        return tune.choice(list(dimension.values))
    if dimension.kind == "grid":
        return tune.grid_search(list(dimension.values))
    low, high = dimension.values
    if dimension.kind == "randint":
        return tune.randint(low, high + 1)
    return tune.uniform(low, high) if dimension.kind == "uniform" else tune.loguniform(low, high)


def _trial_resources(base: TrainConfig, resources: Resources) -> tune.PlacementGroupFactory:
    if base.workers > 1:
        # The workers are placed by the Ray Train run inside the trial, which itself only looks on: it takes no core
        # that a worker may need, and is where the driver is, off the nodes that may be taken away.
        return tune.PlacementGroupFactory([beside_the_driver()])
    want = wanted(base)
    labels = {"bundle_label_selector": [dict(want.labels)]} if want.labels else {}
    return tune.PlacementGroupFactory([want.bundle(resources.cpus)], want.strategy, **labels)


class _Reports(tune.Callback):  # type: ignore[misc]
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __getstate__(self) -> dict[str, Any]:
        # Tune saves its callbacks; a progress bar holds locks and has no meaning elsewhere.
        return {"_progress": _no_progress}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if METRIC in result:
            self._progress(trial_name(trial.trial_id), int(result["epoch"]), float(result[METRIC]))


def trial_name(trial_id: str) -> str:
    """``a1b2c_00003`` → ``trial-00003``."""
    return f"trial-{trial_id.rsplit('_', 1)[-1]}"


def run_trial(params: dict[str, Any], *, sweep: Sweep, resources: Resources) -> None:
    """What each trial does."""
    os.environ.update(worker_environment())
    folder = sweep.folder / trial_name(tune.get_context().get_trial_id())
    run = sweep.trial(folder, read_manifest(sweep.records))
    try:
        run = dataclasses.replace(run, config=dataclasses.replace(sweep.base, **params))
        if run.config.workers > 1:
            _train_group(run, resources)
        else:
            _train_here(run, resources)
    except LvsegError as error:
        if not isinstance(error, StoppedError) and not (folder / RESULT_FILE).exists():
            fail_run(run, str(error))
        raise


def _train_group(run: Run, resources: Resources) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    run = dataclasses.replace(run, config=dataclasses.replace(run.config, cpus_per_worker=resources.cpus))
    with ray_session():
        result = run_training(run, callbacks=[TuneReportCallback()], ingest=resources.ingest.mode)
    tune.report({"epoch": result.epochs, METRIC: result.val_dice})


def _train_here(run: Run, resources: Resources) -> None:
    from lvseg.training.context import LocalContext
    from lvseg.training.local import train_here

    class TrialContext(LocalContext):
        def report(self, metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
            super().report(metrics, checkpoint)
            if METRIC in metrics:
                tune.report(dict(metrics))

    context = TrialContext(run.folder / CHECKPOINTS_NAME)
    gauges = RunGauges(run_path(run.folder, run.sweep))
    result = train_here(run, context, resources.ingest.mode, resources.cpus, [gauges])
    if not context.reports:  # it broke off after its last epoch, and Tune wants a number from every trial
        tune.report({"epoch": result.epochs, METRIC: result.val_dice})


def _gather(sweep: Sweep, manifest: Manifest, errors: list[Exception]) -> list[RunResult]:
    """Every trial's result; a trial that died without a word gets one that says so."""
    results = []
    for folder in sorted(path for path in sweep.folder.iterdir() if path.name.startswith("trial-")):
        if not (folder / RESULT_FILE).exists():
            fail_run(sweep.trial(folder, manifest), f"the trial's process died after {_epochs_done(folder)} epochs")
        results.append(read_result(folder))
    if not any(result.status == "finished" for result in results):
        reasons = [result.error for result in results if result.error] + [one_line(error) for error in errors]
        reason = reasons[0] if reasons else "no trial ran"
        raise TrainingError(f"sweep {sweep.folder.name}: all {sweep.trials} trials failed, the first with: {reason}")
    return results


def _epochs_done(folder: UPath) -> int:
    try:
        return len(read_history(folder))
    except RunError:
        return 0
