"""How many steps a call of the compiled training function makes; the same on every worker.

Between two calls a run hears that it is to stop, and shows how far it is. A call is therefore short, and long enough
for what happens between two not to count.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from lvseg.training.feed import Chunk

CALL_SECONDS = 2.0
"""A run hears within three calls that it is to stop; Kubernetes and Slurm give it 30 s from then on."""


class Calls:
    """Cuts chunks into calls; the first ones make one step each, until it is known how long that takes."""

    def __init__(self) -> None:
        self._steps = 1
        self.seconds_per_step = 0.0
        """By this worker's clock, of the steps of an epoch so far without its first call; 0: not known."""

    def of(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """An epoch's chunks, a call each. Time counts from the end of the first, which may compile, or read ahead."""
        began, made = None, 0
        for chunk in chunks:
            done = 0
            while done < chunk.steps:
                steps = min(self._steps, chunk.steps - done)
                yield chunk.part(done, steps)
                done += steps
                if began is None:
                    began = time.perf_counter()
                else:
                    made += steps
                    self.seconds_per_step = (time.perf_counter() - began) / made

    def agreed(self, seconds_per_step: float) -> None:
        """What rank 0 has measured, as all workers hear it at the same call; 0: nothing yet."""
        if seconds_per_step > 0:
            self._steps = max(1, int(CALL_SECONDS / seconds_per_step))
