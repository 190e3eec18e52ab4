"""Record set → every worker's own images: where they are kept, and the pass that brings them into memory.

Which rows a worker needs is known before anything is read (``training.order``). For mode memory Ray Data reads each
worker's rows in parallel, on the whole cluster, into its object store; the pass ends before the workers start: they may
then take every core without starving it. In the other modes workers read for themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lvseg.config import Ingest
from lvseg.distributed.session import is_private_cluster
from lvseg.distributed.storage import everywhere
from lvseg.errors import RecordsError
from lvseg.records import Manifest, read_rows
from lvseg.store import UPath
from lvseg.training.cache import cache_folder, free_bytes
from lvseg.training.plan import IngestPlan, plan_ingest
from lvseg.training.portion import COLUMNS, Portion, portions

Tables = tuple["ray.ObjectRef[pa.Table]", ...]
"""Rows in the object store, in order."""


def choose_ingest(
    wanted: Ingest, manifest: Manifest, records: UPath, workers: int, trials: int = 1, *, shared: bool = False
) -> IngestPlan:
    """``plan_ingest`` with the numbers of this cluster; needs a Ray session.

    Args:
        wanted: The setting.
        manifest: Facts of the records, with the parts train and val.
        records: The record set.
        workers: Workers of a run.
        trials: Runs at the same time.
        shared: These and later runs of a node need the same images: auto then prefers the disk, where the first
            one puts them for all.
    """
    pixel_bytes = sum(manifest.part(split, records).pixel_bytes for split in ("train", "val"))
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    memory = min((int(node["Resources"].get("memory", 0)) for node in nodes), default=0)
    on_node = -(-workers * trials // max(1, len(nodes)))
    return plan_ingest(wanted, -(-pixel_bytes // workers), memory, on_node, lambda: _least_room(nodes), shared)


def _least_room(nodes: list[dict[str, Any]]) -> int:
    """Room in the cache folder of the node that has least."""
    if is_private_cluster():
        return free_bytes(cache_folder())  # this machine is the only node: no process need be started for it
    ask = ray.remote(num_cpus=0)(lambda: free_bytes(cache_folder()))
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    return min(ray.get(asked), default=0)


def read_portions(wanted: Sequence[Portion]) -> list[Tables]:
    """The rows of each portion of one record set, by one Ray Data job.

    Raises:
        RecordsError: a record file cannot be read; names it.
    """
    folder, format = everywhere(wanted[0].records), wanted[0].manifest.format

    def read(batch: dict[str, Any]) -> pa.Table:
        return read_rows(folder / str(batch["file"][0]), format, int(batch["start"][0]), int(batch["stop"][0]), COLUMNS)

    names = ("file", "start", "stop")
    ranges = [dict(zip(names, each, strict=True)) for portion in wanted for each in portion.ranges()]
    dataset = ray.data.from_items(ranges, override_num_blocks=len(ranges))
    ordered = dataset.map_batches(read, batch_size=1, batch_format="numpy", zero_copy_batch=True)
    ordered.context.execution_options.preserve_order = True
    ends = accumulate(len(portion.rows) for portion in wanted)
    try:
        pieces = ordered.split_at_indices(list(ends))[:-1]
    except ray.exceptions.RayTaskError as error:
        for portion in wanted:
            for _ in portion.tables():
                pass  # raises what Ray hides: which file, and why
        raise RecordsError(f"{folder}: could not be read: {type(error).__name__}") from error
    return [
        tuple(piece.to_arrow_refs()) if portion.rows else (ray.put(_no_rows(portion)),)
        for portion, piece in zip(wanted, pieces, strict=True)
    ]


def _no_rows(portion: Portion) -> pa.Table:
    """With the columns and types that rows would have."""
    return read_rows(portion.records / portion.part.files[0].file, portion.manifest.format, 0, 0, COLUMNS)


def read_shards(records: UPath, manifest: Manifest, batch_size: int, workers: int) -> list[tuple[Tables, Tables]]:
    """For every worker its training and validation rows."""
    own = [portion for rank in range(workers) for portion in portions(records, manifest, batch_size, workers, rank)]
    tables = read_portions(own)
    return list(zip(tables[::2], tables[1::2], strict=True))


def taken(tables: Tables) -> Iterator[pa.Table]:
    """One after the other, from wherever they are."""
    for table in tables:
        yield ray.get(table)
