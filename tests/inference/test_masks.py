import numpy as np
import pytest

from lvseg.config import PreprocessConfig
from lvseg.inference.masks import consistent, decide, on_native_grid, tidy
from lvseg.preprocess import find_layout, lay_out_image, to_source


def disc(size: int, row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - row, columns - column) < radius


@pytest.mark.parametrize("crop_size", [32, 80])
def test_a_crop_goes_back_to_its_place(crop_size: int) -> None:
    layout = find_layout((64, 60), None, PreprocessConfig(crop="centre", crop_size=crop_size), None)
    native = np.random.default_rng(0).random((64, 60)).astype(np.float32)
    seen = lay_out_image(native, layout)[None, ..., None]
    back = on_native_grid(seen, [layout.grid], (64, 60))[0, ..., 0]
    assert back == pytest.approx(to_source(seen[0, ..., 0], layout.grid))
    inside = to_source(np.ones_like(seen[0, ..., 0]), layout.grid) > 0
    assert back[inside] == pytest.approx(native[inside])
    assert not back[~inside].any()


def test_a_resampled_disc_keeps_place_and_area() -> None:
    layout = find_layout((64, 64), (1.3, 1.1), PreprocessConfig(spacing_mm=2.0), None)
    native = disc(64, 30, 34, 12).astype(np.float32)
    back = on_native_grid(lay_out_image(native, layout)[None, ..., None], [layout.grid], (64, 64))[0, ..., 0]
    found = np.argwhere(back > 0.5)
    assert found.mean(axis=0) == pytest.approx(np.argwhere(native > 0.5).mean(axis=0), abs=0.15)
    assert len(found) == pytest.approx(native.sum(), rel=0.03)


def test_smoothing_over_phases_goes_round() -> None:
    values = np.zeros((6, 1, 1, 1), np.float32)
    values[0] = 1
    order = [3, 0, 1, 2, 5, 4]  # images need not lie in order
    smooth = consistent(values[order], [7] * 6, order, 1.0, 0.0)[np.argsort(order)].ravel()
    weights = np.exp(-0.5 * np.array([0, 1, 2, 3, 2, 1]) ** 2)
    assert smooth == pytest.approx(weights / weights.sum())


def test_smoothing_over_slices_does_not_go_round_and_leaves_unknown_places() -> None:
    values = np.array([1, 0, 0, 5], np.float32).reshape(4, 1, 1, 1)
    smooth = consistent(values, [0, 1, 2, None], [0, 0, 0, None], 0.0, 1.0).ravel()
    near, far = np.exp(-0.5), np.exp(-2)
    assert smooth == pytest.approx([1 / (1 + near + far), near / (1 + 2 * near), far / (1 + near + far), 5])


def test_the_likeliest_class_wins() -> None:
    probabilities = np.array([[0.6, 0.3], [0.3, 0.6], [0.3, 0.3], [0.45, 0.1]], np.float32).reshape(1, 4, 1, 2)
    assert decide(probabilities).ravel().tolist() == [1, 2, 0, 0]


def test_the_largest_component_stays_and_its_holes_are_filled() -> None:
    mask = (disc(48, 20, 20, 9) & ~disc(48, 20, 20, 2)).astype(np.uint8)
    mask[40:44, 40:44] = 1
    assert tidy(mask).tolist() == disc(48, 20, 20, 9).astype(int).tolist()


def test_a_wall_stays_around_the_cavity() -> None:
    mask = np.where(disc(48, 20, 20, 6), 1, np.where(disc(48, 20, 20, 11), 2, 0)).astype(np.uint8)
    whole = mask.copy()
    mask[20, 29] = 0  # a hole in the wall
    mask[20, 12] = 1  # a speck of cavity in it
    mask[40:44, 40:44] = 2
    assert (tidy(mask) == whole).all()
    assert not tidy(np.where(mask == 2, 2, 0).astype(np.uint8)).any()
