import math

import numpy as np
import pytest
from scipy import stats

from lvseg.leaderboard.statistics import RESAMPLES, compare, dice_intervals, holm, signed_rank_p
from lvseg.results import CaseCounts

CASES = [f"P-{number:02d}" for number in range(12)]


def draw_scores(seed: int = 3) -> tuple[dict[str, float], dict[str, CaseCounts], np.ndarray, np.ndarray]:
    """Patients of differing size: mean Dice, counts, and the numbers behind both."""
    rng = np.random.default_rng(seed)
    images = rng.integers(2, 20, len(CASES))
    dice = rng.beta(8, 2, len(CASES))
    labelled = rng.integers(500, 5000, len(CASES))
    predicted = (labelled * rng.uniform(0.8, 1.2, len(CASES))).astype(int)
    both = (np.minimum(labelled, predicted) * dice).astype(int)
    counts = {
        case: CaseCounts(images=int(n), intersection=int(b), predicted=int(p), labelled=int(t))
        for case, n, b, p, t in zip(CASES, images, both, predicted, labelled, strict=True)
    }
    return (
        dict(zip(CASES, dice.tolist(), strict=True)),
        counts,
        np.array([images, images * dice]),
        np.array([2 * both, predicted + labelled]),
    )


def test_intervals_agree_with_scipys_bootstrap_of_the_same_ratios() -> None:
    by_case, counts, images_and_dice, pixels = draw_scores()
    mean, pooled = dice_intervals(by_case, counts)

    def reference(data: np.ndarray, ratio: object) -> tuple[float, float]:
        done = stats.bootstrap(
            tuple(data), ratio, paired=True, vectorized=True, method="percentile", n_resamples=20_000, rng=1
        )
        return tuple(done.confidence_interval)

    want = reference(images_and_dice, lambda n, s, axis: s.sum(axis=axis) / n.sum(axis=axis))
    assert (mean.low, mean.high) == pytest.approx(want, abs=0.01)
    want = reference(pixels, lambda both, total, axis: both.sum(axis=axis) / total.sum(axis=axis))
    assert (pooled.low, pooled.high) == pytest.approx(want, abs=0.01)


def test_patients_are_drawn_not_images() -> None:
    """A hundred like images of each of two patients say no more than one image of each."""
    by_case = {"A": 0.4, "B": 0.8}
    few, many = (
        dice_intervals(
            by_case,
            {case: CaseCounts(images=n, intersection=n, predicted=n, labelled=n) for case in by_case},
        )[0]
        for n in (1, 100)
    )
    assert few == many
    assert (few.low, few.high) == (0.4, 0.8)


def test_intervals_are_the_same_at_every_look_and_need_counts_and_two_patients() -> None:
    by_case, counts, *_ = draw_scores()
    assert dice_intervals(by_case, counts) == dice_intervals(dict(reversed(by_case.items())), counts)
    assert dice_intervals(by_case, {}) == (None, None)
    assert dice_intervals({"P-00": 0.5}, {"P-00": counts["P-00"]}) == (None, None)


def test_a_patient_without_a_single_dice_has_no_weight_in_the_mean() -> None:
    by_case, counts, *_ = draw_scores()
    empty = CaseCounts(images=0, intersection=0, predicted=0, labelled=0)
    mean, pooled = dice_intervals(by_case | {"Q": math.nan}, counts | {"Q": empty})
    for interval in (mean, pooled):
        assert 0 < interval.low < interval.high < 1
    assert dice_intervals({"Q": math.nan, "R": math.nan}, {"Q": empty, "R": empty}) == (None, None)


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    patients, hits = 40, 0
    for _ in range(200):
        dice = rng.beta(9, 1, patients)  # mean 0.9
        cases = [str(number) for number in range(patients)]
        counts = {case: CaseCounts(images=5, intersection=1, predicted=1, labelled=1) for case in cases}
        interval, _ = dice_intervals(dict(zip(cases, dice.tolist(), strict=True)), counts)
        hits += interval.low <= 0.9 <= interval.high
    assert 0.90 <= hits / 200 <= 0.99
    assert RESAMPLES >= 1000


def test_holm_by_hand() -> None:
    # Holm 1979: 0.01·4, max(that, 0.02·3), max(that, 0.03·2), max(that, 0.5·1)
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None, None]) == [None, None]


def test_the_test_is_over_common_patients_and_two_sided() -> None:
    leader = {case: 0.9 + 0.001 * number for number, case in enumerate(CASES)}
    worse = {case: dice - 0.01 * (1 + number) for number, (case, dice) in enumerate(leader.items())}
    # All 12 differences have one sign: 2 of 2^12 signings are as extreme.
    assert signed_rank_p(leader, worse) == pytest.approx(2 / 2**12)
    assert signed_rank_p(worse, leader) == pytest.approx(2 / 2**12)
    half = dict(list(worse.items())[:6]) | {"elsewhere": 0.1, CASES[6]: math.nan}
    assert signed_rank_p(leader, half) == pytest.approx(2 / 2**6)
    assert signed_rank_p(leader, {"elsewhere": 0.1}) is None
    assert signed_rank_p(leader, dict(leader)) == 1.0
    assert compare(leader, [worse, worse]) == pytest.approx([4 / 2**12] * 2)
