"""Parts by patient, by image, by fold, by the challenge's own tables, and from a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources.cases import OFFICIAL_PARTS, pathology_group
from lvseg.split import assign_parts, check_no_leak, read_split_file

TRAINING = OFFICIAL_PARTS["training"]


def images_of(cases, images: int = 4) -> tuple[list[str], list[str], list[str | None]]:
    """Names, case ids and groups."""
    case_ids = [str(case) for case in cases for _ in range(images)]
    names = [f"{case}-{number}" for case in cases for number in range(images)]
    return names, case_ids, [pathology_group(case) for case in case_ids]


def by_case(case_ids: list[str], parts: list[str]) -> dict[str, str]:
    table = dict(zip(case_ids, parts, strict=True))
    assert [table[case] for case in case_ids] == parts  # no patient in two parts
    return table


def settings(split: str, **others) -> ConvertConfig:
    return ConvertConfig(split=split, split_file="split.csv" if split == "file" else None, **others)


def test_by_image():
    parts = assign_parts(*images_of(range(26), images=10), settings("image", val_fraction=0.1))
    assert Counter(parts) == {"train": 234, "val": 26}


def test_the_draw_by_image_is_pinned():
    names = [f"SC-HF-I-{case}-IM-0001-{image:04d}" for case in (1, 2) for image in range(5)]
    parts = assign_parts(names, ["one"] * 5 + ["two"] * 5, [None] * 10, settings("image", val_fraction=0.3, seed=1234))
    drawn = {name for name, part in zip(names, parts, strict=True) if part == "val"}
    assert drawn == {f"SC-HF-I-2-IM-0001-{image:04d}" for image in (0, 3, 4)}


@pytest.mark.parametrize(("fraction", "patients"), [(0.2, 3), (0.01, 1), (0.99, 14)])
def test_by_patient(fraction, patients):
    names, case_ids, groups = images_of(TRAINING)
    parts = assign_parts(names, case_ids, groups, settings("patient", val_fraction=fraction))
    assert Counter(by_case(case_ids, parts).values()) == {"val": patients, "train": 15 - patients}


def test_the_draw_of_patients_without_groups_is_pinned():
    names, case_ids, _ = images_of(TRAINING)
    parts = by_case(case_ids, assign_parts(names, case_ids, [None] * len(names), settings("patient")))
    assert {case for case, part in parts.items() if part == "val"} == {"SC-HF-I-1", "SC-HYP-1", "SC-N-2"}


@pytest.mark.parametrize("seed", range(5))
def test_patients_are_drawn_from_every_group_in_proportion(seed):
    sizes = {"HYP": 20, "N": 10, None: 9, "HF-I": 1}
    groups = [group for group, size in sizes.items() for _ in range(size)]
    names = [f"case-{number}" for number in range(len(groups))]
    parts = assign_parts(names, names, groups, settings("patient", val_fraction=0.2, seed=seed))
    drawn = Counter(group for group, part in zip(groups, parts, strict=True) if part == "val")
    assert drawn == {"HYP": 4, "N": 2, None: 2}  # 8 of 40: 4, 2, 1.8 and 0.2 to be shared out


def test_folds():
    cases = [case for part in OFFICIAL_PARTS.values() for case in part]
    names, case_ids, groups = images_of(cases)
    folds = by_case(case_ids, assign_parts(names, case_ids, groups, settings("kfold", folds=4)))
    assert sorted(Counter(folds.values()).items()) == [("fold-0", 12), ("fold-1", 11), ("fold-2", 11), ("fold-3", 11)]
    for group in ("N", "HYP", "HF-NI", "HF-I"):
        sizes = Counter(part for case, part in folds.items() if pathology_group(case) == group)
        assert len(sizes) == 4
        assert max(sizes.values()) - min(sizes.values()) <= 1


def test_by_official_part():
    names, case_ids, groups = images_of(["SC-HF-I-1", "SC-HF-I-05", "SC-HF-I-9"], images=1)
    assert assign_parts(names, case_ids, groups, settings("official")) == ["train", "val", "test"]


@pytest.mark.parametrize("split", ["patient", "image", "official", "kfold"])
def test_the_order_of_the_images_does_not_matter(split):
    names, case_ids, groups = images_of(TRAINING)
    parts = assign_parts(names, case_ids, groups, settings(split, seed=7))
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(names))
    shuffled = ([column[index] for index in order] for column in (names, case_ids, groups))
    assert assign_parts(*shuffled, settings(split, seed=7)) == [parts[index] for index in order]


@pytest.mark.parametrize("split", ["patient", "image", "kfold"])
def test_the_seed_decides(split):
    draws = {tuple(assign_parts(*images_of(TRAINING), settings(split, seed=seed))) for seed in range(5)}
    assert len(draws) > 1


@pytest.mark.parametrize(
    ("cases", "images", "split", "reason"),
    [
        (["SC-N-2"], 9, "patient", "at least two patients, found 1"),
        (["SC-N-2"], 1, "image", "at least two images, found 1"),
        ([], 0, "patient", "found 0"),
        ([], 0, "official", "no training images"),
        (["SC-N-5", "SC-N-9"], 3, "official", "no training images among 6"),
        (["SC-N-2", "PH-1"], 3, "official", "1 of 2 cases are in no official part of the challenge: PH-1;"),
        (TRAINING[:4], 3, "kfold", "5 folds by patient need at least 5 patients, found 4"),
    ],
)
def test_refused(cases, images, split, reason):
    with pytest.raises(SourceError, match=reason):
        assign_parts(*images_of(cases, images), settings(split))


@pytest.mark.parametrize(
    "table",
    [
        "part,case_id\ntrain,SC-N-02\nval,SC-N-3\n",
        "\ufeffname, Part ,comment\nSC-N-2-0,train,x\n\nSC-N-2-1,train,\nSC-N-3-0,val,\nSC-N-3-1,val,y\n",
        "name,case_id,part\nSC-N-2-0,?,train\nSC-N-2-1,?,train\nSC-N-3-0,?,val\nSC-N-3-1,?,val\n",
    ],
)
def test_from_a_file(tmp_path: Path, table):
    file = tmp_path / "split.csv"
    file.write_text(table, encoding="utf-8")
    parts = assign_parts(*images_of(["SC-N-2", "SC-N-3"], 2), settings("file"), read_split_file(file))
    assert parts == ["train", "train", "val", "val"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"SC-N-2": "train"}, "2 of 4 images have no part in the split file: SC-N-3-0, SC-N-3-1"),
        (
            {"SC-N-2": "train", "SC-N-3": "val", **{f"SC-N-{n}": "val" for n in range(20, 25)}},
            "5 of 7 rows of the split file match no image: SC-N-20, SC-N-21, SC-N-22, …;",
        ),
        (
            {"SC-N-2": "train", "SC-N-3-0": "val", "SC-N-3-1": "train"},
            "1 of 2 cases are in two parts, first SC-N-3 in train and val",
        ),
        ({"SC-N-2": "val", "SC-N-3": "test"}, "no training images among 4 after the file split"),
    ],
)
def test_a_table_that_does_not_fit(table, reason):
    with pytest.raises(SourceError, match=reason):
        assign_parts(*images_of(["SC-N-2", "SC-N-3"], 2), settings("file"), table)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "found nothing"),
        (b"name,split\na,train\n", "columns part and name or case_id, found name, split"),
        (b"name,part\na,train\nb,training\n", "line 3: expected part train, val, test, found training"),
        (b"name,part\na,train\nb\n", "line 3: expected part train, val, test, found nothing"),
        (b"part,name\ntrain,\n", "line 2: no name"),
        (b"case_id,part\na,train\nb,val\na,val\n", "line 4: a is in two parts, train and val"),
        (b"name,part\n\xff,train\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, content, reason):
    file = tmp_path / "split.csv"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=f"split.csv.*{reason}"):
        read_split_file(file)


def test_no_file(tmp_path: Path):
    with pytest.raises(SourceError, match=r"none\.csv: split file cannot be read: No such file"):
        read_split_file(tmp_path / "none.csv")


def test_leak_is_found():
    items = [("a-0", "a"), ("a-1", "a"), ("b-0", "b"), ("b-1", "b")]
    check_no_leak(items, {"a-0": "train", "a-1": "train", "b-0": "val", "b-1": "val"})
    with pytest.raises(SourceError, match="1 of 2 cases are in two parts, first b in train and val"):
        check_no_leak(items, {"a-0": "train", "a-1": "train", "b-0": "val", "b-1": "train"})
