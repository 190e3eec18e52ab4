"""Which nodes may hold a run's workers, and how many runs fit at a time: arithmetic on a table of nodes.

Ray places the workers; this says beforehand what will fit, with how many cores each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from lvseg.config import Placement, TrainConfig
from lvseg.errors import ConfigError

_EPSILON = 1e-9
"""Four quarters of a GPU are one, whatever the rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One node of a cluster."""

    cpus: float
    gpus: float = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """What a run asks of the cluster."""

    workers: int
    gpus: float
    """Of each worker; a part of one where several share it."""
    placement: Placement
    labels: Mapping[str, str]
    """Ray's selectors by the label's key."""

    @property
    def strategy(self) -> str:
        """Ray's word for the placement."""
        return self.placement.upper().replace("-", "_")

    def bundle(self, cpus: int) -> dict[str, float]:
        """Resources of one worker with so many cores."""
        return {"CPU": cpus, **({"GPU": self.gpus} if self.gpus else {})}


def wanted(config: TrainConfig) -> Want:
    """What a run of these settings asks for."""
    return Want(
        workers=max(1, config.workers),
        gpus=config.gpus_per_worker if config.gpu else 0,
        placement=config.placement,
        labels=selectors(config.node_label),
    )


def selectors(labels: Sequence[str]) -> dict[str, str]:
    """``zone=a,b`` → ``{"zone": "in(a,b)"}``; ``!`` before the value turns it round."""
    found = {}
    for label in labels:
        key, _, value = label.partition("=")
        turned, bare = ("!", value[1:]) if value.startswith("!") else ("", value)
        found[key] = f"{turned}in({bare})" if "," in bare else f"{turned}{bare}"
    return found


def live_nodes() -> list[Node]:
    """The nodes of this session's cluster."""
    return [
        Node(
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            labels=node.get("Labels") or {},
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def matching(nodes: Sequence[Node], labels: Mapping[str, str]) -> list[Node]:
    """The nodes that a worker may be on."""
    return [node for node in nodes if all(_fits(node.labels.get(key), each) for key, each in labels.items())]


def _fits(value: str | None, selector: str) -> bool:
    turned, bare = selector.startswith("!"), selector.removeprefix("!")
    among = bare[3:-1].split(",") if bare.startswith("in(") else [bare]
    return (value in among) != turned


def runs_at_once(nodes: Sequence[Node], want: Want, cpus: int) -> int:
    """How many such runs, each worker with so many cores, fit on the nodes beside each other."""
    places = [workers_on(node, cpus, want.gpus) for node in matching(nodes, want.labels)]
    if want.placement == "strict-pack":
        return sum(each // want.workers for each in places)
    most = sum(places) // want.workers
    if want.placement != "strict-spread":
        return most
    # A node has at most one worker of each of the runs.
    return _largest(most, lambda runs: sum(min(each, runs) for each in places) >= runs * want.workers)


def workers_on(node: Node, cpus: float, gpus: float) -> int:
    """How many workers with so many cores and GPUs each fit on a node."""
    fit = node.cpus // cpus
    if gpus:
        fit = min(fit, int(1 / gpus + _EPSILON) * int(node.gpus) if gpus < 1 else node.gpus // gpus)
    return int(fit)


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``most`` that fits, where all smaller ones fit too; 0 where none does."""
    return bisect_left(range(1, most + 1), True, key=lambda number: not fits(number))


def share_of_cpus(nodes: Sequence[Node], want: Want, runs: int = 1) -> int:
    """The most cores that each worker can have so that so many runs fit; 1 where they do not fit at all."""
    cores = max((int(node.cpus) for node in matching(nodes, want.labels)), default=1)
    return max(1, _largest(cores, lambda cpus: runs_at_once(nodes, want, cpus) >= runs))


def require_place(nodes: Sequence[Node], want: Want, cpus: int) -> None:
    """Check that a run fits at all.

    Raises:
        ConfigError: names what is missing.
    """
    if runs_at_once(nodes, want, cpus):
        return
    fitting = matching(nodes, want.labels)
    what = f"{want.workers} worker(s) of {cpus} CPU(s)" + (f" and {want.gpus} GPU(s)" if want.gpus else "")
    if want.labels and not fitting:
        raise ConfigError(f"node_label: none of the {len(nodes)} node(s) has {_told(want.labels)}")
    for name, kind, asked, found in (
        ("cpus_per_worker", "CPU", cpus, sum(node.cpus for node in fitting)),
        ("gpus_per_worker" if want.gpus > 1 else "gpu", "GPU", want.gpus, sum(node.gpus for node in fitting)),
    ):
        if asked * want.workers > found:
            where = "this cluster's fitting nodes have" if len(nodes) > 1 else "this machine has"
            raise ConfigError(
                f"{name}: {want.workers} worker(s) of {asked} {kind}(s) need {asked * want.workers}, {where} {found}"
            )
    loose = replace(want, placement="pack")
    field = "placement" if runs_at_once(nodes, loose, cpus) else "workers"
    raise ConfigError(f"{field}: {what} do not fit on the {len(fitting)} fitting node(s), placement {want.placement}")


def _told(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def beside_the_driver() -> dict[str, Any]:
    """Resources that only this process's node has, next to none of them."""
    return {f"node:{ray.util.get_node_ip_address()}": 0.001}
