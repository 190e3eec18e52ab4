"""Folds that are made of a record set's training and validation patients, without converting again."""

import dataclasses
from pathlib import Path

import pytest

from lvseg.errors import RecordsError
from lvseg.records import read_manifest
from lvseg.records.folds import for_run
from lvseg.training.portion import collect, whole
from tests.discs import make_disc, write_records

FOLDS = 3


@pytest.fixture(scope="module", params=["parquet", "tfrecord"])
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 and 7 images of 7 patients: one patient lies in both parts, as after a split by image."""
    folder = tmp_path_factory.mktemp("records") / request.param
    write_records(folder, train=18, val=7, format=request.param)
    return folder


def images_of(records: Path, fold: int, split: str) -> dict[str, tuple[str, bytes]]:
    """Name → patient and pixels, read as training reads them."""
    manifest = for_run(read_manifest(records), records, fold, FOLDS)
    portion = whole(records, manifest, split)
    read = collect(portion.tables(), portion.shape, len(portion.rows))
    return {
        name: (case, image.tobytes()) for name, case, image in zip(read.names, read.case_ids, read.images, strict=True)
    }


def test_every_image_validates_once_and_no_patient_is_on_both_sides(records: Path) -> None:
    everything = {disc.name: (disc.case_id, disc.image.tobytes()) for disc in map(make_disc, range(25))}
    validated: list[str] = []
    for fold in range(FOLDS):
        train, val = images_of(records, fold, "train"), images_of(records, fold, "val")
        assert train | val == everything
        assert not {case for case, _ in train.values()} & {case for case, _ in val.values()}
        validated += val
    assert sorted(validated) == sorted(everything)


def test_the_manifest_counts_what_is_read(records: Path) -> None:
    whole_set = read_manifest(records)
    for fold in range(FOLDS):
        manifest = for_run(whole_set, records, fold, FOLDS)
        assert manifest.split == "kfold"
        assert {name: part.images for name, part in manifest.splits.items()} == {
            name: len(images_of(records, fold, name)) for name in ("train", "val")
        }
        assert sum(part.patients for part in manifest.splits.values()) == 7


def test_patients_kept_for_the_test_stay_apart(tmp_path: Path) -> None:
    manifest = write_records(tmp_path, train=12, val=8)
    test = manifest.splits["val"]
    apart = dataclasses.replace(manifest, splits={"train": manifest.splits["train"], "test": test})
    chosen = for_run(apart, tmp_path, 0, 3)
    assert chosen.splits["test"] == test
    assert not set(test.case_ids) & set(chosen.splits["train"].case_ids + chosen.splits["val"].case_ids)


def test_records_in_folds_keep_theirs(tmp_path: Path) -> None:
    manifest = write_records(tmp_path, folds=4, train=12, val=4)
    assert for_run(manifest, tmp_path, 1, 4) == for_run(manifest, tmp_path, 1, None)
    with pytest.raises(RecordsError, match="split into 4 folds, got folds 5"):
        for_run(manifest, tmp_path, 1, 5)


def test_more_folds_than_patients_are_refused(records: Path) -> None:
    with pytest.raises(RecordsError, match="8 folds by patient need at least 8 patients, found 7"):
        for_run(read_manifest(records), records, 0, 8)


def test_a_run_needs_its_fold(records: Path) -> None:
    with pytest.raises(RecordsError, match="choose fold 0 to 2 of 3"):
        for_run(read_manifest(records), records, None, FOLDS)
