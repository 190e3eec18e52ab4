"""Where workers keep their images, told from sizes; asks no cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lvseg.config import Ingest
from lvseg.training.cache import SPARE
from lvseg.training.portion import Mode

MEMORY_SHARE = 0.25
"""Part of a worker's memory that its images may take: while they are loaded they are there twice, and the model,
its gradients and the libraries need their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestPlan:
    """Where the workers keep their images."""

    mode: Mode
    """Memory, disk or stream."""
    reason: str
    """The numbers behind it, for the user."""

    def __str__(self) -> str:
        return f"ingest {self.mode}: {self.reason}"


def plan_ingest(
    wanted: Ingest,
    pixel_bytes: int,
    memory_bytes: int,
    workers_on_node: int,
    disk_bytes: Callable[[], int],
    shared: bool = False,
) -> IngestPlan:
    """The first that fits of memory, disk and stream; or what was asked for.

    Args:
        wanted: The setting.
        pixel_bytes: Images and masks of one worker.
        memory_bytes: Memory of the smallest node.
        workers_on_node: Workers that share a node, those of all trials together.
        disk_bytes: Gives the room in the cache folder of the node that has least; asked only when it matters.
        shared: Runs of a node share their images, which lie on its disk once, and in its memory as long as there is
            room; auto then takes the disk before the memory of each.
    """
    need, free = f"{_size(pixel_bytes)} a worker", MEMORY_SHARE * memory_bytes / workers_on_node
    memory = f"{need}, {_size(free)} free for it"
    if wanted == "auto" and shared and workers_on_node and pixel_bytes * SPARE <= disk_bytes():
        return IngestPlan(mode="disk", reason=f"{need}, read once a node and mapped into memory by all trials")
    if wanted == "memory" or (wanted == "auto" and pixel_bytes <= free):
        return IngestPlan(mode="memory", reason=memory)
    if wanted == "stream":
        return IngestPlan(mode="stream", reason=f"{need}, read anew every epoch")
    room = disk_bytes()
    disk = f"{need} for {workers_on_node} worker(s) on a node, {_size(room)} free in the cache folder"
    if wanted == "disk":
        return IngestPlan(mode="disk", reason=disk)
    if pixel_bytes * workers_on_node * SPARE <= room:
        return IngestPlan(mode="disk", reason=f"{disk}; too much for memory with {_size(free)}")
    return IngestPlan(mode="stream", reason=f"{disk}; too much for disk, and for memory with {_size(free)}")


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
