"""The arguments and the arithmetic of the throughput benchmark; nothing is timed here."""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import tyro

from benchmarks.train_throughput import (
    BARE,
    FIT,
    HERE,
    ONE,
    TWO,
    Benchmark,
    Meter,
    Turns,
    command_of,
    count_of,
    main,
    ratios_of,
    sittings_of,
    table_of,
)
from lvseg.config import TrainConfig
from lvseg.errors import ConfigError, TrainingError
from lvseg.store import location
from lvseg.training.status import RunProgress, write_progress


def test_defaults_are_the_promised_model_on_all_cores() -> None:
    config = tyro.cli(Benchmark, args=[]).train_config()
    assert (config.model, config.precision, config.workers) == ("fcn", "float32", 1)
    assert config.cpus_per_worker == os.cpu_count()


def test_flags_reach_the_settings_of_both_sides() -> None:
    flags = "--model unet --images 12 --seconds 2 --batch-size 6 --threads 1 --precision bfloat16 --rounds 5"
    benchmark = tyro.cli(Benchmark, args=flags.split())
    config = benchmark.train_config()
    assert (benchmark.images, benchmark.rounds) == (12, 5)
    assert (config.model, benchmark.seconds, config.batch_size) == ("unet", 2, 6)
    assert (config.cpus_per_worker, config.precision) == (1, "bfloat16")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0}, "seconds must be above 0, got 0"),
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
    [(["--rounds", "0"], "", "rounds must"), ([], "auto", "RAY_ADDRESS must not be set")],
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


def test_the_speed_of_a_turn_is_read_off_a_line_through_the_notes() -> None:
    meter = Meter()
    for seconds, images in ((1.0, 8), (1.5, 8), (2.0, 16), (5.0, 40), (9.0, 104)):
        meter.note(seconds, images)
    assert meter.seconds == [1.0, 2.0, 5.0, 9.0]
    # 8 images a second from 1 to 5 s, 16 from 5 to 9 s; nothing is known before the first note and after the last.
    assert meter.speeds(5.0, 2) == pytest.approx([8.0, 16.0])
    assert meter.speeds(3.0, 4) == pytest.approx([8.0, 8.0 * 2 / 3 + 16.0 / 3, 16.0])


def test_a_way_that_hardly_moved_has_no_speed() -> None:
    with pytest.raises(TrainingError, match="too few steps in 2 turns of 5 s"):
        Meter(seconds=[1.0, 2.0], images=[4, 8]).speeds(5.0, 2)


def test_two_workers_sit_with_one_worker_alone() -> None:
    assert sittings_of((BARE, ONE, TWO)) == [(BARE, ONE), (ONE, TWO)]
    assert sittings_of((BARE, FIT)) == [(BARE, FIT)]
    assert sittings_of((TWO,)) == [(ONE, TWO)]


def test_ratios_are_made_of_what_was_measured_in_the_same_round() -> None:
    assert ratios_of([{BARE: [20.0, 10.0], ONE: [19.0, 9.7]}, {ONE: [8.0], TWO: [6.0]}]) == {
        (ONE, BARE): [0.95, pytest.approx(0.97)],
        (TWO, ONE): [0.75],
    }


def test_table_gives_the_median_ratio_the_middle_half_and_the_promise() -> None:
    table = table_of(Benchmark(threads=1), [{BARE: [20.0, 10.0, 40.0], ONE: [18.0, 9.7, 38.0]}])
    assert [list(column.cells) for column in table.columns] == [[ONE], [BARE], ["0.950"], ["0.925 to 0.960"], ["0.97"]]


@pytest.mark.parametrize(("way", "workers", "threads"), [(HERE, 0, 2), (ONE, 1, 2), (TWO, 2, 1)])
def test_every_way_of_lvseg_gets_the_same_settings(way: str, workers: int, threads: int, tmp_path: Path) -> None:
    config = dataclasses.replace(Benchmark(model="unet").train_config(), cpus_per_worker=2)
    command = command_of(way, tmp_path, config, tmp_path / "home")
    flags = command[command.index(str(tmp_path)) + 1 : command.index("--runs")]
    assert tyro.cli(TrainConfig, args=flags) == dataclasses.replace(config, workers=workers, cpus_per_worker=threads)


@pytest.mark.parametrize("way", [BARE, FIT])
def test_the_yardsticks_get_the_same_settings(way: str, tmp_path: Path) -> None:
    config = Benchmark(model="unet", threads=1).train_config()
    command = command_of(way, tmp_path, config, tmp_path / "home")
    flags = command[command.index(str(tmp_path)) + 1 : command.index("--count")]
    assert tyro.cli(TrainConfig, args=flags) == config


def test_the_images_of_a_run_are_counted_from_its_progress(tmp_path: Path) -> None:
    count = count_of(ONE, 4, tmp_path)
    assert count() == 0
    (tmp_path / "run").mkdir()
    write_progress(location(str(tmp_path / "run")), RunProgress(phase="compiling", epochs=2, step=0))
    assert count() == 0
    write_progress(location(str(tmp_path / "run")), RunProgress(phase="training", epochs=2, epoch=1, step=6))
    assert count() == 24


STEPS = """
import sys, time
file = open(sys.argv[1], "wb", buffering=0)
for step in range(1, 100_000):
    file.seek(0)
    file.write(str(step).encode())
    time.sleep(0.005)
"""


def test_a_way_works_in_its_turns_only(tmp_path: Path) -> None:
    count = count_of(BARE, 1, tmp_path)
    turns = Turns(BARE, [sys.executable, "-c", STEPS, str(tmp_path / "count")], count, tmp_path / "log")
    try:
        turns.wait()
        stands = count()
        turns.run(0.3)
        made = count()
        assert made > stands > 0
        turns.run(0.3)
        assert count() > made
        assert turns.meter.seconds == sorted(turns.meter.seconds)
        assert 0.3 < turns.meter.seconds[-1] <= 0.7
    finally:
        turns.end()


def test_a_way_that_ends_is_told_with_its_last_line(tmp_path: Path) -> None:
    turns = Turns(BARE, [sys.executable, "-c", "import sys; sys.exit('no memory')"], lambda: 0, tmp_path / "log")
    with pytest.raises(TrainingError, match="bare loop: ended: no memory"):
        turns.wait()
