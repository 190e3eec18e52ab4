import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from lvseg.errors import RecordsError
from lvseg.findings import Decision, Skip
from lvseg.records import MANIFEST_NAME, Manifest, read_manifest
from tests.discs import write_records


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_records(
        tmp_path,
        train=7,
        val=3,
        skipped=(Skip(file="a/ö.txt", reason="two points"),),
        decisions=(Decision(case_id="CASE-1", subject="short-axis series", decided="0004", reason="contrast 3.1"),),
        findings={"warning": 2},
    )


def test_round_trip(tmp_path: Path, manifest: Manifest) -> None:
    assert read_manifest(tmp_path) == manifest
    assert read_manifest(tmp_path).splits["train"].files[1].images == 2


def test_the_file_says_what_users_look_for(tmp_path: Path, manifest: Manifest) -> None:
    content = json.loads((tmp_path / MANIFEST_NAME).read_text(encoding="utf-8"))
    assert (content["splits"]["train"]["images"], content["splits"]["val"]["patients"]) == (7, 2)
    assert content["labels"] == "given"
    assert content["skipped"] == [{"file": "a/ö.txt", "reason": "two points"}]


def test_a_part(tmp_path: Path, manifest: Manifest) -> None:
    assert manifest.part("val", tmp_path).images == 3
    with pytest.raises(RecordsError) as caught:
        manifest.part("test", tmp_path)
    assert str(caught.value) == f"{tmp_path}: no images in split test; it has train 7, val 3"


def test_an_empty_part_is_none(tmp_path: Path, manifest: Manifest) -> None:
    nothing = dataclasses.replace(manifest.splits["train"], images=0, files=())
    with pytest.raises(RecordsError, match="no images in split train; it has train 0"):
        dataclasses.replace(manifest, splits={"train": nothing}).part("train", tmp_path)
    with pytest.raises(RecordsError, match="no images in split train; it has none"):
        dataclasses.replace(manifest, splits={}).part("train", tmp_path)


def test_a_fold_validates_and_the_others_train(tmp_path: Path) -> None:
    folds = write_records(tmp_path, train=7, val=3, folds=3, shard_images=2)
    chosen = folds.for_fold(1, tmp_path)
    assert chosen.splits["val"] == folds.splits["fold-1"]
    train = chosen.splits["train"]
    assert train.files == folds.splits["fold-0"].files + folds.splits["fold-2"].files
    assert (train.images, train.patients) == (7, 3)
    for fold in (None, 3):
        with pytest.raises(RecordsError, match="choose fold 0 to 2"):
            folds.for_fold(fold, tmp_path)


def test_without_folds_there_is_none_to_choose(tmp_path: Path, manifest: Manifest) -> None:
    assert manifest.for_fold(None, tmp_path) is manifest
    with pytest.raises(RecordsError, match="has no folds, got fold 0"):
        manifest.for_fold(0, tmp_path)


def test_the_courses_records_are_refused_with_the_way_out(tmp_path: Path, manifest: Manifest) -> None:
    course = dataclasses.replace(manifest, format="course-tfrecord")
    for use in (lambda: course.part("train", tmp_path), lambda: course.for_fold(None, tmp_path)):
        with pytest.raises(RecordsError, match=r"lvseg convert SOURCE RECORDS --format parquet"):
            use()


def test_the_one_size_of_all_images(tmp_path: Path, manifest: Manifest) -> None:
    assert dataclasses.replace(manifest, shapes={"192x256": 10}).image_shape(tmp_path) == (192, 256)
    with pytest.raises(RecordsError) as caught:
        dataclasses.replace(manifest, shapes={"192x256": 10, "256x256": 2}).image_shape(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: images must have one size to be batched, found 10 of 192x256, 2 of 256x256"
    )


def test_a_folder_without_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RecordsError, match=r"not a record set: no manifest\.json there .*lvseg convert"):
            read_manifest(folder)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "damaged manifest"),
        ("[1]", "schema version None, this lvseg reads 2"),
        ('{"schema_version": 1}', "schema version 1, this lvseg reads 2: convert again"),
        ('{"schema_version": 2}', "damaged manifest: lvseg_version: "),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(content)
    with pytest.raises(RecordsError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / MANIFEST_NAME}: {fault}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field"), [({"format": "hdf5"}, "format"), ({"splits": {"train": 3}}, "splits.train")]
)
def test_a_wrong_value_in_the_manifest_names_the_field(
    tmp_path: Path, manifest: Manifest, changes: dict[str, Any], field: str
) -> None:
    path = tmp_path / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))
    with pytest.raises(RecordsError, match=f"damaged manifest: {field}"):
        read_manifest(tmp_path)
