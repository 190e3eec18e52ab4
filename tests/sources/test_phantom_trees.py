"""Whole trees of the three DICOM layouts, clean and with the traps of real copies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lvseg.phantom import write_phantom
from lvseg.sources import Listing, discover

LAYOUTS = ("challenge", "cap", "linked")
SIZES = {"size": 64, "slices": 4, "phases": 6}
TRAPS = {
    "challenge": (
        "wrong-series-number",
        "second-cine",
        "missing-files",
        "mixed-spacing",
        "duplicate-uid",
        "stray-files",
    ),
    "cap": ("second-cine", "missing-files", "mixed-spacing", "duplicate-uid", "stray-files"),
    "linked": ("missing-files", "mixed-spacing", "duplicate-uid", "non-square-pixels", "stray-files"),
}


@pytest.fixture(params=LAYOUTS, scope="module")
def trapped(request, tmp_path_factory) -> tuple[Listing, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trapped") / request.param
    write_phantom(folder, patients=6, layout=request.param, traps=TRAPS[request.param], **SIZES)
    return discover(folder), json.loads((folder / "truth.json").read_text())


def places_of(truth: dict[str, Any]) -> dict[str, tuple[int, int]]:
    every = [image for patient in truth["patients"] for image in patient["images"]]
    return {image["name"]: (image["slice_index"], image["phase_index"]) for image in every}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clean_tree(tmp_path, layout):
    write_phantom(tmp_path / "tree", patients=2, layout=layout, **SIZES)
    listing = discover(tmp_path / "tree")
    truth = json.loads((tmp_path / "tree/truth.json").read_text())
    assert {item.name: (item.slice_index, item.phase_index) for item in listing.items} == places_of(truth)
    assert (listing.skipped, listing.findings) == ((), ())
    assert not any("table" in decision.reason for decision in listing.decisions)


def test_every_label_has_its_image(trapped):
    listing, truth = trapped
    assert {item.name: (item.slice_index, item.phase_index) for item in listing.items} == places_of(truth)


def test_traps_are_found(trapped):
    listing, truth = trapped
    found = {(finding.case_id, finding.check) for finding in listing.findings}
    planted = {(trap["case_id"], trap["check"]) for trap in truth["traps"] if trap["expect"] == "finding"}
    assert found == planted
    for trap in truth["traps"]:
        if trap["expect"] == "decision":
            assert any(
                decision.case_id == trap["case_id"] and decision.subject == "short-axis series"
                for decision in listing.decisions
            )
    [missing] = [trap["case_id"] for trap in truth["traps"] if trap["trap"] == "missing-files"]
    assert [each.case_id for each in listing.decisions if each.subject == "slice and phase"] == [missing]


def test_stray_files_are_skipped(trapped):
    listing, _ = trapped
    assert sorted(skip.file.rpartition("/")[2] for skip in listing.skipped) == ["empty.dcm", "notes.txt", "notes.txt"]


def test_the_right_series(trapped):
    listing, truth = trapped
    decoys = {file for trap in truth["traps"] if trap["trap"] == "second-cine" for file in trap["files"]}
    assert decoys.isdisjoint(item.image for item in listing.items)
    wrong = [trap for trap in truth["traps"] if trap["trap"] == "wrong-series-number"]
    for trap in wrong:
        assert {item.image for item in listing.items if item.case_id == trap["case_id"]} <= set(trap["files"])
        assert any("the table of short-axis series says" in each.reason for each in listing.decisions)
