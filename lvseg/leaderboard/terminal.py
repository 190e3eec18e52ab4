"""The leaderboard for a terminal: as many columns as its width holds."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from lvseg.leaderboard.board import Group, Leaderboard, Row
from lvseg.leaderboard.columns import ABSENT, ALIKE, COLUMNS, PRIORITY, Column
from lvseg.leaderboard.folds import CrossValidation, cross_validations
from lvseg.leaderboard.statistics import ALPHA, FEWEST_PATIENTS
from lvseg.training.status import RunProgress

__all__ = ["printable", "render_table", "running_text"]

_COMMANDS_BELOW_TABLE = 3
_SHORTEST_NAME = 24
_BETWEEN_COLUMNS = 2
_ALWAYS = ("rank", "name", "val_dice")


def render_table(leaderboard: Leaderboard, width: int, *, commands: bool = True) -> str:
    """The tables as text.

    Args:
        leaderboard: what to show.
        width: columns of the terminal.
        commands: whether the commands of the first runs stand below.
    """
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, emoji=False, markup=False)
    if found := cross_validations(leaderboard.every_row):
        console.print("Cross-validation, Dice by patient in folds: mean ± SD over the folds")
        console.print("", _folds_table(found), "", sep="\n")
        for line in _fold_notes(found):
            console.print(line)
    for group in leaderboard.groups:
        console.print(printable(group.heading))
        console.print("", _table(group, width), "", sep="\n")
        for line in _notes(group):
            console.print(line)
        if commands:
            _print_commands(group, console)
        console.print()
    if leaderboard.failed:
        console.print("Failed:")
    for row in leaderboard.failed:
        console.print(printable(f"  {row.name}: {row.result.error or 'no reason was written'}"))
    if leaderboard.running:
        console.print("Not ended:")
    for name, progress in leaderboard.running:
        console.print(printable(f"  {name}: {running_text(progress)}"))
    for line in leaderboard.damaged:
        console.print(printable(f"Left out: {line}"))
    return _output(console)


def _folds_table(found: Sequence[CrossValidation]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _BETWEEN_COLUMNS - 1, 0, 0))
    most = max(max(row.result.config["fold"] for row in each.rows) for each in found) + 1
    for title in ("#", "name", "model", "Dice ± SD", *(f"fold {fold}" for fold in range(most))):
        table.add_column(title, justify="left" if title in ("name", "model") else "right", no_wrap=True)
    for rank, each in enumerate(found, start=1):
        dice = {row.result.config["fold"]: f"{row.result.val_dice:.4f}" for row in each.rows}
        folds = (dice.get(fold, ABSENT) for fold in range(most))
        table.add_row(str(rank), printable(each.name), each.model, f"{each.mean:.4f} ± {each.sd:.4f}", *folds)
    return table


def _fold_notes(found: Sequence[CrossValidation]) -> Iterator[str]:
    for each in found:
        if not each.complete:
            yield printable(f"{each.name}: {len(each.rows)} of {each.folds} folds have ended.")


def _notes(group: Group) -> Iterator[str]:
    if group.hidden:
        yield f"{len(group.hidden)} more {'run' if len(group.hidden) == 1 else 'runs'} not shown."
    if any(row.dice_interval for row in group.rows):
        yield f"95 %: bootstrap over {group.patients} patients."
    if any(row.alike for row in group.rows):
        yield f"{ALIKE} not distinguishable from the leader (p ≥ {ALPHA}, signed-rank test over patients, Holm)."
        if group.patients < FEWEST_PATIENTS:
            yield f"{group.patients} patients are too few for the test to tell any two runs apart."


def _print_commands(group: Group, console: Console) -> None:
    console.print("To reproduce:")
    for row in group.rows[:_COMMANDS_BELOW_TABLE]:
        # Not wrapped here, so that it can be copied whole.
        console.print(printable(f"  {row.rank}  {row.result.command}"), soft_wrap=True)
    if len(group.rows) > _COMMANDS_BELOW_TABLE:
        console.print("  The other commands: --format markdown.")


def running_text(progress: RunProgress | None) -> str:
    """How far a run is."""
    if progress is None:
        return "starting"
    best = "" if progress.best_val_dice is None else f", best val Dice {progress.best_val_dice:.4f}"
    return f"{progress.epochs_done} of {progress.epochs} epochs{best}"


def _output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines()) + "\n"


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
        table.add_row(*(printable(row.text(column)) for column in columns))
    return table


def _columns_that_fit(rows: Sequence[Row], width: int) -> list[Column]:
    """The columns for which there is room and a value, counting a long name at its shortest."""
    by_key = {column.key: column for column in COLUMNS}
    chosen, used = set(), 0
    for key in PRIORITY:
        needed = _width(by_key[key], rows)
        used += (min(needed, _SHORTEST_NAME) if key == "name" else needed) + _BETWEEN_COLUMNS
        if used > width and key not in _ALWAYS:
            break
        chosen.add(key)
    return [column for column in COLUMNS if column.key in chosen]


def _width(column: Column, rows: Sequence[Row]) -> int:
    return max(cell_len(text) for text in (column.title, *(printable(row.text(column)) for row in rows)))


def printable(text: str) -> str:
    """The text without control characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
