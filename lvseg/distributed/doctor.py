"""``lvseg doctor``: is this cluster, or this machine, fit for a long run? Each check has its time, and says the fix."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lvseg.distributed.doctor_probe import NodeFacts, NodeProbe, StepFacts, StepProbe, visible_gpus
from lvseg.distributed.session import is_private_cluster, worker_environment
from lvseg.distributed.storage import everywhere
from lvseg.store import UPath

LEAST_DISK, LEAST_MEMORY = 5e9, 2e9
"""Bytes: TensorFlow, Ray's object store and a run's files need that much on any node."""
MOST_SKEW_S = 2.0
"""Above it logs of different nodes cannot be read side by side; object stores refuse at minutes."""
SKEW_TRIES = 5
MEGABYTES = 64
"""Size of the array that is summed up."""
LEAST_BANDWIDTH = 100e6
"""Bytes/s between nodes, a 1 Gbit/s link nearly full: below, summing up takes longer than a GPU computes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the table."""

    check: str
    """What was looked at."""
    found: str
    """What there is."""
    fix: str = ""
    """What to do; empty where all is well."""

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.fix


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node as Ray knows it, and what it says of itself."""

    address: str
    gpus: int
    facts: NodeFacts | None = None
    """None: it did not answer."""
    skew_s: float = math.nan
    """Its clock less this process's."""
    error: str = ""


def diagnose(store: UPath | None, workers: int | None, train: bool, timeout_s: float) -> Iterator[Finding]:
    """Every check, one after the other; needs a Ray session.

    Args:
        store: Folder for records and runs that every node must be able to write to; None: not checked.
        workers: Training workers to try; None: one a GPU, or one a node, at least two.
        train: Sum up an array over workers, and train for a step.
        timeout_s: The longest that a check waits.
    """
    yield check_cluster()
    yield check_token(os.environ.get("RAY_AUTH_MODE", ""), is_private_cluster())
    alive = [node for node in ray.nodes() if node["Alive"]]
    probes = {node["NodeID"]: _on(node["NodeID"]).remote() for node in alive}
    nodes = [_ask(node, probes[node["NodeID"]], timeout_s) for node in alive]
    yield check_nodes(nodes)
    yield from check_facts(nodes)
    yield from check_gpus(nodes, _seen_gpus(alive, timeout_s))
    if store is not None:
        yield check_store(store, _try_store(alive, probes, store, timeout_s))
    for probe in probes.values():
        ray.kill(probe)
    if train:
        yield from _check_training(workers, sum(node.gpus for node in nodes), len(nodes), timeout_s)


def print_findings(console: Console, findings: Iterable[Finding]) -> bool:
    """A table, once all checks have ended; returns whether all is well."""
    table, well = Table("", "check", "found", "what to do"), True
    with console.status("starting") as status:
        for finding in findings:
            status.update(f"after {finding.check}")
            well &= finding.ok
            mark = Text("✓", "green") if finding.ok else Text("✗", "red")
            table.add_row(mark, finding.check, finding.found, finding.fix)
    console.print(table)
    return well


def check_cluster() -> Finding:
    """Ray's version and where the cluster is."""
    where = "a private cluster on this machine" if is_private_cluster() else os.environ["RAY_ADDRESS"]
    return Finding(check="Ray", found=f"{ray.__version__}, {where}")


def check_token(mode: str, private: bool) -> Finding:
    """Whether requests need a token."""
    if private:
        return Finding(check="token", found="not needed: nobody else can reach it")
    if mode == "token":
        return Finding(check="token", found="asked for")
    fix = "anybody who reaches it can run code on it: start it with RAY_AUTH_MODE=token"
    return Finding(check="token", found="not asked for", fix=fix)


def check_nodes(nodes: Sequence[Node]) -> Finding:
    """Whether every node answers."""
    silent = [node for node in nodes if node.facts is None]
    if not silent:
        return Finding(check="nodes", found=f"{len(nodes)}, all answer")
    found = "; ".join(f"{node.address}: {node.error}" for node in silent)
    fix = "look at its Ray logs; where lvseg is missing there, install it, or call lvseg submit doctor"
    return Finding(check="nodes", found=found, fix=fix)


def check_facts(nodes: Sequence[Node]) -> Iterator[Finding]:
    """Versions, disk, memory and clock of the nodes that answer."""
    told = {node.address: node.facts for node in nodes if node.facts is not None}
    yield check_versions({address: facts.versions for address, facts in told.items()})
    disk = {address: float(facts.free_disk) for address, facts in told.items()}
    yield _check_room("free disk", disk, LEAST_DISK, "delete what is not needed, or set LVSEG_CACHE and RAY_TMPDIR")
    memory = {address: float(facts.free_memory) for address, facts in told.items() if facts.free_memory is not None}
    yield _check_room("free memory", memory, LEAST_MEMORY, "end other programs there, or take a larger node")
    yield check_clocks({node.address: node.skew_s for node in nodes if node.facts is not None})


