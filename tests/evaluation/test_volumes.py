import dataclasses
import math

import numpy as np
import pytest

from lvseg.evaluation import find_phases, measure_volumes, phase_volumes_ml, slice_spacing_mm
from lvseg.evaluation.volumes import Drawn
from lvseg.slices import Contours, Place
from tests.evaluation.hearts import GAP, RADII, SPACING, WALL, heart
from tests.evaluation.shapes import circle

POLYGON = 45 / math.pi * math.sin(math.pi / 45)
"""Area of a polygon of 90 corners over that of its circle."""


def volume_ml(radii: tuple[float, ...]) -> float:
    return sum(math.pi * radius**2 for radius in radii) * POLYGON * SPACING[0] * SPACING[1] * GAP / 1000


def drawn(**place: object) -> list[Drawn]:
    return [(frame.place, frame.manual) for frame in heart(**place)]


def test_volumes_as_on_paper() -> None:
    found = measure_volumes(drawn())
    edv, esv = volume_ml(RADII[0]), volume_ml(RADII[9])
    assert (found.edv_ml, found.esv_ml, found.sv_ml) == pytest.approx((edv, esv, edv - esv))
    assert found.ejection_fraction == pytest.approx((edv - esv) / edv)
    outer = volume_ml(tuple(radius + WALL for radius in RADII[0]))
    assert found.mass_g == pytest.approx(1.05 * (outer - edv))


def test_the_curve_of_volumes_over_the_phases() -> None:
    assert phase_volumes_ml(drawn()) == pytest.approx({0: volume_ml(RADII[0]), 9: volume_ml(RADII[9])})


def test_a_phase_without_contours_has_no_volume() -> None:
    ed_only = [(place, contours) for place, contours in drawn() if place.phase_index == 0]
    found = measure_volumes(ed_only, phases=(0, 9))
    assert (found.esv_ml, found.ejection_fraction) == (0, 1)
    alone = measure_volumes(ed_only)
    assert alone.edv_ml == pytest.approx(volume_ml(RADII[0]))
    assert (alone.esv_ml, alone.ejection_fraction) == (None, None)


def test_ed_and_es_are_the_largest_and_smallest_volume_not_the_first_and_last_phase() -> None:
    moved = [(dataclasses.replace(place, phase_index={0: 18, 9: 7}[place.phase_index]), c) for place, c in drawn()]
    assert find_phases(moved) == (18, 7)


def test_a_stray_contour_makes_no_phase() -> None:
    stray = (dataclasses.replace(drawn()[0][0], phase_index=4), Contours(endocardium=circle(100, 90, 2)))
    assert find_phases([*drawn(), stray]) == (0, 9)


def test_the_mass_counts_slices_with_both_contours() -> None:
    without = [
        (place, dataclasses.replace(contours, epicardium=None) if place.slice_index == 0 else contours)
        for place, contours in drawn()
    ]
    rest = RADII[0][1:]
    expected = 1.05 * (volume_ml(tuple(radius + WALL for radius in rest)) - volume_ml(rest))
    assert measure_volumes(without).mass_g == pytest.approx(expected)


def test_the_distance_of_slices_is_that_of_their_positions() -> None:
    oblique = np.cross((0.6, 0.8, 0), (0, 0, 1))
    places = [
        Place(
            slice_index=index,
            image_position_patient=tuple(oblique * 9.5 * index + (3, 0, index)),  # they also slide in their plane
            image_orientation_patient=(0.6, 0.8, 0, 0, 0, 1),
            spacing_between_slices_mm=10,
        )
        for index in (0, 1, 4)  # a gap is no larger distance
    ]
    assert slice_spacing_mm(places) == pytest.approx(9.5)


def test_without_positions_the_header_says_the_distance_of_slices() -> None:
    places = [Place(slice_index=index, spacing_between_slices_mm=8.0, slice_thickness_mm=6.0) for index in range(3)]
    assert slice_spacing_mm(places) == 8
    assert slice_spacing_mm([Place(slice_index=0, slice_thickness_mm=6.0)]) is None


@pytest.mark.parametrize("unknown", ["pixel_spacing", "phase_index", "slice_index"])
def test_what_is_not_known_has_no_volume(unknown: str) -> None:
    assert measure_volumes(drawn(**{unknown: None})) == measure_volumes([])
