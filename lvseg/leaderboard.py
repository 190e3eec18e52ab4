"""Every run below a folder, ranked by validation Dice.

Scores on other records, under another label convention or another split do not compare:
such runs stand in groups of their own, each with a heading that says what it was measured on.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from lvseg.errors import ConfigError, RunError
from lvseg.results import RunResult, find_results
from lvseg.store import UPath

__all__ = ["COLUMNS", "Column", "Format", "Group", "Leaderboard", "Row", "build", "render"]

Format = Literal["table", "csv", "json", "markdown", "html"]

ABSENT = "\N{EN DASH}"
"""Shown where a run has no value."""

_COMMANDS_BELOW_TABLE = 3


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run and its place."""

    rank: int | None
    """Place in its group, from 1; None for a failed run."""
    result: RunResult
    folder: UPath

    @property
    def name(self) -> str:
        """The run's name, with its sweep's in front."""
        return f"{self.result.sweep}/{self.result.name}" if self.result.sweep else self.result.name

    def value(self, key: str) -> Any:
        """What stands in a column: from the row, the result, or the run's configuration; None if nowhere."""
        if key in ("rank", "name"):
            return getattr(self, key)
        return getattr(self.result, key, self.result.config.get(key))

    def text(self, column: Column) -> str:
        """A column's value as it is shown; a dash where there is none."""
        value = self.value(column.key)
        if _is_absent(value):
            return ABSENT
        return column.show(value) if isinstance(value, int | float) else str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs whose scores compare, best first."""

    records_sha256: str
    labels: str
    split: str
    fold: int | None
    """The fold that validates, of a split into folds."""
    rows: tuple[Row, ...]

    @property
    def heading(self) -> str:
        """What the scores were measured on, one line."""
        result = self.rows[0].result
        shared = " (both halves share patients)" if self.split == "image" else ""
        split = {"official": "official split", "kfold": f"fold {self.fold}"}.get(self.split, f"split by {self.split}")
        return (
            f"Records {self.records_sha256[:8]}, labels {self.labels}, {split}{shared}, "
            f"{result.train_images} training and {result.val_images} validation images"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """All runs below a folder."""

    runs: UPath
    groups: tuple[Group, ...]
    """The largest group first."""
    failed: tuple[Row, ...]
    """Runs that failed, by name; not ranked."""
    damaged: tuple[str, ...]
    """One line for each result that could not be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """How a column of the leaderboard is titled and shown."""

    key: str
    title: str
    show: Callable[[Any], str] = str
    is_number: bool = True


def _show_seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


COLUMNS = (
    Column(key="rank", title="#"),
    Column(key="name", title="name", is_number=False),
    Column(key="model", title="model", is_number=False),
    Column(key="val_dice", title="Dice", show="{:.4f}".format),
    Column(key="val_dice_pooled", title="pooled", show="{:.4f}".format),
    Column(key="best_epoch", title="best"),
    Column(key="epochs", title="epochs"),
    Column(key="batch_size", title="batch"),
    Column(key="learning_rate", title="rate", show="{:.3g}".format),
    Column(key="decay_rate", title="decay", show="{:.3g}".format),
    Column(key="decay_steps", title="steps"),
    Column(key="workers", title="workers"),
    Column(key="images_per_second", title="img/s", show="{:,.1f}".format),
    Column(key="seconds", title="seconds", show=_show_seconds),
    Column(key="parameters", title="weights", show="{:,}".format),
)
"""The columns in the order they are shown; the command is shown apart."""

# Where the width does not hold all columns, the last ones here go first.
_PRIORITY = (
    *("rank", "name", "val_dice", "model", "val_dice_pooled", "learning_rate", "batch_size", "epochs", "best_epoch"),
    *("seconds", "parameters", "images_per_second", "decay_rate", "decay_steps", "workers"),
)


def build(runs: UPath) -> Leaderboard:
    """Rank every finished run below a folder.

    Ties fall to the pooled Dice, then to the shorter time, then to the name; an undefined Dice comes last.

    Raises:
        RunError: no such folder, or no finished run in it.
    """
    damaged: list[str] = []
    found = [Row(rank=None, result=result, folder=folder) for result, folder in find_results(runs, damaged.append)]
    failed = tuple(sorted((row for row in found if row.result.status == "failed"), key=lambda row: row.name))
    groups = defaultdict(list)
    for row in found:
        if row.result.status == "finished":
            result = row.result
            groups[result.records_sha256, result.labels, result.split, result.config.get("fold")].append(row)
    if not groups:
        raise RunError(f"{runs}: no finished run, found {len(failed)} failed and {len(damaged)} unreadable")
    ranked = [
        Group(records_sha256=records, labels=labels, split=split, fold=fold, rows=_rank(rows))
        for (records, labels, split, fold), rows in groups.items()
    ]
    ranked.sort(key=lambda group: (-len(group.rows), group.heading))
    return Leaderboard(runs=runs, groups=tuple(ranked), failed=failed, damaged=tuple(damaged))


