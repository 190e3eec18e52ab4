import numpy as np
import pytest

from lvseg.inference.look import Seen, reasons_to_look, see, uncertainty


def seen(area: float, uncertainty: float = 0.1, components: int = 1, at_border: bool = False) -> Seen:
    return Seen(area_px=area, uncertainty=uncertainty, components=components, at_border=at_border)


def square(probability: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    return (mask * probability).astype(np.float32), mask


def test_uncertainty_is_the_entropy_around_the_border() -> None:
    assert uncertainty(*square()) == pytest.approx(0, abs=1e-6)
    probability, mask = square()
    assert uncertainty(np.full_like(probability, 0.5), mask) == pytest.approx(1)
    probability[9:11, 9:11] = 0.5  # far from the border
    assert uncertainty(probability, mask) == pytest.approx(0, abs=1e-6)
    probability[5, 5:15] = 0.5
    assert 0.05 < uncertainty(probability, mask) < 0.2


def test_without_a_cavity_the_likeliest_pixel_tells() -> None:
    mask, probability = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.float32)
    assert uncertainty(probability, mask) == pytest.approx(0, abs=1e-6)
    probability[4, 4] = 0.11
    assert uncertainty(probability, mask) == pytest.approx(0.5, abs=0.01)


def test_what_is_seen_of_one_image() -> None:
    probability, mask = square()
    raw = mask.copy()
    raw[17:19, 17:19] = 1
    whole = (slice(0, 20), slice(0, 20))
    assert see(probability, mask, mask, whole) == Seen(
        area_px=100, uncertainty=pytest.approx(0, abs=1e-6), components=1, at_border=False
    )
    assert see(probability, raw, mask, whole).components == 1, "4 of 100 px do not count"
    raw[16:19, 15:19] = 1
    raw[15] = 0
    assert see(probability, raw, mask, whole).components == 2
    assert see(probability, mask, mask, (slice(5, 20), slice(0, 20))).at_border


def test_reasons() -> None:
    places = [(index, phase) for index in range(3) for phase in range(6)]
    areas = dict.fromkeys(places, 200.0)
    areas[1, 2] = 0  # between slices, and between phases
    areas[0, 5] = 120  # its neighbours in time are 4 and 0
    images = [seen(areas[place]) for place in places]
    reasons = dict(zip(places, reasons_to_look(images, places, 0.6, 0.3), strict=True))
    assert reasons.pop((1, 2)) == "empty between slices that are not; empty between phases that are not"
    assert reasons.pop((0, 5)) == "area jumps by -80 px"
    # The phases beside the empty one are half of it off, the slice's largest area being 200.
    assert {place for place, reason in reasons.items() if reason} == {(1, 1), (1, 3)}


def test_reasons_of_one_image_alone() -> None:
    images = [seen(5, 0.7, 2, at_border=True), seen(5)]
    assert reasons_to_look(images, [None, None], 0.6, 0.3) == [
        "2 components; touches the border; uncertain, 0.70",
        None,
    ]


def test_a_stack_may_be_empty_at_its_ends() -> None:
    places = [(index, 0) for index in range(4)]
    images = [seen(area) for area in (0, 90, 60, 0)]
    assert reasons_to_look(images, places, 0.6, 0.3) == [None] * 4