def check_versions(versions: Mapping[str, Mapping[str, str]]) -> Finding:
    """Whether all nodes have the same Python and packages."""
    seen: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for address, packages in versions.items():
        for name, number in packages.items():
            seen[name][number].append(address)
    odd = {name: numbers for name, numbers in seen.items() if len(numbers) > 1 or "missing" in numbers}
    if not odd:
        same = ", ".join(f"{name} {next(iter(numbers))}" for name, numbers in seen.items())
        return Finding(check="versions", found=same)
    found = "; ".join(
        f"{name} " + ", ".join(f"{number} on {' '.join(where)}" for number, where in numbers.items())
        for name, numbers in odd.items()
    )
    return Finding(check="versions", found=found, fix="install the same lock on all nodes")


def _check_room(check: str, free: Mapping[str, float], least: float, fix: str) -> Finding:
    if not free:
        return Finding(check=check, found="not known")
    address = min(free, key=lambda each: free[each])
    found = f"at least {free[address] / 1e9:.1f} GB on every node"
    if free[address] >= least:
        return Finding(check=check, found=found)
    return Finding(check=check, found=f"{free[address] / 1e9:.1f} GB on {address}", fix=fix)


def check_clocks(skews: Mapping[str, float]) -> Finding:
    """Whether the nodes' clocks agree."""
    known = {address: skew for address, skew in skews.items() if not math.isnan(skew)}
    if not known:
        return Finding(check="clocks", found="not known")
    spread = max(known.values()) - min(known.values())
    if spread <= MOST_SKEW_S:
        return Finding(check="clocks", found=f"agree to {spread:.2f} s")
    worst = max(known, key=lambda address: abs(known[address]))
    return Finding(
        check="clocks", found=f"{worst} is off by {known[worst]:+.1f} s", fix="run NTP (chrony) on the nodes"
    )


def check_gpus(nodes: Sequence[Node], seen: Mapping[str, int | str]) -> Iterator[Finding]:
    """Whether Ray counts the GPUs that there are, and TensorFlow finds those that Ray counts.

    Args:
        nodes: All nodes.
        seen: Address → GPUs that TensorFlow finds there, or why that is not known; nodes with GPUs only.
    """
    uncounted = [node.address for node in nodes if node.facts and node.facts.gpu_devices > 0 and node.gpus == 0]
    found = f"{sum(node.gpus for node in nodes)} on {sum(node.gpus > 0 for node in nodes)} node(s)"
    if uncounted:
        fix = f"start Ray on {', '.join(uncounted)} with --num-gpus"
        yield Finding(check="GPUs", found=f"{found}; more are there", fix=fix)
    else:
        yield Finding(check="GPUs", found=found)
    wrong = {node.address: seen.get(node.address, 0) for node in nodes if node.gpus > 0}
    wrong = {address: gpus for address, gpus in wrong.items() if gpus != _gpus_of(nodes, address)}
    if wrong:
        told = "; ".join(
            f"{address}: {gpus if isinstance(gpus, str) else f'{gpus} of {_gpus_of(nodes, address)}'}"
            for address, gpus in wrong.items()
        )
        fix = "install requirements/gpu.txt and NVIDIA's driver there; a busy GPU answers when its run has ended"
        yield Finding(check="GPUs for TensorFlow", found=told, fix=fix)
    elif seen:
        yield Finding(check="GPUs for TensorFlow", found="all that Ray counts")


def _gpus_of(nodes: Sequence[Node], address: str) -> int:
    return next(node.gpus for node in nodes if node.address == address)


def check_store(store: UPath, tried: Mapping[str, float | str]) -> Finding:
    """Whether every node can write to the store.

    Args:
        store: The folder.
        tried: Address → seconds it took, or why it failed.
    """
    failed = {address: why for address, why in tried.items() if isinstance(why, str)}
    if failed:
        found = "; ".join(f"{address}: {why}" for address, why in failed.items())
        return Finding(check="store", found=found, fix=f"{store} must be there and writable from every node")
    slowest = max((float(seconds) for seconds in tried.values()), default=0.0)
    return Finding(check="store", found=f"written and read from {len(tried)} node(s), {slowest:.2f} s at most")


def check_steps(steps: Sequence[StepFacts], several_nodes: bool) -> Iterator[Finding]:
    """How fast workers add up, and whether each trained.

    Args:
        steps: What every worker measured.
        several_nodes: Whether the sum went over the network.
    """
    count = len(steps)
    if count > 1:
        seconds = max(step.all_reduce_s for step in steps)
        bandwidth = 2 * (count - 1) / count * MEGABYTES * 1e6 / seconds
        found = f"{MEGABYTES} MB over {count} workers in {seconds:.3f} s, {bandwidth / 1e6:.0f} MB/s"
        slow = several_nodes and bandwidth < LEAST_BANDWIDTH
        fix = "put the nodes into one zone and on a faster network, or train with one worker a run"
        yield Finding(check="all-reduce", found=found, fix=fix if slow else "")
    broken = [str(rank) for rank, step in enumerate(steps) if not math.isfinite(step.loss)]
    slowest = max(step.step_s for step in steps)
    if broken:
        fix = "look at the driver and the memory of its GPU"
        yield Finding(check="training step", found=f"no finite loss on worker {', '.join(broken)}", fix=fix)
    else:
        yield Finding(check="training step", found=f"on {count} worker(s), {slowest:.3f} s at most")


