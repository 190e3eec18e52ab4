"""The arguments and the arithmetic of the throughput benchmark; nothing is timed here."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tyro
from rich.console import Console

from benchmarks import train_throughput
from benchmarks.train_throughput import Benchmark, Round, later_epochs, main, table_of
from lvseg.config import TrainConfig
from lvseg.errors import ConfigError


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
        ({"batch_size": 0}, "batch_size must be"),
        ({"model": "resnet"}, "model must be one of fc, fcn, unet, got 'resnet'"),
        ({"precision": "float16"}, "precision must be"),
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


def test_ratio_is_lvseg_over_bare() -> None:
    assert Round(bare=20.0, lvseg=19.0).ratio == 0.95


def test_table_gives_each_round_the_median_ratio_and_the_range() -> None:
    rounds = [Round(bare=20.0, lvseg=18.0), Round(bare=10.0, lvseg=9.7), Round(bare=40.0, lvseg=38.0)]
    table = table_of(Benchmark(threads=1), rounds)
    ratios = list(table.columns[3].cells)
    assert ratios == ["0.900", "0.970", "0.950", "0.950", "0.900 to 0.970"]
    assert list(table.columns[1].cells)[:3] == ["20.0", "10.0", "40.0"]


def test_rounds_alternate_and_use_new_run_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def bare(records: Path, config: TrainConfig) -> float:
        calls.append("bare")
        return 20.0

    def lvseg(records: Path, config: TrainConfig, folder: Path) -> float:
        calls.append(folder.name)
        return 19.0

    monkeypatch.setattr(train_throughput, "make_records", lambda folder, images: folder / "records")
    monkeypatch.setattr(train_throughput, "measure_bare", bare)
    monkeypatch.setattr(train_throughput, "measure_lvseg", lvseg)
    rounds = train_throughput.measure(Benchmark(rounds=2), tmp_path, Console(quiet=True))
    assert calls == ["bare", "1", "bare", "2"]
    assert [one.ratio for one in rounds] == [0.95, 0.95]


def test_the_bare_loop_gets_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="[1.0, 21.0, 23.0]\n")

    monkeypatch.setattr(subprocess, "run", run)
    config = Benchmark(model="unet", threads=1, epochs=3).train_config()
    assert train_throughput.measure_bare(tmp_path, config) == 22.0
    flags = commands[0][commands[0].index(str(tmp_path)) + 1 :]
    assert tyro.cli(TrainConfig, args=flags) == config
