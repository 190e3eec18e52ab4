"""Distances and overlaps of contours against answers on paper, integrals, and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.distance import cdist

from lvseg.evaluation import compare_contours, dice
from lvseg.evaluation.outlines import resample
from lvseg.rasterize import rasterize
from tests.evaluation.organisers import organisers_apd
from tests.evaluation.shapes import circle, ellipse, on_lattice, square

SPACING = (1.37, 1.37)
APD_MM, DICE = 0.05, 0.01
"""What the organisers' evaluation and this one may differ by."""


def lens(radius: float, shift: float) -> float:
    """Area that two circles share."""
    half = shift / 2
    return 2 * (radius**2 * math.acos(half / radius) - half * math.sqrt(radius**2 - half**2))


def along_radii(radius: float, shift: float) -> float:
    """Mean distance from a circle along its own radii to the same circle shifted."""

    def distance(angle: float) -> float:
        return abs(shift * math.cos(angle) + math.sqrt(radius**2 - (shift * math.sin(angle)) ** 2) - radius)

    return quad(distance, 0, 2 * np.pi)[0] / (2 * np.pi)


@pytest.mark.parametrize(("radius", "shift"), [(20, 0.5), (20, 4), (8, 3), (8, 7)])
def test_shifted_circles(radius: float, shift: float) -> None:
    found = compare_contours(circle(60.3, 70.8, radius), circle(60.3 + shift, 70.8, radius), SPACING)
    assert found.apd == pytest.approx(along_radii(radius, shift) * 1.37, abs=0.01)
    assert found.dice == pytest.approx(lens(radius, shift) / (np.pi * radius**2), abs=0.001)
    assert found.sensitivity == pytest.approx(found.precision, abs=0.001)
    assert found.apd_missed == 0


def test_concentric_circles_lie_the_difference_of_their_radii_apart() -> None:
    found = compare_contours(circle(60, 70, 12), circle(60, 70, 15), SPACING)
    assert (found.apd, found.hd95, found.assd) == pytest.approx((3 * 1.37,) * 3, abs=0.01)
    assert found.dice == pytest.approx(2 * 144 / (144 + 225), abs=0.001)
    assert found.sensitivity == pytest.approx(144 / 225, abs=0.001)
    assert found.precision == pytest.approx(1)
    # Conformity: 1 less the area in one only over the area in both.
    assert found.conformity == pytest.approx(1 - (225 - 144) / 144, abs=0.003)


def test_without_spacing_lengths_are_in_pixels() -> None:
    assert compare_contours(circle(60, 70, 12), circle(60, 70, 15)).apd == pytest.approx(3, abs=0.01)


def test_pixels_that_are_not_square() -> None:
    """Two concentric circles in mm, on pixels of 1 by 2 mm."""
    found = compare_contours(ellipse(60, 70, 12 / 2, 12), ellipse(60, 70, 15 / 2, 15), (1.0, 2.0))
    assert (found.apd, found.hd95, found.assd) == pytest.approx((3, 3, 3), abs=0.01)


def test_ellipses_along_their_normals() -> None:
    """From x = a cos t, y = b sin t along the normal (b cos t, a sin t) to the outer ellipse, a quadratic equation."""
    a, b, outer_a, outer_b = 20.0, 12.0, 24.0, 15.0

    def distance_and_length(t: float) -> tuple[float, float]:
        normal = np.array([b * math.cos(t), a * math.sin(t)])
        length = math.hypot(*normal)
        x, y = a * math.cos(t), b * math.sin(t)
        u, v = normal / length
        # (x + s u)² / A² + (y + s v)² / B² = 1
        coefficients = (
            (u / outer_a) ** 2 + (v / outer_b) ** 2,
            2 * (x * u / outer_a**2 + y * v / outer_b**2),
            (x / outer_a) ** 2 + (y / outer_b) ** 2 - 1,
        )
        return float(np.abs(np.roots(coefficients)).min()), length

    total = quad(lambda t: math.prod(distance_and_length(t)), 0, 2 * np.pi)[0]
    expected = total / quad(lambda t: distance_and_length(t)[1], 0, 2 * np.pi)[0]
    found = compare_contours(ellipse(60, 60, a, b), ellipse(60, 60, outer_a, outer_b), SPACING)
    assert found.apd == pytest.approx(expected * 1.37, abs=0.01)
    assert found.dice == pytest.approx(2 * a * b / (a * b + outer_a * outer_b), abs=0.001)


