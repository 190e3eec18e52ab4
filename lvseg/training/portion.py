"""Which rows of the record files are whose, and what is in them; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lvseg.errors import RecordsError
from lvseg.records import Manifest, SplitPart, read_rows
from lvseg.records.codec import pixels
from lvseg.store import UPath
from lvseg.training.context import Images, Pixels
from lvseg.training.order import training_rows, validation_rows

COLUMNS = ("name", "case_id", "rows", "columns", "image_dtype", "image", "mask")
"""Columns of the records that training reads."""
READ_ROWS = 256
"""Rows that are read in one go, where all of a worker's are wanted."""

Mode = Literal["memory", "disk", "stream"]
"""``TrainConfig.ingest`` once auto has chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Portion:
    """Some neighbouring rows of one part of a record set: what one worker needs of it."""

    records: UPath
    manifest: Manifest
    split: str
    rows: range

    @property
    def part(self) -> SplitPart:
        """The part."""
        return self.manifest.part(self.split, self.records)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of every image."""
        return self.manifest.image_shape(self.records)

    def ranges(self, start: int = 0, stop: int | None = None, most: int = READ_ROWS) -> list[tuple[str, int, int]]:
        """(file, first row, row after the last) that together are the rows of the portion, in order."""
        wanted = self.rows[start:stop]
        ranges = []
        offset = 0
        for file in self.part.files:
            first, last = max(wanted.start - offset, 0), min(wanted.stop - offset, file.images)
            steps = [(at, min(at + most, last)) for at in range(first, last, most)]
            ranges += [(file.file, file.start + at, file.start + end) for at, end in steps]
            offset += file.images
        return ranges

    def tables(self, start: int = 0, stop: int | None = None, columns: Sequence[str] = COLUMNS) -> Iterator[pa.Table]:
        """Rows of the portion, read one table after another.

        Raises:
            RecordsError: a file cannot be read; names it.
        """
        for file, first, last in self.ranges(start, stop):
            yield read_rows(self.records / file, self.manifest.format, first, last, columns)

    def read(self, start: int, stop: int) -> Pixels:
        """Images and masks of rows of the portion."""
        found = [decode(table, self.shape) for table in self.tables(start, stop)]
        return found[0] if len(found) == 1 else _joined(found)

    def names(self, rows: Sequence[int]) -> list[str]:
        """The images' names, read now."""
        tables = (self.tables(row, row + 1, ["name"]) for row in rows)
        return [str(table["name"][0]) for each in tables for table in each]


def _joined(found: list[Pixels]) -> Pixels:
    return np.concatenate([images for images, _ in found]), np.concatenate([masks for _, masks in found])


def whole(records: UPath, manifest: Manifest, split: str) -> Portion:
    """All rows of a part."""
    rows = range(manifest.part(split, records).images)
    return Portion(records=records, manifest=manifest, split=split, rows=rows)


def portions(records: UPath, manifest: Manifest, batch_size: int, workers: int, rank: int) -> tuple[Portion, Portion]:
    """The training and the validation rows of a worker."""
    train, val = (manifest.part(split, records).images for split in ("train", "val"))
    rows = training_rows(train, batch_size, workers, rank), validation_rows(val, workers, rank)
    made = [
        Portion(records=records, manifest=manifest, split=split, rows=own)
        for split, own in zip(("train", "val"), rows, strict=True)
    ]
    return made[0], made[1]


def decode(table: pa.Table, shape: tuple[int, int]) -> Pixels:
    """Images and masks of a table's rows; views on the table's memory where they have one dtype.

    Raises:
        RecordsError: an image is not of ``shape``, or its pixels do not fill it.
    """
    labels = table.select(["name", "rows", "columns", "image_dtype"]).to_pydict()
    for name, *found in zip(labels["name"], labels["rows"], labels["columns"], strict=True):
        if tuple(found) != shape:
            raise RecordsError(f"record {name}: image is {found[0]}x{found[1]}, expected {shape[0]}x{shape[1]}")
    names, dtypes = labels["name"], labels["image_dtype"]
    return _stacked(table["image"], dtypes, shape, names), _stacked(table["mask"], ["|u1"] * len(names), shape, names)


def _stacked(column: pa.ChunkedArray, dtypes: list[str], shape: tuple[int, int], names: list[str]) -> NDArray[Any]:
    if not dtypes:
        return np.zeros((0, *shape), np.uint8)
    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    size = shape[0] * shape[1] * np.dtype(dtypes[0]).itemsize
    if len(set(dtypes)) == 1 and np.all(np.diff(bounds) == size):
        return np.frombuffer(data, dtypes[0], len(values) * shape[0] * shape[1], bounds[0]).reshape(-1, *shape)
    rows = zip(values.to_pylist(), dtypes, names, strict=True)
    return np.stack([pixels(raw, dtype, shape, name) for raw, dtype, name in rows])


def collect(tables: Iterable[pa.Table], shape: tuple[int, int], count: int) -> Images:
    """Rows of record tables → arrays in memory, which are filled as the tables come.

    Raises:
        RecordsError: an image is not of ``shape``, or there are more or fewer than ``count``.
    """
    images, masks = np.zeros((count, *shape), np.uint8), np.zeros((count, *shape), np.uint8)
    names: list[str] = []
    case_ids: list[str] = []
    for table in tables:
        found_images, found_masks = decode(table, shape)
        start, stop = len(names), len(names) + len(table)
        if stop > count:
            raise RecordsError(f"expected {count} images, found more")
        if start == 0:
            images = np.zeros((count, *shape), found_images.dtype)
        images = images.astype(np.result_type(images.dtype, found_images.dtype), copy=False)
        images[start:stop], masks[start:stop] = found_images, found_masks
        names += table["name"].to_pylist()
        case_ids += table["case_id"].to_pylist()
    if len(names) != count:
        raise RecordsError(f"expected {count} images, found {len(names)}")
    return Images(images=images, masks=masks, names=tuple(names), case_ids=tuple(case_ids))


def split_facts(records: UPath, manifest: Manifest) -> dict[str, Any]:
    """What every worker must know of the whole: how many images there are, and the validation images' names."""
    table = pa.concat_tables(whole(records, manifest, "val").tables(columns=("name", "case_id")))
    return {
        "train_images": manifest.part("train", records).images,
        "val_names": table["name"].to_pylist(),
        "val_case_ids": table["case_id"].to_pylist(),
    }
