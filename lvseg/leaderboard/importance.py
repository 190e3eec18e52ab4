"""Which settings a set of runs varied, and how much the Dice depended on each."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lvseg.config import EXECUTION_FIELDS
from lvseg.leaderboard.board import Row

__all__ = ["FEWEST_RUNS", "Importance", "differing", "is_numeric", "rank_settings", "varied_settings", "word_order"]

FEWEST_RUNS = 6
"""Of fewer, a share of the importance would be a guess."""
_TREES, _SHUFFLES, _SEED = 200, 20, 0
_CLEAR_TREND = 0.3
"""Rank correlation from which one speaks of a direction."""


_ONE_AT_A_TIME = threading.Lock()
"""For threads: the second that asks the same finds it done, and while a forest grows no other warnings are in force."""
_Table: TypeAlias = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """How much the Dice of some runs depends on one setting."""

    setting: str
    share: float
    """Of all varied settings; the shares add up to 1, or are all 0."""
    sd: float
    """Standard deviation of the share over the shuffles."""
    trend: int
    """1: a higher value goes with a higher Dice; −1: with a lower one; 0: neither, or not a number."""


def varied_settings(rows: Sequence[Row]) -> list[str]:
    """``differing`` of the runs' configurations."""
    return differing(row.result.config for row in rows)


def differing(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Settings that decide the result and differ between configurations, in the order they have there."""
    every = list(configs)
    settings = dict.fromkeys(setting for config in every for setting in config)
    return [
        setting
        for setting in settings
        if setting not in EXECUTION_FIELDS and len({str(config.get(setting)) for config in every}) > 1
    ]


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether all values that are there are numbers, and there is one."""
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def word_order(word: str) -> tuple[bool, float, str]:
    """To sort values that are shown as words: numbers by their size, the others by the alphabet after them."""
    try:
        return False, float(word), word
    except ValueError:
        return True, 0.0, word


def rank_settings(rows: Sequence[Row]) -> list[Importance]:
    """The varied settings, the most important first; none where the runs are too few or all score the same.

    A random forest predicts the Dice from the settings; a setting is as important as the forest's error grows when its
    values are shuffled among the runs. See Breiman, *Random Forests*, Machine Learning 45, 2001, section 10. Settings
    that were varied together share their importance; a cause is not shown.
    """
    scored = [row for row in rows if not math.isnan(row.result.val_dice)]
    settings = varied_settings(scored)
    dice = np.array([row.result.val_dice for row in scored])
    if len(scored) < FEWEST_RUNS or not settings or np.ptp(dice) == 0:
        return []
    columns = [_numbers([row.result.config.get(setting) for row in scored]) for setting in settings]
    with _ONE_AT_A_TIME:
        means, deviations = _permute(tuple(zip(*columns, strict=True)), tuple(dice))
    total = means.sum() or 1.0
    found = [
        Importance(
            setting=setting,
            share=float(mean / total),
            sd=float(deviation / total),
            trend=_trend([row.result.config.get(setting) for row in scored], dice),
        )
        for setting, mean, deviation in zip(settings, means, deviations, strict=True)
    ]
    return sorted(found, key=lambda importance: -importance.share)


def _numbers(values: Sequence[Any]) -> list[float]:
    """Numbers as they are, words by their place in the alphabet; NaN where a run has no such setting."""
    if is_numeric(values):
        return [math.nan if value is None else float(value) for value in values]
    words = sorted({str(value) for value in values})
    return [float(words.index(str(value))) for value in values]


@lru_cache(maxsize=8)
def _permute(table: _Table, dice: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Growth of the squared error: mean and standard deviation over the shuffles, of every column.

    All shuffled tables are predicted together: a forest takes longer to start than to predict.
    """
    from sklearn.ensemble import RandomForestRegressor  # takes seconds to load

    runs, columns = np.array(table), len(table[0])
    draw = np.random.default_rng(_SEED)
    shuffled = np.tile(runs, (columns, _SHUFFLES, 1, 1))
    for column in range(columns):
        shuffled[column, ..., column] = draw.permuted(shuffled[column, ..., column], axis=1)
    forest = RandomForestRegressor(n_estimators=_TREES, random_state=_SEED).fit(runs, dice)
    predicted = forest.predict(shuffled.reshape(-1, columns)).reshape(columns, _SHUFFLES, -1)
    error = np.mean((predicted - dice) ** 2, axis=-1) - np.mean((forest.predict(runs) - dice) ** 2)
    return np.maximum(error.mean(axis=1), 0.0), error.std(axis=1)


def _trend(values: Sequence[Any], dice: NDArray[np.float64]) -> int:
    """The sign of Spearman's rank correlation, where it is clear."""
    if not is_numeric(values):
        return 0
    from scipy.stats import spearmanr

    known = [(value, score) for value, score in zip(values, dice, strict=True) if value is not None]
    if len({value for value, _ in known}) < 2:
        return 0
    correlation = float(spearmanr([value for value, _ in known], [score for _, score in known]).statistic)
    return int(math.copysign(1, correlation)) if abs(correlation) >= _CLEAR_TREND else 0
