"""Getting a Ray cluster: the one this process was submitted to, or a private one on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from lvseg.errors import ClusterError
from lvseg.quiet import TENSORFLOW_KERNELS, TENSORFLOW_LEVEL

WORKER_ENVIRONMENT = {TENSORFLOW_LEVEL: "3", "RAY_TRAIN_V2_ENABLED": "1", **TENSORFLOW_KERNELS}
ADDRESS_VARIABLE = "RAY_ADDRESS"
PRIVATE_CLUSTER = {"RAY_raylet_start_wait_time_s": "180", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""For a cluster of this machine alone: Ray's processes may take longer than its 30 s to start on a busy laptop, and
nobody takes the only node away, for which Ray Train would start a process to look."""


def worker_environment() -> dict[str, str]:
    """Variables that workers start with; what is set here already goes before."""
    return {key: os.environ.get(key, value) for key, value in WORKER_ENVIRONMENT.items()}


@contextmanager
def ray_session(min_cpus: int = 1, verbose: bool = False) -> Iterator[None]:
    """Connect to Ray for the length of the block.

    With ``RAY_ADDRESS`` set (``ray job submit`` sets it) that cluster is used; otherwise a
    cluster of this machine's cores, at least ``min_cpus``, is started and ended.
    A connection that is already there is used and left as it is.

    Raises:
        ClusterError: Ray does not start, or the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    if verbose:
        os.environ.setdefault(TENSORFLOW_LEVEL, "0")
    os.environ.update(worker_environment())
    try:
        _connect(min_cpus, verbose)
    except Exception as error:  # Ray has no class of its own for this, and raises bare Exceptions too
        ray.shutdown()
        address = os.environ.get(ADDRESS_VARIABLE)
        what = f"{ADDRESS_VARIABLE} {address}: no connection to the cluster" if address else "Ray does not start here"
        raise ClusterError(f"{what}: {' '.join(str(error).split())[:300] or type(error).__name__}") from error
    _quiet_libraries(verbose)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(min_cpus: int, verbose: bool) -> None:
    level = logging.INFO if verbose else logging.ERROR
    if os.environ.get(ADDRESS_VARIABLE):
        ray.init(address="auto", logging_level=level, log_to_driver=verbose)
    else:
        for variable, value in PRIVATE_CLUSTER.items():
            os.environ.setdefault(variable, value)
        cpus = max(os.cpu_count() or 1, min_cpus)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, logging_level=level, log_to_driver=verbose)


_print_of_ray = getattr(ray._private.worker, "print_to_stdstream", None)


def _print_nothing(*_: Any, **__: Any) -> None:
    pass


def _quiet_libraries(verbose: bool) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = verbose
    # Ray has no setting for what it prints of lost workers; an event tells of them.
    ray._private.worker.print_to_stdstream = _print_of_ray if verbose else _print_nothing
    if not verbose:
        for name in ("ray.data", "ray.train", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def is_private_cluster() -> bool:
    """Whether the cluster was started by this process and cannot grow."""
    return not os.environ.get(ADDRESS_VARIABLE)
