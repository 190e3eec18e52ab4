"""The real data, where LVSEG_SUNNYBROOK names its folder."""

from __future__ import annotations

import numpy as np
import pytest

from lvseg.rasterize import contour_area_px
from lvseg.sources import discover, load
from lvseg.split import assign_splits, check_no_leak

pytestmark = pytest.mark.real_data


def test_linked_folder(sunnybrook):
    listing = discover(sunnybrook / "sunnybrook-dicom")
    assert listing.layout == "linked"
    assert len(listing.items) == 56
    assert {item.case_id for item in listing.items} == {"SC-HF-I-1", "SC-HF-I-2", "SC-HF-I-4"}
    assert (listing.skipped, listing.unlabelled_images) == ((), 644)


@pytest.mark.parametrize(
    ("folder", "images", "patients"), [("sunnybrook-png/part1-training", 260, 15), ("sunnybrook-png", 526, 30)]
)
def test_pairs(sunnybrook, folder, images, patients):
    listing = discover(sunnybrook / folder)
    assert listing.layout == "pairs"
    assert listing.skipped == ()
    assert (len(listing.items), len({item.case_id for item in listing.items})) == (images, patients)


def test_course_labels_equal_the_given_masks(sunnybrook):
    given = {item.name: item for item in discover(sunnybrook / "sunnybrook-png/part1-training").items}
    for item in discover(sunnybrook / "sunnybrook-dicom").items:
        made, pair = load(item, "course"), load(given[item.name], "course")
        np.testing.assert_array_equal(made.mask, pair.mask, err_msg=item.name)
        assert made.case_id == pair.case_id
        # The picture is the image scaled by its own minimum and maximum: the two are of the same slice.
        scaled = (made.image - made.image.min()) / (made.image.max() - made.image.min()) * 255
        assert np.abs(scaled - pair.image).max() <= 1, item.name


def test_centre_labels_have_the_area_of_the_contour(sunnybrook):
    slices = [load(item, "centre") for item in discover(sunnybrook / "sunnybrook-dicom").items]
    errors = np.array([s.mask.sum() / contour_area_px(s.contour_xy_px) - 1 for s in slices])
    assert abs(errors.mean()) < 0.002
    assert np.abs(errors).max() < 0.02


def test_every_slice_has_its_place(sunnybrook):
    slices = [load(item, "centre") for item in discover(sunnybrook / "sunnybrook-dicom").items]
    phases = {(s.case_id, s.place.phase_index) for s in slices}
    assert len({(s.case_id, s.place.slice_index, s.place.phase_index) for s in slices}) == 56
    assert all(len({phase for case, phase in phases if case == case_id}) == 2 for case_id, _ in phases)


def test_official_split(sunnybrook):
    items = [(item.name, item.case_id) for item in discover(sunnybrook / "sunnybrook-png").items]
    splits = assign_splits(items, "official", 0.2, 0)
    check_no_leak(items, splits)
    assert [list(splits.values()).count(part) for part in ("train", "val", "test")] == [260, 266, 0]
