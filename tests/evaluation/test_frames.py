"""Slices and predicted masks → frames, on the source image whatever was cropped or resampled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lvseg.config import PreprocessConfig
from lvseg.evaluation import contours_from_mask, evaluate_frames, frame_from_mask
from lvseg.preprocess import preprocess
from lvseg.rasterize import label_mask
from lvseg.slices import Contours, Place, Slice
from tests.evaluation.shapes import circle, on_lattice

SHAPE, SPACING = (96, 112), (1.25, 1.25)


@pytest.fixture
def item() -> Slice:
    contours = Contours(endocardium=on_lattice(circle(60, 40, 14)), epicardium=on_lattice(circle(60, 40, 20)))
    return Slice(
        name="SC-N-2-IM-0001-0001",
        case_id="SC-N-2",
        group="N",
        image=np.zeros(SHAPE, np.int16),
        mask=label_mask(contours, SHAPE, "centre", "endo+myo"),
        place=Place(pixel_spacing=SPACING, slice_index=0, phase_index=0),
        contours=contours,
    )


@pytest.mark.parametrize(
    "config",
    [
        PreprocessConfig(),
        PreprocessConfig(crop="centre", crop_size=64),
        PreprocessConfig(spacing_mm=0.8),
        PreprocessConfig(spacing_mm=1.6, crop="centre", crop_size=48),
    ],
    ids=["source", "crop", "resample", "both"],
)
def test_the_labels_own_mask_scores_full_whatever_the_grid(item: Slice, config: PreprocessConfig) -> None:
    made = preprocess(item, config, "centre", "endo+myo", None)
    frame = frame_from_mask(made, made.mask, "endo+myo", "centre", "centre")
    np.testing.assert_allclose(frame.manual.endocardium, item.contours.endocardium)
    assert frame.place.pixel_spacing == pytest.approx(SPACING)
    for image in evaluate_frames([frame]).images:
        assert image.score.dice > 0.97
        assert image.score.apd < 0.5
        area = np.pi * {"endocardium": 14, "epicardium": 20}[image.structure] ** 2 * 1.25**2
        assert image.manual_area == pytest.approx(area, rel=0.01)


def test_a_shifted_prediction_on_a_resampled_grid_is_as_far_off_in_mm(item: Slice) -> None:
    made = preprocess(item, PreprocessConfig(spacing_mm=2.5), "centre", "endo", None)
    moved = np.roll(made.mask, 2, axis=1)  # 2 pixels of 2.5 mm
    frame = frame_from_mask(made, moved, "endo", "centre", "centre")
    shift = frame.auto.endocardium.mean(axis=0) - frame.manual.endocardium.mean(axis=0)
    assert shift * 1.25 == pytest.approx((5, 0), abs=0.6)


def test_without_contours_the_label_mask_is_the_reference(item: Slice) -> None:
    pair = dataclasses.replace(item, contours=Contours(), place=Place())
    found = evaluate_frames([frame_from_mask(pair, pair.mask, "endo+myo")])
    assert found.unit == "px"
    assert [image.score.dice for image in found.images] == pytest.approx([1, 1])


def test_an_epicardium_that_the_model_does_not_know_is_not_missed(item: Slice) -> None:
    frame = frame_from_mask(item, (item.mask == 1).astype(np.uint8), "endo", "centre", "centre")
    assert [image.structure for image in evaluate_frames([frame]).images] == ["endocardium"]


def test_an_empty_prediction_is_a_missing_contour(item: Slice) -> None:
    frame = frame_from_mask(item, np.zeros(SHAPE, np.uint8), "endo+myo", "centre", "centre")
    assert [(image.detected, image.score.dice) for image in evaluate_frames([frame]).images] == [(False, 0)] * 2


def test_a_model_that_learnt_course_labels_is_scored_against_the_contours(item: Slice) -> None:
    """Its masks are shifted and too wide by the convention: that is no fault of the model."""
    mask = label_mask(item.contours, SHAPE, "course", "endo")
    (fair,) = evaluate_frames([frame_from_mask(item, mask, "endo", "course", "course")]).images
    (unfair,) = evaluate_frames([frame_from_mask(item, mask, "endo", "course", "given")]).images
    assert fair.score.dice > 0.98 > 0.95 > unfair.score.dice
    assert fair.auto_area == pytest.approx(fair.manual_area, rel=0.02)


def test_the_epicardium_is_around_cavity_and_wall(item: Slice) -> None:
    found = contours_from_mask(item.mask, "centre", "endo+myo")
    assert np.abs(np.hypot(*(found.epicardium - (60, 40)).T) - 20).max() < 1
    assert contours_from_mask(item.mask, "centre", "endo").epicardium is None
