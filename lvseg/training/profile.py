"""A trace of some steps, for TensorBoard's profiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

PROFILED_EPOCH = 2
"""The first one compiles."""
PROFILED_CALLS = 3


class Profiler:
    """Traces the first calls of this start's second epoch; of its first, where there is no other.

    Args:
        folder: TensorBoard's folder of the run.
        epochs: Epochs of the whole run.
        tell: Called with one line when the trace is done, or when there is none.
    """

    def __init__(self, folder: Path, epochs: int, tell: Callable[[str], None]) -> None:
        self._folder, self._epochs, self._tell = folder, epochs, tell
        self._wanted: int | None = None
        self._calls = 0
        self._running = self._over = False

    def begin(self, epoch: int) -> None:
        """An epoch begins."""
        if self._wanted is None:
            self._wanted = min(epoch + PROFILED_EPOCH - 1, self._epochs)
        if epoch != self._wanted or self._over:
            return
        self._over = True
        try:
            tf.profiler.experimental.start(str(self._folder))
            self._running = True
        except tf.errors.OpError as error:
            self._tell(f"no trace: {error.message}")

    def called(self, counts: tf.Tensor) -> None:
        """A call was made; ``counts`` is its result, not waited for."""
        if not self._running:
            return
        self._calls += 1
        if self._calls >= PROFILED_CALLS:
            counts.numpy()
            self.stop()

    def stop(self) -> None:
        """The epoch's steps are made, or the run ends."""
        if not self._running:
            return
        self._running = False
        try:
            tf.profiler.experimental.stop()
            self._tell(f"calls traced: {self._calls}, in epoch {self._wanted}")
        except tf.errors.OpError as error:
            self._tell(f"no trace: {error.message}")
