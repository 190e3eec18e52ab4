"""The leaderboard as text: for a terminal, for a spreadsheet, for programs, for documents, as a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

from rich.console import Console

from lvseg.errors import ConfigError
from lvseg.leaderboard.board import Group, Leaderboard, Row
from lvseg.leaderboard.columns import COLUMNS, is_absent
from lvseg.leaderboard.folds import CrossValidation, cross_validations
from lvseg.leaderboard.statistics import Interval
from lvseg.leaderboard.terminal import printable, render_table, running_text

__all__ = ["Format", "render"]

Format = Literal["table", "csv", "json", "markdown", "html"]

CSV_KEYS = (
    *("rank", "name", "sweep", "model", "status", "error", "part"),
    *(
        "val_dice",
        "val_dice_low",
        "val_dice_high",
        "p",
        "val_dice_pooled",
        "val_dice_pooled_low",
        "val_dice_pooled_high",
    ),
    *("worst_case", "worst_dice", "val_dice_undefined", "train_images", "val_images", "best_epoch", "epochs"),
    *("batch_size", "learning_rate", "decay_rate", "decay_steps", "workers", "images_per_second", "seconds"),
    *(
        "device_hours",
        "device",
        "parameters",
        "labels",
        "split",
        "fold",
        "folds",
        "records_sha256",
        "finished_at",
        "code",
    ),
    "command",
)
"""Columns of the CSV: values as they are, where the tables show texts."""


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
        return render_table(leaderboard, width or Console().width)
    if format == "csv":
        return _render_csv(leaderboard)
    if format == "json":
        return _render_json(leaderboard)
    if format == "markdown":
        return _render_markdown(leaderboard)
    raise ConfigError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")


def _render_csv(leaderboard: Leaderboard) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_KEYS)
    for row in (*leaderboard.rows, *leaderboard.failed):
        values = _derived(row)
        flat = [values[key] if key in values else row.value(key) for key in CSV_KEYS]
        writer.writerow(["" if is_absent(value) else value for value in flat])
    return text.getvalue()


def _derived(row: Row) -> dict[str, Any]:
    """Values that neither the result nor the configuration has under that name."""
    scored = row.evaluation
    return {
        "part": "val" if scored is None else scored.part,
        "fold": row.result.config.get("fold") if scored is None else scored.fold,
        **_ends("val_dice", row.dice_interval),
        **_ends("val_dice_pooled", row.pooled_interval),
    }


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        f"{name}_low": None if interval is None else interval.low,
        f"{name}_high": None if interval is None else interval.high,
    }


def _render_json(leaderboard: Leaderboard) -> str:
    content = {
        "groups": [
            {
                "heading": group.heading,
                "records_sha256": group.records_sha256,
                "labels": group.labels,
                "split": group.split,
                "fold": group.fold,
                "part": group.part,
                "training_labels": group.training_labels,
                "by": group.by,
                "left_out": len(group.hidden),
                "runs": [_json_row(row) for row in group.rows],
            }
            for group in leaderboard.groups
        ],
        "cross_validations": [each.content() for each in cross_validations(leaderboard.every_row)],
        "failed": [_json_row(row) for row in leaderboard.failed],
        "running": [{"name": name, "progress": running_text(progress)} for name, progress in leaderboard.running],
        "damaged": leaderboard.damaged,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _json_row(row: Row) -> dict[str, Any]:
    hours = row.device_hours
    derived = {
        **_derived(row),
        "p": row.p,
        "worst_case": row.worst_case,
        "device": row.device,
        "device_hours": None if is_absent(hours) else hours,
        "gone": row.gone,
    }
    return {"rank": row.rank, "folder": str(row.folder), **derived, **json.loads(row.result.to_json())}


def _render_markdown(leaderboard: Leaderboard) -> str:
    lines = _markdown_folds(cross_validations(leaderboard.every_row))
    for group in leaderboard.groups:
        lines += [f"### {_cell(group.heading)}", "", *_markdown_table(group), ""]
        if group.hidden:
            lines += [f"{len(group.hidden)} more not shown.", ""]
        lines += ["```bash"]
        lines += [f"{printable(row.result.command)}  # {row.rank}" for row in group.rows]
        lines += ["```", ""]
    if leaderboard.failed:
        lines += ["### Failed", ""]
        lines += [
            f"- {_cell(row.name)}: {_cell(row.result.error or 'no reason was written')}" for row in leaderboard.failed
        ]
    lines += [f"- Not ended: {_cell(name)}: {running_text(progress)}" for name, progress in leaderboard.running]
    lines += [f"- Left out: {_cell(line)}" for line in leaderboard.damaged]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_folds(found: Sequence[CrossValidation]) -> list[str]:
    if not found:
        return []
    rows = [
        _markdown_line(
            [each.name, each.model, f"{each.mean:.4f} ± {each.sd:.4f}", " ".join(f"{dice:.4f}" for dice in each.dice)]
        )
        for each in found
    ]
    return ["### Cross-validation", "", "| name | model | Dice ± SD | folds |", "| --- | --- | ---: | --- |", *rows, ""]


def _markdown_table(group: Group) -> list[str]:
    return [
        _markdown_line([column.title for column in COLUMNS]),
        "|" + "|".join(" ---: " if column.is_number else " --- " for column in COLUMNS) + "|",
        *(_markdown_line([row.text(column) for column in COLUMNS]) for row in group.rows),
    ]


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    escaped = "".join(f"\\{character}" if character in "\\`*_[]|<>#" else character for character in printable(text))
    return escaped.replace("&", "&amp;")
