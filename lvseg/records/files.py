"""Rows ↔ files, in either format. A file is written aside and then renamed: it is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvseg.config import RecordFormat
from lvseg.errors import RecordsError
from lvseg.records.codec import SCHEMA

SUFFIXES: dict[RecordFormat, str] = {"parquet": ".parquet", "tfrecord": ".tfrecords"}
ROWS_PER_GROUP = 64
"""About 12 MB of pixels for 256×256: a worker's part of a file is read without the rest."""


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], format: RecordFormat) -> None:
    """Write rows of ``SCHEMA`` to ``path``; an existing file is replaced at the end, in one step."""
    aside = path.with_name(f".{path.name}.partial")
    if format == "parquet":
        table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
        pq.write_table(table, aside, compression="zstd", row_group_size=ROWS_PER_GROUP)
    else:
        _write_tfrecord(aside, rows)
    aside.replace(path)


def read_rows(
    path: Path, format: RecordFormat, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read rows ``start`` to ``stop`` (exclusive; None: to the end) and the named columns (None: all).

    Raises:
        RecordsError: the file is missing, damaged, or not of this format.
    """
    wanted = list(columns or SCHEMA.names)
    try:
        if format == "parquet":
            return _read_parquet(path, start, stop, wanted)
        return _read_tfrecord(path, start, stop, wanted)
    except FileNotFoundError:
        raise RecordsError(f"{path}: no such record file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordsError(f"{path}: not a readable {format} record file: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_parquet(path: Path, start: int, stop: int | None, columns: list[str]) -> pa.Table:
    with pq.ParquetFile(path) as file:
        _require_columns(file.schema_arrow, columns)
        metadata = file.metadata
        stop = metadata.num_rows if stop is None else min(stop, metadata.num_rows)
        groups: list[int] = []
        first_row = offset = 0
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            if offset < stop and offset + rows > start:
                if not groups:
                    first_row = offset
                groups.append(index)
            offset += rows
        table = file.read_row_groups(groups, columns=columns)
    return table.slice(start - first_row, max(stop - start, 0))


def _require_columns(schema: pa.Schema, columns: list[str]) -> None:
    for name in columns:
        found = schema.field(name).type if name in schema.names else "none"
        if found != SCHEMA.field(name).type:
            raise ValueError(f"column {name} must be {SCHEMA.field(name).type}, found {found}")


def _write_tfrecord(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = {
                name: _feature(tf, SCHEMA.field(name).type, value) for name, value in row.items() if value is not None
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString(deterministic=True))


def _feature(tf: Any, kind: pa.DataType, value: Any) -> Any:
    if pa.types.is_string(kind):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    if pa.types.is_binary(kind):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if pa.types.is_integer(kind):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    values = value if pa.types.is_list(kind) else [value]
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _read_tfrecord(path: Path, start: int, stop: int | None, columns: list[str]) -> pa.Table:
    import tensorflow as tf

    if not path.is_file():
        raise FileNotFoundError(path)
    dataset = tf.data.TFRecordDataset(str(path)).skip(start)
    if stop is not None:
        dataset = dataset.take(max(stop - start, 0))
    try:
        rows = [_parse_example(tf, record, columns) for record in _records(dataset)]
    except (tf.errors.DataLossError, tf.errors.OpError) as error:
        raise RecordsError(f"{path}: not a readable tfrecord file: {_first_line(error)}") from None
    return pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in columns]))


def _records(dataset: Any) -> Iterator[bytes]:
    yield from dataset.as_numpy_iterator()


def _parse_example(tf: Any, record: bytes, columns: list[str]) -> dict[str, Any]:
    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception:  # protobuf's DecodeError; protobuf itself is no dependency of lvseg
        raise ValueError("a record is no tf.train.Example") from None
    row: dict[str, Any] = {}
    for name in columns:
        field = SCHEMA.field(name)
        if name not in features:
            if not field.nullable:
                raise ValueError(f"no feature {name}")
            row[name] = None
            continue
        try:
            row[name] = _value(field.type, features[name])
        except IndexError:
            raise ValueError(f"feature {name} must be {field.type}, found another type or nothing") from None
    return row


def _value(kind: pa.DataType, feature: Any) -> Any:
    if pa.types.is_string(kind):
        return feature.bytes_list.value[0].decode()
    if pa.types.is_binary(kind):
        return feature.bytes_list.value[0]
    if pa.types.is_integer(kind):
        return feature.int64_list.value[0]
    values = list(feature.float_list.value)
    return values if pa.types.is_list(kind) else values[0]
