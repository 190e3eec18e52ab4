"""Every run below a folder, ranked by Dice.

Scores on other records or another part of them, under another label convention or another split do not compare: such
runs stand in groups of their own, each with a heading that says what it was measured on.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lvseg.errors import RunError
from lvseg.leaderboard.columns import ABSENT, ALIKE, Column, is_absent
from lvseg.leaderboard.gather import Found, gather
from lvseg.leaderboard.statistics import ALPHA, Interval, compare, dice_intervals
from lvseg.leaderboard.view import View
from lvseg.ledger import Evaluated
from lvseg.results import RunResult
from lvseg.store import UPath
from lvseg.training.status import RunProgress, read_progress

__all__ = ["Group", "Leaderboard", "Row", "build"]

SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run and its place."""

    rank: int | None = None
    """Place in its group, from 1; None for a failed run."""
    result: RunResult
    """How the run ended; in a group of evaluations with the scores of the evaluation."""
    folder: UPath
    gone: bool = False
    """The run's folder is not there any more."""
    evaluation: Evaluated | None = None
    """Where the scores come from, if not from the run's own validation."""
    dice_interval: Interval | None = None
    """95 % of the mean Dice, over patients."""
    pooled_interval: Interval | None = None
    """95 % of the pooled Dice, over patients."""
    p: float | None = None
    """Of «as good as the leader»; None of the leader itself, and where the two cannot be compared."""

    @property
    def name(self) -> str:
        """The run's name, with its sweep's in front."""
        return f"{self.result.sweep}/{self.result.name}" if self.result.sweep else self.result.name

    @property
    def alike(self) -> bool:
        """Not told apart from the leader."""
        return self.p is not None and self.p >= ALPHA

    @property
    def p_text(self) -> str | None:
        """``≈ 0.42`` where the run is not told apart from the leader."""
        if self.p is None:
            return None
        return f"{ALIKE} {self.p:.2f}" if self.alike else f"{self.p:.2g}"

    @property
    def worst_case(self) -> str | None:
        """The patient of the lowest mean Dice."""
        defined = {case: dice for case, dice in self.result.val_dice_by_case.items() if not math.isnan(dice)}
        return min(defined, key=lambda case: defined[case], default=None)

    @property
    def worst_dice(self) -> float | None:
        """That Dice."""
        return None if self.worst_case is None else self.result.val_dice_by_case[self.worst_case]

    @property
    def worst(self) -> str | None:
        """Both, as they are shown."""
        return None if self.worst_case is None else f"{self.worst_dice:.3f} {self.worst_case}"

    @property
    def device(self) -> str:
        """What a worker trained on."""
        return "GPU" if self.result.config.get("gpu") else "CPU"

    @property
    def device_hours(self) -> float:
        """Workers × hours; a worker is one GPU, or one process on its share of the cores."""
        return max(1, self.result.workers) * self.result.seconds / SECONDS_AN_HOUR

    @property
    def date(self) -> str:
        """When the run or evaluation ended, UTC."""
        return self.result.finished_at[:10]

    @property
    def code(self) -> str | None:
        """Version of lvseg, and the commit where it was known."""
        versions = self.result.versions
        return "+".join(versions[key] for key in ("lvseg", "commit") if key in versions) or None

    def value(self, key: str) -> Any:
        """What stands in a column: from the row, the result, or the run's configuration; None if nowhere."""
        for holder in (Row, RunResult):
            if hasattr(holder, key):
                return getattr(self if holder is Row else self.result, key)
        return self.result.config.get(key)

    def text(self, column: Column) -> str:
        """A column's value as it is shown; a dash where there is none."""
        value = self.value(column.key)
        if is_absent(value):
            return ABSENT
        if column.key == "name" and self.gone:
            return f"{value} (folder gone)"
        return str(value) if isinstance(value, str) else column.show(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs whose scores compare, best first unless another order was asked for."""

    records_sha256: str
    labels: str
    split: str
    fold: int | None
    """The fold that validates, of a split into folds."""
    folds: int | None = None
    """How many folds a cross-validation made of the records; None: the records have their own."""
    part: str = "val"
    """The part that was scored."""
    training_labels: str | None = None
    """Of evaluations: the label convention that the runs were trained on."""
    by: str | None = None
    """What else the runs share, where they were grouped: ``sweep rates``."""
    rows: tuple[Row, ...]
    hidden: tuple[Row, ...] = ()
    """Rows that are not shown; what is said of a whole sweep or cross-validation counts them."""

    @property
    def every_row(self) -> tuple[Row, ...]:
        """Shown or not."""
        return self.rows + self.hidden

    @property
    def heading(self) -> str:
        """What the scores were measured on, one line."""
        result = self.rows[0].result
        shared = " (both halves share patients)" if self.split == "image" else ""
        of = "" if self.folds is None else f" of {self.folds} by patient"
        split = {"official": "official split", "kfold": f"fold {self.fold}{of}"}.get(
            self.split, f"split by {self.split}"
        )
        measured = f"Records {self.records_sha256[:8]}, labels {self.labels}, {split}{shared}, "
        if self.training_labels is None:
            measured += f"{result.train_images} training and {result.val_images} validation images"
        else:
            trained = "" if self.training_labels == self.labels else f", trained on labels {self.training_labels}"
            measured += f"{result.val_images} images of part {self.part}, evaluated{trained}"
        return f"{measured}: {self.by}" if self.by else measured

    @property
    def patients(self) -> int:
        """Patients behind the leader's score."""
        return len(self.rows[0].result.val_dice_by_case)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """All runs below a folder."""

    runs: UPath
    groups: tuple[Group, ...]
    """The largest group first; evaluations last."""
    failed: tuple[Row, ...]
    """Runs that failed, by name; not ranked."""
    running: tuple[tuple[str, RunProgress | None], ...] = ()
    """(path, how far it is) of every run that has not ended."""
    damaged: tuple[str, ...]
    """One line for each result that could not be read."""

    @property
    def rows(self) -> list[Row]:
        """Of all groups, those that are shown."""
        return [row for group in self.groups for row in group.rows]

    @property
    def every_row(self) -> list[Row]:
        """Of all groups, shown or not."""
        return [row for group in self.groups for row in group.every_row]


def build(runs: UPath, view: View = View(), *, allow_empty: bool = False) -> Leaderboard:  # noqa: B008 -- frozen
    """Rank every finished run below a folder.

    Ties fall to the pooled Dice, then to the shorter time, then to the name; an undefined Dice comes last.

    Args:
        runs: the folder.
        view: which runs, in which order, in which groups.
        allow_empty: a folder without a finished run is no error.

    Raises:
        RunError: no such folder, or no finished run in it.
        ConfigError: the view names what no run has.
    """
    gathered = gather(runs)
    rows = [_row(found) for found in gathered.found]
    failed = sorted((row for row in rows if row.result.status == "failed"), key=lambda row: row.name)
    finished = [row for row in rows if row.result.status != "failed"]
    if not finished and not allow_empty:
        raise RunError(f"{runs}: no finished run, found {len(failed)} failed and {len(gathered.damaged)} unreadable")
    groups = [view.apply(_rank(group)) for group in _groups(view.filter(finished), view)]
    groups.sort(key=lambda group: (group.training_labels is not None, -len(group.every_row), group.heading))
    running = tuple((folder.relative_to(runs).as_posix(), read_progress(folder)) for folder in gathered.running)
    damaged = tuple(gathered.damaged)
    wanted = tuple(row for row in failed if view.fits(row))
    return Leaderboard(runs=runs, groups=tuple(groups), failed=wanted, running=running, damaged=damaged)


def _row(found: Found) -> Row:
    return Row(result=found.result, folder=found.folder, gone=found.gone, evaluation=found.evaluation)


def _groups(rows: Sequence[Row], view: View) -> list[Group]:
    """Rows that compare, in any order."""
    groups = defaultdict(list)
    for row in rows:
        result, scored = row.result, row.evaluation
        fold = result.config.get("fold") if scored is None else scored.fold
        measured = ("val", None) if scored is None else (scored.part, scored.training_labels)
        folds = result.config.get("folds")
        groups[result.records_sha256, result.labels, result.split, fold, folds, *measured, view.group_of(row)].append(
            row
        )
    return [
        Group(
            records_sha256=records,
            labels=labels,
            split=split,
            fold=fold,
            folds=folds,
            part=part,
            training_labels=trained,
            by=by,
            rows=tuple(members),
        )
        for (records, labels, split, fold, folds, part, trained, by), members in groups.items()
    ]


def _rank(group: Group) -> Group:
    ordered = sorted(group.rows, key=_ranking_key)
    p_values = [
        None,
        *compare(ordered[0].result.val_dice_by_case, [row.result.val_dice_by_case for row in ordered[1:]]),
    ]
    ranked = []
    for rank, (row, p) in enumerate(zip(ordered, p_values, strict=True), start=1):
        dice, pooled = dice_intervals(row.result.val_dice_by_case, row.result.val_counts_by_case)
        ranked.append(dataclasses.replace(row, rank=rank, p=p, dice_interval=dice, pooled_interval=pooled))
    return dataclasses.replace(group, rows=tuple(ranked))


def _ranking_key(row: Row) -> tuple[float, float, float, str]:
    result = row.result
    return _last_if_nan(-result.val_dice), _last_if_nan(-result.val_dice_pooled), _last_if_nan(result.seconds), row.name


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value
