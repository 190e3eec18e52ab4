"""How long Ray Train waits before it takes something for lost; it reads that from the environment of the driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

START_TIMEOUT_S = 20
"""For the workers' places. Of a node that died Ray Train may ask for places once more, and so long goes to waste.

Where a cluster has to grow first, it asks again (``START_ATTEMPTS``); nodes that come meanwhile stay.
"""
_START, _HEALTH, _BARRIER = (
    f"RAY_TRAIN_{name}_TIMEOUT_S" for name in ("WORKER_GROUP_START", "WORKER_HEALTH_CHECK", "COLLECTIVE")
)


@contextmanager
def patience(silence_s: int) -> Iterator[None]:
    """Ray Train's time-outs for the length of the block; what the user has set goes before.

    Args:
        silence_s: After so long a worker that does not answer the controller, or does not come to the barrier of a
            report where the others wait, is taken for lost. TensorFlow's collectives have their own time-out.
    """
    wanted = {_START: START_TIMEOUT_S, _HEALTH: silence_s, _BARRIER: silence_s}
    added = {name: str(value) for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
