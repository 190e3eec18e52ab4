"""Record set → every worker's own rows: one Ray Data pass, then the worker keeps them in memory.

Which rows a worker needs is known before anything is read (``training.order``), so each worker's
rows are a data set of their own, read in parallel by the cluster and held in its object store.
The pass ends before the workers start: they may then take every core without starving it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray.data
import ray.train

from lvseg.errors import RecordsError
from lvseg.records import Manifest, SplitPart, read_rows
from lvseg.records.codec import pixels
from lvseg.training.context import Images, Shard
from lvseg.training.order import training_rows, validation_rows

COLUMNS = ("name", "case_id", "rows", "columns", "image_dtype", "image", "mask")
READ_ROWS = 256
"""Rows that one task reads."""
Part = Literal["train", "val"]


def row_ranges(part: SplitPart, rows: range) -> list[tuple[str, int, int]]:
    """(file, first row, row after the last) that together are ``rows`` of the part, in order."""
    ranges = []
    offset = 0
    for file in part.files:
        start, stop = max(rows.start - offset, 0), min(rows.stop - offset, file.images)
        ranges += [(file.file, at, min(at + READ_ROWS, stop)) for at in range(start, stop, READ_ROWS)]
        offset += file.images
    return ranges


def read_part(records: Path, manifest: Manifest, part: SplitPart, rows: range) -> ray.data.Dataset:
    """The rows of a part as a data set in the object store, in order."""
    folder, format = records.resolve(), manifest.format

    def read(batch: dict[str, Any]) -> pa.Table:
        return read_rows(folder / str(batch["file"][0]), format, int(batch["start"][0]), int(batch["stop"][0]), COLUMNS)

    ranges = [{"file": file, "start": start, "stop": stop} for file, start, stop in row_ranges(part, rows)]
    if not ranges:
        empty = read_rows(folder / part.files[0].file, format, 0, 0, COLUMNS)
        return ray.data.from_arrow(empty)
    dataset = ray.data.from_items(ranges, override_num_blocks=len(ranges))
    ordered = dataset.map_batches(read, batch_size=1, batch_format="numpy", zero_copy_batch=True)
    ordered.context.execution_options.preserve_order = True
    return ordered.materialize()


def read_shards(
    records: Path, manifest: Manifest, batch_size: int, workers: int
) -> dict[Part, list[ray.data.Dataset]]:
    """For every worker its training and validation rows."""
    train, val = manifest.part("train", records), manifest.part("val", records)
    return {
        "train": [
            read_part(records, manifest, train, training_rows(train.images, batch_size, workers, rank))
            for rank in range(workers)
        ],
        "val": [
            read_part(records, manifest, val, validation_rows(val.images, workers, rank)) for rank in range(workers)
        ],
    }


class RowsOfEachWorker(ray.train.DataConfig):  # type: ignore[misc]
    """Gives each worker its own rows, where Ray's default would hand out whichever are ready."""

    def __init__(self, shards: dict[Part, list[ray.data.Dataset]]) -> None:
        super().__init__()
        self._shards = shards

    def configure(
        self, datasets: dict[Part, Any], world_size: int, *_: Any, **__: Any
    ) -> list[dict[Part, ray.data.DataIterator]]:
        """One mapping of names to iterators for every rank."""
        return [{name: self._shards[name][rank].iterator() for name in datasets} for rank in range(world_size)]


def collect(batches: Iterable[pa.Table], shape: tuple[int, int]) -> Images:
    """Rows of record tables → arrays in memory.

    Raises:
        RecordsError: an image is not of ``shape``.
    """
    names: list[str] = []
    case_ids: list[str] = []
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for table in batches:
        for row in table.to_pylist():
            found = (row["rows"], row["columns"])
            if found != shape:
                raise RecordsError(f"record {row['name']}: image is {found[0]}x{found[1]}, expected {shape[0]}x{shape[1]}")
            names.append(row["name"])
            case_ids.append(row["case_id"])
            images.append(pixels(row["image"], row["image_dtype"], found, row["name"]))
            masks.append(pixels(row["mask"], "|u1", found, row["name"]))
    return Images(
        images=_stack(images, shape), masks=_stack(masks, shape), names=tuple(names), case_ids=tuple(case_ids)
    )


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros((0, *shape), np.uint8)


def collect_shard(
    train: Iterable[pa.Table], val: Iterable[pa.Table], shape: tuple[int, int], facts: dict[str, Any]
) -> Shard:
    """A worker's ``Shard`` from its rows and the facts about the whole, see ``split_facts``."""
    return Shard(
        train=collect(train, shape),
        val=collect(val, shape),
        train_images=facts["train_images"],
        val_names=tuple(facts["val_names"]),
        val_case_ids=tuple(facts["val_case_ids"]),
    )


def split_facts(records: Path, manifest: Manifest) -> dict[str, Any]:
    """What every worker must know of the whole: how many images there are, and the validation images' names."""
    val = manifest.part("val", records)
    tables = [read_rows(records / file.file, manifest.format, columns=("name", "case_id")) for file in val.files]
    table = pa.concat_tables(tables)
    return {
        "train_images": manifest.part("train", records).images,
        "val_names": table["name"].to_pylist(),
        "val_case_ids": table["case_id"].to_pylist(),
    }
