"""A prediction as a Ray Data job: tasks read studies, a pool of actors runs the models, tasks write the results.

What is read waits for a model in the object store, as little as keeps the models busy. A study's folder is whole or not
there, and writing it twice gives the same, so that a task that is run again does no harm.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import ray
import ray.data

from lvseg.distributed.placement import Want, live_nodes, require_place, share_of_cpus
from lvseg.distributed.session import is_private_cluster, ray_session
from lvseg.distributed.storage import everywhere
from lvseg.errors import LvsegError, RunError
from lvseg.inference.job import Done, OpenJob, PredictJob, finish_pack, read_pack

__all__ = ["count_workers", "predict_on_ray"]

READ_CPUS, WRITE_CPUS = 0.5, 0.25
"""Different from a model's whole core: equal ones would make Ray do all three in the model's own process, in turn."""
STORE_BYTES = 768 * 2**20
"""In the object store, a worker: a cine of 500 images with what a model makes of them is about 150 MB."""


def count_workers(*, gpu: bool | None) -> tuple[int, bool]:
    """Models that a cluster can run side by side, in the session that is there.

    Returns:
        One a GPU, and True, where there are GPUs and they are not forbidden; else one a node.
    """
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus and gpu is not False:
        return gpus, True
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) >= 1 for node in ray.nodes()) or 1, False


def predict_on_ray(opened: OpenJob, workers: int, *, gpu: bool, verbose: bool = False) -> Iterator[Done]:
    """Predict all packs in the Ray session that is there, or in one of its own.

    Args:
        opened: the prediction.
        workers: models side by side.
        gpu: whether each has a GPU.
        verbose: show Ray's own messages.

    Yields:
        What came of each pack, as they get done.

    Raises:
        ConfigError: this machine has too few cores or GPUs.
        LvsegError: the folder cannot be written, or weights cannot be used.
    """
    if not opened.packs:
        return
    job = _everywhere(opened.job)
    with ray_session(min_cpus=workers + 1, verbose=verbose):
        nodes, want = live_nodes(), Want(workers=workers, gpus=int(gpu), placement="pack", labels={})
        if is_private_cluster():
            require_place(nodes, want, 1)
        threads = share_of_cpus(nodes, want)
        rows = [{"pack": pickle.dumps(pack)} for pack in opened.packs]
        dataset = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .map(_reader(job), num_cpus=READ_CPUS, compute=ray.data.TaskPoolStrategy(size=2 * workers))
            .map(
                _Models,
                fn_constructor_kwargs={"job": job, "threads": threads},
                num_cpus=1,
                num_gpus=int(gpu),
                compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            )
            .map(_writer(job), num_cpus=WRITE_CPUS, compute=ray.data.TaskPoolStrategy(size=2 * workers))
        )
        options = dataset.context.execution_options
        options.resource_limits = options.resource_limits.copy(object_store_memory=STORE_BYTES * workers)
        for row in dataset.iter_rows():
            if row["error"]:
                raise LvsegError(row["error"])
            yield pickle.loads(row["done"])


def _everywhere(job: PredictJob) -> PredictJob:
    runs = tuple(dataclasses.replace(facts, folder=everywhere(facts.folder)) for facts in job.runs)
    return dataclasses.replace(job, source=everywhere(job.source), out=everywhere(job.out), runs=runs)


def _reader(job: PredictJob) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def read(row: dict[str, Any]) -> dict[str, Any]:
        return {"studies": pickle.dumps(read_pack(job, pickle.loads(row["pack"])), 5)}

    return read


class _Models:
    """Holds the models of an ensemble; one process a GPU, or a node."""

    def __init__(self, job: PredictJob, threads: int) -> None:
        from lvseg.quiet import import_keras

        import_keras()
        self._job = job
        self._error = ""
        try:
            self._members = _load(job, threads)
        except RunError as error:  # raised here, it would come out wrapped, with a stack trace
            self._error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        from lvseg.inference.ensemble import predict_pack

        studies, failures = pickle.loads(row["studies"])
        probabilities = predict_pack(self._job, self._members, studies) if studies and not self._error else []
        plain = [dataclasses.replace(study, inputs=()) for study in studies]
        return {"predicted": pickle.dumps((plain, probabilities, failures), 5), "error": self._error}


def _load(job: PredictJob, threads: int) -> list[Any]:
    import tensorflow as tf

    from lvseg.inference.ensemble import make_members

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    return make_members(job)


def _writer(job: PredictJob) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def write(row: dict[str, Any]) -> dict[str, Any]:
        if row["error"]:
            return {"done": b"", "error": row["error"]}
        studies, probabilities, failures = pickle.loads(row["predicted"])
        try:
            return {"done": pickle.dumps(finish_pack(job, studies, probabilities, failures)), "error": ""}
        except LvsegError as error:
            return {"done": b"", "error": str(error)}

    return write
