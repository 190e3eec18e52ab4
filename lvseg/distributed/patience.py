"""How often Ray Train asks its workers, and how long it waits before it takes something for lost.

It reads that from the environment of the driver.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

START_TIMEOUT_S = 20
"""For the workers' places. Of a node that died Ray Train may ask for places once more, and so long goes to waste.

Where a cluster has to grow first, it asks again (``START_ATTEMPTS``); nodes that come meanwhile stay.
"""
ASK_EVERY_S = 0.2
"""For news of the workers. Whenever it asks, the controller takes one report of each, and a worker whose last one was
not taken yet waits with the next: no epoch is shorter than this."""
ASK_A_WORKER_S = 0.005
"""The controller asks all workers, one call each: of many, less often."""
RAY_ASKS_EVERY_S = 2.0
"""Ray's own interval, which is never exceeded."""
_ASK, _START, _HEALTH, _BARRIER = (
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
    *(f"RAY_TRAIN_{name}_TIMEOUT_S" for name in ("WORKER_GROUP_START", "WORKER_HEALTH_CHECK", "COLLECTIVE")),
)


@contextmanager
def patience(workers: int, silence_s: int) -> Iterator[None]:
    """Ray Train's times for the length of the block; what the user has set goes before.

    Args:
        workers: That the run may have at most.
        silence_s: After so long a worker that does not answer the controller, or does not come to the barrier of a
            report where the others wait, is taken for lost. TensorFlow's collectives have their own time-out.
    """
    ask = min(max(ASK_EVERY_S, ASK_A_WORKER_S * workers), RAY_ASKS_EVERY_S)
    wanted = {_ASK: ask, _START: START_TIMEOUT_S, _HEALTH: silence_s, _BARRIER: silence_s}
    added = {name: str(value) for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
