"""The whole job on the phantom, small enough for two cores and a few minutes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from lvseg.config import ConvertConfig, TrainConfig, TuneConfig
from lvseg.distributed.convert import convert
from lvseg.distributed.session import ray_session
from lvseg.distributed.train import run_training
from lvseg.distributed.tune import plan_resources, run_sweep
from lvseg.leaderboard import build, render
from lvseg.phantom import write_phantom
from lvseg.progress import reporter, sweep_progress, watch_run
from lvseg.records import MANIFEST_NAME, read_manifest
from lvseg.report import write_report
from lvseg.run_folder import Run
from lvseg.space import read_space
from lvseg.store import UPath, location
from lvseg.sweep import Sweep

PATIENTS = 10
SIZE = 128
SETTINGS = TrainConfig(epochs=12, batch_size=4, learning_rate=2e-3, picture_every=4)
EPOCHS = {"fc": 12, "fcn": 12, "unet": 8}
TRIALS = 4
TRIAL_EPOCHS = 6


def run_demo(out: Path, console: Console) -> int:
    """Phantom, conversion, three models, a sweep, leaderboard and report page; returns the exit status."""
    phantom, records, runs = out / "phantom", location(out / "records"), location(out / "runs")
    _write_phantom(phantom, console)
    with ray_session():
        _convert(phantom, records, console)
        manifest = read_manifest(records)
        for number, (model, epochs) in enumerate(EPOCHS.items(), start=3):
            console.rule(f"{number}. train {model}")
            config = dataclasses.replace(SETTINGS, model=model, epochs=epochs)
            run = Run(folder=runs / model, config=config, records=records, manifest=manifest)
            with watch_run(run.folder, epochs, console):
                run_training(run)
        _sweep(records, runs, console)
    board = build(runs)
    console.rule("leaderboard")
    console.print(render(board, "table", console.width), soft_wrap=True)
    page = write_report(board, out / "report.html")
    console.print(f"report page: {page.resolve()}", soft_wrap=True)
    return 0


def _write_phantom(phantom: Path, console: Console) -> None:
    console.rule("1. phantom")
    if (phantom / "truth.json").exists():
        console.print(f"{phantom} is there already")
        return
    summary = write_phantom(phantom, patients=PATIENTS, size=SIZE, labelled_only=True)
    console.print(f"{phantom}: {summary.patients} made-up patients, {summary.images} DICOM images")


def _convert(phantom: Path, records: UPath, console: Console) -> None:
    console.rule("2. convert")
    if (records / MANIFEST_NAME).exists():
        console.print(f"{records} is there already")
        return
    with reporter("convert", console) as shown:
        manifest = convert(phantom, records, ConvertConfig(), progress=shown.update)
    for name, part in manifest.splits.items():
        console.print(f"{name}: {part.images} images, patients: {part.patients}")


def _sweep(records: UPath, runs: UPath, console: Console) -> None:
    console.rule(f"{3 + len(EPOCHS)}. sweep fcn")
    base = dataclasses.replace(SETTINGS, epochs=TRIAL_EPOCHS)
    sweep = Sweep(
        folder=runs / "sweep",
        base=base,
        space=read_space(None, base),
        tune=TuneConfig(trials=TRIALS),
        records=records,
    )
    with reporter(f"sweep of {TRIALS} trials", console, TRIALS * TRIAL_EPOCHS) as shown:
        run_sweep(sweep, plan_resources(sweep), sweep_progress(TRIALS * TRIAL_EPOCHS, shown.update))
