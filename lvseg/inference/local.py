"""A prediction in this process: images are read ahead and results written behind, while the models run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import tensorflow as tf

from lvseg.inference.ensemble import make_members, predict_pack
from lvseg.inference.job import Done, OpenJob, finish_pack, read_pack

__all__ = ["predict_locally"]

AHEAD = 1
"""Packs that are read ahead, and packs that wait to be written: all that is in memory beside the one at work."""


def predict_locally(opened: OpenJob, *, gpu: bool = False) -> Iterator[Done]:
    """Predict all packs.

    Args:
        opened: the prediction.
        gpu: let TensorFlow see GPUs; it may not have been used before.

    Yields:
        What came of each, in order.

    Raises:
        RunError: weights that cannot be used.
        LvsegError: the folder cannot be written.
    """
    job, waiting = opened.job, deque(opened.packs)
    if not waiting:
        return
    if not gpu:
        tf.config.set_visible_devices([], "GPU")
    members = make_members(job)
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        reading = deque(reader.submit(read_pack, job, waiting.popleft()) for _ in range(min(AHEAD + 1, len(waiting))))
        writing: deque[Future[Done]] = deque()
        while reading:
            studies, failures = reading.popleft().result()
            if waiting:
                reading.append(reader.submit(read_pack, job, waiting.popleft()))
            probabilities = predict_pack(job, members, studies) if studies else []
            writing.append(writer.submit(finish_pack, job, studies, probabilities, failures))
            del studies, probabilities
            while len(writing) > AHEAD:
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()
