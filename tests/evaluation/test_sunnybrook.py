"""The real contours, where LVSEG_SUNNYBROOK names their folder: volumes by hand, and the way to masks and back."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lvseg.evaluation import ContourEvaluation, compare_contours, contour_from_mask, evaluate_frames
from lvseg.rasterize import contour_area_px, rasterize
from lvseg.sources.contour_trees import read_contour_trees
from tests.evaluation.shapes import centroid

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

PHASES = 20


@pytest.fixture(scope="module")
def linked(sunnybrook: Path) -> Path:
    return sunnybrook / "sunnybrook-dicom"


@pytest.fixture(scope="module")
def evaluation(linked: Path) -> ContourEvaluation:
    """The expert against himself: the volumes are those of his contours."""
    trees = read_contour_trees(linked / "contourfiles", linked / "contourfiles", linked / "dicoms")
    assert (trees.skipped, trees.decisions, trees.unscored) == ((), (), 0)
    return evaluate_frames(trees.frames)


def shoelace(path: Path) -> float:
    x, y = np.loadtxt(path).T
    return abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def volumes_by_hand(linked: Path, patient: str, case: str) -> dict[str, float]:
    """From the files alone: slices and phases counted by image number, spacings from one header."""
    header = pydicom.dcmread(linked / "dicoms" / patient / "59.dcm", stop_before_pixels=True)
    ml = float(header.PixelSpacing[0]) * float(header.PixelSpacing[1]) * float(header.SpacingBetweenSlices) / 1000
    cavity: dict[int, float] = defaultdict(float)
    wall = 0.0
    for path in (linked / "contourfiles" / case / "i-contours").glob("*.txt"):
        cavity[(int(path.name.split("-")[2]) - 1) % PHASES] += shoelace(path) * ml
        outer = path.parents[1] / "o-contours" / path.name.replace("icontour", "ocontour")
        wall += (shoelace(outer) - shoelace(path)) * ml if outer.exists() else 0
    edv, esv = max(cavity.values()), min(cavity.values())
    return {"edv": edv, "esv": esv, "ef": (edv - esv) / edv, "mass": 1.05 * wall}


def test_volumes_are_those_computed_by_hand(linked: Path, evaluation: ContourEvaluation) -> None:
    with (linked / "link.csv").open() as file:
        cases = {row["original_id"]: row["patient_id"] for row in csv.DictReader(file)}
    found = {volumes.case_id: volumes.manual for volumes in evaluation.volumes}
    assert sorted(found) == ["SC-HF-I-1", "SC-HF-I-2", "SC-HF-I-4"]
    for case, volumes in found.items():
        hand = volumes_by_hand(linked, cases[case], case)
        # Header and positions tell slice spacings that differ by 1e-5.
        assert volumes.edv_ml == pytest.approx(hand["edv"], rel=1e-4)
        assert volumes.esv_ml == pytest.approx(hand["esv"], rel=1e-4)
        assert volumes.ejection_fraction == pytest.approx(hand["ef"], abs=1e-9)
        assert volumes.mass_g == pytest.approx(hand["mass"], rel=1e-4)


def test_an_expert_agrees_with_himself(evaluation: ContourEvaluation) -> None:
    assert {patient.good_percent for patient in evaluation.patients} == {100}
    assert min(patient.dice_all for patient in evaluation.patients) == pytest.approx(1)
    assert max(image.score.hd95 for image in evaluation.images) == pytest.approx(0, abs=1e-6)
    assert max(image.score.apd for image in evaluation.images) < 0.01
    assert sum(image.structure == "endocardium" for image in evaluation.images) == 56
    assert {(image.phase, image.structure) for image in evaluation.images} == {
        ("ED", "endocardium"),
        ("ES", "endocardium"),
        ("ED", "epicardium"),
    }


@pytest.mark.parametrize("labels", ["centre", "course"])
def test_masks_and_back_without_bias(linked: Path, labels) -> None:
    areas, shifts, dice = [], [], []
    for path in sorted((linked / "contourfiles").rglob("*icontour-manual.txt")):
        contour = np.loadtxt(path)
        back = contour_from_mask(rasterize(contour, (256, 256), labels), labels)
        areas.append(contour_area_px(back) / contour_area_px(contour) - 1)
        shifts.append(centroid(back) - centroid(contour))
        dice.append(compare_contours(back, contour).dice)
    assert abs(np.mean(areas)) < 0.002
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.02
    assert np.mean(dice) > 0.985
    assert min(dice) > 0.95
