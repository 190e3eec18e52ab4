"""Sweeps and cross-validations: many runs at a time."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lvseg.cli import boards
from lvseg.cli.terminal import named_folder, open_console
from lvseg.config import TrainConfig, TuneConfig
from lvseg.leaderboard import View
from lvseg.progress import reporter, sweep_progress
from lvseg.store import UPath
from lvseg.training.mlflow import require_mlflow

if TYPE_CHECKING:
    from lvseg.sweep import Sweep


def tune(
    records: UPath,
    settings: TrainConfig,
    sweep_settings: TuneConfig,
    space: Path | None,
    runs: UPath,
    name: str | None,
    *,
    dry_run: bool,
    verbose: bool,
) -> int:
    """Run or resume a sweep and show its leaderboard; or only say what it would do."""
    from lvseg.space import read_space
    from lvseg.sweep import Sweep, recorded_warm_start
    from lvseg.warm_start import warm_start

    folder = named_folder(runs, name, f"sweep-{settings.model}")
    sweep = Sweep(folder=folder, base=settings, space=read_space(space, settings), tune=sweep_settings, records=records)
    sweep.check()
    before = recorded_warm_start(folder)
    sweep = dataclasses.replace(sweep, warm=warm_start(sweep) if before is None else before)
    return run(sweep, dry_run=dry_run, verbose=verbose)


def cross_validate(records: UPath, settings: TrainConfig, runs: UPath, name: str | None, *, verbose: bool) -> int:
    """Train one configuration on every fold, side by side, and show mean and spread."""
    from lvseg.sweep import Sweep

    folder = named_folder(runs, name, f"{settings.model}-folds")
    sweep = Sweep(folder=folder, base=settings, space={}, tune=TuneConfig(trials=1), records=records)
    return run(sweep, dry_run=False, verbose=verbose)


def run(sweep: Sweep, *, dry_run: bool, verbose: bool) -> int:
    """Run, resume or only plan a sweep."""
    require_mlflow(sweep.base)
    console = open_console()

    from lvseg.distributed.session import ray_session
    from lvseg.distributed.tune import plan_resources, run_sweep
    from lvseg.sweep import open_sweep

    if not dry_run:
        open_sweep(sweep)
    with ray_session(sweep.base.workers, verbose=verbose):
        resources = plan_resources(sweep)
        console.print(resources.describe(sweep), soft_wrap=True)
        console.print(str(resources.ingest), soft_wrap=True)
        if dry_run:
            print_plan(sweep, resources.concurrency, console)
            return 0
        total = sweep.trials * sweep.most_epochs
        with reporter(sweep.folder.name, console, total) as shown:
            results = run_sweep(sweep, resources, sweep_progress(total, shown.update))
    for result in (result for result in results if result.status == "failed"):
        console.print(f"{result.name} failed: {result.error}", soft_wrap=True)
    if early := sum(result.status == "stopped early" for result in results):
        console.print(f"{early} of {len(results)} trials were stopped early")
    if not results or len(results) < sweep.trials:
        console.print(f"{sweep.trials - len(results)} of {sweep.trials} trials have not ended")
    if not results:
        return 0
    return boards.leaderboard(sweep.folder, View(), "table", None, None, compact=False)


def print_plan(sweep: Sweep, concurrency: int, console: Console) -> None:
    """What a sweep would do, and what it would cost."""
    from lvseg.sweep_cost import cost

    estimate = cost(sweep)
    how = f"search {sweep.tune.search}, scheduler {sweep.tune.scheduler}"
    console.print(f"{how}: {estimate.epochs:,} epochs at most{_expected(estimate.epochs, estimate.expected_epochs)}")
    console.print(f"{estimate.images:,} training images at most, {estimate.images_per_epoch:,} an epoch")
    for key, dimension in sweep.space.items():
        values = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in dimension.values)
        when = " and ".join(f"{name} is {' or '.join(map(str, of))}" for name, of in dimension.when.items())
        console.print(f"  {key}: {dimension.kind} {values}" + (f", when {when}" if when else ""), soft_wrap=True)
    for settings in sweep.warm:
        console.print(f"  begins with {', '.join(f'{key} {value}' for key, value in settings.items())}", soft_wrap=True)
    if estimate.images_per_second is None:
        console.print("no run on these records yet: how long it takes is not known")
        return
    expected = estimate.images * estimate.expected_epochs / max(1, estimate.epochs)
    hours = expected / (estimate.images_per_second * concurrency) / 3600
    console.print(
        f"about {_time(hours)} at {concurrency} x {estimate.images_per_second:.1f} images/s, the median of "
        f"{estimate.known_runs} runs of this kind so far; start-up and validation not counted",
        soft_wrap=True,
    )


def _expected(most: int, expected: int) -> str:
    return "" if expected == most else f", about {expected:,} expected"


def _time(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{math.ceil(hours * 60)} minutes"
