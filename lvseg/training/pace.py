"""How fast a run is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable

RECENT_EPOCHS = 5
"""Epochs whose mean stands for those to come."""


class Pace:
    """Speed and time left, told from the steps and epochs of this start alone.

    A run that resumes may be on other machines than before, so what was measured there is not asked. The first
    call of this start compiles: it counts for neither.

    Args:
        epochs: Epochs of the whole run.
        clock: Gives seconds.
    """

    def __init__(self, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._epochs, self._clock = epochs, clock
        self._epoch = self._step = self._steps = 0
        self._begun: float | None = None
        """When the running epoch began; None between two epochs."""
        self._first = self._last = (0.0, 0)
        """(time, step) between which the epoch's steps are timed; step −1: not seen yet."""
        self._lasted: list[float] = []

    def begin(self, epoch: int) -> None:
        """An epoch begins."""
        compiles = self._epoch == 0
        self._epoch, self._begun, self._step = epoch, self._clock(), 0
        self._first = self._last = (self._begun, -1 if compiles else 0)

    def made(self, step: int, steps: int) -> None:
        """Steps of the epoch were made, and waited for."""
        self._step, self._steps, self._last = step, steps, (self._clock(), step)
        if self._first[1] < 0:
            self._first = self._last

    def end(self) -> None:
        """The epoch is done, its validation too."""
        if self._begun is None:
            return
        start, pace = self._begun, self._seconds_a_step()
        if not self._lasted and pace:
            start = self._first[0] - pace * self._first[1]  # as if the first call had not compiled
        self._lasted.append(self._clock() - start)
        self._begun, self._step = None, 0

    def steps_per_second(self, times: int = 1) -> float | None:
        """In the epoch so far, times the images of a step; None: not known yet."""
        pace = self._seconds_a_step()
        return times / pace if pace else None

    def seconds_left(self) -> float | None:
        """Until the last epoch is done; in the first one without validation, of which nothing is known yet."""
        to_come = self._epochs - self._epoch
        if self._lasted:
            recent = (self._lasted[1:] or self._lasted)[-RECENT_EPOCHS:]
            typical = sum(recent) / len(recent)
            running = 0.0 if self._begun is None else max(0.0, typical - (self._clock() - self._begun))
            return running + to_come * typical
        pace = self._seconds_a_step()
        return None if pace is None else pace * (self._steps - self._step + to_come * self._steps)

    def _seconds_a_step(self) -> float | None:
        (first, step), (last, now) = self._first, self._last
        return (last - first) / (now - step) if step >= 0 and now > step and last > first else None
