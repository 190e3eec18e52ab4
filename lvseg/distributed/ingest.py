"""Record set → every worker's own images: where they are kept, and the pass that brings them into memory.

Which rows a worker needs is known before anything is read (``training.order``). For mode memory each worker's
rows are a data set of their own, read in parallel by the cluster and held in its object store; the pass ends before
the workers start: they may then take every core without starving it. In the other modes workers read for themselves.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
import ray.train
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


def read_portion(portion: Portion) -> ray.data.Dataset:
    """The rows of a portion as a data set in the object store, in order.

    Raises:
        RecordsError: a record file cannot be read; names it.
    """
    folder, format = everywhere(portion.records), portion.manifest.format

    def read(batch: dict[str, Any]) -> pa.Table:
        return read_rows(folder / str(batch["file"][0]), format, int(batch["start"][0]), int(batch["stop"][0]), COLUMNS)

    ranges = [{"file": file, "start": start, "stop": stop} for file, start, stop in portion.ranges()]
    if not ranges:
        return ray.data.from_arrow(read_rows(folder / portion.part.files[0].file, format, 0, 0, COLUMNS))
    dataset = ray.data.from_items(ranges, override_num_blocks=len(ranges))
    ordered = dataset.map_batches(read, batch_size=1, batch_format="numpy", zero_copy_batch=True)
    ordered.context.execution_options.preserve_order = True
    try:
        return ordered.materialize()
    except ray.exceptions.RayTaskError as error:
        for _ in portion.tables():
            pass  # raises what Ray hides: which file, and why
        raise RecordsError(f"{portion.records}: could not be read: {type(error).__name__}") from error


def read_shards(records: UPath, manifest: Manifest, batch_size: int, workers: int) -> dict[str, list[ray.data.Dataset]]:
    """For every worker its training and validation rows."""
    own = [portions(records, manifest, batch_size, workers, rank) for rank in range(workers)]
    return {
        "train": [read_portion(train) for train, _ in own],
        "val": [read_portion(val) for _, val in own],
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
