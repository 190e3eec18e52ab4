"""The arguments and the arithmetic of the throughput benchmark; nothing is timed here."""

import dataclasses
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tyro
from rich.console import Console

from benchmarks import train_throughput
from benchmarks.train_throughput import BARE, HERE, ONE, TWO, Benchmark, later_epochs, main, ratios_of, table_of
from lvseg.config import TrainConfig
from lvseg.errors import ConfigError
from lvseg.results import EpochRow, write_history


def test_defaults_are_the_promised_model_on_all_cores() -> None:
    config = tyro.cli(Benchmark, args=[]).train_config()
    assert (config.model, config.precision, config.workers) == ("fcn", "float32", 1)
    assert config.cpus_per_worker == os.cpu_count()


def test_flags_reach_the_settings_of_both_sides() -> None:
    flags = "--model unet --images 12 --epochs 2 --batch-size 6 --threads 1 --precision bfloat16 --rounds 5"
    benchmark = tyro.cli(Benchmark, args=flags.split())
    config = benchmark.train_config()
    assert (benchmark.images, benchmark.rounds) == (12, 5)
    assert (config.model, config.epochs, config.batch_size) == ("unet", 2, 6)
    assert (config.cpus_per_worker, config.precision) == (1, "bfloat16")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1}, "epochs must be at least 2.*got 1"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"images": 10}, "images must be a multiple of batch_size, got 10 and 4"),
        ({"images": 0}, "images must be a multiple of batch_size, got 0 and 4"),
        ({"threads": 0}, "threads must be from 1 to .* got 0"),
        ({"threads": 10_000}, "threads must be from 1 to .* got 10000"),
        ({"ways": ("bare",)}, "ways must be of bare loop, .*got 'bare'"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"model": "resnet"}, "model must be one of fc, fcn, unet, unet-light, got 'resnet'"),
        ({"precision": "float8"}, "precision must be"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Benchmark(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "address", "message"),
    [(["--epochs", "1"], "", "epochs must"), ([], "auto", "RAY_ADDRESS must not be set")],
)
def test_a_wrong_call_ends_in_one_line(
    args: list[str],
    address: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_first_epoch_does_not_count() -> None:
    assert later_epochs([1.0, 20.0]) == 20.0
    assert later_epochs([1.0, 20.0, 90.0, 30.0]) == 30.0


def rounds_of(*speeds: tuple[float, float]) -> list[dict[str, float]]:
    return [{BARE: bare, ONE: one} for bare, one in speeds]


def test_ratios_are_made_of_what_was_measured_in_the_same_round() -> None:
    ratios = ratios_of(rounds_of((20.0, 19.0), (10.0, 9.7)))
    assert ratios == {(ONE, BARE): [0.95, pytest.approx(0.97)]}


def test_table_gives_the_median_ratio_its_range_and_the_promise() -> None:
    table = table_of(Benchmark(threads=1), rounds_of((20.0, 18.0), (10.0, 9.7), (40.0, 38.0)))
    assert [list(column.cells) for column in table.columns] == [[ONE], [BARE], ["0.950"], ["0.900 to 0.970"], ["0.97"]]


def test_rounds_alternate_and_use_new_run_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []

    def measure_way(way: str, records: Path, config: TrainConfig, folder: Path) -> float:
        calls.append((way, folder.name))
        return 20.0

    monkeypatch.setattr(train_throughput, "make_records", lambda folder, images: folder / "records")
    monkeypatch.setattr(train_throughput, "measure_way", measure_way)
    train_throughput.measure(Benchmark(rounds=2, ways=(BARE, ONE)), tmp_path, Console(quiet=True))
    assert calls == [(BARE, "1-0"), (ONE, "1-1"), (BARE, "2-0"), (ONE, "2-1")]


@pytest.mark.parametrize(("way", "workers", "threads"), [(HERE, 0, 2), (ONE, 1, 2), (TWO, 2, 1)])
def test_every_way_of_lvseg_gets_the_same_settings(
    way: str, workers: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        rows = [EpochRow(**dict.fromkeys(EpochRow.__dataclass_fields__, 1.0) | {"epoch": n}) for n in (1, 2)]
        write_history(tmp_path / "run", rows)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    config = dataclasses.replace(Benchmark(model="unet", epochs=3).train_config(), cpus_per_worker=2)
    assert train_throughput.measure_way(way, tmp_path, config, tmp_path / "run") == 1.0
    flags = commands[0][commands[0].index(str(tmp_path)) + 1 : commands[0].index("--runs")]
    assert tyro.cli(TrainConfig, args=flags) == dataclasses.replace(config, workers=workers, cpus_per_worker=threads)


def test_the_bare_loop_gets_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="[1.0, 21.0, 23.0]\n")

    monkeypatch.setattr(subprocess, "run", run)
    config = Benchmark(model="unet", threads=1, epochs=3).train_config()
    assert train_throughput.measure_way(BARE, tmp_path, config, tmp_path / "run") == 22.0
    flags = commands[0][commands[0].index(str(tmp_path)) + 1 :]
    assert tyro.cli(TrainConfig, args=flags) == config
