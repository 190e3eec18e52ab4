"""What a running training tells of itself in its folder: ``progress.json`` and ``events.jsonl``; no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lvseg.logs import logger, make_line, utc_now
from lvseg.store import UPath, write_text

PROGRESS_NAME = "progress.json"
EVENTS_NAME = "events.jsonl"

Phase = Literal["building the model", "loading images", "compiling", "training", "validating", "done"]
EventKind = Literal["start", "resume", "lost", "save", "rollback", "stop", "exploit", "profile", "finished", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunProgress:
    """How far a run is; the content of ``progress.json``. Numbers are null as long as they are not known."""

    phase: Phase
    """What rank 0 does."""
    epochs: int
    """Of the whole run."""
    epochs_done: int = 0
    """Those that are in ``history.csv``."""
    epoch: int = 0
    """The one that is trained, counted from 1; 0: none yet."""
    step: int = 0
    """Steps of it that were made."""
    steps: int = 0
    """Steps that it has; 0: not known yet."""
    loss: float | None = None
    """Mean over rank 0's images of the last steps, or over the epoch where it is done."""
    dice: float | None = None
    """Dice of the cavity over the pixels of the same images."""
    val_dice: float | None = None
    """Of the last epoch that is done: mean over the validation images."""
    best_val_dice: float | None = None
    """The highest so far."""
    images_per_second: float | None = None
    """Training throughput over all workers in the epoch so far, without the time to compile."""
    seconds_left: float | None = None
    """Estimate of the time to the end of the last epoch."""
    started: str = ""
    """When this start of the workers began, ISO 8601, UTC: a run that resumed has begun anew."""
    updated: str = ""
    """When this was written."""

    @property
    def completed(self) -> float:
        """Epochs that are done, with the fraction of the one that is trained."""
        running = self.steps and self.epoch > self.epochs_done
        return self.epochs_done + (min(self.step / self.steps, _NOT_DONE) if running else 0.0)


_NOT_DONE = 0.99
"""An epoch counts when it is in the history."""
_KNOWN = {item.name for item in dataclasses.fields(RunProgress)}


def write_progress(folder: UPath, progress: RunProgress) -> None:
    """Replace ``progress.json``.

    Raises:
        OSError: it cannot be written.
    """
    # JSON has no NaN.
    values = {key: None if _is_odd(value) else value for key, value in dataclasses.asdict(progress).items()}
    write_text(folder / PROGRESS_NAME, json.dumps(values))


def _is_odd(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def read_progress(folder: UPath) -> RunProgress | None:
    """The run's progress; None where there is none, or another version's."""
    try:
        values = json.loads((folder / PROGRESS_NAME).read_text(encoding="utf-8"))
        return RunProgress(**{key: value for key, value in values.items() if key in _KNOWN})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that an operator wants to know of; a line of ``events.jsonl``."""

    time: str
    """ISO 8601, UTC."""
    kind: EventKind
    """What happened."""
    epoch: int | None = None
    """Epochs that were done."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is to be said of it."""

    def line(self, run: str) -> str:
        """As a line of the log."""
        return make_line("event", run=run, kind=self.kind, epoch=self.epoch, **self.facts)


def record_event(folder: UPath, kind: EventKind, epoch: int | None = None, **facts: Any) -> None:
    """Log an event, and add it to ``events.jsonl``; no run ends because that cannot be written."""
    event = Event(time=utc_now(), kind=kind, epoch=epoch, facts=facts)
    logger.info(event.line(folder.name))
    line = json.dumps({"time": event.time, "kind": kind, "epoch": epoch, **facts}) + "\n"
    path = folder / EVENTS_NAME
    # Few and short, and one process at a time writes them: whole again, as an object store wants it.
    try:
        write_text(path, (path.read_text(encoding="utf-8") if path.exists() else "") + line)
    except OSError as error:
        logger.warning(make_line("warning", run=folder.name, unwritten=EVENTS_NAME, reason=error))


def read_events(folder: UPath) -> list[Event]:
    """All events of a run; none where there is no file."""
    try:
        lines = (folder / EVENTS_NAME).read_text(encoding="utf-8").splitlines()
        values = [json.loads(line) for line in lines]
        return [Event(time=v.pop("time"), kind=v.pop("kind"), epoch=v.pop("epoch", None), facts=v) for v in values]
    except (OSError, ValueError, KeyError, AttributeError):
        return []
