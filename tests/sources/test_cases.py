"""Case ids, slice names, official parts."""

from __future__ import annotations

import pytest

from lvseg.sources.cases import (
    OFFICIAL_PARTS,
    SAX_SERIES,
    StemParts,
    canonical_case_id,
    is_public_case_id,
    pathology_group,
    slice_name,
)


@pytest.mark.parametrize(
    ("case_id", "canonical"),
    [
        ("SC-HF-I-01", "SC-HF-I-1"),
        ("SC-HF-I-1", "SC-HF-I-1"),
        ("SC-HF-NI-04", "SC-HF-NI-4"),
        ("SC-HYP-40", "SC-HYP-40"),
        ("SC-N-07", "SC-N-7"),
        ("PH-001", "PH-001"),
        ("SC-X-01", "SC-X-01"),
    ],
)
def test_canonical_case_id(case_id, canonical):
    assert canonical_case_id(case_id) == canonical


def test_pathology_group():
    ids = ("SC-N-02", "SC-HYP-1", "SC-HF-NI-3", "SC-HF-I-1", "PH-HF-3", "PH-1")
    assert [pathology_group(case_id) for case_id in ids] == ["N", "HYP", "HF-NI", "HF-I", "HF", None]


def test_official_parts():
    assert {part: len(cases) for part, cases in OFFICIAL_PARTS.items()} == {
        "training": 15,
        "validation": 15,
        "online": 15,
    }
    every = [case_id for cases in OFFICIAL_PARTS.values() for case_id in cases]
    assert len(set(every)) == 45
    groups = [pathology_group(case_id) for case_id in every]
    assert {group: groups.count(group) for group in groups} == {"HF-I": 12, "HF-NI": 12, "HYP": 12, "N": 9}
    assert "SC-HF-NI-36" in OFFICIAL_PARTS["training"]
    assert "SC-HYP-37" in OFFICIAL_PARTS["validation"]
    assert "SC-N-11" in OFFICIAL_PARTS["online"]


def test_short_axis_series():
    assert sorted(SAX_SERIES) == sorted(case_id for cases in OFFICIAL_PARTS.values() for case_id in cases)
    numbers = [number for numbers in SAX_SERIES.values() for number in numbers]
    assert len(set(numbers)) == 47
    assert (SAX_SERIES["SC-N-6"], SAX_SERIES["SC-HYP-11"]) == ((984, 981), (601, 606))


def test_public_case_ids():
    assert all(map(is_public_case_id, ("SC-HF-I-01", "PH-HYP-2", "SCD0000101", "PHANTOM0001")))
    assert not any(map(is_public_case_id, ("SC-X-1", "PH-1", "SCD101", "DOE-JOHN", "SC-N-2-DOE")))


def test_slice_name():
    assert slice_name("SC-HF-I-1", 48) == "SC-HF-I-1-IM-0001-0048"


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("SC-HF-I-01-IM-0001-0048", ("SC-HF-I-1-IM-0001-0048", "SC-HF-I-1", 48)),
        ("PH-7-IM-0003-12", ("PH-7-IM-0001-0012", "PH-7", 12)),
        ("anna_12", ("anna_12", "anna", None)),
        ("anna-2-12", ("anna-2-12", "anna-2", None)),
        ("anna", ("anna", "anna", None)),
    ],
)
def test_stem(stem, expected):
    assert StemParts.parse(stem) == expected
