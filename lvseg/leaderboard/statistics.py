"""How sure a score is, and whether two runs differ: patients are drawn and compared, never single images.

Images of one patient resemble each other, so an interval over images would be far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lvseg.results import CaseCounts

__all__ = [
    "ALPHA",
    "FEWEST_PATIENTS",
    "LEVEL",
    "RESAMPLES",
    "Interval",
    "compare",
    "dice_intervals",
    "holm",
    "signed_rank_p",
]

LEVEL = 0.95
"""Confidence of the intervals."""
RESAMPLES = 2000
"""Draws of patients behind an interval."""
ALPHA = 0.05
"""A run whose p is not below it is not told apart from the leader."""
FEWEST_PATIENTS = 6
"""With fewer no p of the signed-rank test is below ``ALPHA``: of n patients the lowest is 2 / 2^n."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def dice_intervals(
    dice_by_case: Mapping[str, float], counts_by_case: Mapping[str, CaseCounts]
) -> tuple[Interval | None, Interval | None]:
    """95 % intervals of the mean Dice over images and of the pooled Dice: cluster bootstrap, percentiles.

    As many patients as there are are drawn with replacement, each with all its images, ``RESAMPLES`` times from a fixed
    seed. See Davison and Hinkley, *Bootstrap Methods and their Application*, 1997, sections 3.8 and 5.3.

    Args:
        dice_by_case: mean Dice over a patient's images with a Dice.
        counts_by_case: images and pixels of the same patients.

    Returns:
        (of the mean, of the pooled Dice); None with fewer than two patients, or where the counts are not known.
    """
    cases = sorted(counts_by_case)
    if len(cases) < 2 or counts_by_case.keys() != dice_by_case.keys():
        return None, None
    counts = [counts_by_case[case] for case in cases]
    images = np.array([count.images for count in counts], np.float64)
    dice = np.nan_to_num([dice_by_case[case] for case in cases])  # NaN where a patient has 0 images with a Dice
    pixels = np.array([(2 * count.intersection, count.predicted + count.labelled) for count in counts], np.float64)
    draws = _draws(len(cases))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (draws @ (images * dice)) / (draws @ images)
        twice_both, total = (draws @ pixels).T
        pooled = twice_both / total
    return _interval(means), _interval(pooled)


@lru_cache(maxsize=8)
def _draws(patients: int) -> NDArray[np.float64]:
    """(RESAMPLES, patients) how often each patient was drawn."""
    draws = np.random.default_rng(_SEED).multinomial(patients, np.full(patients, 1 / patients), RESAMPLES)
    return draws.astype(np.float64)


def _interval(values: NDArray[np.float64]) -> Interval | None:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(low, high)


def compare(leader: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> list[float | None]:
    """P-values of «as good as the leader» for each of the others, adjusted for their number.

    Wilcoxon's signed-rank test, two-sided, over the patients that both have, of a patient's mean Dice; then Holm's
    correction over all of them.

    Args:
        leader: mean Dice by patient.
        others: the same of the other runs.

    Returns:
        p, or None where the two have no patient in common.
    """
    return holm([signed_rank_p(leader, other) for other in others])


def signed_rank_p(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """P-value of the test over the common patients; 1 where none of them differs, None where there is none."""
    pairs = [(a[case], b[case]) for case in sorted(a.keys() & b.keys())]
    differences = np.array([first - second for first, second in pairs if not math.isnan(first - second)])
    if not differences.size:
        return None
    if not differences.any():
        return 1.0
    return _wilcoxon_p(tuple(differences.tolist()))


@lru_cache(maxsize=16_384)
def _wilcoxon_p(differences: tuple[float, ...]) -> float:
    """Kept: who follows a sweep asks for the same runs again and again, and each takes a millisecond."""
    from scipy.stats import wilcoxon  # takes a second to import

    return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Scand J Stat 6:65, 1979); None stays None and counts for nothing."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for done, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - done) * p))
        adjusted[index] = largest
    return adjusted
