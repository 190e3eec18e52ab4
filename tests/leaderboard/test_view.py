import csv
import io
from pathlib import Path

import pytest

from lvseg.errors import ConfigError
from lvseg.leaderboard import View, build, render
from tests.results import make_result


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number, (model, sweep) in enumerate([("fcn", "a"), ("unet", "a"), ("fcn", "b"), ("unet", None)]):
        name = f"run-{number}"
        settings = {"model": model, "learning_rate": 10.0 ** -(number + 1), "augment_flip": number > 1, "fold": None}
        changes = {"model": model, "sweep": sweep, "val_dice": 0.9 - number / 100, "config": settings}
        make_result(name, seconds=100.0 - number, **changes).write(tmp_path / name)
    return tmp_path


def shown(runs: Path, **view: object) -> list[list[str]]:
    return [[row.result.name[-1] for row in group.rows] for group in build(runs, View(**view)).groups]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["model=unet"], "13"),
        (["model!=unet"], "02"),
        (["learning-rate>=0.01"], "01"),
        (["learning_rate<0.01"], "23"),
        (["learning_rate=1e-2"], "1"),
        (["augment_flip=True"], "23"),
        (["sweep=none"], "3"),
        (["sweep!=none", "model=fcn"], "02"),
        (["val_dice>0.875", "val_dice<=0.89"], "12"),
    ],
)
def test_where_takes_settings_and_scores(runs: Path, conditions: list[str], expected: str) -> None:
    assert shown(runs, where=tuple(conditions)) == [list(expected)]


def test_the_rank_is_that_among_the_wanted_and_stays_when_sorted(runs: Path) -> None:
    (group,) = build(runs, View(where=("model=unet",), sort="seconds")).groups
    assert [(row.rank, row.result.name) for row in group.rows] == [(2, "run-3"), (1, "run-1")]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("val_dice_pooled", "0123"),
        ("val_dice:asc", "3210"),
        ("seconds", "3210"),
        ("sweep", "0123"),
        ("name:desc", "3210"),
    ],
)
def test_sorting(runs: Path, sort: str, expected: str) -> None:
    assert shown(runs, sort=sort) == [list(expected)]


def test_groups_by_sweep_have_leaders_of_their_own(runs: Path) -> None:
    groups = build(runs, View(by="sweep")).groups
    assert {group.by: [(row.rank, row.result.name) for row in group.rows] for group in groups} == {
        "sweep a": [(1, "run-0"), (2, "run-1")],
        "sweep b": [(1, "run-2")],
        "sweep none": [(1, "run-3")],
    }
    assert groups[0].heading.endswith("validation images: sweep a")


def test_top_leaves_the_rest_out_and_says_so(runs: Path) -> None:
    board = build(runs, View(top=3))
    assert [row.rank for row in board.groups[0].rows] == [1, 2, 3]
    assert "1 more run not shown." in render(board, "table", 120)
    assert "1 more not shown." in render(board, "markdown")
    assert "1 more run not shown." in render(board, "html")
    assert len(list(csv.reader(io.StringIO(render(board, "csv"))))) == 4


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"where": ("model",)}, "where must be KEY=VALUE"),
        ({"sort": "seconds:up"}, "sort must be KEY, KEY:asc or KEY:desc, got 'seconds:up'"),
        ({"top": 0}, "top must be at least 1, got 0"),
    ],
)
def test_a_wrong_view_is_refused(view: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        View(**view)


@pytest.mark.parametrize("view", [{"where": ("modle=unet",)}, {"sort": "modle"}, {"by": "modle"}])
def test_a_key_that_no_run_has_is_refused_with_the_known_ones(runs: Path, view: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"no run has 'modle'; known are .*learning_rate.*model.*val_dice"):
        build(runs, View(**view))


def test_a_view_that_leaves_nothing_is_no_error(runs: Path) -> None:
    assert build(runs, View(where=("model=fc",))).groups == ()
