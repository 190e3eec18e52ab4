"""Training runs and sweeps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lvseg.cli import boards
from lvseg.cli.terminal import checked_name, open_console, require_durable
from lvseg.config import TrainConfig, TuneConfig
from lvseg.leaderboard import View
from lvseg.progress import reporter, sweep_progress, watch_run
from lvseg.quiet import TENSORFLOW_LEVEL, import_quietly
from lvseg.store import UPath
from lvseg.training.mlflow import require_mlflow

if TYPE_CHECKING:
    from lvseg.results import RunResult
    from lvseg.run_folder import Run


def train(records: UPath, settings: TrainConfig, runs: UPath, name: str | None, *, verbose: bool) -> int:
    """Train or resume one run."""
    from lvseg.records import read_manifest
    from lvseg.run_folder import Run, default_name, open_run

    require_durable("runs", runs)
    folder = runs / checked_name(default_name(settings.model) if name is None else name)
    run = Run(folder=folder, config=settings, records=records, manifest=read_manifest(records)).settled()
    run.check_fits()
    require_mlflow(settings)
    console = open_console()
    result = open_run(run)
    if result is None:
        with watch_run(folder, settings.epochs, console, logged=verbose):
            train = _train_here if settings.workers == 0 else _train_on_ray
            result = train(run, lambda line: console.print(line, soft_wrap=True), verbose)
    console.print(
        f"{folder}: val Dice {result.val_dice:.4f} (pooled {result.val_dice_pooled:.4f}) at epoch {result.best_epoch} "
        f"of {result.epochs}, {result.seconds:.0f} s, {result.images_per_second:.1f} images/s",
        soft_wrap=True,
    )
    return 0


def _train_on_ray(run: Run, say: Callable[[str], None], verbose: bool) -> RunResult:
    from lvseg.distributed.session import ray_session
    from lvseg.distributed.train import run_training

    with ray_session(run.config.workers, verbose=verbose):
        return run_training(run, say=say)


def _train_here(run: Run, say: Callable[[str], None], verbose: bool) -> RunResult:
    if verbose:
        os.environ.setdefault(TENSORFLOW_LEVEL, "0")
    import_quietly("tensorflow")
    from lvseg.training.local import train_locally

    return train_locally(run, say)


def tune(
    records: UPath,
    settings: TrainConfig,
    sweep_settings: TuneConfig,
    space: Path | None,
    runs: UPath,
    name: str | None,
    *,
    verbose: bool,
) -> int:
    """Run or resume a sweep and show its leaderboard."""
    from lvseg.run_folder import default_name
    from lvseg.space import read_space

    require_durable("runs", runs)
    folder = runs / checked_name(default_name(f"sweep-{settings.model}") if name is None else name)
    dimensions = read_space(space, settings)
    require_mlflow(settings)
    console = open_console()

    from lvseg.distributed.session import ray_session
    from lvseg.distributed.tune import Sweep, open_sweep, plan_resources, run_sweep

    sweep = Sweep(folder=folder, base=settings, space=dimensions, tune=sweep_settings, records=records)
    open_sweep(sweep)
    with ray_session(settings.workers, verbose=verbose):
        resources = plan_resources(sweep)
        console.print(f"{sweep.trials} trials, {resources.concurrency} at a time, {resources.cpus} CPU(s) a worker")
        console.print(str(resources.ingest), soft_wrap=True)
        with reporter(folder.name, console, sweep.trials * settings.epochs) as shown:
            results = run_sweep(sweep, resources, sweep_progress(sweep.trials * settings.epochs, shown.update))
    for result in (result for result in results if result.status == "failed"):
        console.print(f"{result.name} failed: {result.error}", soft_wrap=True)
    return boards.leaderboard(folder, View(), "table", None, None, compact=False)
