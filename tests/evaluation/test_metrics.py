import math

import numpy as np
import pytest

from lvseg.evaluation import dice, dice_from_counts, pooled_dice, summarise
from lvseg.results import CaseCounts
from lvseg.slices import MYOCARDIUM


def test_dice_of_overlapping_squares_is_as_on_paper() -> None:
    a, b = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    a[0:4, 0:4] = 1
    b[2:4, 0:6] = 1
    assert dice(a, b) == pytest.approx(2 * 8 / (16 + 12))


def test_dice_is_of_one_class() -> None:
    a, b = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    a[0:4, 0:4], a[0:2, 0:4] = 2, 1
    b[0:4, 0:4], b[0:1, 0:4] = 2, 1
    assert dice(a, b) == pytest.approx(2 * 4 / (8 + 4))
    assert dice(a, b, MYOCARDIUM) == pytest.approx(2 * 8 / (8 + 12))
    assert math.isnan(dice(a * 0 + 2, b * 0 + 2))


def test_dice_refuses_values_that_are_no_class() -> None:
    with pytest.raises(ValueError, match=r"values \(0, 1, 2\), got \[0, 255\]"):
        dice(np.array([0, 1]), np.array([0, 255]))


def test_dice_of_equal_apart_and_one_empty_mask() -> None:
    mask, other = np.eye(4), np.fliplr(np.eye(4))
    assert dice(mask, mask) == 1
    assert dice(mask, other) == 0
    assert dice(mask, np.zeros((4, 4))) == 0


def test_dice_of_two_empty_masks_is_nan() -> None:
    assert math.isnan(dice(np.zeros((4, 4)), np.zeros((4, 4))))


def test_dice_refuses_masks_that_only_broadcast() -> None:
    with pytest.raises(ValueError, match=r"same shape, got \(4, 4\) and \(4,\)"):
        dice(np.ones((4, 4)), np.ones(4))


def test_counts_and_masks_agree() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20, 16, 16)) < 0.3
    counts = [(x.sum(axis=(1, 2))) for x in (a & b, a, b)]
    np.testing.assert_allclose(dice_from_counts(*counts), [dice(x, y) for x, y in zip(a, b, strict=True)])
    assert pooled_dice(*counts) == pytest.approx(dice(a, b))


def test_counts_of_small_integer_types_do_not_overflow() -> None:
    full = np.array([60_000], np.uint16)
    assert dice_from_counts(full, full, full) == 1
    assert pooled_dice(np.repeat(full, 9), np.repeat(full, 9), np.repeat(full, 9)) == 1


@pytest.mark.parametrize("counts", [(3, 2, 5), (-1, 2, 5)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="intersection must lie between"):
        dice_from_counts(*counts)


def test_summary_leaves_undefined_images_out_and_counts_them() -> None:
    summary = summarise(
        names=["a1", "a2", "b1", "b2", "c1"],
        case_ids=["A", "A", "B", "B", "C"],
        intersection=[10, 0, 30, 5, 0],
        predicted=[10, 0, 40, 10, 0],
        labelled=[10, 0, 40, 10, 0],
    )
    assert summary.mean == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert summary.pooled == pytest.approx(2 * 45 / 120)
    assert (summary.images, summary.undefined) == (5, 2)
    assert summary.by_case == pytest.approx({"A": 1.0, "B": 0.625, "C": math.nan}, nan_ok=True)
    assert summary.counts_by_case == {
        "A": CaseCounts(images=1, intersection=10, predicted=10, labelled=10),
        "B": CaseCounts(images=2, intersection=35, predicted=50, labelled=50),
        "C": CaseCounts(images=0, intersection=0, predicted=0, labelled=0),
    }
    assert summary.worst_image == ("b2", 0.5)
    assert summary.worst_case == ("B", 0.625)


def test_summary_of_empty_masks_only_has_no_worst() -> None:
    summary = summarise(["a"], ["A"], [0], [0], [0])
    assert math.isnan(summary.mean)
    assert math.isnan(summary.pooled)
    assert (summary.worst_image, summary.worst_case) == (None, None)


def test_summary_refuses_other_numbers_of_names_and_counts() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\) for 1 names"):
        summarise(["a"], ["A"], [0, 0], [0, 0], [0, 0])
