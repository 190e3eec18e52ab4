from pathlib import Path

import numpy as np
import pytest

from lvseg.config import RecordFormat, TrainConfig
from lvseg.errors import RecordsError
from lvseg.training.context import LocalContext
from lvseg.training.portion import collect, split_facts, whole
from lvseg.training.shards import open_shard
from tests.discs import SIZE, make_images, write_records


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_records_become_a_worker_s_arrays(tmp_path: Path, format: RecordFormat) -> None:
    manifest = write_records(tmp_path, train=7, val=3, format=format)
    images = collect(whole(tmp_path, manifest, "train").tables(), (SIZE, SIZE), 7)
    expected = make_images(range(7))
    np.testing.assert_array_equal(images.images, expected.images)
    np.testing.assert_array_equal(images.masks, expected.masks)
    assert images.images.dtype == np.int16
    assert images.names == expected.names
    shard = open_shard("memory", tmp_path, manifest, TrainConfig(), split_facts(tmp_path, manifest))
    assert (len(shard.train), shard.train_images, len(shard.val)) == (7, 7, 3)
    assert shard.val_names == ("D-007", "D-008", "D-009")
    assert shard.val.names([2, 0]) == ["D-009", "D-007"]
    assert shard.val_case_ids == ("CASE-1", "CASE-2", "CASE-2")


def test_no_rows_are_no_images() -> None:
    assert collect([], (16, 32), 0).images.shape == (0, 16, 32)


def test_missing_rows_are_counted(tmp_path: Path) -> None:
    manifest = write_records(tmp_path, train=7)
    tables = list(whole(tmp_path, manifest, "train").tables())
    with pytest.raises(RecordsError, match="expected 7 images, found 5"):
        collect(tables[:1], (SIZE, SIZE), 7)
    with pytest.raises(RecordsError, match="expected 6 images, found more"):
        collect(tables, (SIZE, SIZE), 6)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    manifest = write_records(tmp_path, train=2, val=1, size=16)
    with pytest.raises(RecordsError, match=r"^record D-000: image is 16x16, expected 32x32$"):
        collect(whole(tmp_path, manifest, "train").tables(), (32, 32), 2)


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    manifest = write_records(tmp_path)
    with pytest.raises(RecordsError, match="no images in split test"):
        whole(tmp_path, manifest, "test")


def test_the_local_context_keeps_the_last_and_the_best_checkpoint(tmp_path: Path) -> None:
    context = LocalContext(tmp_path / "kept")
    with context.latest_checkpoint() as latest:
        assert latest is None
    for epoch, improved in [(1, True), (2, False)]:
        checkpoint = tmp_path / f"made-{epoch}"
        checkpoint.mkdir()
        (checkpoint / "epoch").write_text(str(epoch))
        context.report({"epoch": epoch, "improved": improved}, checkpoint)
    context.report({"epoch": 3, "improved": True}, None)
    with context.latest_checkpoint() as latest:
        assert latest is not None
        assert (latest / "epoch").read_text() == "2"
    assert (context.best_checkpoint / "epoch").read_text() == "1"
    assert [report["epoch"] for report in context.reports] == [1, 2, 3]
