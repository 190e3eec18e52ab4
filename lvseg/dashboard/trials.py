"""What the page shows: every run below a folder, ended or not, in sections whose scores compare."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from lvseg.config import read_yaml
from lvseg.errors import LvsegError, RunError
from lvseg.leaderboard import Leaderboard, Row, build
from lvseg.leaderboard.folds import CrossValidation, cross_validations
from lvseg.leaderboard.statistics import Interval
from lvseg.logs import utc_now
from lvseg.results import EpochRow, read_history
from lvseg.run_folder import CONFIG_NAME, read_origin
from lvseg.store import UPath
from lvseg.training.status import RunProgress

__all__ = ["STATES", "Reader", "Section", "Snapshot", "Trial", "TrialState"]

TrialState: TypeAlias = Literal["finished", "stopped early", "running", "failed"]
SectionKey: TypeAlias = tuple[str, str, int | None, int | None]
"""Records, label convention, fold, folds."""

STATES: tuple[TrialState, ...] = get_args(TrialState)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run, a sweep's or a single one."""

    key: str
    """Path of its folder below the folder of runs."""
    state: TrialState
    folder: UPath
    settings: Mapping[str, Any]
    row: Row | None = None
    """Of a run that has ended: its place on the leaderboard and its result."""
    progress: RunProgress | None = None
    """Of one that has not: how far it is."""
    history: tuple[EpochRow, ...] = ()

    @property
    def dice(self) -> float | None:
        """Validation Dice, mean over images: the best so far."""
        if self.row is not None:
            return None if math.isnan(self.row.result.val_dice) else self.row.result.val_dice
        known = [row.val_dice for row in self.history if not math.isnan(row.val_dice)]
        return max(known, default=None)

    @property
    def interval(self) -> Interval | None:
        """95 % of it, over patients."""
        return None if self.row is None else self.row.dice_interval

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return self.row.result.epochs if self.row is not None else len(self.history)

    @property
    def planned_epochs(self) -> int:
        """Epochs of the whole run, if nothing ends it before."""
        return int(self.settings.get("epochs") or (self.progress.epochs if self.progress else 0) or self.epochs)

    @property
    def images_per_second(self) -> float | None:
        """Training throughput over all workers."""
        if self.row is None:
            return self.progress.images_per_second if self.progress else None
        return None if math.isnan(self.row.result.images_per_second) else self.row.result.images_per_second

    @property
    def error(self) -> str | None:
        """Why a failed run failed."""
        return (self.row.result.error or "no reason was written") if self.row and self.state == "failed" else None

    @property
    def sweep(self) -> str | None:
        """The sweep it belongs to."""
        if self.row is not None:
            return self.row.result.sweep
        return self.key.rpartition("/")[0] or None


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Runs whose scores compare."""

    key: str
    heading: str
    trials: tuple[Trial, ...]
    """Ranked ones first, best first; then running, then failed ones."""

    def short(self, trial: Trial) -> str:
        """A trial's name, without the sweep's where there is no other."""
        sweeps = {other.key.rpartition("/")[0] for other in self.trials}
        return trial.key.rpartition("/")[2] if len(sweeps) == 1 else trial.key

    def of(self, state: TrialState) -> list[Trial]:
        """The trials of one state."""
        return [trial for trial in self.trials if trial.state == state]

    @property
    def ranked(self) -> list[Trial]:
        """Those that have a place on the leaderboard, best first: finished, or stopped early by their sweep."""
        return [trial for trial in self.trials if trial.state in ("finished", "stopped early")]

    @property
    def best(self) -> Trial | None:
        """The trial of the highest Dice so far."""
        scored = [trial for trial in self.trials if trial.dice is not None and trial.state != "failed"]
        return max(scored, key=lambda trial: trial.dice or 0.0, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All that is known at one moment."""

    name: str
    """Of the folder of runs."""
    sections: tuple[Section, ...] = ()
    """The largest first."""
    cross_validations: tuple[CrossValidation, ...] = ()
    """Mean and spread over folds; each fold is a section of its own."""
    damaged: tuple[str, ...] = ()
    """One line for each result that could not be read."""
    trouble: str | None = None
    """Why the folder could not be read just now; the rest is then as it was before."""
    looked: str = ""
    """When, ISO 8601, UTC."""

    def section(self, key: str | None) -> Section | None:
        """The section of that key, or the first."""
        first = self.sections[0] if self.sections else None
        return next((section for section in self.sections if section.key == key), first)


