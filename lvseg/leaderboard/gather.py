"""Every run below a folder, from the stores of results and from the run folders themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lvseg.errors import RunError
from lvseg.ledger import LEDGER_FOLDER, Entry, Evaluated, compact, latest, read
from lvseg.results import ORIGIN_FILE, RESULT_FILE, RunResult, read_result
from lvseg.store import UPath, list_folder

__all__ = ["Found", "Gathered", "compact_store", "gather"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A run that has ended, or one of its evaluations."""

    result: RunResult
    """How the run ended; of an evaluation with that one's scores."""
    folder: UPath
    """Of the run."""
    gone: bool = False
    """The run's folder is not there any more; the store still knows how it ended."""
    evaluation: Evaluated | None = None
    """Where the scores come from, if not from the run's own validation."""


@dataclass(kw_only=True, slots=True)
class Gathered:
    """What is below a folder of runs."""

    found: list[Found] = field(default_factory=list)
    """Runs and evaluations, by path."""
    running: list[UPath] = field(default_factory=list)
    """Folders of runs that have not ended."""
    damaged: list[str] = field(default_factory=list)
    """One line for each file that cannot be used."""

    @property
    def results(self) -> list[RunResult]:
        """Of the runs alone, evaluations left out."""
        return [each.result for each in self.found if each.evaluation is None]


def gather(runs: UPath) -> Gathered:
    """Look through the stores of results, and through the folders of which they do not know.

    The folder of a run has the last word: what a store says of a failed run is not asked, since it may have been
    resumed. A run's folder is not looked into further than that, nor are folders whose name begins with a dot.

    Raises:
        RunError: no such folder.
    """
    if not runs.is_dir():
        raise RunError(f"{runs}: no such folder; expected a folder of runs")
    search = _Search()
    if runs.parent != runs:
        # A sweep's folder: its rows are in the store above it.
        search.enter(runs.parent, lambda entry: entry.run.startswith(f"{runs.name}/"))
    search.walk(runs)
    gathered = Gathered(running=search.running, damaged=search.damaged)
    results = search.results | {path: entry.result for path, entry in search.rows.items() if entry.result}
    for path in sorted(results):
        gone = path not in search.seen
        gathered.found.append(Found(result=results[path], folder=search.folders[path], gone=gone))
    gathered.found = [_completed(found, search.evaluations) for found in gathered.found]
    gathered.found += _evaluated(gathered.found, search.evaluations)
    return gathered


def compact_store(runs: UPath) -> int:
    """Put the rows of a folder's store into one file, without those of runs whose folders are gone.

    Returns:
        Files that were replaced.

    Raises:
        RunError: the store cannot be written.
    """
    there: dict[str, bool] = {}

    def is_there(entry: Entry) -> bool:
        if entry.run not in there:
            there[entry.run] = runs.joinpath(*entry.run.split("/")).is_dir()
        return there[entry.run]

    return compact(runs, is_there)


class _Search:
    """Everything is keyed by the path of the run's folder."""

    def __init__(self) -> None:
        self.rows: dict[str, Entry] = {}
        """What stores say of finished runs."""
        self.results: dict[str, RunResult] = {}
        """What folders say of the others."""
        self.evaluations: list[tuple[str, Evaluated]] = []
        self.folders: dict[str, UPath] = {}
        self.seen: set[str] = set()
        """Folders of runs that are there."""
        self.running: list[UPath] = []
        self.damaged: list[str] = []

    def enter(self, runs: UPath, wanted: Callable[[Entry], bool] = lambda _: True) -> None:
        """Take the rows of a store, if there is one."""
        for entry in latest(read(runs, self.damaged.append)):
            if not wanted(entry):
                continue
            folder = runs.joinpath(*entry.run.split("/"))
            self.folders[str(folder)] = folder
            if entry.evaluation:
                self.evaluations.append((str(folder), entry.evaluation))
            elif entry.result:
                self.rows[str(folder)] = entry

    def walk(self, folder: UPath) -> None:
        """Find run folders at any depth."""
        names = list_folder(folder)
        if RESULT_FILE in names:
            self._read(folder)
        elif ORIGIN_FILE in names:
            self.rows.pop(str(folder), None)  # it failed, and runs again
            self.running.append(folder)
        else:
            if LEDGER_FOLDER in names:
                self.enter(folder)
            for child in self._children(folder, names):
                self.walk(child)

    def _children(self, folder: UPath, names: dict[str, bool]) -> Iterator[UPath]:
        for name, is_folder in names.items():
            if not is_folder or name.startswith(".") or name == LEDGER_FOLDER:
                continue
            child = folder / name
            entry = self.rows.get(str(child))
            if entry and entry.result and entry.result.status != "failed":
                self.seen.add(str(child))
            else:
                yield child

    def _read(self, folder: UPath) -> None:
        path = str(folder)
        self.seen.add(path)
        self.folders[path] = folder
        self.rows.pop(path, None)
        try:
            self.results[path] = read_result(folder / RESULT_FILE)
        except RunError as error:
            self.damaged.append(str(error))


def _is_own(result: RunResult, evaluation: Evaluated) -> bool:
    """Whether the run's own validation was scored again."""
    same = evaluation.part == "val" and evaluation.records_sha256 == result.records_sha256
    return same and (evaluation.split != "kfold" or evaluation.fold == result.config.get("fold"))


def _completed(found: Found, evaluations: list[tuple[str, Evaluated]]) -> Found:
    """Results of earlier versions have no counts; scoring the validation again gives them."""
    if found.result.val_counts_by_case:
        return found
    for path, evaluation in evaluations:
        if path == str(found.folder) and _is_own(found.result, evaluation):
            completed = dataclasses.replace(
                found.result,
                val_dice_by_case=evaluation.dice_by_case,
                val_counts_by_case=evaluation.counts_by_case,
            )
            return dataclasses.replace(found, result=completed)
    return found


def _evaluated(runs: list[Found], evaluations: list[tuple[str, Evaluated]]) -> Iterator[Found]:
    by_path = {str(run.folder): run for run in runs if run.result.status != "failed"}
    for path, evaluation in evaluations:
        run = by_path.get(path)
        if run is None or _is_own(run.result, evaluation):
            continue
        scored = dataclasses.replace(
            run.result,
            val_dice=evaluation.dice,
            val_dice_undefined=evaluation.undefined,
            val_dice_pooled=evaluation.dice_pooled,
            val_dice_by_case=evaluation.dice_by_case,
            val_counts_by_case=evaluation.counts_by_case,
            val_dice_myocardium=None,
            val_images=evaluation.images,
            labels=evaluation.labels,
            split=evaluation.split,
            records_sha256=evaluation.records_sha256,
            command=evaluation.command,
            versions=evaluation.versions,
            finished_at=evaluation.finished_at,
        )
        yield dataclasses.replace(run, result=scored, evaluation=evaluation)
