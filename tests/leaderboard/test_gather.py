import math
from pathlib import Path

import pytest

from lvseg.errors import RunError
from lvseg.leaderboard import build
from lvseg.leaderboard.gather import compact_store, gather
from lvseg.ledger import Evaluated, append, read, report
from lvseg.results import RESULT_FILE, CaseCounts
from tests.results import make_result


def end(runs: Path, name: str, sweep: str | None = None, **changes: object) -> Path:
    """A run ends: its folder and the store say so."""
    folder = runs / sweep / name if sweep else runs / name
    result = make_result(name, sweep=sweep, **changes)
    result.write(folder)
    (folder / "run.json").write_text("{}")
    report(folder, sweep, result=result)
    return folder


def scores(part: str = "test", records: str = "cd", **changes: object) -> Evaluated:
    content = {
        "part": part,
        "labels": "centre",
        "training_labels": "centre",
        "split": "patient",
        "records_sha256": records * 32,
        "dice": 0.5,
        "dice_pooled": 0.6,
        "images": 7,
        "undefined": 1,
        "dice_by_case": {"X": 0.4, "Y": 0.6},
        "counts_by_case": {case: CaseCounts(images=3, intersection=4, predicted=6, labelled=6) for case in ("X", "Y")},
        "command": f"lvseg evaluate run records --split {part}",
        "versions": {"lvseg": "0.2"},
        "finished_at": "2026-01-03T00:00:00Z",
    }
    return Evaluated(**(content | changes))  # type: ignore[arg-type]


def names(runs: Path) -> list[str]:
    return [found.folder.relative_to(runs).as_posix() for found in gather(runs).found]


def test_runs_with_and_without_a_row_are_found_once(tmp_path: Path) -> None:
    end(tmp_path, "new")
    end(tmp_path, "trial-1", "sweep")
    make_result("old").write(tmp_path / "old")
    make_result("deep").write(tmp_path / "a" / "b" / "deep")
    assert names(tmp_path) == ["a/b/deep", "new", "old", "sweep/trial-1"]


def test_a_finished_run_with_a_row_is_not_looked_into(tmp_path: Path) -> None:
    folder = end(tmp_path, "one")
    (folder / RESULT_FILE).write_text("damaged later")
    gathered = gather(tmp_path)
    assert [found.result for found in gathered.found] == [make_result("one")]
    assert gathered.damaged == []


def test_a_sweep_is_found_by_its_own_folder_and_by_a_folder_above_all(tmp_path: Path) -> None:
    runs = tmp_path / "demo" / "runs"
    end(runs, "trial-1", "sweep")
    end(runs, "trial-1", "sweep-2")
    end(runs, "one")
    assert names(runs / "sweep") == ["trial-1"]
    assert names(tmp_path) == ["demo/runs/one", "demo/runs/sweep-2/trial-1", "demo/runs/sweep/trial-1"]


def test_a_folder_has_the_last_word_on_a_failed_run(tmp_path: Path) -> None:
    resumed, running = (end(tmp_path, name, status="failed", error="lost") for name in ("resumed", "running"))
    end(tmp_path, "failed", status="failed", error="lost")
    make_result("resumed").write(resumed)  # ended between result and row
    (running / RESULT_FILE).unlink()
    gathered = gather(tmp_path)
    assert [(found.result.name, found.result.status) for found in gathered.found] == [
        ("failed", "failed"),
        ("resumed", "finished"),
    ]
    assert gathered.running == [running]


def test_a_run_whose_folder_is_gone_stays_until_compaction(tmp_path: Path) -> None:
    folder = end(tmp_path, "gone")
    end(tmp_path, "here")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    rows = build(tmp_path).groups[0].rows
    assert [(row.name, row.gone) for row in rows] == [("gone", True), ("here", False)]
    assert compact_store(tmp_path) == 2
    assert [entry.run for entry in read(tmp_path)] == ["here"]
    assert names(tmp_path) == ["here"]


def test_evaluations_stand_in_tables_of_their_own(tmp_path: Path) -> None:
    for name, dice in (("one", 0.5), ("two", 0.6)):
        report(end(tmp_path, name, val_dice=0.8), None, evaluation=scores(dice=dice))
    report(tmp_path / "two", None, evaluation=scores(training_labels="course"))
    report(tmp_path / "one", None, evaluation=scores("train"))
    append(tmp_path, "never-ended", evaluation=scores())
    own, *others = build(tmp_path).groups
    assert own.training_labels is None
    assert [row.result.val_dice for row in own.rows] == [0.8, 0.8]
    found = {group.heading: [(row.name, row.result.val_dice) for row in group.rows] for group in others}
    assert found == {
        "Records cdcdcdcd, labels centre, split by patient, 7 images of part test, evaluated": [("one", 0.5)],
        "Records cdcdcdcd, labels centre, split by patient, 7 images of part test, evaluated, "
        "trained on labels course": [("two", 0.5)],
        "Records cdcdcdcd, labels centre, split by patient, 7 images of part train, evaluated": [("one", 0.5)],
    }
    assert others[0].rows[0].result.command == "lvseg evaluate run records --split test"
    assert others[0].rows[0].dice_interval is not None


def test_scoring_the_validation_again_adds_what_an_older_result_lacks(tmp_path: Path) -> None:
    folder = end(tmp_path, "old", val_counts_by_case={})
    assert build(tmp_path).groups[0].rows[0].dice_interval is None
    report(folder, None, evaluation=scores("val", "ab"))
    (group,) = build(tmp_path).groups
    assert group.rows[0].result.val_dice == 0.8
    assert group.rows[0].dice_interval is not None


def test_links_are_not_followed_in_circles(tmp_path: Path) -> None:
    end(tmp_path, "one")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["one"]


def test_damaged_rows_are_listed(tmp_path: Path) -> None:
    end(tmp_path, "one")
    (tmp_path / "leaderboard" / "0-a.jsonl").write_text("{")
    assert "leaderboard/0-a.jsonl: not a row" in build(tmp_path).damaged[0]


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: no such folder"):
        gather(tmp_path / "nowhere")


def test_values_of_a_row(tmp_path: Path) -> None:
    end(
        tmp_path,
        "one",
        workers=2,
        seconds=1800.0,
        config={"gpu": True, "batch_size": 8},
        versions={"lvseg": "0.2.0", "commit": "0123456789-dirty"},
        val_dice_by_case={"A": math.nan, "B": 0.7, "C": 0.5},
    )
    (row,) = build(tmp_path).groups[0].rows
    assert (row.device_hours, row.device, row.code) == (1.0, "GPU", "0.2.0+0123456789-dirty")
    assert (row.worst_case, row.worst_dice, row.worst) == ("C", 0.5, "0.500 C")
    assert [row.value(key) for key in ("rank", "model", "batch_size", "nothing")] == [1, "fcn", 8, None]