class Reader:
    """Reads a folder of runs at most once an interval, however many pages ask."""

    def __init__(self, runs: UPath, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``interval`` in seconds."""
        self._runs, self._interval, self._clock = runs, interval, clock
        self._lock = threading.Lock()
        self._due = -math.inf
        self._snapshot = Snapshot(name=runs.name)
        self._histories: dict[tuple[str, str], tuple[EpochRow, ...]] = {}
        """Of runs that have ended, by folder and end: they do not change."""
        self._settings: dict[str, Mapping[str, Any]] = {}
        """Of runs that have not."""

    def look(self) -> Snapshot:
        """What is in the folder now, or was an instant ago. What cannot be read is said in ``trouble``."""
        with self._lock:
            if self._clock() >= self._due:
                self._snapshot = self._read()
                self._due = self._clock() + self._interval
            return self._snapshot

    def _read(self) -> Snapshot:
        before = self._snapshot
        try:
            if not self._runs.is_dir():
                return Snapshot(name=before.name, trouble="the folder of runs is not there yet", looked=utc_now())
            board = build(self._runs, allow_empty=True)
            sections = self._sections(board)
            folds = cross_validations(board.rows)
        except (OSError, LvsegError) as error:
            logger.warning("%s", error)
            trouble = f"the runs cannot be read just now ({type(error).__name__}); shown is what was read before"
            return dataclasses.replace(before, trouble=trouble)
        return Snapshot(
            name=before.name, sections=sections, cross_validations=folds, damaged=board.damaged, looked=utc_now()
        )

    def _sections(self, board: Leaderboard) -> tuple[Section, ...]:
        finished = [
            (
                (group.records_sha256, group.labels, group.fold, group.folds),
                group.heading,
                [self._ended(row) for row in group.rows],
            )
            for group in board.groups
            if group.training_labels is None
        ]
        waiting: dict[SectionKey, list[Trial]] = {}
        for key, trial in [*self._running(board), *(self._failed(row) for row in board.failed)]:
            waiting.setdefault(key, []).append(trial)
        sections = [
            Section(key=_text(key), heading=heading, trials=(*trials, *waiting.pop(key, ())))
            for key, heading, trials in finished
        ]
        sections += [
            Section(key=_text(key), heading=_heading(key), trials=tuple(trials)) for key, trials in waiting.items()
        ]
        return tuple(sorted(sections, key=lambda section: -len(section.trials)))

    def _key(self, folder: UPath) -> str:
        return str(folder.relative_to(self._runs).as_posix())

    def _ended(self, row: Row) -> Trial:
        history = self._history_of_ended(row)
        settings = row.result.config
        return Trial(
            key=self._key(row.folder),
            state=row.result.status,
            folder=row.folder,
            settings=settings,
            row=row,
            history=history,
        )

    def _failed(self, row: Row) -> tuple[SectionKey, Trial]:
        result = row.result
        return _section_key(result.records_sha256, result.labels, result.config), self._ended(row)

    def _running(self, board: Leaderboard) -> list[tuple[SectionKey, Trial]]:
        found: list[tuple[SectionKey, Trial]] = []
        for name, progress in board.running:
            folder = self._runs.joinpath(*name.split("/")) if name != "." else self._runs
            try:
                origin = read_origin(folder)
                settings = self._settings.setdefault(name, read_yaml(folder / CONFIG_NAME))
            except LvsegError:
                continue  # it is just being made
            trial = Trial(
                key=name,
                state="running",
                folder=folder,
                settings=settings,
                progress=progress,
                history=_history(folder),
            )
            found.append((_section_key(origin.records_sha256, origin.labels, settings), trial))
        return found

    def _history_of_ended(self, row: Row) -> tuple[EpochRow, ...]:
        if row.gone:
            return ()
        key = str(row.folder), row.result.finished_at
        if key not in self._histories:
            self._histories[key] = _history(row.folder)
        return self._histories[key]


def _history(folder: UPath) -> tuple[EpochRow, ...]:
    try:
        return tuple(read_history(folder))
    except RunError:
        return ()  # it has no epoch yet


def _section_key(records_sha256: str, labels: str, settings: Mapping[str, Any]) -> SectionKey:
    return records_sha256, labels, settings.get("fold"), settings.get("folds")


def _heading(key: SectionKey) -> str:
    """Of runs of which none has ended yet."""
    records_sha256, labels, fold, folds = key
    part = "" if fold is None else f", fold {fold}" + ("" if folds is None else f" of {folds} by patient")
    return f"Records {records_sha256[:8]}, labels {labels}{part}"


def _text(key: Sequence[Any]) -> str:
    return "/".join("" if part is None else str(part) for part in key)
