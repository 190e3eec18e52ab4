"""What is measured of one slice."""

import dataclasses
import itertools

import numpy as np
import pytest

from lvseg.quality import FACTS_SCHEMA
from lvseg.slices import Contours, Place, Slice
from lvseg.sources import PairItem
from tests.quality.conftest import SPACING_MM, circle, facts_of, item_of, make_heart, slice_facts, table


def test_areas_centres_and_files() -> None:
    facts = facts_of(make_heart(at=(64, 60), radius=12, epicardium_at=(64, 60), slice_index=3))
    assert facts["endocardium_area_px"] == pytest.approx(np.pi * 12**2, rel=0.005)
    assert facts["endocardium_area_mm2"] == pytest.approx(np.pi * 12**2 * SPACING_MM**2, rel=0.005)
    assert facts["epicardium_area_px"] == pytest.approx(np.pi * 17**2, rel=0.005)
    assert (facts["endocardium_x_px"], facts["endocardium_y_px"]) == pytest.approx((64, 60), abs=0.01)
    assert facts["slice_index"] == 3
    assert facts["image_file"] == "A-IM-0001-0001.dcm"
    assert facts["epicardium_file"] == "o.txt"
    assert set(facts) == set(FACTS_SCHEMA.names)
    assert table([facts]).num_rows == 1


def test_contrast_is_high_on_the_heart_and_low_beside_it() -> None:
    assert facts_of(make_heart())["contrast"] > 3
    assert facts_of(make_heart(drawn_at=(64, 20)))["contrast"] < 0.3
    assert facts_of(make_heart(drawn_at=(64, 78)))["contrast"] < 1


def test_the_ring_ends_at_the_epicardium() -> None:
    heart = make_heart(spacing=(1.0, 1.0))
    rows, columns = np.mgrid[:128, :128]
    image = np.where(np.hypot(columns - 64, rows - 60) > 15, 300, heart.image)
    endocardium = heart.contours.endocardium
    ring_means = [
        facts_of(dataclasses.replace(heart, image=image, contours=contours))["ring_mean"]
        for contours in (
            Contours(endocardium=endocardium, epicardium=circle(64, 60, 15)),
            Contours(endocardium=endocardium),
        )
    ]
    assert ring_means[0] < 120
    assert ring_means[1] > 150


def test_how_far_the_endocardium_lies_outside() -> None:
    inside = facts_of(make_heart(epicardium_at=(64, 60)))
    assert (inside["outside_share"], inside["outside_px"]) == (0, 0)
    outside = facts_of(make_heart(epicardium_at=(74, 60)))
    assert outside["outside_px"] == pytest.approx(5, abs=0.1)
    assert 0.2 < outside["outside_share"] < 0.5
    assert facts_of(make_heart())["outside_px"] is None


def test_crossings_count_true_crossings_only() -> None:
    bow_tie = np.array([[40, 40], [80, 80], [80, 40], [40, 80]], np.float64)
    touching = np.array([[40, 40], [60, 60], [80, 40], [80, 80], [60, 60], [40, 80]], np.float64)
    for points, crossings in ((bow_tie, 1), (touching, 0), (circle(64, 60, 12), 0)):
        heart = dataclasses.replace(make_heart(), contours=Contours(endocardium=points))
        assert facts_of(heart)["endocardium_crossings"] == crossings


def count_crossings(points: np.ndarray) -> int:
    """Pair by pair, as the definition says."""

    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return float(np.sign((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]))

    edges = list(zip(points, np.roll(points, -1, axis=0), strict=True))
    return sum(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for (a, b), (c, d) in itertools.combinations(edges, 2)
    )


def test_crossings_of_many_shapes() -> None:
    generator = np.random.default_rng(0)
    turns = 2 * np.pi * np.arange(11) / 11
    shapes = [
        np.column_stack([np.cos(rounds * turns), np.sin(rounds * turns)]) * generator.uniform(8, 20, (11, 1))
        for rounds in (1, -1, 2, -2, 3, 5)
        for _ in range(6)
    ]
    shapes += [generator.uniform(-20, 20, (8, 2)) for _ in range(20)]
    counts = []
    for shape in shapes:
        points = np.round(2 * shape) / 2 + 64.0
        counts.append(count_crossings(points))
        for each in (points, np.concatenate([points, points[:1]])):  # closed explicitly too
            heart = dataclasses.replace(make_heart(), contours=Contours(endocardium=each))
            assert facts_of(heart)["endocardium_crossings"] == counts[-1]
    assert counts[:12] == [0] * 12
    assert min(counts[12:36]) > 0


def test_hashes_tell_equal_pixels_and_points() -> None:
    one, other = facts_of(make_heart(name="one")), facts_of(make_heart(name="other"))
    assert one["image_hash"] != other["image_hash"]
    assert one["endocardium_hash"] == other["endocardium_hash"]
    assert facts_of(make_heart(radius=11))["endocardium_hash"] != one["endocardium_hash"]


def test_a_slice_of_a_mask_alone() -> None:
    heart = make_heart(spacing=None)
    pair = PairItem(name=heart.name, case_id="A", image="images/A.png", mask="masks/A.png")
    facts = slice_facts(dataclasses.replace(heart, contours=Contours()), pair)
    assert facts["endocardium_area_px"] == heart.mask.sum()
    assert facts["endocardium_area_mm2"] is None
    assert (facts["endocardium_x_px"], facts["endocardium_y_px"]) == pytest.approx((64, 60), abs=0.1)
    assert facts["contrast"] > 3
    assert facts["label_file"] == "masks/A.png"


def test_small_equal_masks_may_be_chance() -> None:
    pair = PairItem(name="A", case_id="A", image="A.png", mask="A.png")
    hashes = [
        slice_facts(dataclasses.replace(make_heart(radius=radius), contours=Contours()), pair)["endocardium_hash"]
        for radius in (4, 8)
    ]
    assert hashes[0] is None
    assert hashes[1] is not None


def test_an_epicardium_that_was_dropped() -> None:
    assert slice_facts(make_heart(), item_of(make_heart(), "o.txt"))["epicardium_dropped"]
    assert not slice_facts(make_heart(), item_of(make_heart(), None))["epicardium_dropped"]


@pytest.mark.parametrize("value", [0, 7])
def test_constant_image_and_empty_mask(value: int) -> None:
    image, mask = np.full((32, 32), value, np.uint16), np.zeros((32, 32), np.uint8)
    blank = Slice(name="blank", case_id="A", image=image, mask=mask, place=Place())
    facts = slice_facts(blank, PairItem(name="blank", case_id="A", image="i.png", mask="m.png"))
    assert facts["share_at_max"] == 1
    assert facts["contrast"] is None
    assert facts["endocardium_area_px"] == 0


def test_files_of_a_pseudonymous_case_do_not_name_its_folder() -> None:
    heart = make_heart(case_id="P-0123456789abcdef")
    item = dataclasses.replace(item_of(heart), image="DOE^JANE/48.dcm", endocardium="DOE^JANE/doe-jane.txt")
    facts = slice_facts(heart, item)
    assert "DOE" not in str(facts)
    assert "jane" not in str(facts)
