"""What ``lvseg doctor`` has done on the nodes: facts, a file on the store, a sum over workers, a training step."""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import ray.util

from lvseg import __version__
from lvseg.store import UPath, write_bytes
from lvseg.training.cache import cache_folder, free_bytes

if TYPE_CHECKING:
    import tensorflow as tf

PACKAGES = ("ray", "tensorflow", "keras", "numpy")
"""Must be the same on all nodes, besides Python and lvseg."""
REPEATS = 3
"""Sums that are timed, after one that is not."""
IMAGE_SIDE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """What a node says of itself."""

    versions: dict[str, str]
    free_disk: int
    """Bytes, where the cache and Ray's folder are; the smaller of the two."""
    free_memory: int | None
    """Bytes; None where the system does not say."""
    gpu_devices: int
    """NVIDIA GPUs that the system has, whether or not Ray knows them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFacts:
    """What a worker measured."""

    all_reduce_s: float
    """One sum over all workers, s; the median of some."""
    step_s: float
    """One training step, s, after one that compiled."""
    loss: float
    """Of that step."""


class NodeProbe:
    """An actor on one node, without a core of its own."""

    def now(self) -> float:
        """The node's clock, s since 1970."""
        return time.time()

    def facts(self) -> NodeFacts:
        """See ``NodeFacts``."""
        folders = (cache_folder(), Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()))
        return NodeFacts(
            versions={"python": platform.python_version(), "lvseg": __version__} | _package_versions(),
            free_disk=min(free_bytes(folder) for folder in folders),
            free_memory=_free_memory(),
            gpu_devices=len(list(Path("/dev").glob("nvidia[0-9]*"))),
        )

    def try_store(self, folder: UPath) -> float:
        """Write, read and delete a small file; returns how long that took, s.

        Raises:
            OSError: the store refuses, or gives back something else.
        """
        start, content = time.monotonic(), secrets.token_bytes(1024)
        path = folder / f"lvseg-doctor-{secrets.token_hex(8)}"
        write_bytes(path, content)
        try:
            if path.read_bytes() != content:
                raise OSError("a file came back changed")
        finally:
            path.unlink()
        return time.monotonic() - start


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _free_memory() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    return None


def visible_gpus() -> int:
    """GPUs that TensorFlow finds among those that Ray gave to this task."""
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


class StepProbe:
    """An actor that stands for a training worker."""

    def address(self) -> str:
        """This node's address and a free port, for the other workers."""
        host = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"{host}:{probe.getsockname()[1]}"

    def measure(self, workers: Sequence[str], rank: int, gpu: bool, megabytes: int, timeout_s: int) -> StepFacts:
        """Sum up an array over all workers, then train for a step, as a run does.

        Args:
            workers: Address of every worker.
            rank: This worker's place among them.
            gpu: Use NCCL.
            megabytes: Size of the array.
            timeout_s: How long to wait for the others.
        """
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": rank}}
        )
        import tensorflow as tf

        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
        communication = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            timeout_seconds=timeout_s, implementation=communication.NCCL if gpu else communication.RING
        )
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        all_reduce_s = _time_all_reduce(strategy, megabytes)
        step_s, loss = _time_step(strategy)
        return StepFacts(all_reduce_s=all_reduce_s, step_s=step_s, loss=loss)


def _time_all_reduce(strategy: tf.distribute.Strategy, megabytes: int) -> float:
    import tensorflow as tf

    from lvseg.training.optimizers import sum_over_replicas

    def add_up(values: tf.Tensor) -> tf.Tensor:
        return sum_over_replicas([tf.identity(values)])[0]  # the copy is on the replica's own device

    @tf.function  # type: ignore[untyped-decorator]
    def run(values: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(add_up, args=(values,)))[0]

    values = tf.ones([megabytes * 250_000])
    times = []
    for _ in range(REPEATS + 1):
        start = time.monotonic()
        run(values).numpy()
        times.append(time.monotonic() - start)
    return sorted(times[1:])[REPEATS // 2]


def _time_step(strategy: tf.distribute.Strategy) -> tuple[float, float]:
    import tensorflow as tf

    from lvseg.config import TrainConfig
    from lvseg.models import build_model
    from lvseg.training.optimizers import apply_gradients, make_optimizer
    from lvseg.training.schedules import make_schedule

    config = TrainConfig(model="fcn", precision="float32")
    with strategy.scope():
        model = build_model(config, (IMAGE_SIDE, IMAGE_SIDE))
        optimizer = make_optimizer(config, make_schedule(config, total_steps=2))
        optimizer.build(model.trainable_variables)
    images = tf.random.stateless_normal([2, IMAGE_SIDE, IMAGE_SIDE, 1], seed=[0, 0])
    labels = tf.cast(images[..., 0] > 0, tf.int32)

    def step() -> tf.Tensor:
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses) / strategy.num_replicas_in_sync
        apply_gradients(optimizer, tape.gradient(loss, [v.value for v in variables]), variables, config)
        return loss

    @tf.function  # type: ignore[untyped-decorator]
    def train() -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(step))[0]

    train().numpy()
    start = time.monotonic()
    loss = float(train().numpy())
    return time.monotonic() - start, loss
