"""Where a worker keeps its images: chosen by size, and the pass that brings them into memory."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import Ingest, TrainConfig
from lvseg.distributed.ingest import choose_ingest, read_portions, taken
from lvseg.errors import RecordsError
from lvseg.records import Manifest
from lvseg.run_folder import Run
from lvseg.training.plan import MEMORY_SHARE, plan_ingest
from lvseg.training.portion import Mode, Portion, collect, whole
from tests.discs import write_records

GB = 10**9


def never() -> int:
    raise AssertionError("the disk was asked about though it does not matter")


@pytest.mark.parametrize(
    ("wanted", "pixels", "workers", "disk", "mode"),
    [
        ("auto", 4 * GB, 1, never, "memory"),
        ("auto", 4 * GB + 1, 1, lambda: 100 * GB, "disk"),
        ("auto", 3 * GB, 2, lambda: 100 * GB, "disk"),
        ("auto", 40 * GB, 2, lambda: 85 * GB, "disk"),
        ("auto", 40 * GB, 2, lambda: 81 * GB, "stream"),
        ("memory", 400 * GB, 1, never, "memory"),
        ("stream", 1, 1, never, "stream"),
        ("disk", 1, 1, lambda: 0, "disk"),
    ],
)
def test_the_first_that_fits_or_what_was_asked_for(
    wanted: Ingest, pixels: int, workers: int, disk: object, mode: Mode
) -> None:
    memory = int(4 * GB / MEMORY_SHARE)
    plan = plan_ingest(wanted, pixels, memory, workers, disk)  # type: ignore[arg-type]
    assert plan.mode == mode
    assert str(plan).startswith(f"ingest {mode}: ")
    assert "\n" not in str(plan)


def test_the_numbers_are_said() -> None:
    assert str(plan_ingest("auto", 46_000_000, 24 * GB, 1, never)) == "ingest memory: 46 MB a worker, 6 GB free for it"
    assert str(plan_ingest("auto", 40 * GB, 24 * GB, 2, lambda: 85 * GB)) == (
        "ingest disk: 40 GB a worker for 2 worker(s) on a node, 85 GB free in the cache folder; "
        "too much for memory with 3 GB"
    )


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_workers_and_trials_on_a_node_count_together(made: tuple[Path, Manifest]) -> None:
    records, manifest = made
    total = sum(part.pixel_bytes for part in manifest.splits.values())
    assert total == 26 * 64 * 64 * 3
    one, four = (choose_ingest("memory", manifest, records, workers=2, trials=trials) for trials in (1, 2))
    assert one.reason.startswith("160 kB a worker, ")
    assert one.reason != four.reason
    assert choose_ingest("auto", manifest, records, workers=1).mode == "memory"
    disk = choose_ingest("disk", manifest, records, workers=1, trials=3)
    assert "for 3 worker(s) on a node" in disk.reason


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_the_pass_gives_the_rows_in_order(made: tuple[Path, Manifest]) -> None:
    records, manifest = made
    parts = (("train", range(19)), ("train", range(5, 18)), ("val", range(0)), ("val", range(2, 7)))
    wanted = [Portion(records=records, manifest=manifest, split=split, rows=rows) for split, rows in parts]
    for portion, tables in zip(wanted, read_portions(wanted), strict=True):
        found = collect(taken(tables), (64, 64), len(portion.rows))
        here = collect(portion.tables(), (64, 64), len(portion.rows))
        assert found.names == here.names
        if portion.split == "train":
            assert found.names == tuple(f"D-{row:03d}" for row in portion.rows)
        assert len(set(found.names)) == len(portion.rows)
        np.testing.assert_array_equal(found.images, here.images)
        np.testing.assert_array_equal(found.masks, here.masks)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_broken_file_is_named_by_the_pass(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    records, manifest = made
    for file in records.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken = tmp_path / manifest.splits["train"].files[2].file
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(RecordsError, match=rf"^{broken}: not a readable parquet record file"):
        read_portions([whole(tmp_path, manifest, split) for split in ("val", "train")])


def test_what_cannot_be_trained_on_is_refused_before_anything_starts(tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "records", train=9, val=3, folds=3)

    def check(changed: Manifest, **settings: int) -> None:
        config = TrainConfig(**settings)  # type: ignore[arg-type]
        Run(folder=tmp_path / "run", config=config, records=tmp_path / "records", manifest=changed).check_fits()

    check(manifest, fold=2)
    with pytest.raises(RecordsError, match=r"split into folds, choose fold 0 to 2, got None"):
        check(manifest)
    with pytest.raises(RecordsError, match=r"choose fold 0 to 2, got 3"):
        check(manifest, fold=3)
    with pytest.raises(RecordsError, match=r"records: course-tfrecord is for the course's notebooks"):
        check(dataclasses.replace(manifest, format="course-tfrecord"), fold=0)
