"""Where pixels lie after resampling and crop, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.config import PreprocessConfig
from lvseg.errors import SourceError
from lvseg.preprocess import contour_to_grid, contour_to_source, find_layout, to_grid, to_source
from lvseg.rasterize import contour_area_px, label_mask
from lvseg.slices import Grid
from tests.preprocess.hearts import phantom_contours


def test_nothing_to_do_is_the_identity():
    layout = find_layout((40, 50), None, PreprocessConfig(), None)
    assert layout.is_source
    assert (layout.grid, layout.shape) == (Grid(40, 50, 0, 0, 1, 1), (40, 50))


def test_resampling_on_paper():
    # 10 rows of 2 mm become 20 of 1 mm, whose first centre lies a quarter row above the first; 9 columns of 1 mm stay.
    layout = find_layout((10, 9), (2.0, 1.0), PreprocessConfig(spacing_mm=1), None)
    assert (layout.grid, layout.shape) == (Grid(10, 9, -0.25, 0, 0.5, 1), (20, 9))
    layout = find_layout((10, 9), (1.0, 1.0), PreprocessConfig(spacing_mm=2), None)
    assert (layout.grid, layout.shape) == (Grid(10, 9, 0.5, 1.0, 2, 2), (5, 4))  # of 9 columns 8 fill whole pixels


@pytest.mark.parametrize("spacing", [0.9, 1.0, 1.367188, 1.25, 3.1])
@pytest.mark.parametrize("spacing_mm", [0.5, 1.25, 2.0])
def test_the_middle_of_the_field_of_view_stays(spacing, spacing_mm):
    layout = find_layout((256, 192), (spacing, spacing), PreprocessConfig(spacing_mm=spacing_mm), None)
    grid, (rows, columns) = layout.grid, layout.shape
    assert grid.row0 + (rows - 1) / 2 * grid.row_step == pytest.approx(255 / 2)
    assert grid.column0 + (columns - 1) / 2 * grid.column_step == pytest.approx(191 / 2)
    assert 0 <= 256 * spacing - rows * spacing_mm < spacing_mm + 1e-6
    assert grid.row_step * spacing == pytest.approx(spacing_mm)


@pytest.mark.parametrize(
    ("config", "heart", "start"),
    [
        (PreprocessConfig(crop="centre", crop_size=20), None, (10, 15)),
        (PreprocessConfig(crop="centre", crop_size=21), None, (9, 14)),
        (PreprocessConfig(crop="centre", crop_size=64), None, (-12, -7)),
        (PreprocessConfig(crop="heart", crop_size=20), (9.5, 30.5), (21, 0)),
        (PreprocessConfig(crop="heart", crop_size=21), (10.0, 30.0), (20, 0)),
        (PreprocessConfig(crop="heart", crop_size=20), (10.2, 29.9), (20, 1)),
        (PreprocessConfig(crop="heart", crop_size=20), (0.0, 39.0), (29, -10)),
    ],
)
def test_the_crop_starts_at_a_whole_pixel(config, heart, start):
    layout = find_layout((40, 50), None, config, heart)
    assert layout.start == start
    assert layout.grid == Grid(40, 50, *start, 1, 1)
    assert layout.shape == (config.crop_size, config.crop_size)


@pytest.mark.parametrize(
    ("spacing", "config", "reason"),
    [
        (None, PreprocessConfig(spacing_mm=1.25), "no pixel spacing; expected one, to resample to 1.25 mm"),
        ((1.0, 0.0), PreprocessConfig(spacing_mm=1.25), "above 0 mm, found 0"),
        ((0.1, 0.1), PreprocessConfig(spacing_mm=5), "larger than one new pixel, found 0.8 of it"),
        ((1.0, 1.0), PreprocessConfig(crop="heart", crop_size=32), "no cine to find the heart in"),
    ],
)
def test_what_is_not_known(spacing, config, reason):
    with pytest.raises(SourceError, match=reason):
        find_layout((40, 40), spacing, config, None)


def test_a_crop_goes_there_and_back_exactly():
    mask = np.random.Generator(np.random.PCG64(0)).integers(0, 3, (40, 50)).astype(np.uint8)
    layout = find_layout((40, 50), None, PreprocessConfig(crop="heart", crop_size=30), (5.0, 33.0))
    top, left = layout.start
    cropped = to_grid(mask, layout.grid, layout.shape)
    np.testing.assert_array_equal(cropped, np.pad(mask, 60)[60 + top : 90 + top, 60 + left : 90 + left])
    back = to_source(cropped, layout.grid)
    inside = np.zeros_like(mask, bool)
    inside[max(top, 0) : top + 30, max(left, 0) : left + 30] = True
    np.testing.assert_array_equal(back, np.where(inside, mask, 0))
    np.testing.assert_array_equal(to_source(mask, Grid(40, 50, 0, 0, 1, 1)), mask)


def test_whole_multiples_go_there_and_back_exactly():
    mask = np.random.Generator(np.random.PCG64(0)).integers(0, 3, (20, 30)).astype(np.uint8)
    layout = find_layout((20, 30), (3.0, 3.0), PreprocessConfig(spacing_mm=1), None)
    fine = to_grid(mask, layout.grid, layout.shape)
    np.testing.assert_array_equal(fine, mask.repeat(3, axis=0).repeat(3, axis=1))
    np.testing.assert_array_equal(to_source(fine, layout.grid), mask)


@pytest.mark.parametrize("spacing_mm", [0.8, 1.0, 1.25, 1.7])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_hearts_keep_area_and_border_on_the_way_back(number, spacing_mm):
    spacing, shape = (1.3, 1.3), (150, 160)
    contours = phantom_contours(number, spacing, (81.4, 70.7))
    layout = find_layout(shape, spacing, PreprocessConfig(spacing_mm=spacing_mm, crop="heart", crop_size=96), (80, 72))
    cavity = contour_to_grid(contours.endocardium, layout.grid)
    np.testing.assert_allclose(contour_to_source(cavity, layout.grid), contours.endocardium, atol=1e-9)
    assert contour_area_px(cavity) * spacing_mm**2 == pytest.approx(contour_area_px(contours.endocardium) * 1.3**2)
    moved = type(contours)(endocardium=cavity)
    back = to_source(label_mask(moved, layout.shape, "centre", "endo"), layout.grid)
    mask = label_mask(contours, shape, "centre", "endo")
    assert back.sum(dtype=int) == pytest.approx(mask.sum(dtype=int), rel=0.02)
    np.testing.assert_allclose(np.argwhere(back).mean(axis=0), np.argwhere(mask).mean(axis=0), atol=0.25)
    rows, columns = np.nonzero(back != mask)
    nearest = np.hypot(
        columns[:, None] + 1 - contours.endocardium[:, 0], rows[:, None] + 1 - contours.endocardium[:, 1]
    ).min(axis=1, initial=np.inf)
    half_a_pixel = 0.5 * max(spacing_mm / 1.3, 1) * np.sqrt(2)  # of the coarser grid, along its diagonal
    assert (nearest <= half_a_pixel + 0.2).all()  # 0.2: the contour's points lie that far apart