def _on(node_id: str) -> Any:
    """A probe that will live on a node."""
    return ray.remote(NodeProbe).options(
        num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
    )


def _ask(node: dict[str, Any], probe: Any, timeout_s: float) -> Node:
    address, gpus = str(node["NodeManagerAddress"]), int(node["Resources"].get("GPU", 0))
    try:
        facts = ray.get(probe.facts.remote(), timeout=timeout_s)
        return Node(address=address, gpus=gpus, facts=facts, skew_s=_skew(probe, timeout_s))
    except ray.exceptions.RayError as error:
        return Node(address=address, gpus=gpus, error=_reason(error, timeout_s))


def _skew(probe: Any, timeout_s: float) -> float:
    """The node's clock less this one's, by the answer that came quickest."""
    tries = []
    for _ in range(SKEW_TRIES):
        sent = time.time()
        there = ray.get(probe.now.remote(), timeout=timeout_s)
        back = time.time()
        tries.append((back - sent, there - (sent + back) / 2))
    return float(min(tries)[1])


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, ray.exceptions.GetTimeoutError):
        return f"no answer within {timeout_s:.0f} s"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _seen_gpus(alive: Sequence[dict[str, Any]], timeout_s: float) -> dict[str, int | str]:
    """Address → GPUs for TensorFlow. The task takes all of a node's: Ray hides from a task what it did not ask for."""
    tasks = {
        str(node["NodeManagerAddress"]): ray.remote(visible_gpus)
        .options(
            num_cpus=0,
            num_gpus=int(node["Resources"]["GPU"]),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            runtime_env={"env_vars": worker_environment()},
        )
        .remote()
        for node in alive
        if node["Resources"].get("GPU", 0) >= 1
    }
    seen: dict[str, int | str] = {}
    for address, task in tasks.items():
        try:
            seen[address] = int(ray.get(task, timeout=timeout_s))
        except ray.exceptions.RayError as error:
            seen[address] = _reason(error, timeout_s)
            ray.cancel(task, force=True)
    return seen


def _try_store(
    alive: Sequence[dict[str, Any]], probes: Mapping[str, Any], store: UPath, timeout_s: float
) -> dict[str, float | str]:
    tasks = {
        str(node["NodeManagerAddress"]): probes[node["NodeID"]].try_store.remote(everywhere(store)) for node in alive
    }
    tried: dict[str, float | str] = {}
    for address, task in tasks.items():
        try:
            tried[address] = float(ray.get(task, timeout=timeout_s))
        except ray.exceptions.RayError as error:
            tried[address] = _reason(error, timeout_s)
    return tried


def _check_training(workers: int | None, gpus: int, nodes: int, timeout_s: float) -> Iterator[Finding]:
    count = workers or max(2, gpus, nodes)
    gpu = gpus >= count
    group = ray.util.placement_group([{"CPU": 1, **({"GPU": 1} if gpu else {})}] * count, strategy="SPREAD")
    try:
        if not group.wait(timeout_s):
            kind = "GPUs" if gpu else "CPUs"
            fix = f"wait for other jobs to end, start nodes, or ask for fewer with --workers; it needs {count} {kind}"
            yield Finding(check="training step", found=f"no room for {count} worker(s)", fix=fix)
            return
        steps, spread = _measure(group, count, gpu, timeout_s)
        yield from check_steps(steps, spread)
    except ray.exceptions.RayError as error:
        fix = "workers must reach each other on every port; look at Ray's logs of the worker"
        yield Finding(check="training step", found=_reason(error, timeout_s), fix=fix)
    finally:
        ray.util.remove_placement_group(group)


def _measure(group: Any, count: int, gpu: bool, timeout_s: float) -> tuple[list[StepFacts], bool]:
    """What every worker measured, and whether they were on several nodes."""
    probes = [
        ray.remote(StepProbe)
        .options(
            num_cpus=1,
            num_gpus=int(gpu),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
            runtime_env={"env_vars": worker_environment()},
        )
        .remote()
        for rank in range(count)
    ]
    addresses = ray.get([probe.address.remote() for probe in probes], timeout=timeout_s)
    measures = [
        probe.measure.remote(addresses, rank, gpu, MEGABYTES, int(timeout_s)) for rank, probe in enumerate(probes)
    ]
    steps = ray.get(measures, timeout=timeout_s)
    return steps, len({address.rpartition(":")[0] for address in addresses}) > 1
