"""Each check on facts that nothing is wrong with but one thing."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from lvseg.errors import ContourError, SourceError
from lvseg.findings import Finding
from lvseg.quality import CHECKS, FACTS_SCHEMA, find_problems, load_finding, merge_findings, quarantine
from lvseg.quality.checks import spread
from tests.quality.conftest import circle, facts_of, found, item_of, make_heart, table

Stack = Callable[..., list[dict[str, Any]]]


def with_epicardium(case_id: str, number: int, **heart: Any) -> dict[str, Any]:
    name = f"{case_id}-{number}"
    at = (60 + number, 60)
    return facts_of(make_heart(name=name, case_id=case_id, at=at, **({"epicardium_at": at} | heart)))


def test_nothing_wrong_nothing_found(stack: Stack) -> None:
    assert found(stack("A") + stack("B")) == []
    assert find_problems(FACTS_SCHEMA.empty_table(), "endo") == []


@pytest.mark.parametrize(
    ("change", "check", "severity", "target"),
    [
        ({"image_min": 5.0, "image_max": 5.0, "share_at_max": 1.0}, "constant-image", "error", "image"),
        ({"share_at_max": 0.02}, "saturated-image", "warning", "image"),
        ({"contrast": 0.1}, "contour-off-heart", "error", "endocardium"),
        ({"endocardium_x_px": 5.0, "contrast": 0.7}, "contour-off-heart", "error", "endocardium"),
        ({"endocardium_x_px": 5.0}, "contour-off-heart", "warning", "endocardium"),
        ({"endocardium_crossings": 2}, "self-intersecting-contour", "warning", "endocardium"),
        ({"epicardium_crossings": 2}, "self-intersecting-contour", "warning", "epicardium"),
        ({"epicardium_dropped": True, "epicardium_file": "o.txt"}, "unreadable", "error", "epicardium"),
    ],
)
def test_one_slice(stack: Stack, change: dict[str, Any], check: str, severity: str, target: str) -> None:
    rows = stack()
    rows[4] |= change
    (finding,) = found(rows)
    assert (finding.check, finding.severity, finding.target) == (check, severity, target)
    assert finding.name == rows[4]["name"]
    assert finding.case_id == "A"
    assert finding.file
    assert finding.check in CHECKS


def test_tiny_and_empty(stack: Stack) -> None:
    rows = stack(slices=[0])
    rows[0] |= {"endocardium_area_px": 4.0, "endocardium_area_mm2": 16.0}
    rows[1] |= {"endocardium_area_px": 0.0, "cavity_px": 0, "contrast": None}
    assert [(f.check, f.severity) for f in found(rows)] == [("tiny-contour", "warning"), ("empty-mask", "note")]


def test_a_small_cavity_of_low_contrast_only_warns(stack: Stack) -> None:
    rows = stack()
    rows[-1] |= {"contrast": -0.5, "endocardium_area_px": 22.0, "endocardium_area_mm2": 88.0}
    (finding,) = found(rows, "contour-off-heart")
    assert finding.severity == "warning"


def test_a_whole_case_beside_its_heart(stack: Stack) -> None:
    rows = stack("B")
    for at, row in enumerate(rows):
        row["contrast"] = 0.1 + 0.06 * at
    findings = found(stack("A") + rows + stack("C"))
    assert {f.case_id for f in findings} == {"B"}
    assert len(findings) == len(rows)
    assert {f.severity for f in findings} == {"error"}


def test_a_source_of_dark_blood_loses_nothing(stack: Stack) -> None:
    rows = stack("A") + stack("B")
    for row in rows:
        row["contrast"] = -1.5
    findings = found(rows)
    assert len(findings) == len(rows)
    assert {f.severity for f in findings} == {"warning"}


def test_endocardium_outside_its_epicardium_which_is_wrong() -> None:
    (finding,) = found([with_epicardium("A", 1, epicardium_at=(90, 60))])
    assert (finding.check, finding.severity, finding.target) == (
        "endocardium-outside-epicardium",
        "error",
        "epicardium",
    )
    assert finding.file == "o.txt"


def test_endocardium_off_its_heart_inside_a_right_epicardium() -> None:
    row = with_epicardium("A", 1, drawn_at=(61, 100))
    (finding,) = found([row], "endocardium-outside-epicardium")
    assert (finding.severity, finding.target) == ("error", "endocardium")


def test_contours_that_only_cross_are_a_warning() -> None:
    (finding,) = found([with_epicardium("A", 1, epicardium_at=(68, 60))])
    assert (finding.check, finding.severity) == ("endocardium-outside-epicardium", "warning")


def test_copied_epicardia_stay_with_the_patient_whose_heart_they_fit() -> None:
    own = [with_epicardium("A", number) for number in range(3)]
    other = [row_with_copied_epicardium(number) for number in range(3)]
    findings = found(own + other, "copied-contour")
    assert {f.case_id for f in findings} == {"B"}
    assert {(f.severity, f.target) for f in findings} == {("error", "epicardium")}
    assert findings[0].others == ("A-0",)
    assert "belongs to A" in findings[0].reason
    outside = found(own + other, "endocardium-outside-epicardium")
    assert {(f.case_id, f.target) for f in outside} == {("B", "epicardium")}
    assert "another patient's" in outside[0].reason
    assert quarantine(findings, "endo").epicardia == {"B-0", "B-1", "B-2"}
    assert quarantine(findings, "endo+myo").slices == {"B-0", "B-1", "B-2"}


def row_with_copied_epicardium(number: int) -> dict[str, Any]:
    heart = make_heart(name=f"B-{number}", case_id="B", at=(40, 85), epicardium_at=(60 + number, 60))
    return facts_of(heart)


def test_copied_endocardia_stay_with_the_patient_whose_heart_they_fit() -> None:
    own = [facts_of(make_heart(name=f"A-{n}", case_id="A", at=(60 + n, 60))) for n in range(4)]
    copied = [facts_of(make_heart(name=f"B-{n}", case_id="B", at=(60, 95), drawn_at=(60 + n, 60))) for n in range(4)]
    findings = found(own + copied, "copied-contour")
    assert {(f.case_id, f.severity, f.target) for f in findings} == {("B", "error", "endocardium")}


def test_a_copy_that_fits_both_is_undecided() -> None:
    rows = [facts_of(make_heart(name=f"{case}-1", case_id=case)) for case in "AB"]
    findings = found(rows, "copied-contour")
    assert [(f.case_id, f.severity) for f in findings] == [("A", "warning"), ("B", "warning")]


def test_the_same_contour_twice_in_one_patient_is_none_of_this() -> None:
    rows = [facts_of(make_heart(name=f"A-{n}", case_id="A")) for n in range(2)]
    for contrast in (2.0, 0.1):
        assert found([row | {"contrast": contrast} for row in rows], "copied-contour") == []


def test_copied_image_belongs_to_the_contour_that_fits(stack: Stack) -> None:
    rows = stack("A") + stack("B")
    rows[0]["image_hash"] = rows[20]["image_hash"]
    findings = found(rows)
    assert {(f.check, f.severity) for f in findings} == {("copied-image", "warning")}
    assert [f.others for f in findings] == [(rows[20]["name"],), (rows[0]["name"],)]
    rows[20]["contrast"] = 0.2
    (finding,) = found(rows, "copied-image")
    assert (finding.name, finding.severity, finding.target) == (rows[20]["name"], "error", "image")


def test_an_image_twice_in_one_case(stack: Stack) -> None:
    rows = stack()
    rows[3]["image_hash"] = rows[5]["image_hash"]
    assert [f.check for f in found(rows)] == ["copied-image"] * 2


def test_an_instance_uid_in_two_patients(stack: Stack) -> None:
    rows = stack("A") + stack("B")
    rows[2]["instance_key"] = rows[18]["instance_key"] = "same"
    (finding,) = found(rows)
    assert (finding.check, finding.severity) == ("duplicate-sop-instance-uid", "warning")
    assert finding.case_id == "B"
    assert finding.others == (rows[2]["name"],)


@pytest.mark.parametrize("factor", [2.0, 4.0, 0.2])
def test_area_jump_names_the_slice_that_jumps(stack: Stack, factor: float) -> None:
    rows = stack()
    rows[6]["endocardium_area_px"] *= factor
    (finding,) = found(rows, "area-jump")
    assert finding.name == rows[6]["name"]
    assert finding.severity == "warning"
    assert finding.others == (rows[4]["name"], rows[8]["name"])


@pytest.mark.parametrize("end", [0, 12])
def test_area_that_grows_at_the_end_of_the_stack(stack: Stack, end: int) -> None:
    rows = stack()
    rows[end]["endocardium_area_px"] *= 8
    assert [f.name for f in found(rows, "area-jump")] == [rows[end]["name"]]


def test_one_wild_slice_does_not_turn_diastole_and_systole_round(stack: Stack) -> None:
    rows = stack()
    rows[7]["endocardium_area_px"] *= 16
    assert [f.name for f in found(rows, "area-jump")] == [rows[7]["name"]]


def test_systole_larger_than_diastole(stack: Stack) -> None:
    rows = stack()
    rows[13]["endocardium_area_px"] = 1.35 * rows[12]["endocardium_area_px"]
    (finding,) = found(rows)
    assert (finding.check, finding.name) == ("area-jump", rows[13]["name"])
    assert finding.others == (rows[12]["name"],)


def test_hole_in_a_phase(stack: Stack) -> None:
    rows = stack()
    gone = rows.pop(7)
    (finding,) = found(rows)
    assert (finding.check, finding.name, finding.target) == ("missing-slice", "", "case")
    assert f"slice {gone['slice_index']} at phase {gone['phase_index']}" in finding.reason
    assert finding.others == (rows[5]["name"], rows[8]["name"])


def test_slices_that_end_earlier_in_systole_are_no_hole(stack: Stack) -> None:
    rows = stack()
    assert found(rows[2:-1]) == []


def test_a_phase_that_one_patient_lacks(stack: Stack) -> None:
    single = stack("B", phases=(0,))
    (finding,) = found(stack("A") + single)
    assert (finding.check, finding.severity, finding.case_id) == ("missing-phase", "warning", "B")
    assert [f.severity for f in found(single)] == ["note"]
    assert find_problems(table(stack("A") + single), "endo+myo") == []


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"row_spacing_mm": 1.5, "column_spacing_mm": 1.5}, "mixed-spacing"),
        ({"columns": 140}, "mixed-image-sizes"),
        ({"position_mm": 19.0}, "mixed-spacing"),
    ],
)
def test_geometry_within_a_case(stack: Stack, change: dict[str, Any], check: str) -> None:
    rows = stack()
    rows[4] |= change
    rows[5] |= change
    findings = found(rows)
    assert {f.check for f in findings} == {check}
    assert {(f.severity, f.target, f.name) for f in findings} == {("warning", "case", "")}


def test_oblong_pixels_are_told_once_a_case(stack: Stack) -> None:
    rows = stack()
    for row in rows:
        row["column_spacing_mm"] = 2.2
    (finding,) = found(rows)
    assert finding.check == "non-square-pixels"
    assert "14 slices" in finding.reason


def test_order_of_rows_does_not_matter(stack: Stack) -> None:
    rows = stack("A") + stack("B") + [with_epicardium("C", n, epicardium_at=(90, 60)) for n in range(3)]
    rows[4]["contrast"] = 0.1
    rows[20]["image_hash"] = rows[3]["image_hash"]
    rows[8]["endocardium_area_px"] *= 4
    del rows[23]
    expected = found(rows)
    assert len({f.check for f in expected}) > 4
    for seed in range(3):
        shuffled = rows.copy()
        random.Random(seed).shuffle(shuffled)
        assert found(shuffled) == expected


def test_what_cannot_be_loaded() -> None:
    item = item_of(make_heart())
    off = load_finding(item, ContourError(f"{item.endocardium}: 3 of 9 points lie outside the image, first (0, 0)"))
    assert (off.check, off.severity, off.target, off.file) == (
        "contour-off-image",
        "error",
        "endocardium",
        item.endocardium,
    )
    assert off.reason.startswith("3 of 9")
    bad = load_finding(item, SourceError(f"{item.image}: not a DICOM file"))
    assert (bad.check, bad.target, bad.file, bad.reason) == ("unreadable", "image", item.image, "not a DICOM file")
    without = load_finding(item_of(make_heart(), None), SourceError("the image has no epicardium contour"))
    assert without.severity == "note"


def test_a_case_is_not_told_twice(stack: Stack) -> None:
    rows = stack()
    for row in rows:
        row["column_spacing_mm"] = 2.2
    headers = Finding(
        severity="warning",
        check="non-square-pixels",
        case_id="A",
        name="",
        target="case",
        file="1.dcm",
        reason="from the headers",
    )
    assert merge_findings([headers], find_problems(table(rows), "endo")) == [headers]


def test_errors_are_quarantined_and_nothing_else(stack: Stack) -> None:
    rows = stack()
    rows[2]["contrast"] = 0.1
    rows[4]["share_at_max"] = 0.1
    rows[6] |= {"epicardium_dropped": True, "epicardium_file": "o.txt"}
    findings = found(rows)
    assert len(findings) == 3
    left = quarantine(findings, "endo")
    assert (left.slices, left.epicardia) == ({rows[2]["name"]}, {rows[6]["name"]})


def test_spread_takes_the_first_of_every_check_first() -> None:
    findings = [
        Finding(severity="error", check=check, case_id="A", name=str(n), target="image", file="", reason="")
        for check, count in (("a", 5), ("b", 2))
        for n in range(count)
    ]
    assert [(f.check, f.name) for f in spread(findings, 5)] == [
        ("a", "0"),
        ("b", "0"),
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
    ]


def test_circle_is_one_based() -> None:
    assert circle(10, 20, 1).mean(axis=0) == pytest.approx((11, 21))
