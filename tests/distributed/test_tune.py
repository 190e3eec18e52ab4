"""Sweeps with real trials."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from lvseg.config import TrainConfig, TuneConfig
from lvseg.distributed.tune import plan_resources, run_sweep
from lvseg.errors import ConfigError, RunError, TrainingError
from lvseg.leaderboard import build
from lvseg.records import Manifest
from lvseg.results import RunResult, read_history, read_result
from lvseg.run_folder import Run
from lvseg.space import Dimension
from lvseg.sweep import Sweep
from lvseg.training.local import train_locally
from tests.distributed.places import groups_left

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

DEADLINE_S = 240
BASE = TrainConfig(model="fc", epochs=2, batch_size=4, picture_every=0, precision="float32", max_failures=0)
RATES = {"learning_rate": Dimension(kind="grid", values=(1e-3, 2e-3))}


def sweep_of(made: tuple[Path, Manifest], folder: Path, **changes: object) -> Sweep:
    settings = {"base": BASE, "space": RATES, "tune": TuneConfig(trials=1), **changes}
    return Sweep(folder=folder, records=made[0], **settings)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swept:
    """A sweep that has ended; its records were named by a relative path."""

    sweep: Sweep
    results: list[RunResult]
    told: list[tuple[str, int, float]]


@pytest.fixture(scope="module")
def swept(cluster: None, made: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    told: list[tuple[str, int, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made[0].parent)
        sweep = dataclasses.replace(sweep_of(made, folder), records=Path(made[0].name))
        results = run_sweep(sweep, plan_resources(sweep), lambda *report: told.append(report))
    return Swept(sweep=sweep, results=results, told=told)


def test_every_trial_is_a_run(
    swept: Swept, made: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made[0].parent)
    sweep, results, told = swept.sweep, swept.results, swept.told
    assert [result.name for result in results] == ["trial-00000", "trial-00001"]
    assert sorted(result.config["learning_rate"] for result in results) == [1e-3, 2e-3]
    assert all(result.sweep == "sweep" and result.status == "finished" for result in results)
    assert {(trial, epoch) for trial, epoch, _ in told} == {(r.name, epoch) for r in results for epoch in (1, 2)}
    (group,) = build(sweep.folder.parent).groups
    assert len(group.rows) == 2
    assert all(result.command.startswith(f"lvseg train {made[0].name} --") for result in results)
    assert group.rows[0].result.val_dice == max(result.val_dice for result in results)

    run = Run(
        folder=tmp_path / "alone",
        config=dataclasses.replace(BASE, learning_rate=results[0].config["learning_rate"], workers=0),
        records=made[0],
        manifest=made[1],
    )
    train_locally(run, print)
    alone, trial = read_history(run.folder), read_history(sweep.folder / results[0].name)
    assert [row.val_loss for row in alone] == pytest.approx([row.val_loss for row in trial], abs=1e-5)

    before = {path: path.stat().st_mtime_ns for path in sweep.folder.glob("trial-*/history.csv")}
    again = run_sweep(sweep, plan_resources(sweep))
    assert again == results
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = dataclasses.replace(sweep, base=dataclasses.replace(BASE, epochs=3))
    with pytest.raises(RunError, match="taken by another sweep"):
        run_sweep(other, plan_resources(other))


def damage(trial: Path) -> None:
    """As if the trial had broken off and its checkpoint were cut."""
    (trial / "result.json").unlink()
    for path in (trial / "checkpoints").glob("epoch-*/training.npz"):
        path.write_bytes(b"damaged")


def test_failed_trial_costs_itself_only(swept: Swept, made: tuple[Path, Manifest], tmp_path: Path) -> None:
    shutil.copytree(swept.sweep.folder, tmp_path / "sweep")
    sweep = dataclasses.replace(swept.sweep, folder=tmp_path / "sweep", records=made[0])
    damage(sweep.folder / "trial-00001")
    results = run_sweep(sweep, plan_resources(sweep))
    assert [result.status for result in results] == ["finished", "failed"]
    assert "damaged" in (results[1].error or "")
    assert [row.result.name for row in build(tmp_path).failed] == ["trial-00001"]

    damage(sweep.folder / "trial-00000")
    with pytest.raises(TrainingError, match=r"all 2 trials failed, the first with: .*damaged"):
        run_sweep(sweep, plan_resources(sweep))


@pytest.mark.cluster
def test_trials_of_two_workers_fit_beside_each_other(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    """Three cores hold one trial of two workers at a time; the other waits, nothing locks up."""
    sweep = sweep_of(made, tmp_path / "sweep", base=dataclasses.replace(BASE, workers=2, epochs=1))
    resources = plan_resources(sweep)
    assert resources.concurrency == 1
    results = run_sweep(sweep, resources)
    assert [result.status for result in results] == ["finished", "finished"]
    assert all(result.workers == 2 for result in results)
    assert all(read_result(sweep.folder / result.name).sweep == "sweep" for result in results)
    assert groups_left() == []


def test_trial_that_cannot_fit_is_refused(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    cores = int(ray.cluster_resources()["CPU"])
    base = dataclasses.replace(BASE, workers=cores + 1, batch_size=cores + 1)
    with pytest.raises(
        ConfigError, match=rf"{cores + 1} worker\(s\) of 1 CPU\(s\) need {cores + 1}, this machine has {cores}"
    ):
        plan_resources(sweep_of(made, tmp_path / "sweep", base=base))


def test_interrupted_sweep_fails_no_trial(made: tuple[Path, Manifest], tmp_path: Path, repository: Path) -> None:
    flags = ["--model=fc", "--epochs=500", "--picture-every=0", "--trials=2", "--runs", tmp_path, "--name=sweep"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "lvseg.cli", "tune", made[0], *flags]
    with subprocess.Popen(
        command, env={**environment, "PYTHONPATH": str(repository)}, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not list(tmp_path.glob("sweep/trial-*/history.csv")):
            assert process.poll() is None, f"the sweep ended early with {process.returncode}"
            assert time.monotonic() < deadline, "no trial has finished an epoch"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert "lvseg: interrupted; the same command" in errors.decode()
    assert "Traceback" not in errors.decode()
    assert not list(tmp_path.glob("sweep/trial-*/result.json"))
