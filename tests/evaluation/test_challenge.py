"""Patients, strata and volumes of hearts whose automatic contours differ from the manual ones in known ways."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from lvseg.errors import ContourError
from lvseg.evaluation import ContourEvaluation, PatientScore, evaluate_frames
from lvseg.slices import Contours
from tests.evaluation.hearts import RADII, SPACING, heart, same
from tests.evaluation.shapes import circle

MM = SPACING[0]


def shifted(index: int, phase: int, manual: Contours) -> Contours:
    """The apex lies 8 px off, the slice before is missing at ES."""
    if (index, phase) == (4, 9):
        return Contours()
    if index == 5:
        return Contours(endocardium=manual.endocardium + np.array([8, 0]), epicardium=manual.epicardium)
    return manual


def wider(index: int, phase: int, manual: Contours) -> Contours:
    return Contours(endocardium=circle(100, 90, RADII[phase][index] + 1, 90), epicardium=manual.epicardium)


@pytest.fixture(scope="module")
def evaluation() -> ContourEvaluation:
    frames = [*heart("SC-N-2", "N", shifted), *heart("SC-HYP-1", "HYP", wider), *heart("SC-HYP-3", "HYP", same)]
    return evaluate_frames(frames)


def patient(evaluation: ContourEvaluation, case_id: str, structure: str = "endocardium") -> PatientScore:
    (found,) = [p for p in evaluation.patients if (p.case_id, p.structure) == (case_id, structure)]
    return found


def test_a_missing_contour_and_a_bad_one_lower_the_percentages(evaluation: ContourEvaluation) -> None:
    found = patient(evaluation, "SC-N-2")
    assert found.contours == 12
    assert found.detected_percent == pytest.approx(100 * 11 / 12)
    assert found.good_percent == pytest.approx(100 * 9 / 12)  # 8 px of 1.5 mm off is more than 5 mm
    assert patient(evaluation, "SC-N-2", "epicardium").good_percent == 100


def test_good_contours_flatter_and_all_do_not(evaluation: ContourEvaluation) -> None:
    found = patient(evaluation, "SC-N-2")
    assert found.dice_good == pytest.approx(1)
    apex = [i.score.dice for i in evaluation.images if i.case_id == "SC-N-2" and i.slice_index == 5]
    bad = [dice for dice in apex if dice < 1]
    assert len(bad) == 2  # ED and ES; the epicardium there is right
    assert found.dice_all == pytest.approx((9 + 0 + sum(bad)) / 12)
    assert found.apd_good == pytest.approx(0, abs=1e-9)
    assert found.apd > 1


def test_the_threshold_is_a_parameter() -> None:
    assert patient(evaluate_frames(heart(auto=wider), threshold=1.4), "SC-N-2").good_percent == 0
    assert patient(evaluate_frames(heart(auto=wider), threshold=1.6), "SC-N-2").good_percent == 100


def test_distances_of_a_patient(evaluation: ContourEvaluation) -> None:
    found = patient(evaluation, "SC-HYP-1")
    assert (found.apd_good, found.hd95, found.assd) == pytest.approx((MM, MM, MM), abs=0.02)
    radii = [radius for phase in RADII.values() for radius in phase]
    dice = [2 * r**2 / (r**2 + (r + 1) ** 2) for r in radii]
    assert found.dice_good == pytest.approx(sum(dice) / 12, abs=1e-4)
    assert found.conformity_good == pytest.approx(sum(3 - 2 / d for d in dice) / 12, abs=1e-4)
    assert found.sensitivity_all == pytest.approx(1)
    assert found.precision == pytest.approx(sum(r**2 / (r + 1) ** 2 for r in radii) / 12, abs=1e-4)


def test_means_and_deviations_over_patients(evaluation: ContourEvaluation) -> None:
    (whole,) = [s for s in evaluation.strata if (s.by, s.structure) == ("all", "endocardium")]
    values = [patient(evaluation, case).dice_all for case in ("SC-N-2", "SC-HYP-1", "SC-HYP-3")]
    mean = sum(values) / 3
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
    assert dataclasses.astuple(whole.over_patients["dice_all"]) == pytest.approx((mean, sd, 3))
    assert (whole.patients, whole.contours) == (3, 36)


def test_strata(evaluation: ContourEvaluation) -> None:
    endocardium = {(s.by, s.value): s for s in evaluation.strata if s.structure == "endocardium"}
    assert {key: s.contours for key, s in endocardium.items()} == {
        ("all", "all"): 36,
        ("phase", "ED"): 18,
        ("phase", "ES"): 18,
        ("level", "base"): 12,
        ("level", "mid"): 12,
        ("level", "apex"): 12,
        ("group", "HYP"): 24,
        ("group", "N"): 12,
    }
    assert endocardium["level", "base"].over_patients["good_percent"].mean == 100
    # SC-N-2 has one of four good ones at the apex.
    assert endocardium["level", "apex"].over_patients["good_percent"].mean == pytest.approx((25 + 100 + 100) / 3)
    assert endocardium["phase", "ES"].over_patients["detected_percent"].mean == pytest.approx((500 / 6 + 200) / 3)
    assert {s.value for s in evaluation.strata if s.structure == "epicardium" and s.by == "phase"} == {"ED"}


def test_the_base_is_where_the_cavity_is_large_whatever_the_order_of_slices() -> None:
    turned = [
        dataclasses.replace(frame, place=dataclasses.replace(frame.place, slice_index=5 - frame.place.slice_index))
        for frame in heart()
    ]
    levels = {image.slice_index: image.level for image in evaluate_frames(turned).images}
    assert levels == {0: "apex", 1: "apex", 2: "mid", 3: "mid", 4: "base", 5: "base"}


def test_volumes_are_of_the_slices_with_a_manual_contour(evaluation: ContourEvaluation) -> None:
    by_case = {volumes.case_id: volumes for volumes in evaluation.volumes}
    assert (by_case["SC-N-2"].ed_phase, by_case["SC-N-2"].es_phase) == (0, 9)
    assert by_case["SC-HYP-3"].auto == by_case["SC-HYP-3"].manual
    ratio = sum((r + 1) ** 2 for r in RADII[0]) / sum(r**2 for r in RADII[0])
    assert by_case["SC-HYP-1"].auto.edv_ml == pytest.approx(ratio * by_case["SC-HYP-1"].manual.edv_ml)
    (edv,) = [agreement for agreement in evaluation.agreements if agreement.quantity == "EDV ml"]
    assert edv.bias == pytest.approx((ratio - 1) * by_case["SC-HYP-1"].manual.edv_ml / 3)
    (ef,) = [agreement for agreement in evaluation.agreements if agreement.quantity == "EF %"]
    assert 30 < ef.manual[0] < 90
    assert evaluation.unscored == 0


def test_contours_without_a_manual_one_are_counted_not_scored() -> None:
    def more(index: int, phase: int, manual: Contours) -> Contours:
        return Contours(endocardium=manual.endocardium, epicardium=circle(100, 90, 30))

    found = evaluate_frames(heart(auto=more), unscored=2)
    assert found.unscored == 2 + 6  # the epicardium at ES
    assert len(found.images) == 18
    # Nor do they count in the volumes.
    only = [frame for frame in heart() if frame.place.slice_index != 3]
    extra = [dataclasses.replace(frame, manual=Contours()) for frame in heart() if frame.place.slice_index == 3]
    assert evaluate_frames([*only, *extra]).volumes[0].auto.edv_ml == evaluate_frames(only).volumes[0].auto.edv_ml


def test_without_spacing_lengths_are_in_pixels_and_there_are_no_volumes() -> None:
    found = evaluate_frames([*heart("A", None, wider, pixel_spacing=None), *heart("B", None, wider)])
    assert found.unit == "px"
    assert [p.apd_good for p in found.patients if p.structure == "endocardium"] == pytest.approx([1, 1], abs=0.02)
    assert [volumes.case_id for volumes in found.volumes] == ["B"]
    assert not [stratum for stratum in found.strata if stratum.by == "group"]


def test_without_slice_and_phase_there_are_no_parts() -> None:
    found = evaluate_frames(heart("A", None, slice_index=None, phase_index=None))
    assert {stratum.by for stratum in found.strata} == {"all"}
    assert (found.volumes, found.agreements) == ((), ())


def test_a_contour_that_is_none_is_named() -> None:
    def line(index: int, phase: int, manual: Contours) -> Contours:
        return Contours(endocardium=manual.endocardium[:2])

    with pytest.raises(ContourError, match=r"SC-N-2-IM-0001-0001: endocardium contour: expected at least three points"):
        evaluate_frames(heart(auto=line))
