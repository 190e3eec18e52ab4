"""The real data, where LVSEG_SUNNYBROOK names its folder."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.rasterize import contour_area_px
from lvseg.sources import discover, load, open_source
from lvseg.split import assign_parts, check_no_leak

pytestmark = pytest.mark.real_data

CENTRE, COURSE = ConvertConfig(), ConvertConfig(labels="course")


@pytest.fixture(scope="module")
def linked(sunnybrook):
    return sunnybrook / "sunnybrook-dicom"


@pytest.fixture(scope="module")
def listing(linked):
    return discover(linked)


def test_linked_folder(linked, listing):
    assert open_source(linked, CENTRE).layout == "linked"
    assert len(listing.items) == 56
    assert {item.case_id for item in listing.items} == {"SC-HF-I-1", "SC-HF-I-2", "SC-HF-I-4"}
    assert sum(item.epicardium is not None for item in listing.items) == 28
    assert (listing.skipped, listing.decisions, listing.findings, listing.unlabelled_images) == ((), (), (), 644)


@pytest.mark.parametrize(
    ("folder", "images", "patients"), [("sunnybrook-png/part1-training", 260, 15), ("sunnybrook-png", 526, 30)]
)
def test_pairs(sunnybrook, folder, images, patients):
    assert open_source(sunnybrook / folder, CENTRE).layout == "pairs"
    listing = discover(sunnybrook / folder)
    assert listing.skipped == ()
    assert (len(listing.items), len({item.case_id for item in listing.items})) == (images, patients)


def test_course_labels_equal_the_given_masks(sunnybrook, linked, listing):
    png = sunnybrook / "sunnybrook-png/part1-training"
    given = {item.name: item for item in discover(png).items}
    for item in listing.items:
        made, pair = load(linked, item, COURSE), load(png, given[item.name], COURSE)
        np.testing.assert_array_equal(made.mask, pair.mask, err_msg=item.name)
        assert made.case_id == pair.case_id
        # The picture is the image scaled by its own minimum and maximum: the two are of the same slice.
        scaled = (made.image - made.image.min()) / (made.image.max() - made.image.min()) * 255
        assert np.abs(scaled - pair.image).max() <= 1, item.name


def test_centre_labels_have_the_area_of_the_contour(linked, listing):
    slices = [load(linked, item, CENTRE) for item in listing.items]
    errors = np.array([s.mask.sum() / contour_area_px(s.contours.endocardium) - 1 for s in slices])
    assert abs(errors.mean()) < 0.002
    assert np.abs(errors).max() < 0.02


def test_every_slice_has_its_place(listing):
    places = {item.name: (item.slice_index, item.phase_index) for item in listing.items}
    assert places == {item.name: divmod(item.instance_number - 1, 20) for item in listing.items}
    phases = {(item.case_id, item.phase_index) for item in listing.items}
    assert all(len({phase for case, phase in phases if case == case_id}) == 2 for case_id, _ in phases)


def test_wrong_series_number(tmp_path, linked):
    """The challenge's layout with another patient's cine under the number that the table has for this patient."""
    images = tmp_path / "challenge_training/SC-HF-I-1"
    images.mkdir(parents=True)
    for series, patient in ((4, "SCD0000201"), (5, "SCD0000101"), (6, "SCD0000301")):
        for path in (linked / "dicoms" / patient).iterdir():
            (images / f"IM-{series:04d}-{int(path.stem):04d}.dcm").symlink_to(path)
    contours = tmp_path / "TrainingDataContours/SC-HF-I-01/contours-manual/IRCCI-expert"
    shutil.copytree(linked / "contourfiles/SC-HF-I-1/i-contours", contours)
    listing = discover(tmp_path)
    assert {item.image.split("/")[-1][:7] for item in listing.items} == {"IM-0005"}
    [decision] = listing.decisions
    assert "in series 0004" in decision.reason
    assert "nearly equal" not in decision.reason


def test_official_split(sunnybrook):
    items = discover(sunnybrook / "sunnybrook-png").items
    names, case_ids = [item.name for item in items], [item.case_id for item in items]
    config = ConvertConfig(split="official")
    parts = assign_parts(names, case_ids, [item.group for item in items], config, None)
    check_no_leak(zip(names, case_ids, strict=True), dict(zip(names, parts, strict=True)))
    assert [parts.count(part) for part in ("train", "val", "test")] == [260, 266, 0]
