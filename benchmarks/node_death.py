"""Seconds from the death of a node to the first step after it, and whether the run ends as an undisturbed one.

``python -m benchmarks.node_death`` starts a Ray cluster on this machine, a head without cores and three nodes of one
core each, trains with two workers, and ends a node that has a worker: its raylet is killed, and all it had started. Ray
Train starts both workers again, one of them on the node that was free.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import tyro
from ray.cluster_utils import Cluster

from benchmarks.chaos import WEIGHT_TOLERANCE, Training, largest_difference, make_records
from benchmarks.chaos import Benchmark as Chaos
from lvseg.errors import LvsegError, TrainingError

NODE = {"num_cpus": 1, "object_store_memory": 150_000_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is killed."""

    rounds: int = 2
    """Runs that lose a node."""
    epochs: int = 16
    """Epochs of each; the node dies in the fifth."""
    model: str = "unet"
    """Architecture."""


@contextmanager
def three_nodes() -> Iterator[tuple[Cluster, list[Any]]]:
    """The cluster, and its nodes with a core."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(**NODE) for _ in range(3)]
        cluster.wait_for_nodes()
        yield cluster, nodes
    finally:
        cluster.shutdown()


def raylet_of(node: Any) -> psutil.Process:
    """The process that starts a node's workers."""
    (info,) = node.all_processes["raylet"]
    return psutil.Process(info.process.pid)


def kill_a_node(nodes: list[Any]) -> None:
    """End one that has a worker of the training on it.

    Raises:
        TrainingError: there is none.
    """
    for node in nodes:
        raylet = raylet_of(node)
        started = raylet.children(recursive=True)
        if any("RayTrainWorker" in " ".join(process.cmdline()) for process in started):
            for process in (raylet, *started):
                process.send_signal(signal.SIGKILL)
            return
    raise TrainingError("no node has a worker")


def lose_a_node(records: Path, folder: Path, benchmark: Benchmark) -> float:
    """A run that loses a node; seconds to the first step after it."""
    config = replace(Chaos(model=benchmark.model, epochs=benchmark.epochs).config(), placement="strict-spread")
    with three_nodes() as (cluster, nodes):
        training = Training(records, folder, config, cluster.address)
        training.wait_for("epoch 5", lambda: training.position()[0] >= 5)
        before = training.progress().get("started")
        killed = time.monotonic()
        kill_a_node(nodes)
        training.wait_for("step after it", lambda: training.has_gone_on(before))
        seconds = time.monotonic() - killed
        training.end()
    return seconds


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="lvseg-node-") as name:
        folder = Path(name)
        try:
            records = make_records(folder)
            calm = Training(records, folder / "calm", Chaos(model=benchmark.model, epochs=benchmark.epochs).config())
            calm.end()
            wrong = 0
            for number in range(1, benchmark.rounds + 1):
                seconds = lose_a_node(records, folder / f"run-{number}", benchmark)
                difference = largest_difference(folder / f"run-{number}", folder / "calm")
                wrong += difference > WEIGHT_TOLERANCE
                print(
                    f"run {number}: {seconds:.0f} s to the next step; largest difference {difference:.1e}", flush=True
                )
        except LvsegError as error:
            print(f"node_death: error: {error}", file=sys.stderr)
            return error.exit_status
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
