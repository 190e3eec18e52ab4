"""Training runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from lvseg.cli import tuning
from lvseg.cli.terminal import named_folder, open_console
from lvseg.config import TrainConfig
from lvseg.progress import watch_run
from lvseg.quiet import TENSORFLOW_LEVEL, import_keras
from lvseg.store import UPath
from lvseg.training.mlflow import require_mlflow

if TYPE_CHECKING:
    from lvseg.results import RunResult
    from lvseg.run_folder import Run


def train(records: UPath, settings: TrainConfig, runs: UPath, name: str | None, *, verbose: bool) -> int:
    """Train or resume one run, or one for every fold."""
    if settings.folds is not None and settings.fold is None:
        return tuning.cross_validate(records, settings, runs, name, verbose=verbose)
    from lvseg.records import read_manifest
    from lvseg.run_folder import Run, open_run

    folder = named_folder(runs, name, settings.model)
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
    import_keras()
    from lvseg.training.local import train_locally

    return train_locally(run, say)
