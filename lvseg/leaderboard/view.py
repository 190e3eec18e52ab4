"""Which runs of a leaderboard are shown, in which order, in which groups."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from lvseg.errors import ConfigError
from lvseg.leaderboard.columns import is_absent

if TYPE_CHECKING:
    from lvseg.leaderboard.board import Group, Row

__all__ = ["View"]

_CONDITION = re.compile(r"([\w-]+?)(>=|<=|!=|=|>|<)(.*)", re.DOTALL)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_HIGH_FIRST = {"val_dice", "val_dice_pooled", "val_dice_myocardium", "worst_dice", "images_per_second", "date"}


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What is shown of a leaderboard. A key is a column, a field of result.json, or a setting of the run."""

    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only runs with model=unet, epochs>=30, sweep!=rates and so on; may be said several times."""
    sort: str | None = None
    """Key to sort by, KEY:asc or KEY:desc; the rank stays that by Dice."""
    by: str | None = None
    """Key to group by, such as sweep."""
    top: int | None = None
    """Runs to show of each table, the first ones."""

    def __post_init__(self) -> None:
        for text in self.where:
            if _CONDITION.fullmatch(text) is None:
                raise ConfigError(f"where must be KEY=VALUE, or with one of != < > <= >=, got {text!r}")
        if self.sort is not None and self.sort.partition(":")[2] not in ("", "asc", "desc"):
            raise ConfigError(f"sort must be KEY, KEY:asc or KEY:desc, got {self.sort!r}")
        if self.top is not None and self.top < 1:
            raise ConfigError(f"top must be at least 1, got {self.top}")

    def filter(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that are wanted.

        Raises:
            ConfigError: a key that no row has.
        """
        for text in (*self.where, *filter(None, (self.sort, self.by))):
            _require_key(_key(text), rows)
        return [row for row in rows if self.fits(row)]

    def fits(self, row: Row) -> bool:
        """Whether a row is wanted."""
        return all(_fits(row, text) for text in self.where)

    def group_of(self, row: Row) -> str | None:
        """Title of the group that a row belongs to."""
        if self.by is None:
            return None
        value = row.value(_key(self.by))
        return f"{_key(self.by)} {'none' if is_absent(value) else value}"

    def apply(self, group: Group) -> Group:
        """Sort the rows of a ranked group, and leave the last ones out."""
        rows = list(group.rows)
        if self.sort is not None:
            key, descends = _key(self.sort), self.sort.endswith(":desc")
            descends |= key in _HIGH_FIRST and not self.sort.endswith(":asc")
            known = [row for row in rows if not is_absent(row.value(key))]
            known.sort(key=lambda row: _sortable(row.value(key)), reverse=descends)
            rows = known + [row for row in rows if is_absent(row.value(key))]
        end = len(rows) if self.top is None else self.top
        return dataclasses.replace(group, rows=tuple(rows[:end]), hidden=tuple(rows[end:]))


def _key(text: str) -> str:
    """``learning-rate>=0.1`` → ``learning_rate``."""
    return re.split(r"[<>=!:]", text)[0].replace("-", "_")


def _require_key(key: str, rows: Sequence[Row]) -> None:
    if not rows or any(key in row.result.config or hasattr(type(row), key) or hasattr(row.result, key) for row in rows):
        return
    known = sorted(
        {name for row in rows for name in row.result.config}
        | {field.name for field in dataclasses.fields(rows[0].result)}
    )
    raise ConfigError(f"no run has {key!r}; known are {', '.join(known)}")


def _fits(row: Row, condition: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    assert found is not None  # checked when the view was made
    value, sign, wanted = row.value(_key(condition)), found[2], found[3].strip()
    number = _number(wanted)
    if isinstance(value, int | float) and not isinstance(value, bool) and number is not None:
        return _OPERATORS[sign](value, number)
    if is_absent(value) and sign not in ("=", "!="):
        return False
    return _OPERATORS[sign]("none" if is_absent(value) else str(value).lower(), wanted.lower())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _sortable(value: Any) -> tuple[bool, Any]:
    return (False, value) if isinstance(value, int | float) else (True, str(value))
