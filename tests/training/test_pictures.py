import math

import numpy as np

from lvseg.training.pictures import Extremes, comparison_grid


def test_the_lowest_and_the_highest_are_kept_and_of_equal_ones_the_first() -> None:
    """The number of an image is in its corner."""
    images = np.zeros((7, 32, 32), np.int16)
    images[:, :8, :8] = np.arange(1, 8)[:, None, None] * 100
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 1
    extremes = Extremes(3)
    for image, dice in zip(images, [0.5, math.nan, 0.2, 0.9, 0.5, 0.9, 0.1], strict=True):
        extremes.add(dice, image, mask, mask)
    for which, numbers in (("worst", [6, 2, 0]), ("best", [3, 5, 0])):
        want = comparison_grid(images[numbers], np.stack([mask] * 3), np.stack([mask] * 3))
        np.testing.assert_array_equal(extremes.grid(which), want)


def test_without_a_single_dice_there_is_no_picture() -> None:
    extremes = Extremes()
    extremes.add(math.nan, *np.zeros((3, 16, 16), np.uint8))
    assert extremes.grid("worst") is None
    assert extremes.grid("best") is None
