"""Cross-validations: runs that share all but the fold that validates, as mean and spread over the folds."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lvseg.config import EXECUTION_FIELDS
from lvseg.leaderboard.board import Row

__all__ = ["CrossValidation", "cross_validations"]

_FOLD_OF_NAME = re.compile(r"[-/_ ]?fold-?\d*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossValidation:
    """One configuration, trained once for each fold."""

    name: str
    """What the runs' names have in common."""
    model: str
    folds: int | None
    """How many there are to be; None: not known, of records that were split into folds."""
    rows: tuple[Row, ...]
    """One run a fold, by fold; the best where a fold has several."""

    @property
    def dice(self) -> tuple[float, ...]:
        """Of each fold."""
        return tuple(row.result.val_dice for row in self.rows)

    @property
    def mean(self) -> float:
        """Over the folds."""
        return statistics.fmean(self.dice)

    @property
    def sd(self) -> float:
        """Sample standard deviation over the folds."""
        return statistics.stdev(self.dice)

    @property
    def complete(self) -> bool:
        """Whether every fold has ended."""
        return self.folds is None or len(self.rows) == self.folds

    def content(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "model": self.model,
            "folds": self.folds,
            "mean": self.mean,
            "sd": self.sd,
            "val_dice": {str(row.result.config["fold"]): row.result.val_dice for row in self.rows},
            "runs": [row.name for row in self.rows],
        }


def cross_validations(rows: Sequence[Row]) -> tuple[CrossValidation, ...]:
    """Cross-validations among runs, the highest mean first; those with one fold only are none.

    Args:
        rows: finished runs; evaluations are left out.
    """
    groups: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        fold = row.result.config.get("fold")
        if fold is None or row.evaluation is not None:
            continue
        of_fold = groups[_key(row)]
        if fold not in of_fold or row.result.val_dice > of_fold[fold].result.val_dice:
            of_fold[fold] = row
    found = [_made([by_fold[fold] for fold in sorted(by_fold)]) for by_fold in groups.values() if len(by_fold) > 1]
    return tuple(sorted(found, key=lambda each: (not each.complete, -each.mean, each.name)))


def _key(row: Row) -> str:
    settings = {key: value for key, value in row.result.config.items() if key not in EXECUTION_FIELDS | {"fold"}}
    return json.dumps([row.result.records_sha256, row.result.labels, row.result.sweep, settings], default=str)


def _made(rows: list[Row]) -> CrossValidation:
    result = rows[0].result
    common = "".join(
        letters[0]
        for letters in itertools.takewhile(
            lambda each: len(set(each)) == 1, zip(*(row.name for row in rows), strict=False)
        )
    )
    return CrossValidation(
        name=_FOLD_OF_NAME.sub("", common) or rows[0].name,
        model=result.model,
        folds=result.config.get("folds"),
        rows=tuple(rows),
    )
