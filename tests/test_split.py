"""Parts by patient, by image, and by the challenge's own tables."""

from __future__ import annotations

import pytest

from lvseg.errors import SourceError
from lvseg.sources.cases import OFFICIAL_PARTS
from lvseg.split import assign_splits, check_no_leak


def items_of(cases, images: int = 4) -> list[tuple[str, str]]:
    return [(f"{case_id}-{number}", case_id) for case_id in cases for number in range(images)]


def count(splits, part: str) -> int:
    return list(splits.values()).count(part)


def test_by_image():
    items = items_of(range(26), images=10)
    items = [(name, str(case_id)) for name, case_id in items]
    splits = assign_splits(items, "image", 0.1, 1234)
    assert (count(splits, "train"), count(splits, "val"), len(splits)) == (234, 26, 260)


@pytest.mark.parametrize(("fraction", "patients"), [(0.2, 3), (0.01, 1), (0.99, 14)])
def test_by_patient(fraction, patients):
    items = items_of(OFFICIAL_PARTS["training"])
    splits = assign_splits(items, "patient", fraction, 0)
    assert count(splits, "val") == 4 * patients
    assert count(splits, "train") == 4 * (15 - patients)
    check_no_leak(items, splits)


def test_by_official_part():
    items = items_of([cases[0] for cases in OFFICIAL_PARTS.values()], images=1)
    assert assign_splits(items, "official", 0.5, 0) == {
        "SC-HF-I-1-0": "train",
        "SC-HF-I-5-0": "val",
        "SC-HF-I-9-0": "test",
    }


@pytest.mark.parametrize("method", ["patient", "image", "official"])
def test_the_order_of_the_input_does_not_matter(method):
    items = items_of(OFFICIAL_PARTS["training"])
    splits = assign_splits(items, method, 0.2, 7)
    assert assign_splits(items[::-1], method, 0.2, 7) == splits
    assert list(splits) == sorted(splits)


def test_the_draw_is_the_same_in_every_process():
    items = items_of(OFFICIAL_PARTS["training"])
    splits = assign_splits(items, "patient", 0.2, 1234)
    assert {case_id for name, case_id in items if splits[name] == "val"} == {"SC-HF-I-1", "SC-HYP-1", "SC-N-2"}


@pytest.mark.parametrize("method", ["patient", "image"])
def test_the_seed_decides(method):
    items = items_of(OFFICIAL_PARTS["training"])
    draws = {tuple(assign_splits(items, method, 0.2, seed).values()) for seed in range(5)}
    assert len(draws) > 1


@pytest.mark.parametrize(
    ("cases", "images", "method", "reason"),
    [
        (["SC-N-2"], 9, "patient", r"at least two patients, found 1 \(SC-N-2\)"),
        (["SC-N-2"], 1, "image", "at least two images, found 1"),
        ([], 0, "patient", "found 0"),
        ([], 0, "official", "no training images"),
        (["SC-N-5", "SC-N-9"], 3, "official", "no training images among 6"),
        (["SC-N-2", "PH-1"], 3, "official", "PH-1 is in no official part"),
    ],
)
def test_refused(cases, images, method, reason):
    with pytest.raises(SourceError, match=reason):
        assign_splits(items_of(cases, images), method, 0.2, 0)


def test_leak_is_found():
    items = items_of(["SC-N-2", "SC-N-3"], images=2)
    splits = {"SC-N-2-0": "train", "SC-N-2-1": "train", "SC-N-3-0": "val", "SC-N-3-1": "train"}
    with pytest.raises(SourceError, match="SC-N-3 is in two parts, val and train"):
        check_no_leak(items, splits)
