"""The heart found by its motion, in phantom cines and in real ones."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lvseg.errors import SourceError
from lvseg.phantom.anatomy import draw_anatomy, section
from lvseg.phantom.render import SliceRenderer
from lvseg.preprocess import heart_centre

PHASES = 8
SLICES = (1, 3, 5)


def phantom_cines(number: int, seed: int, size: int = 192) -> tuple[list[np.ndarray], np.ndarray, float]:
    """Cines of some slices, the centres of the left ventricle in them (column, row), and the pixels' side in mm."""
    anatomy = draw_anatomy(number, seed, 9)
    pixel_mm = anatomy.field_of_view_mm / size
    cines = []
    for index in SLICES:
        renderer = SliceRenderer(anatomy, seed, index, size)
        cines.append(np.stack([renderer.render(phase, PHASES) for phase in range(PHASES)]))
    centres = np.array([section(anatomy, index, 0.0).centre_mm for index in SLICES]) / pixel_mm + (size - 1) / 2
    return cines, centres, pixel_mm


@pytest.mark.parametrize("number", [1, 2, 3])
def test_phantom_hearts(number):
    cines, centres, pixel_mm = phantom_cines(number, seed=11)
    found = np.array(heart_centre(*cines))
    assert (np.hypot(*(centres - found).T) * pixel_mm).max() < 12
    assert np.hypot(*(found - 95.5)) * pixel_mm > 5  # not just the middle of the image
    assert heart_centre(*cines[::-1]) == pytest.approx(tuple(found))


def test_it_moves_with_the_image_and_not_with_its_brightness():
    cines, _, _ = phantom_cines(1, seed=11)
    x, y = heart_centre(*cines)
    darker = [cine // 3 for cine in cines]
    assert heart_centre(*darker) == pytest.approx((x, y), abs=3)
    wider = [np.pad(cine, ((0, 0), (0, 0), (0, 40)), mode="edge") for cine in cines]
    assert heart_centre(*wider) == pytest.approx((x, y), abs=5)
    flipped = [cine[:, :, ::-1] for cine in cines]
    assert heart_centre(*flipped) == pytest.approx((191 - x, y), abs=3)


def test_a_slice_that_does_not_move_is_left_out():
    cines, _, _ = phantom_cines(1, seed=11)
    still, black = np.repeat(cines[0][:1], PHASES, axis=0), np.zeros_like(cines[0])
    assert heart_centre(*cines, black, cines[0][:2]) == heart_centre(*cines)
    with pytest.raises(SourceError, match="no motion in 3 cines"):
        heart_centre(black, cines[0][:2], still)


def test_cines_of_different_sizes():
    with pytest.raises(SourceError, match="cines of one size to find the heart in, found 20x20, 20x30"):
        heart_centre(np.zeros((5, 20, 30)), np.zeros((5, 20, 20)))
    with pytest.raises(SourceError, match="found none"):
        heart_centre()


@pytest.mark.real_data
def test_real_hearts(sunnybrook: Path):
    """The centroid of every expert contour of a patient lies within 16 px of the found heart: the half of 128 is 64."""
    folder = sunnybrook / "sunnybrook-dicom"
    for row in csv.DictReader((folder / "link.csv").open()):
        images = [pydicom.dcmread(path) for path in (folder / "dicoms" / row["patient_id"]).glob("*.dcm")]
        slices = defaultdict(list)
        for image in sorted(images, key=lambda each: int(each.InstanceNumber)):
            slices[tuple(image.ImagePositionPatient)].append(image.pixel_array)
        found = heart_centre(*(np.stack(phases) for phases in slices.values()))
        contours = (folder / "contourfiles" / row["original_id"] / "i-contours").glob("*.txt")
        middles = np.array([np.loadtxt(path).mean(axis=0) - 1 for path in contours])
        assert np.abs(middles - found).max() < 16, row["original_id"]
