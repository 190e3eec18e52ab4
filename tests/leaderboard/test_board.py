import csv
import io
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from lvseg.errors import ConfigError, RunError
from lvseg.leaderboard import Leaderboard, build, render
from lvseg.results import RunResult

_folder_number = itertools.count()


def add_run(runs: Path, name: str = "run", **changes: object) -> None:
    content = {
        "name": name,
        "status": "finished",
        "model": "unet",
        "parameters": 33_620_000,
        "val_dice": 0.8,
        "val_dice_pooled": 0.9,
        "best_epoch": 25,
        "epochs": 30,
        "workers": 2,
        "seconds": 1234.5,
        "images_per_second": 41.5,
        "train_images": 45,
        "val_images": 11,
        "labels": "centre",
        "split": "patient",
        "records_sha256": "ab" * 32,
        "config": {"batch_size": 4, "learning_rate": 0.001, "decay_rate": 0.9, "decay_steps": 200},
        "command": f"lvseg train records --model unet --name {name}",
        "finished_at": "2026-01-02T03:04:05Z",
    }
    RunResult(**(content | changes)).write(runs / f"{next(_folder_number):06d}")


def names(leaderboard: Leaderboard) -> list[list[str]]:
    return [[row.name for row in group.rows] for group in leaderboard.groups]


def test_runs_are_ranked_by_dice_and_ties_in_the_order_promised(tmp_path: Path) -> None:
    add_run(tmp_path, "nan", val_dice=math.nan)
    add_run(tmp_path, "tie-name-b")
    add_run(tmp_path, "tie-name-a")
    add_run(tmp_path, "tie-slow", seconds=9999.0)
    add_run(tmp_path, "tie-no-time", seconds=math.nan)
    add_run(tmp_path, "tie-pooled", val_dice_pooled=0.95)
    add_run(tmp_path, "best", val_dice=0.81)
    board = build(tmp_path)
    assert names(board) == [["best", "tie-pooled", "tie-name-a", "tie-name-b", "tie-slow", "tie-no-time", "nan"]]
    assert [row.rank for row in board.groups[0].rows] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("change", [{"records_sha256": "cd" * 32}, {"labels": "course"}, {"split": "official"}])
def test_scores_that_do_not_compare_stand_apart(tmp_path: Path, change: dict[str, object]) -> None:
    add_run(tmp_path, "low", val_dice=0.1)
    add_run(tmp_path, "high")
    add_run(tmp_path, "other", **change)
    board = build(tmp_path)
    assert names(board) == [["high", "low"], ["other"]]
    assert board.groups[0].heading != board.groups[1].heading


def test_headings_say_what_was_measured(tmp_path: Path) -> None:
    add_run(tmp_path, split="image", labels="course")
    assert build(tmp_path).groups[0].heading == (
        "Records abababab, labels course, split by image (both halves share patients), "
        "45 training and 11 validation images"
    )


def test_folds_stand_apart(tmp_path: Path) -> None:
    for fold in (0, 1, 1):
        add_run(tmp_path, split="kfold", config={"fold": fold})
    board = build(tmp_path)
    assert [(group.fold, len(group.rows)) for group in board.groups] == [(1, 2), (0, 1)]
    assert ", fold 1, " in board.groups[0].heading


def test_failed_and_damaged_runs_are_listed_and_not_ranked(tmp_path: Path) -> None:
    add_run(tmp_path, "good")
    add_run(tmp_path, "bad", status="failed", error="step 3: loss is NaN", sweep="rates")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    board = build(tmp_path)
    assert names(board) == [["good"]]
    assert [row.name for row in board.failed] == ["rates/bad"]
    assert len(board.damaged) == 1
    for format in ("table", "json", "markdown", "html"):
        assert "step 3: loss is NaN" in render(board, format, width=100)
        assert "broken" in render(board, format, width=200)


