"""Masks of shapes whose area is known on paper."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon

from lvseg.errors import ContourError
from lvseg.rasterize import TIE_BREAK_PX, contour_area_px, label_mask, rasterize
from lvseg.slices import CAVITY, MYOCARDIUM, Contours

SHAPE = (40, 50)


def square(left: float, top: float, size: float) -> np.ndarray:
    return np.array([(left, top), (left + size, top), (left + size, top + size), (left, top + size)], np.float64)


def circle(x: float, y: float, radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def test_shift_from_one_based():
    mask = rasterize(square(2.5, 4.5, 3), SHAPE, "centre")  # around the pixels 3 to 5, 5 to 7 of the file
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:7, 2:5] = 1
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


def test_course_convention_is_not_shifted():
    mask = rasterize(square(2.5, 4.5, 3), SHAPE, "course")
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:8, 2:6] = 1  # corners 2 and 5, 4 and 7 after truncation, edges included
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("start", [0, 2])
def test_centres_on_an_edge_count_on_the_left_and_upper_side(reverse, start):
    contour = np.roll(square(3, 5, 4), start, axis=0)
    mask = rasterize(contour[::-1] if reverse else contour, SHAPE, "centre")
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:8, 2:6] = 1
    np.testing.assert_array_equal(mask, expected)
    assert mask.sum() == contour_area_px(contour) == 16


def test_neighbours_share_no_pixel_and_leave_no_gap():
    left = np.array([(3, 3), (20, 4), (15, 20), (3, 20)], np.float64)
    right = np.array([(20, 4), (30, 3), (30, 20), (15, 20)], np.float64)
    both = np.array([(3, 3), (20, 4), (30, 3), (30, 20), (3, 20)], np.float64)
    together = rasterize(left, SHAPE, "centre") + rasterize(right, SHAPE, "centre")
    np.testing.assert_array_equal(together, rasterize(both, SHAPE, "centre"))


@pytest.mark.parametrize("radius", [4.0, 9.3, 15.0])
def test_area_of_circles(radius):
    contour = circle(24.3, 20.8, radius)
    assert contour_area_px(contour) == pytest.approx(np.pi * radius**2, rel=1e-3)
    assert rasterize(contour, SHAPE, "centre").sum() == pytest.approx(np.pi * radius**2, rel=0.03)


def test_area_has_no_bias_on_the_half_pixel_lattice():
    rng = np.random.Generator(np.random.PCG64(0))
    contours = [np.round(circle(*rng.uniform(18, 22, 2), rng.uniform(5, 15)) * 2) / 2 for _ in range(200)]
    errors = [rasterize(c, SHAPE, "centre").sum() / contour_area_px(c) - 1 for c in contours]
    assert abs(np.mean(errors)) < 0.003


def test_it_agrees_with_scikit_image_whatever_the_polygon():
    """Its point-in-polygon test, centre by centre, with the same hair's breadth of a shift."""
    rng = np.random.Generator(np.random.PCG64(2))
    for number in range(300):
        points = rng.uniform(0.5, 40.5, (rng.integers(3, 30), 2))
        contour = points if number % 3 == 0 else np.round(points * 2) / 2  # crosses itself, and centres lie on edges
        expected = np.zeros(SHAPE, np.uint8)
        columns, rows = (contour - 1 - TIE_BREAK_PX).T
        expected[polygon(rows, columns, SHAPE)] = 1
        np.testing.assert_array_equal(rasterize(contour, SHAPE, "centre"), expected)


def test_the_whole_image():
    contour = np.array([(0.5, 0.5), (50.5, 0.5), (50.5, 40.5), (0.5, 40.5)])
    assert rasterize(contour, SHAPE, "centre").all()
    assert rasterize(contour, SHAPE, "course").all()


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([(1, 1), (5, 5)], "at least three points, found 2"),
        ([(1, 1), (5, 5), (9, 9)], "enclose none"),
        ([(1, 1), (5, np.nan), (9, 1)], "NaN"),
        ([(1, 1), (51, 5), (9, 9)], r"1 of 3 points lie outside the image, first \(51, 5\)"),
        ([(1, 1), (5, 0.4), (9, 41)], r"2 of 3 points lie outside the image, first \(5, 0.4\)"),
        ([1, 2, 3], r"\(N, 2\)"),
    ],
)
@pytest.mark.parametrize("labels", ["centre", "course"])
def test_what_is_no_contour_on_the_image(points, reason, labels):
    with pytest.raises(ContourError, match=reason):
        rasterize(np.array(points, np.float64), SHAPE, labels)


def test_classes():
    contours = Contours(
        endocardium=square(10.5, 10.5, 5), epicardium=square(8.5, 8.5, 9), papillaries=(square(12.5, 12.5, 2),)
    )
    expected = np.zeros(SHAPE, np.uint8)
    expected[10:15, 10:15] = CAVITY
    np.testing.assert_array_equal(label_mask(contours, SHAPE, "centre", "endo"), expected)
    expected[8:17, 8:17] = np.where(expected[8:17, 8:17] == CAVITY, CAVITY, MYOCARDIUM)
    mask = label_mask(contours, SHAPE, "centre", "endo+myo")
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.uint8


@pytest.mark.parametrize("labels", ["centre", "course"])
def test_cavity_outside_the_epicardium_stays_cavity(labels):
    contours = Contours(endocardium=square(10.5, 10.5, 8), epicardium=square(14.5, 8.5, 12))
    mask = label_mask(contours, SHAPE, labels, "endo+myo")
    np.testing.assert_array_equal(mask == CAVITY, rasterize(square(10.5, 10.5, 8), SHAPE, labels) == 1)
    np.testing.assert_array_equal(
        mask > 0,
        (rasterize(square(10.5, 10.5, 8), SHAPE, labels) | rasterize(square(14.5, 8.5, 12), SHAPE, labels)) == 1,
    )


def test_a_broken_epicardium_costs_only_who_needs_it():
    contours = Contours(endocardium=square(10.5, 10.5, 8), epicardium=square(45, 8.5, 12))
    assert label_mask(contours, SHAPE, "centre", "endo").sum() == 64
    with pytest.raises(ContourError, match="epicardium contour: 2 of 4 points lie outside the image"):
        label_mask(contours, SHAPE, "centre", "endo+myo")


@pytest.mark.parametrize(
    ("contours", "missing"),
    [(Contours(), "endocardium"), (Contours(endocardium=square(10, 10, 8)), "epicardium")],
)
def test_a_missing_contour(contours, missing):
    with pytest.raises(ContourError, match=f"no {missing} contour"):
        label_mask(contours, SHAPE, "centre", "endo+myo")


@pytest.mark.parametrize("labels", ["centre", "course"])
def test_a_contour_that_leaves_a_crop(labels):
    rng = np.random.Generator(np.random.PCG64(1))
    for _ in range(300):
        contour = rng.uniform(1, 39, (5, 2)) if rng.random() < 0.5 else np.round(rng.uniform(1, 39, (9, 2)) * 2) / 2
        top, left = rng.integers(-10, 45, 2)
        padded = np.pad(rasterize(contour, SHAPE, labels), 60)
        crop = padded[60 + top : 80 + top, 60 + left : 75 + left]
        np.testing.assert_array_equal(rasterize(contour - (left, top), (20, 15), labels, clip=True), crop)
