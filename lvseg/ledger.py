"""The append-only store of results: what every training, trial and evaluation of a folder of runs reports.

::

    RUNS/leaderboard/
    ├── 1767323045123456789-9f86d081884c7d65.jsonl   one row
    └── …

A row is a file of its own that is written once, in one step, and never changed: writers on any number of nodes need no
lock, and one that dies leaves a whole row or none. What a run reports later supersedes what it reported before.
``compact`` puts many rows into one file.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lvseg.config import LabelConvention, SplitMethod, SplitName
from lvseg.errors import RunError
from lvseg.results import CaseCounts, Number, RunResult
from lvseg.store import UPath, is_local, list_folder, read_files, remove_file, write_text

__all__ = [
    "LEDGER_FOLDER",
    "Entry",
    "Evaluated",
    "append",
    "compact",
    "latest",
    "read",
    "report",
    "run_path",
    "runs_of",
]

LEDGER_FOLDER = "leaderboard"
"""Below the folder of runs."""
SUFFIX = ".jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """Dice of one run's best weights on one part of one record set."""

    part: SplitName
    """The part that was scored."""
    labels: LabelConvention
    """Label convention of these records."""
    training_labels: str
    """Label convention that the run was trained on."""
    split: SplitMethod
    """How these records were split."""
    fold: int | None = None
    """The fold that validates, of records that are split into folds."""
    records_sha256: str
    """Hash of these records."""
    dice: Number
    """Mean over the images whose Dice is defined."""
    dice_pooled: Number
    """Over all pixels together."""
    images: int
    """Images in all."""
    undefined: int
    """Images without Dice: label and prediction are both empty."""
    dice_by_case: Mapping[str, Number]
    """Mean Dice by case id."""
    counts_by_case: Mapping[str, CaseCounts]
    """Images and pixels by case id."""
    command: str
    """Shell command that scores again."""
    versions: Mapping[str, str]
    """Version of Python and of each package that matters."""
    finished_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row: how a run ended, or how it scored elsewhere."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="null")

    schema: Literal[1] = 1
    """Version of this layout."""
    id: str
    """Time and random digits; later rows have higher ones."""
    run: str
    """Path of the run's folder below the folder of runs."""
    result: RunResult | None = None
    """How the run ended."""
    evaluation: Evaluated | None = None
    """How it scored, of an evaluation."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What a later row must share to supersede this one."""
        if self.evaluation is None:
            return (self.run,)
        scored = self.evaluation
        return self.run, scored.records_sha256, scored.part, str(scored.fold)


_ENTRY = TypeAdapter(Entry)


def runs_of(folder: UPath, sweep: str | None) -> UPath:
    """The folder of runs that a run's folder is in: ``RUNS/NAME``, or ``RUNS/SWEEP/TRIAL``."""
    return folder.parent.parent if sweep else folder.parent


def run_path(folder: UPath, sweep: str | None) -> str:
    """A run's path below its folder of runs."""
    return f"{folder.parent.name}/{folder.name}" if sweep else folder.name


def append(runs: UPath, run: str, *, result: RunResult | None = None, evaluation: Evaluated | None = None) -> Entry:
    """Add one row.

    Args:
        runs: the folder of runs.
        run: path of the run's folder below it.
        result: how the run ended.
        evaluation: or how it scored elsewhere.

    Raises:
        OSError: it cannot be written.
    """
    entry = Entry(id=f"{time.time_ns():019d}-{secrets.token_hex(8)}", run=run, result=result, evaluation=evaluation)
    write_text(runs / LEDGER_FOLDER / f"{entry.id}{SUFFIX}", _to_line(entry))
    return entry


def report(
    folder: UPath, sweep: str | None, *, result: RunResult | None = None, evaluation: Evaluated | None = None
) -> None:
    """``append`` for a run in its folder; no job ends because that cannot be written: the folder has it too."""
    folder = folder.resolve() if is_local(folder) else folder  # «.» has no parent
    try:
        append(runs_of(folder, sweep), run_path(folder, sweep), result=result, evaluation=evaluation)
    except OSError as error:
        logger.warning("%s: not entered into the leaderboard: %s", folder.name, error.strerror or error)


def _to_line(entry: Entry) -> str:
    return _ENTRY.dump_json(entry).decode() + "\n"


def read(runs: UPath, on_damaged: Callable[[str], None] = logger.warning) -> list[Entry]:
    """Every row, oldest first, while others write.

    Args:
        runs: the folder of runs; it need not have a store.
        on_damaged: called with one line for each file that cannot be used.
    """
    by_id = {entry.id: entry for entries in _read_files(runs, on_damaged).values() for entry in entries}
    return sorted(by_id.values(), key=lambda entry: entry.id)


def _read_files(runs: UPath, on_damaged: Callable[[str], None]) -> dict[str, list[Entry]]:
    """File name → its rows.

    A file that is gone when it is to be read was compacted: its rows are in a newer file, which the next listing shows.
    """
    folder = runs / LEDGER_FOLDER
    found: dict[str, list[Entry]] = {}
    seen: set[str] = set()
    while new := {name for name in list_folder(folder) if _is_row(name)} - seen:
        seen |= new
        for name, content in read_files(folder, sorted(new)).items():
            try:
                found[name] = [_ENTRY.validate_json(line) for line in content.splitlines()]
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                where = ".".join(map(str, fault["loc"]))
                on_damaged(f"{LEDGER_FOLDER}/{name}: not a row: {where + ': ' if where else ''}{fault['msg']}")
    return found


def _is_row(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def latest(entries: Iterable[Entry]) -> list[Entry]:
    """The rows that no later one supersedes, oldest first."""
    newest = {entry.identity: entry for entry in sorted(entries, key=lambda entry: entry.id)}
    return sorted(newest.values(), key=lambda entry: entry.id)


def compact(runs: UPath, keep: Callable[[Entry], bool] = lambda _: True) -> int:
    """Put all rows into one file, without those that were superseded; others may read and write meanwhile.

    A file is deleted only after a file with its rows is there, and only a file that was read whole: at worst, where
    two compact at a time, a row is there twice, which readers do not notice.

    Args:
        runs: the folder of runs.
        keep: says of a row whether it stays.

    Returns:
        Files that were replaced by one.

    Raises:
        RunError: the store cannot be written.
    """
    files = _read_files(runs, logger.warning)
    kept = [entry for entry in latest(entry for entries in files.values() for entry in entries) if keep(entry)]
    everything = sum(map(len, files.values()))
    if len(files) < 2 and len(kept) == everything:
        return 0
    folder = runs / LEDGER_FOLDER
    try:
        if kept:
            name = f"{time.time_ns():019d}-{secrets.token_hex(8)}{SUFFIX}"
            write_text(folder / name, "".join(map(_to_line, kept)))
        for name in files:
            remove_file(folder / name)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return len(files)
