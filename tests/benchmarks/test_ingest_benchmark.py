"""The ingest benchmark counts what it says and refuses what it cannot measure; its times are asserted nowhere."""

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import ingest
from benchmarks.ingest import (
    BARE,
    BASELINE,
    Benchmark,
    Speed,
    bare_epochs,
    lvseg_epochs,
    measure,
    table_of,
    write_records,
)
from lvseg.errors import ConfigError
from tests.discs import make_disc


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1}, "epochs must be at least 2"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"images": 30, "batch_size": 4}, "images must be a multiple of batch_size, got 30 and 4"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Benchmark(**settings)


def test_every_way_reads_every_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVSEG_CACHE", str(tmp_path / "cache"))
    benchmark, slices = Benchmark(images=24, steps_per_call=4), [make_disc(number) for number in range(24)]
    parquet = write_records(tmp_path / "parquet", slices, "parquet")
    tfrecord = write_records(tmp_path / "tfrecord", slices, "tfrecord")
    files = [tmp_path / "tfrecord" / file.file for file in tfrecord.splits["train"].files]
    ways = [bare_epochs(files, slices[0], benchmark, cache) for cache in (False, True)]
    ways += [lvseg_epochs(mode, tmp_path / "parquet", parquet, benchmark) for mode in ("memory", "disk", "stream")]
    total = sum(float(item.image[0, 0]) + float(item.mask[0, 0]) for item in slices)
    assert [[next(way), next(way)] for way in ways] == [[total, total]] * 5


def test_all_are_measured_in_turn_with_a_new_cache_in_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LVSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(ingest, "make_slices", lambda folder, images: map(make_disc, range(images)))
    found = measure(Benchmark(images=8, rounds=2, epochs=2), tmp_path, Console(quiet=True))
    assert list(found) == [BARE, BASELINE, "lvseg, memory", "lvseg, disk", "lvseg, stream"]
    assert {len(speeds) for speeds in found.values()} == {2}
    assert (tmp_path / "cache-1").is_dir()
    assert (tmp_path / "cache-2").is_dir()


def test_ratios_are_taken_round_by_round() -> None:
    fast, slow = Speed(first=1, later=200), Speed(first=1, later=100)
    found = {BARE: [slow, slow], BASELINE: [fast, slow], "lvseg, memory": [fast, fast]}
    table = table_of(Benchmark(), found)
    assert [list(column.cells)[2] for column in table.columns] == [
        "lvseg, memory",
        "1",
        "200",
        "2.00",
        "1.50",
        "1.00 to 2.00",
    ]