def _rank(rows: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(
        dataclasses.replace(row, rank=rank) for rank, row in enumerate(sorted(rows, key=_ranking_key), start=1)
    )


def _ranking_key(row: Row) -> tuple[float, float, float, str]:
    result = row.result
    return _last_if_nan(-result.val_dice), _last_if_nan(-result.val_dice_pooled), _last_if_nan(result.seconds), row.name


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def render(leaderboard: Leaderboard, format: Format = "table", width: int | None = None) -> str:
    """Write the leaderboard as text.

    Args:
        leaderboard: what ``build`` returned.
        format: table (for a terminal), csv, json (every result in full), markdown, or html (the report page).
        width: columns of the terminal, for the table; default: those of this terminal.

    Raises:
        ConfigError: an unknown format.
    """
    if format == "html":
        from lvseg.report import render_page  # brings matplotlib, which the other formats do not need

        return render_page(leaderboard)
    if format == "table":
        return _render_table(leaderboard, width or Console().width)
    if format == "csv":
        return _render_csv(leaderboard)
    if format == "json":
        return _render_json(leaderboard)
    if format == "markdown":
        return _render_markdown(leaderboard)
    raise ConfigError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")


def _render_table(leaderboard: Leaderboard, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, emoji=False, markup=False)
    for group in leaderboard.groups:
        console.print(_printable(group.heading))
        console.print("", _table(group, width), "", sep="\n")
        console.print("To reproduce:")
        for row in group.rows[:_COMMANDS_BELOW_TABLE]:
            # Not wrapped here, so that it can be copied whole.
            console.print(_printable(f"  {row.rank}  {row.result.command}"), soft_wrap=True)
        if len(group.rows) > _COMMANDS_BELOW_TABLE:
            console.print("  The other commands: --format markdown.")
        console.print()
    if leaderboard.failed:
        console.print("Failed:")
    for row in leaderboard.failed:
        console.print(_printable(f"  {row.name}: {row.result.error or 'no reason was written'}"))
    for line in leaderboard.damaged:
        console.print(_printable(f"Left out: {line}"))
    return _output(console)


def _output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines()) + "\n"


_SHORTEST_NAME = 24
_BETWEEN_COLUMNS = 2


def _table(group: Group, width: int) -> Table:
    columns = _columns_that_fit(group.rows, width)
    widths = {column.key: _width(column, group.rows) for column in columns}
    # Only the name may be cut; a number never is.
    left = width - sum(widths.values()) - _BETWEEN_COLUMNS * len(columns) + widths["name"]
    widths["name"] = min(widths["name"], max(left, 1))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _BETWEEN_COLUMNS - 1, 0, 0))
    for column in columns:
        justify: Literal["right", "left"] = "right" if column.is_number else "left"
        table.add_column(column.title, justify=justify, width=widths[column.key], no_wrap=True, overflow="ellipsis")
    for row in group.rows:
        table.add_row(*(_printable(row.text(column)) for column in columns))
    return table


def _columns_that_fit(rows: Sequence[Row], width: int) -> list[Column]:
    """The columns for which there is room, counting a long name at its shortest."""
    by_key = {column.key: column for column in COLUMNS}
    chosen, used = set(), 0
    for key in _PRIORITY:
        needed = _width(by_key[key], rows)
        used += (min(needed, _SHORTEST_NAME) if key == "name" else needed) + _BETWEEN_COLUMNS
        if used > width and key not in ("rank", "name", "val_dice"):
            break
        chosen.add(key)
    return [column for column in COLUMNS if column.key in chosen]


def _width(column: Column, rows: Sequence[Row]) -> int:
    return max(cell_len(text) for text in (column.title, *(_printable(row.text(column)) for row in rows)))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _render_csv(leaderboard: Leaderboard) -> str:
    keys = [column.key for column in COLUMNS] + ["command", "labels", "split", "records_sha256", "status", "error"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    rows = [row for group in leaderboard.groups for row in group.rows]
    for row in (*rows, *leaderboard.failed):
        values = [row.value(key) for key in keys]
        writer.writerow(["" if _is_absent(value) else value for value in values])
    return text.getvalue()


def _render_json(leaderboard: Leaderboard) -> str:
    content = {
        "groups": [
            {
                "heading": group.heading,
                "records_sha256": group.records_sha256,
                "labels": group.labels,
                "split": group.split,
                "fold": group.fold,
                "runs": [_json_row(row) for row in group.rows],
            }
            for group in leaderboard.groups
        ],
        "failed": [_json_row(row) for row in leaderboard.failed],
        "damaged": leaderboard.damaged,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _json_row(row: Row) -> dict[str, Any]:
    return {"rank": row.rank, "folder": str(row.folder), **json.loads(row.result.to_json())}


def _render_markdown(leaderboard: Leaderboard) -> str:
    lines = []
    for group in leaderboard.groups:
        lines += [f"### {_cell(group.heading)}", ""]
        lines += [_markdown_line([column.title for column in COLUMNS])]
        lines += ["|" + "|".join(" ---: " if column.is_number else " --- " for column in COLUMNS) + "|"]
        lines += [_markdown_line([row.text(column) for column in COLUMNS]) for row in group.rows]
        lines += ["", "```bash"]
        lines += [f"{_printable(row.result.command)}  # {row.rank}" for row in group.rows]
        lines += ["```", ""]
    if leaderboard.failed:
        lines += ["### Failed", ""]
        lines += [
            f"- {_cell(row.name)}: {_cell(row.result.error or 'no reason was written')}" for row in leaderboard.failed
        ]
    lines += [f"- Left out: {_cell(line)}" for line in leaderboard.damaged]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    escaped = "".join(f"\\{character}" if character in "\\`*_[]|<>#" else character for character in _printable(text))
    return escaped.replace("&", "&amp;")
