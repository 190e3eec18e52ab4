"""Masks → contours: the way back from ``rasterize``, and what is left of odd masks."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.evaluation import contour_from_mask
from lvseg.rasterize import contour_area_px, rasterize
from tests.evaluation.shapes import centroid, circle, on_lattice

SHAPE = (64, 64)


def lattice_circles(count: int = 60) -> list[np.ndarray]:
    random = np.random.Generator(np.random.PCG64(5))
    return [on_lattice(circle(*random.uniform(30, 34, 2), random.uniform(5, 20))) for _ in range(count)]


@pytest.mark.parametrize("labels", ["centre", "course"])
def test_there_and_back_without_bias(labels) -> None:
    areas, shifts = [], []
    for contour in lattice_circles():
        back = contour_from_mask(rasterize(contour, SHAPE, labels), labels)
        areas.append(contour_area_px(back) - contour_area_px(contour))
        shifts.append(centroid(back) - centroid(contour))
        assert np.abs(shifts[-1]).max() < 0.35
    assert abs(np.mean(areas)) < 6  # of 530 px² on average; the growth of course alone makes 50
    # The correction was set on contours drawn by hand: vertically it leaves a little on round ones.
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1


@pytest.mark.parametrize("labels", ["centre", "course"])
def test_there_and_back_off_the_lattice(labels) -> None:
    random = np.random.Generator(np.random.PCG64(6))
    shifts = []
    for _ in range(60):
        contour = circle(*random.uniform(30, 34, 2), random.uniform(5, 20))
        back = contour_from_mask(rasterize(contour, SHAPE, labels), labels, resampled=True)
        shifts.append(centroid(back) - centroid(contour))
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.06


@pytest.mark.parametrize("labels", ["centre", "given"])
def test_rasterising_the_contour_gives_the_mask(labels) -> None:
    for contour in lattice_circles(20):
        mask = rasterize(contour, SHAPE, "centre")
        back = contour_from_mask(mask, labels)
        np.testing.assert_array_equal(rasterize(back, SHAPE, "centre"), mask)
        assert contour_area_px(back) == pytest.approx(mask.sum() - 0.5)


def test_a_rectangle_runs_halfway_between_pixels() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:15, 20:30] = True  # file rows 11 to 15, columns 21 to 30
    contour = contour_from_mask(mask)
    assert (contour.min(axis=0), contour.max(axis=0)) == (pytest.approx((20.5, 10.5)), pytest.approx((30.5, 15.5)))


def test_only_the_largest_component_counts() -> None:
    mask = rasterize(circle(20, 20, 9), SHAPE, "centre")
    alone = contour_from_mask(mask)
    mask[40:44, 40:44] = 1
    np.testing.assert_array_equal(contour_from_mask(mask), alone)


def test_components_that_touch_at_a_corner_are_two() -> None:
    mask = np.zeros(SHAPE)
    mask[10:20, 10:20] = 1
    mask[20:24, 20:24] = 1
    assert contour_area_px(contour_from_mask(mask)) == pytest.approx(100 - 0.5)


def test_holes_are_filled() -> None:
    whole = rasterize(circle(30, 30, 12), SHAPE, "centre")
    holed = whole.copy()
    holed[28:31, 28:31] = 0
    np.testing.assert_array_equal(contour_from_mask(holed), contour_from_mask(whole))


def test_a_gap_that_is_open_at_a_corner_is_no_hole() -> None:
    mask = np.zeros(SHAPE)
    mask[10:20, 10:20] = 1
    mask[11, 11] = mask[10, 10] = 0  # joined to the outside across a corner
    contour = contour_from_mask(mask)
    assert rasterize(contour, SHAPE, "centre").sum() == 98


def test_at_the_border_of_the_image() -> None:
    mask = np.zeros(SHAPE)
    mask[:8, 40:] = 1
    contour = contour_from_mask(mask)
    np.testing.assert_array_equal(rasterize(contour, SHAPE, "centre"), mask)


@pytest.mark.parametrize("labels", ["centre", "course", "given"])
def test_an_empty_mask_has_no_contour(labels) -> None:
    assert contour_from_mask(np.zeros(SHAPE, np.uint8), labels) is None


def test_one_pixel() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[10, 10] = 1
    assert len(contour_from_mask(mask)) >= 16
    assert contour_from_mask(mask, "course") is None


def test_probabilities_give_fractions_of_a_pixel() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(columns + 1 - 30.3, rows + 1 - 32.8)
    contour = contour_from_mask(1 / (1 + np.exp(distance - 11.4)))
    radii = np.hypot(*(contour - (30.3, 32.8)).T)
    assert np.abs(radii - 11.4).max() < 0.03


def test_probabilities_of_other_components_and_holes() -> None:
    values = 0.9 * rasterize(circle(20, 20, 9), SHAPE, "centre")
    alone = contour_from_mask(values)
    values[19, 19], values[40, 40] = 0.1, 0.8
    np.testing.assert_allclose(contour_from_mask(values), alone)