def test_squares() -> None:
    inside = compare_contours(square(20, 20, 40), square(17, 17, 46))
    assert inside.apd == pytest.approx(3, abs=APD_MM)
    assert inside.dice == pytest.approx(2 * 1600 / (1600 + 2116))
    # Shifted along a side: two sides 3 apart, two on one line but for 3 px whose nearest point is a corner.
    shifted = compare_contours(square(20, 20, 40), square(23, 20, 40))
    assert shifted.apd == pytest.approx((2 * 40 * 3 + 2 * 3 * 1.5) / 160, abs=APD_MM)
    assert shifted.apd_missed == pytest.approx(6 / 160, abs=0.01)
    assert shifted.dice == pytest.approx(37 / 40)


def test_the_order_of_points_and_a_repeated_first_one_do_not_matter() -> None:
    auto, manual = ellipse(60, 60, 20, 12), circle(63, 58, 15)
    expected = compare_contours(auto, manual, SPACING)
    turned = compare_contours(np.roll(auto, 57, axis=0)[::-1], np.vstack([manual, manual[:1]])[::-1], SPACING)
    assert turned.apd == pytest.approx(expected.apd, abs=0.002)
    assert turned.dice == pytest.approx(expected.dice)


def test_staircases_of_pixels_have_the_distance_of_the_outlines_that_they_stand_for() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    for _ in range(10):
        x, y, radius = random.uniform((60, 60, 8), (61, 61, 22))
        found = compare_contours(on_lattice(circle(x, y, radius)), circle(x, y, radius + 3))
        assert found.apd == pytest.approx(3, abs=0.1)


def even(contour: np.ndarray, step: float = 0.8) -> np.ndarray:
    """The outline with points about as close as in contour files."""
    return resample(contour, step)


@pytest.mark.parametrize(
    ("auto", "manual"),
    [
        (circle(60, 60, 20), circle(63, 60, 20)),
        (circle(60, 60, 20), circle(61, 60, 20)),
        (circle(60, 60, 20), circle(60, 60, 22.5)),
        (circle(60, 60, 6), circle(61, 60, 7)),
        (ellipse(60, 60, 20, 12), ellipse(60, 60, 24, 15)),
        (ellipse(60, 60, 14, 18), ellipse(62, 59, 16, 17)),
        (square(20, 20, 40), square(17, 17, 46)),
    ],
    ids=["circles", "near circles", "concentric", "apex", "ellipses", "shifted ellipses", "squares"],
)
def test_the_organisers_evaluation_agrees(auto: np.ndarray, manual: np.ndarray) -> None:
    """Contours as files have them, evenly spaced: there the mean over the points is that along the outline."""
    auto, manual = even(auto), even(manual)
    found = compare_contours(auto, manual, SPACING)
    assert found.apd == pytest.approx(organisers_apd(auto, manual, SPACING[0]), abs=APD_MM)
    masks = [rasterize(contour, (128, 128), "centre") for contour in (auto, manual)]
    assert found.dice == pytest.approx(dice(*masks), abs=DICE)


@pytest.mark.parametrize("shift", [0.0, 2.5, 60.0])
def test_hausdorff_and_mean_distance_against_brute_force(shift: float) -> None:
    auto, manual = ellipse(60, 60, 20, 12, 37), ellipse(60 + shift, 61, 14, 17, 23)
    dense = [resample(contour, 0.02) for contour in (auto, manual)]
    between = cdist(*dense)
    directed = between.min(axis=1), between.min(axis=0)
    found = compare_contours(auto, manual, SPACING)
    assert found.hd95 == pytest.approx(1.37 * max(np.percentile(each, 95) for each in directed), abs=0.03)
    assert found.assd == pytest.approx(1.37 * np.concatenate(directed).mean(), abs=0.01)


def test_contours_apart() -> None:
    found = compare_contours(circle(30, 30, 8), circle(90, 30, 8))
    assert (found.dice, found.sensitivity, found.precision) == (0, 0, 0)
    assert math.isnan(found.conformity)
    assert found.apd_missed > 0.5
    # Nowhere is the other circle nearer than the gap between them.
    assert 60 - 16 < found.apd < 60 + 16


def test_equal_contours_have_no_distance() -> None:
    contour = on_lattice(ellipse(60, 60, 20, 12))
    found = compare_contours(contour, contour, SPACING)
    assert (found.apd, found.hd95, found.assd) == pytest.approx((0, 0, 0), abs=1e-9)
    assert (found.dice, found.conformity) == pytest.approx((1, 1))


def test_a_contour_that_crosses_itself_holds_both_its_loops() -> None:
    bow_tie = np.array([(10, 10), (30, 30), (30, 10), (10, 30)], np.float64)  # two triangles of 100 px²
    found = compare_contours(bow_tie, square(10, 10, 20))
    assert found.dice == pytest.approx(2 * 200 / (200 + 400))


def test_a_contour_that_runs_back_on_itself() -> None:
    spike = np.array([(10, 10), (30, 10), (30, 30), (10, 30), (10, 40), (10, 30)], np.float64)
    assert compare_contours(spike, square(10, 10, 20)).dice == pytest.approx(1)
