import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import ConfigError, RecordsError
from lvseg.training import cache as cache_module
from lvseg.training.cache import DiskRows, cache_folder, cached_rows, free_bytes
from lvseg.training.context import Pixels
from lvseg.training.portion import Portion
from lvseg.training.shards import disk_feed
from tests.discs import SIZE, make_images, write_records


class Reader:
    """Gives seven images of 2×3 in two blocks, and counts how often it was asked."""

    def __init__(self, *dtypes: str) -> None:
        self.dtypes, self.times = dtypes or ("int16", "int16"), 0

    def __call__(self) -> Iterator[Pixels]:
        self.times += 1
        values = np.arange(42).reshape(7, 2, 3)
        for part, dtype in zip((slice(0, 4), slice(4, 7)), self.dtypes, strict=True):
            yield values[part].astype(dtype), (values[part] % 3).astype(np.uint8)


def open_rows(entry: Path, read: Reader) -> DiskRows:
    return cached_rows(entry, 7, (2, 3), 7 * 6 * 3, read)


def test_the_images_are_written_once(tmp_path: Path) -> None:
    read = Reader()
    for _ in range(2):
        rows = open_rows(tmp_path / "cache/entry", read)
        (images, masks), (more, _) = rows.deliver([np.array([6, 0, 6]), np.array([3, -1])])
        np.testing.assert_array_equal(images, np.arange(42).reshape(7, 2, 3)[[6, 0, 6]])
        np.testing.assert_array_equal(masks, images % 3)
        assert images.dtype == np.int16
        assert (more[0] == np.arange(18, 24).reshape(2, 3)).all()
        assert (more[1] == 0).all()
    assert read.times == 1
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".entry.lock", "entry"]


def test_images_are_mapped_not_loaded(tmp_path: Path) -> None:
    rows = open_rows(tmp_path / "entry", Reader())
    assert isinstance(rows.images.base, np.memmap)
    assert not rows.images.flags.writeable


def test_a_type_that_holds_all_images_is_found(tmp_path: Path) -> None:
    rows = open_rows(tmp_path / "entry", Reader("uint16", "int16"))
    assert rows.images.dtype == np.int32
    np.testing.assert_array_equal(rows.images, np.arange(42).reshape(7, 2, 3))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    np.save(path, np.zeros((6, 2, 3), np.uint8))


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
@pytest.mark.parametrize("damage", [cut, replace, Path.unlink])
def test_an_entry_that_is_not_whole_is_written_again(tmp_path: Path, name: str, damage: object) -> None:
    read = Reader()
    open_rows(tmp_path / "entry", read)
    damage(tmp_path / "entry" / name)  # type: ignore[operator]
    rows = open_rows(tmp_path / "entry", read)
    assert read.times == 2
    np.testing.assert_array_equal(rows.images, np.arange(42).reshape(7, 2, 3))


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".entry.0123.partial"
    left.mkdir()
    (left / "images.npy").write_bytes(b"half")
    open_rows(tmp_path / "entry", Reader())
    assert not left.exists()


def test_a_broken_source_leaves_no_entry(tmp_path: Path) -> None:
    def read() -> Iterator[Pixels]:
        yield next(Reader()())
        raise RecordsError("train-00001.parquet: damaged")

    with pytest.raises(RecordsError, match="damaged"):
        cached_rows(tmp_path / "entry", 7, (2, 3), 126, read)
    assert [path.name for path in tmp_path.iterdir()] == [".entry.lock"]


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "free_bytes", lambda _: 2_000_000_000)
    with pytest.raises(ConfigError, match=r"has 2\.0 GB free, 2\.1 GB are needed; set LVSEG_CACHE"):
        cached_rows(tmp_path / "entry", 7, (2, 3), 2_000_000_000, Reader())
    assert not (tmp_path / "entry").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match=rf"^ingest disk: {tmp_path / 'file'}: cannot be written: "):
        open_rows(tmp_path / "file" / "entry", Reader())


def test_the_second_of_two_waits_for_the_first(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Reader):
        def __call__(self) -> Iterator[Pixels]:
            inside.set()
            assert go_on.wait(20)
            return super().__call__()

    slow, other = Slow(), Reader()
    first = threading.Thread(target=open_rows, args=(tmp_path / "entry", slow))
    first.start()
    assert inside.wait(20)
    second = threading.Thread(target=open_rows, args=(tmp_path / "entry", other))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    go_on.set()
    for thread in (first, second):
        thread.join(20)
    assert (slow.times, other.times) == (1, 0)


def test_the_folder_is_the_environment_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVSEG_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    assert free_bytes(tmp_path / "here") > 0
    monkeypatch.delenv("LVSEG_CACHE")
    assert cache_folder().name == "lvseg-cache"


def test_entries_differ_by_records_part_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVSEG_CACHE", str(tmp_path / "cache"))
    for records, folds in (("a", 0), ("b", 3)):
        manifest = write_records(tmp_path / records, train=12, val=6, folds=folds)
        for fold in range(folds) if folds else [None]:
            own = manifest.for_fold(fold, tmp_path / records)
            for rows in (range(5), range(5, 9)):
                feed = disk_feed(Portion(records=tmp_path / records, manifest=own, split="train", rows=rows), fold)
                (number,) = [int(name[2:]) for name in feed.names([0])]
                np.testing.assert_array_equal(feed.take([0])[0], make_images(range(number, number + 1), SIZE).images)
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 2 + 3 * 2
