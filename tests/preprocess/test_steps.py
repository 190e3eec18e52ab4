"""Slices after resampling, crop and normalisation: image, mask, contours, place and grid stay together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lvseg.config import ConvertConfig, PreprocessConfig
from lvseg.errors import SourceError
from lvseg.preprocess import contour_to_grid, find_layout, lay_out_image, normalise, preprocess, to_source
from lvseg.rasterize import contour_area_px, label_mask
from lvseg.records.codec import row_to_slice, slice_to_row
from lvseg.slices import CAVITY, MYOCARDIUM, Contours, Grid, Place
from tests.preprocess.hearts import PLACE, heart_slice

EVERYTHING = PreprocessConfig(spacing_mm=1.25, crop="heart", crop_size=96, normalise="percentile")
HEART = (70.0, 96.0)


def test_nothing_to_do_gives_the_same_object():
    item = heart_slice()
    assert preprocess(item, PreprocessConfig(), None, "endo", None) is item
    assert preprocess(item, ConvertConfig(), "course", "endo+myo", HEART) is item
    square = heart_slice(place=dataclasses.replace(PLACE, pixel_spacing=(1.25, 1.25)))
    assert preprocess(square, PreprocessConfig(spacing_mm=1.25), "centre", "endo+myo", None) is square
    assert preprocess(item, PreprocessConfig(), None, "endo", None).grid is None


@pytest.mark.parametrize("labels", ["centre", "course"])
@pytest.mark.parametrize("heart", [(70.0, 96.0), (40.0, 96.0), (68.0, 130.0), (3.0, 2.0)])
def test_a_crop_cuts_the_mask_exactly(labels, heart):
    item = heart_slice(labels=labels)
    config = PreprocessConfig(crop="heart", crop_size=64)
    done = preprocess(item, config, labels, "endo+myo", heart)
    top, left = int(done.grid.row0), int(done.grid.column0)
    whole = np.pad(item.mask, 100)[100 + top : 164 + top, 100 + left : 164 + left]
    np.testing.assert_array_equal(done.mask, whole)
    np.testing.assert_array_equal(label_mask(done.contours, (64, 64), labels, "endo+myo", clip=True), whole)
    padded = np.pad(item.image, 100, constant_values=item.image.min())
    np.testing.assert_array_equal(done.image, padded[100 + top : 164 + top, 100 + left : 164 + left])
    assert done.image.dtype == np.int16


@pytest.mark.parametrize("crop", [{}, {"crop": "heart", "crop_size": 128}])
@pytest.mark.parametrize("spacing_mm", [0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_areas_in_mm2_stay(number, spacing_mm, crop):
    item = heart_slice(number)
    done = preprocess(item, PreprocessConfig(spacing_mm=spacing_mm, **crop), "centre", "endo+myo", HEART)
    for mask, border in ((done.mask == CAVITY, "endocardium"), (done.mask > 0, "epicardium")):
        true_mm2 = contour_area_px(getattr(item.contours, border)) * 1.4 * 1.3
        assert contour_area_px(getattr(done.contours, border)) * spacing_mm**2 == pytest.approx(true_mm2)
        assert mask.sum() * spacing_mm**2 == pytest.approx(true_mm2, rel=0.02)
    np.testing.assert_array_equal(done.mask, label_mask(done.contours, done.mask.shape, "centre", "endo+myo"))
    assert len(done.contours.papillaries) == len(item.contours.papillaries)


def test_image_and_mask_stay_together():
    item = heart_slice()
    done = preprocess(item, PreprocessConfig(spacing_mm=0.9), "centre", "endo+myo", None)
    assert done.image[done.mask == CAVITY].mean() > 750
    assert done.image[done.mask != CAVITY].mean() < 310
    rows, columns = (np.array(np.nonzero(m == CAVITY)).mean(axis=1) for m in (done.mask, item.mask))
    np.testing.assert_allclose(rows * (0.9 / 1.4, 0.9 / 1.3) + (done.grid.row0, done.grid.column0), columns, atol=0.1)


@pytest.mark.parametrize(("spacing_mm", "tolerance"), [(0.7, 1e-3), (1.25, 1e-3), (1.3, 1e-3), (2.6, 0.1)])
def test_resampling_keeps_a_ramp_where_it_is(spacing_mm, tolerance):
    rows, columns = np.indices((160, 180))
    item = heart_slice(image=(3.0 * rows + 7.0 * columns).astype(np.float32))
    done = preprocess(item, PreprocessConfig(spacing_mm=spacing_mm), "centre", "endo", None)
    grid, (height, width) = done.grid, done.image.shape
    expected = np.add.outer(
        3 * (grid.row0 + np.arange(height) * grid.row_step), 7 * (grid.column0 + np.arange(width) * grid.column_step)
    )
    assert done.image.dtype == np.float32
    np.testing.assert_allclose(done.image[4:-4, 4:-4], expected[4:-4, 4:-4], atol=10 * tolerance)


def test_shrinking_averages_what_it_leaves_out():
    checkerboard = (np.indices((160, 180)).sum(axis=0) % 2 * 1000).astype(np.int16)
    place = dataclasses.replace(PLACE, pixel_spacing=(1.0, 1.0))
    item = heart_slice(image=checkerboard, place=place)
    done = preprocess(item, PreprocessConfig(spacing_mm=2.5), "centre", "endo", None)
    assert np.abs(done.image[2:-2, 2:-2] - 500).max() < 100


def test_a_given_mask_takes_the_nearest_pixel():
    item = heart_slice(contours=Contours())
    done = preprocess(item, PreprocessConfig(spacing_mm=0.65), None, "endo+myo", None)
    drawn = preprocess(heart_slice(), PreprocessConfig(spacing_mm=0.65), "centre", "endo+myo", None)
    for structure in (CAVITY, MYOCARDIUM):
        area = (item.mask == structure).sum() * 1.4 * 1.3
        assert (done.mask == structure).sum() * 0.65**2 == pytest.approx(area, rel=0.02)
    assert (done.mask != drawn.mask).mean() < 0.02
    assert (done.mask != drawn.mask).any()
    assert done.mask.dtype == np.uint8


def test_the_convention_and_the_structures_are_kept():
    item = heart_slice(labels="course", structures="endo")
    centre = preprocess(item, PreprocessConfig(spacing_mm=1), "centre", "endo", None)
    course = preprocess(item, PreprocessConfig(spacing_mm=1), "course", "endo", None)
    assert set(np.unique(course.mask)) == {0, CAVITY}
    assert course.mask.sum() > 1.02 * centre.mask.sum()
    default = preprocess(item, PreprocessConfig(spacing_mm=1), None, "endo", None)
    np.testing.assert_array_equal(default.mask, centre.mask)


def test_place_and_grid():
    item = heart_slice()
    done = preprocess(item, EVERYTHING, "centre", "endo+myo", HEART)
    grid = done.grid
    assert done.image.shape == done.mask.shape == (96, 96)
    assert (grid.rows, grid.columns) == (160, 180)
    assert (grid.row_step, grid.column_step) == pytest.approx((1.25 / 1.4, 1.25 / 1.3))
    middle = (grid.column0 + 47.5 * grid.column_step, grid.row0 + 47.5 * grid.row_step)
    assert np.abs(np.subtract(middle, HEART)).max() <= 0.5
    assert done.place.pixel_spacing == pytest.approx((1.25, 1.25))
    along_row, along_column = np.array([0.6, 0.8, 0]), np.array([0, 0, -1])
    position = np.array([-100, -120, 30]) + 1.3 * grid.column0 * along_row + 1.4 * grid.row0 * along_column
    assert done.place.image_position_patient == pytest.approx(tuple(position))
    for field in dataclasses.fields(Place):
        if field.name not in ("pixel_spacing", "image_position_patient"):
            assert getattr(done.place, field.name) == getattr(PLACE, field.name)
    for name in ("name", "case_id", "group", "source_sha256", "instance_key"):
        assert getattr(done, name) == getattr(item, name)
    np.testing.assert_allclose(done.contours.epicardium, contour_to_grid(item.contours.epicardium, grid))


def test_without_spacing_only_resampling_is_refused():
    item = heart_slice(place=Place(image_position_patient=(1.0, 2.0, 3.0)))
    done = preprocess(item, PreprocessConfig(crop="centre", crop_size=32), None, "endo", None)
    assert done.place == Place()  # the position of another first pixel is not known without the spacing
    with pytest.raises(SourceError, match="PH-N-1-IM-0001-0048: no pixel spacing"):
        preprocess(item, PreprocessConfig(spacing_mm=1), None, "endo", None)
    with pytest.raises(SourceError, match="PH-N-1-IM-0001-0048: no cine"):
        preprocess(item, PreprocessConfig(crop="heart", crop_size=32), None, "endo", None)


def test_not_twice():
    done = preprocess(heart_slice(), EVERYTHING, "centre", "endo", HEART)
    with pytest.raises(ValueError, match="preprocessed already"):
        preprocess(done, EVERYTHING, "centre", "endo", HEART)


def test_the_same_input_gives_the_same_bytes_and_survives_the_records():
    rows = [slice_to_row(preprocess(heart_slice(), EVERYTHING, "centre", "endo+myo", HEART)) for _ in range(2)]
    assert rows[0] == rows[1]
    back = row_to_slice(rows[0])
    assert isinstance(back.grid, Grid)
    assert to_source(back.mask, back.grid).shape == (160, 180)
    assert (to_source(back.mask, back.grid) != heart_slice().mask).mean() < 0.02


@pytest.mark.parametrize("config", [EVERYTHING, PreprocessConfig(), PreprocessConfig(normalise="zscore")])
def test_an_image_without_a_label_comes_out_the_same(config):
    item = heart_slice()
    stored = preprocess(item, config, "centre", "endo", HEART)
    layout = find_layout(item.image.shape, item.place.pixel_spacing, config, HEART)
    image = normalise(lay_out_image(item.image, layout), config.normalise)
    np.testing.assert_array_equal(image, stored.image.astype(np.float32))
    assert layout.grid == (stored.grid or Grid(160, 180, 0, 0, 1, 1))


def test_percentiles():
    image = np.arange(1000, dtype=np.int16).reshape(20, 50)
    scaled = normalise(image, "percentile")
    assert (scaled.dtype, scaled.min(), scaled.max()) == (np.float32, 0, 1)
    low, high = 9.99, 989.01  # between the ordered values, as NumPy's percentile
    inside = (image > low) & (image < high)
    np.testing.assert_allclose(scaled[inside], (image[inside] - low) / (high - low), atol=1e-5)


def test_zscore():
    image = np.random.Generator(np.random.PCG64(0)).normal(40_000, 3, (50, 60))
    scaled = normalise(image, "zscore")
    assert scaled.dtype == np.float32
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-3)
    assert float(scaled.std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_no_contrast(method):
    assert not normalise(np.full((20, 20), 7, np.uint16), method).any()


def test_normalisation_is_of_the_crop():
    item = heart_slice()
    config = PreprocessConfig(crop="centre", crop_size=64, normalise="zscore")
    done = preprocess(item, config, None, "endo", None)
    cropped = preprocess(item, dataclasses.replace(config, normalise="none"), None, "endo", None)
    np.testing.assert_array_equal(done.image, normalise(cropped.image, "zscore"))
    alone = preprocess(item, PreprocessConfig(normalise="zscore"), None, "endo", None)
    assert alone.grid is None
    assert alone.mask is item.mask
