"""Rows ↔ files, in every format, on any store. A file is whole or not there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lvseg.config import RecordFormat
from lvseg.errors import RecordsError
from lvseg.records.codec import SCHEMA
from lvseg.records.course_tfrecord import REFUSAL, encode_course_row
from lvseg.store import UPath, write_bytes
from lvseg.tfrecord import decode_example, encode_example, frame, read_frames

SUFFIXES: dict[RecordFormat, str] = {
    "parquet": ".parquet",
    "tfrecord": ".tfrecords",
    "course-tfrecord": ".tfrecords",
}
ROWS_PER_GROUP = 32
"""About 6 MB of pixels for 256×256: a worker's part of a file is read without the rest. Of 16, 32, 64 and 256 the one
that is read fastest, and as small as the larger ones; ``benchmarks/record_files.py`` measures it."""
ZSTD_LEVEL = 1
"""Level 3 makes the files 7 % smaller and takes twice as long to write."""
PIXELS = ("image", "mask")
"""Columns where no two values are alike: a dictionary or the least and greatest value would only cost time."""


def write_rows(path: UPath | Path, rows: Iterable[Mapping[str, Any]], format: RecordFormat) -> None:
    """Write rows of ``SCHEMA`` to ``path``; an existing file is replaced at the end, in one step.

    Raises:
        OSError: it cannot be written.
    """
    write_bytes(path, encode_rows(rows, format))


def encode_rows(rows: Iterable[Mapping[str, Any]], format: RecordFormat) -> bytes:
    """The bytes of a record file; the same rows give the same bytes. The rows are taken a row group at a time."""
    if format == "parquet":
        return _encode_parquet(rows)
    encode = _encode_example if format == "tfrecord" else encode_course_row
    return b"".join(frame(encode(row)) for row in rows)


def read_rows(
    path: UPath | Path,
    format: RecordFormat,
    start: int = 0,
    stop: int | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read rows ``start`` to ``stop`` (exclusive; None: to the end) and the named columns (None: all).

    Raises:
        RecordsError: the file is missing, damaged, or not of this format; or it is in the course's format, which
            has no room for the columns.
    """
    if format == "course-tfrecord":
        raise RecordsError(f"{path}: {REFUSAL}")
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


def _encode_parquet(rows: Iterable[Mapping[str, Any]]) -> bytes:
    # One group at a time: the pixels of a whole file are never held, only their compressed form.
    file, left = BytesIO(), iter(rows)
    labels = [name for name in SCHEMA.names if name not in PIXELS]
    with pq.ParquetWriter(
        file,
        SCHEMA,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=labels,
        write_statistics=labels,
        write_page_checksum=True,
    ) as writer:
        while group := list(itertools.islice(left, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
    return file.getvalue()


@contextmanager
def _opened(path: UPath | Path) -> Iterator[BinaryIO]:
    # Of a remote file only the wanted ranges are fetched; guessing ahead would fetch other rows' pixels too.
    with path.open("rb") if isinstance(path, Path) else path.open("rb", cache_type="none") as file:
        yield file


def _read_parquet(path: UPath | Path, start: int, stop: int | None, columns: list[str]) -> pa.Table:
    with (
        _opened(path) as source,
        pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as file,
    ):
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


def feature_kind(kind: pa.DataType) -> str:
    """The list of a ``tf.train.Feature`` that holds a column's values."""
    value = kind.value_type if pa.types.is_list(kind) else kind
    if pa.types.is_integer(value):
        return "int64_list"
    return "float_list" if pa.types.is_floating(value) else "bytes_list"


def _encode_example(row: Mapping[str, Any]) -> bytes:
    features: dict[str, tuple[str, Sequence[Any]]] = {}
    for name, value in row.items():
        if value is not None:
            kind = SCHEMA.field(name).type
            value = value.encode() if pa.types.is_string(kind) else value
            features[name] = (feature_kind(kind), value if pa.types.is_list(kind) else [value])
    return encode_example(features)


def _read_tfrecord(path: UPath | Path, start: int, stop: int | None, columns: list[str]) -> pa.Table:
    with path.open("rb") as file:
        rows = [_decode_row(record, columns) for record in read_frames(file, start, stop)]
    return pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in columns]))


def _decode_row(record: bytes, columns: list[str]) -> dict[str, Any]:
    features = decode_example(record)
    row: dict[str, Any] = {}
    for name in columns:
        field = SCHEMA.field(name)
        if name not in features:
            if not field.nullable:
                raise ValueError(f"no feature {name}")
            row[name] = None
            continue
        kind, values = features[name]
        if kind != feature_kind(field.type) or not values:
            raise ValueError(f"feature {name} must be {field.type}, found {kind or 'nothing'} of {len(values)}")
        row[name] = list(values) if pa.types.is_list(field.type) else values[0]
        if pa.types.is_string(field.type):
            row[name] = row[name].decode()
    return row
