"""Which settings mattered, on Dice that was made from known ones."""

from pathlib import Path

import numpy as np
import pytest

from lvseg.leaderboard import rank_settings, varied_settings
from lvseg.leaderboard.board import Row
from tests.results import make_result


def make_rows(count: int = 40) -> list[Row]:
    draw = np.random.default_rng(1)
    rows = []
    for number in range(count):
        rate, decay = float(10 ** draw.uniform(-4, -2)), float(draw.uniform(0.8, 1))
        word = str(draw.choice(["adam", "sgd"]))
        dice = 0.5 + 0.15 * (np.log10(rate) + 4) - 0.1 * (word == "sgd")
        config = {"learning_rate": rate, "decay_rate": decay, "optimizer": word, "epochs": 3, "workers": number}
        rows.append(Row(result=make_result(f"trial-{number}", val_dice=float(dice), config=config), folder=Path()))
    return rows


def test_what_the_dice_was_made_from_comes_first() -> None:
    found = {importance.setting: importance for importance in rank_settings(make_rows())}
    assert list(found) == ["learning_rate", "optimizer", "decay_rate"]
    assert found["learning_rate"].share > 2 * found["optimizer"].share > 0.1
    assert found["decay_rate"].share < 0.05
    assert sum(importance.share for importance in found.values()) == pytest.approx(1)
    assert {name: importance.trend for name, importance in found.items()} == {
        "learning_rate": 1,
        "optimizer": 0,
        "decay_rate": 0,
    }
    assert all(importance.sd > 0 for importance in found.values())


def test_the_same_runs_give_the_same_shares() -> None:
    from lvseg.leaderboard.importance import _permute

    first = rank_settings(make_rows(12))
    _permute.cache_clear()
    assert rank_settings(make_rows(12)) == first


def test_settings_that_do_not_decide_the_result_are_left_out() -> None:
    assert varied_settings(make_rows(8)) == ["learning_rate", "decay_rate", "optimizer"]


def test_a_setting_that_only_some_runs_have_counts() -> None:
    rows = make_rows(12)
    for number, row in enumerate(rows[::2]):
        row.result.config["momentum"] = number / 10
    assert {importance.setting for importance in rank_settings(rows)} > {"momentum"}


def test_too_few_or_equal_runs_tell_nothing() -> None:
    assert rank_settings(make_rows(5)) == []
    same = [Row(result=make_result(config={"learning_rate": n / 10}), folder=Path()) for n in range(1, 9)]
    assert rank_settings(same) == []
