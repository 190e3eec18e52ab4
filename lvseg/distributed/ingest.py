"""Record set → every worker's own rows: one Ray Data pass, then the worker keeps them in memory.

Which rows a worker needs is known before anything is read (``training.order``), so each worker's
rows are a data set of their own, read in parallel by the cluster and held in its object store.
The pass ends before the workers start: they may then take every core without starving it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data
import ray.exceptions
import ray.train

from lvseg.errors import RecordsError
from lvseg.records import Manifest, SplitPart, read_rows
from lvseg.training.order import training_rows, validation_rows
from lvseg.training.shards import COLUMNS

READ_ROWS = 256
"""Rows that one task reads."""


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
    try:
        return ordered.materialize()
    except ray.exceptions.RayTaskError as error:
        for file, start, stop in row_ranges(part, rows):
            read_rows(folder / file, format, start, stop, COLUMNS)  # raises what Ray hides: which file, and why
        raise RecordsError(f"{records}: could not be read: {type(error).__name__}") from error


def read_shards(records: Path, manifest: Manifest, batch_size: int, workers: int) -> dict[str, list[ray.data.Dataset]]:
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

    def __init__(self, shards: dict[str, list[ray.data.Dataset]]) -> None:
        super().__init__()
        self._shards = shards

    def configure(
        self,
        datasets: dict[str, ray.data.Dataset],
        world_size: int,
        worker_handles: Any = None,
        worker_node_ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, ray.data.DataIterator]]:
        """One mapping of names to iterators for every rank."""
        return [{name: self._shards[name][rank].iterator() for name in datasets} for rank in range(world_size)]