def test_no_finished_run_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"{tmp_path}: no finished run, found 0 failed"):
        build(tmp_path)
    add_run(tmp_path, status="failed")
    with pytest.raises(RunError, match="found 1 failed and 0 unreadable"):
        build(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    add_run(tmp_path)
    with pytest.raises(ConfigError, match="format must be one of table, csv, json, markdown, html, got 'pdf'"):
        render(build(tmp_path), "pdf")  # type: ignore[arg-type]


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_the_table_fits_and_numbers_stay_whole(tmp_path: Path, width: int) -> None:
    add_run(tmp_path, "a-name-that-is-far-too-long-for-any-terminal-" * 4)
    for number in range(11):
        add_run(tmp_path, f"run-{number}", val_dice=number / 100)
    lines = render(build(tmp_path), "table", width).splitlines()
    header = next(index for index, line in enumerate(lines) if line.split()[:2] == ["#", "name"])
    rows = lines[header + 2 : header + 14]
    assert max(cell_len(line) for line in lines[: header + 14]) <= width
    assert [row.split()[0] for row in rows] == [str(rank) for rank in range(1, 13)]
    assert rows[0].split()[1].endswith("…")
    columns = cells(lines[header])
    for row in rows[1:]:
        assert len(cells(row)) == len(columns)
        assert "…" not in row
    assert ("Dice" in columns, "weights" in columns) == (True, width == 160)


def test_table_commands_are_not_wrapped(tmp_path: Path) -> None:
    command = "lvseg train records " + "--learning-rate 0.001 " * 10 + "--name run"
    add_run(tmp_path, command=command)
    assert f"  1  {command}\n" in render(build(tmp_path), "table", 80)


def test_table_shows_markup_and_control_characters_as_text(tmp_path: Path) -> None:
    add_run(tmp_path, "[red]x[/red]\x1b[31m")
    assert "[red]x[/red]\N{REPLACEMENT CHARACTER}[31m" in render(build(tmp_path), "table", 160)


def test_csv_has_exact_values_and_failed_runs_without_rank(tmp_path: Path) -> None:
    add_run(tmp_path, 'with "quotes", commas', val_dice=0.1 + 0.2)
    add_run(tmp_path, "bad", status="failed", error="cause", val_dice=math.nan)
    good, bad = csv.DictReader(io.StringIO(render(build(tmp_path), "csv")))
    assert (good["rank"], good["name"], float(good["val_dice"])) == ("1", 'with "quotes", commas', 0.1 + 0.2)
    assert (good["batch_size"], good["decay_steps"], good["parameters"]) == ("4", "200", "33620000")
    assert (bad["rank"], bad["val_dice"], bad["status"], bad["error"]) == ("", "", "failed", "cause")


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    add_run(tmp_path, val_dice=math.nan, val_dice_by_case={"A": math.nan, "B": 0.5})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (group,) = json.loads(render(build(tmp_path), "json"), parse_constant=refuse)["groups"]
    (run,) = group["runs"]
    assert (run["rank"], run["val_dice"], run["val_dice_by_case"]) == (1, None, {"A": None, "B": 0.5})
    assert run["config"]["decay_steps"] == 200


def test_markdown_keeps_pipes_inside_their_cell_and_has_the_command(tmp_path: Path) -> None:
    add_run(tmp_path, "a|b<c")
    text = render(build(tmp_path), "markdown")
    assert "| 1 | a\\|b\\<c | unet | 0.8000 | – | – | 0.9000 | – | – | 25 | 30 | 4 | 0.001 |" in text
    assert "lvseg train records --model unet --name a|b<c  # 1" in text


def test_a_setting_that_the_run_lacks_is_a_dash(tmp_path: Path) -> None:
    add_run(tmp_path, config={}, parameters=None)
    board = build(tmp_path)
    assert [row.value("batch_size") for row in board.groups[0].rows] == [None]
    assert "| 30 | – | – | – | – | 2 | 41.5 | 1,234 | 0.686 | CPU | – |" in render(board, "markdown")


def test_reading_results_needs_no_training_library() -> None:
    program = "import sys, lvseg.leaderboard, lvseg.evaluation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "ray", "matplotlib", "jinja2"} & set(loaded)
