"""How many trials run at a time, told from what the nodes have; asks no cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lvseg.distributed.placement import Node, workers_on
from lvseg.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a sweep wants."""

    trials: int
    """Runs in all."""
    workers: int = 1
    """Of each trial."""
    cpus: int | None = None
    """Cores of each worker; None: what there is, shared out."""
    gpus: float = 0.0
    """GPUs of each worker."""
    concurrency: int | None = None
    """At most so many trials at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allotment:
    """What a trial gets."""

    cpus: int
    """Cores of each worker."""
    gpus: float
    """GPUs of each worker."""
    concurrency: int
    """Trials at the same time."""
    waits: bool = False
    """Nothing fits yet, but the cluster can grow."""


def places(nodes: Sequence[Node], cpus: float, gpus: float) -> int:
    """Workers that fit at once: one cannot lie across two nodes."""
    return sum(workers_on(node, cpus, gpus) for node in nodes)


def allot(nodes: Sequence[Node], need: Need, *, can_grow: bool = False) -> Allotment:
    """Share a cluster out among trials that run at the same time, so that all of them can.

    Without a wish, trials first get run side by side, then the cores that are left. A trial of several workers
    counts as so many places; what it holds while it reads its records is less than that.

    Raises:
        ConfigError: not one trial fits, and the cluster cannot grow.
    """
    wanted = min(need.trials, need.concurrency or need.trials)
    cpus = need.cpus or _shared_cpus(nodes, wanted * need.workers, need.gpus)
    fit = places(nodes, cpus, need.gpus) // need.workers
    if fit < 1 and not can_grow:
        raise ConfigError(_refusal(nodes, need))
    if can_grow and need.concurrency is not None:
        return Allotment(cpus=cpus, gpus=need.gpus, concurrency=wanted, waits=fit < wanted)
    if fit < 1:
        # Trials of one worker wait their turn one by one; groups would starve each other of a node that is coming.
        return Allotment(cpus=cpus, gpus=need.gpus, concurrency=wanted if need.workers == 1 else 1, waits=True)
    return Allotment(cpus=cpus, gpus=need.gpus, concurrency=min(wanted, fit))


def _shared_cpus(nodes: Sequence[Node], workers: int, gpus: float) -> int:
    """The most cores for each of so many workers, at least one; where GPUs limit them, for as many as there can be."""
    most = max((int(node.cpus) for node in nodes), default=1)
    workers = min(workers, max(1, places(nodes, 1, gpus)))
    return next((cpus for cpus in range(most, 1, -1) if places(nodes, cpus, gpus) >= workers), 1)


def _refusal(nodes: Sequence[Node], need: Need) -> str:
    cpus = need.cpus or 1
    total_cpus, total_gpus = int(sum(node.cpus for node in nodes)), int(sum(node.gpus for node in nodes))
    roomy = [Node(cpus=1e9, gpus=node.gpus) for node in nodes]
    lacking = "GPUs" if need.gpus and places(roomy, cpus, need.gpus) < need.workers else "CPUs"
    found = total_gpus if lacking == "GPUs" else total_cpus
    each = f" with {cpus} CPUs each" if cpus > 1 else ""
    across = " on one node" if lacking == "CPUs" and total_cpus >= cpus * need.workers else ""
    return f"workers: a trial of {need.workers}{each} does not fit{across}: the cluster has {found} {lacking}"
