"""Tells operators that a worker was lost, and why, in one line."""

from __future__ import annotations

from typing import Any

import ray.train
from ray.train.v2._internal.exceptions import RayTrainError

from lvseg.store import UPath
from lvseg.training.status import read_progress, record_event

LONGEST_REASON = 300
"""Characters; the rest is in Ray's log."""


class LostWorkers(ray.train.UserCallback):  # type: ignore[misc]
    """Runs beside Ray Train's controller, which stops the other workers and starts all again."""

    def __init__(self, folder: UPath) -> None:
        self._folder = folder

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Record an event for each worker that was lost."""
        progress = read_progress(self._folder)
        for rank, error in sorted(worker_exceptions.items()):
            epoch = progress.epochs_done if progress else 0
            cause = getattr(error, "cause", error)  # of what Ray carried here from another process
            record_event(self._folder, "lost", epoch, rank=rank, error=type(cause).__name__, text=_reason(cause))


def _reason(error: Exception) -> str:
    """One line of what an error says: the last one, before which come places in code, hosts and paths.

    Of Ray Train's own errors the first, on which the names of its settings follow.
    """
    cause = getattr(error, "health_check_failure", error)
    lines = [line.strip() for line in str(cause).splitlines()]
    told = [line for line in lines if line and not line.startswith(("[", "File "))]
    telling = told[:1] if isinstance(cause, RayTrainError) else told[-1:]
    return "".join(telling)[:LONGEST_REASON]
