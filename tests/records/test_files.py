from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvseg.config import RecordFormat
from lvseg.errors import RecordsError
from lvseg.records import read_rows, slice_to_row, write_rows
from lvseg.records.files import ROWS_PER_GROUP
from tests.discs import make_disc

FORMATS: tuple[RecordFormat, ...] = ("parquet", "tfrecord")
ROWS = 2 * ROWS_PER_GROUP + 12


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [slice_to_row(make_disc(number, size=8)) for number in range(ROWS)]


@pytest.fixture(scope="module", params=FORMATS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> Any:
    path = tmp_path_factory.mktemp("records") / "train"
    write_rows(path, rows, request.param)
    return path, request.param


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, None),
        (0, 1),
        (10, 20),
        (ROWS_PER_GROUP - 1, ROWS_PER_GROUP + 1),
        (ROWS_PER_GROUP, 2 * ROWS_PER_GROUP),
        (5, ROWS - 1),
        (ROWS - 1, ROWS + 50),
        (7, 7),
        (0, 0),
        (ROWS + 1, None),
        (ROWS, ROWS + 9),
    ],
)
def test_a_part_of_a_file(file: tuple[Path, RecordFormat], start: int, stop: int | None) -> None:
    expected = [f"D-{number:03d}" for number in range(ROWS)][start:stop]
    table = read_rows(*file, start, stop, columns=("name", "mask"))
    assert table["name"].to_pylist() == expected
    assert table.column_names == ["name", "mask"]


def test_a_part_has_the_rows_own_pixels(file: tuple[Path, RecordFormat]) -> None:
    table = read_rows(*file, ROWS_PER_GROUP + 3, ROWS_PER_GROUP + 4)
    image = np.frombuffer(table["image"][0].as_py(), np.int16).reshape(8, 8)
    np.testing.assert_array_equal(image, make_disc(ROWS_PER_GROUP + 3, size=8).image)


def test_only_the_row_groups_of_the_part_are_read(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "train.parquet"
    write_rows(path, rows, "parquet")
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 3
    first = metadata.row_group(0).column(6)
    content = bytearray(path.read_bytes())
    content[first.dictionary_page_offset or first.data_page_offset] ^= 0xFF
    path.write_bytes(content)
    assert read_rows(path, "parquet", ROWS_PER_GROUP, None).num_rows == ROWS - ROWS_PER_GROUP


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, rows: list[dict[str, Any]], format: RecordFormat
) -> None:
    path = tmp_path / "train"
    write_rows(path, rows[:2], format)
    before = path.read_bytes()
    with pytest.raises((pa.ArrowException, TypeError, AttributeError)):
        write_rows(path, [*rows[:1], rows[1] | {"image": 3.5}], format)
    assert path.read_bytes() == before
    write_rows(path, rows[2:5], format)
    assert read_rows(path, format, columns=("name",))["name"].to_pylist() == ["D-002", "D-003", "D-004"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, rows: list[dict[str, Any]], format: RecordFormat) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / name, rows[:9], format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("not a record file, but long enough to be looked at")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def write_foreign_parquet(path: Path) -> None:
    pq.write_table(pa.table({"name": ["x"], "pixels": [b"123"]}), path)


def write_foreign_tfrecord(path: Path) -> None:
    import tensorflow as tf

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"]))
    example = tf.train.Example(features=tf.train.Features(feature={"image_raw": feature}))
    write_tfrecord(path, example.SerializeToString())


def write_tfrecord_of_other_types(path: Path) -> None:
    import tensorflow as tf

    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    names = ("name", "case_id", "rows", "columns", "image_dtype", "image", "mask", "source_sha256")
    example = tf.train.Example(features=tf.train.Features(feature=dict.fromkeys(names, feature)))
    write_tfrecord(path, example.SerializeToString())


def write_tfrecord_of_text(path: Path) -> None:
    write_tfrecord(path, b"this is no example")


def write_tfrecord(path: Path, record: bytes) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)


DAMAGE: list[tuple[RecordFormat, Callable[[Path], None]]] = [
    *((format, damage) for format in FORMATS for damage in (remove, make_folder, write_text, cut, flip)),
    ("parquet", empty),
    ("parquet", write_foreign_parquet),
    ("tfrecord", write_foreign_tfrecord),
    ("tfrecord", write_tfrecord_of_other_types),
    ("tfrecord", write_tfrecord_of_text),
]


@pytest.mark.parametrize(("format", "damage"), DAMAGE)
def test_a_missing_damaged_or_foreign_file_is_named_on_one_line(
    tmp_path: Path, rows: list[dict[str, Any]], format: RecordFormat, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "train-00000"
    write_rows(path, rows[:4], format)
    damage(path)
    with pytest.raises(RecordsError) as caught:
        read_rows(path, format)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
