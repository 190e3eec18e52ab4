"""Conversion as a real Ray Data job."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.distributed.convert import convert
from lvseg.errors import RecordsError, SourceError
from lvseg.records import Manifest, read_manifest, read_rows, table_to_slices
from lvseg.slices import Slice

pytestmark = pytest.mark.ray


def slices_of(records: Path, manifest: Manifest) -> list[Slice]:
    files = [file.file for part in manifest.splits.values() for file in part.files]
    return [item for file in files for item in table_to_slices(read_rows(records / file, manifest.format))]


def test_counts_agree_with_the_files(converted: tuple[Path, Manifest], phantom: Path) -> None:
    records, manifest = converted
    contours = list(phantom.glob("contourfiles/*/i-contours/*.txt"))
    content = json.loads((records / "manifest.json").read_text())
    assert sum(part["images"] for part in content["splits"].values()) == len(contours)
    assert content["splits"]["train"]["patients"] == 2
    assert content["splits"]["val"]["patients"] == 1
    assert content["labels"] == "centre"
    assert content["skipped"] == []
    assert {name: len(list(records.glob(f"{name}-*.parquet"))) for name in ("train", "val")} == {
        name: len(part.files) for name, part in manifest.splits.items()
    }
    assert read_manifest(records) == manifest


def test_records_hold_what_the_phantom_says(converted: tuple[Path, Manifest], phantom: Path) -> None:
    records, manifest = converted
    truth = json.loads((phantom / "truth.json").read_text())
    spacing = {patient["original_id"]: patient["pixel_spacing_mm"] for patient in truth["patients"]}
    for item in slices_of(records, manifest):
        assert item.image.shape == item.mask.shape == (64, 64)
        assert item.mask.any()
        assert set(np.unique(item.mask)) == {0, 1}
        assert item.place.pixel_spacing is not None
        np.testing.assert_allclose(item.place.pixel_spacing, spacing[item.case_id], atol=1e-4)
        assert item.place.phase_index is not None
        assert item.place.slice_index is not None


def test_same_bytes_again(converted: tuple[Path, Manifest], phantom: Path, tmp_path: Path) -> None:
    records, manifest = converted
    again = convert(phantom, tmp_path / "again", ConvertConfig(val_fraction=0.34, shard_images=8))
    assert again == manifest
    for path in records.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_same_records_in_the_other_format(converted: tuple[Path, Manifest], tfrecords: tuple[Path, Manifest]) -> None:
    assert tfrecords[1].records_sha256 == converted[1].records_sha256
    for ours, theirs in zip(slices_of(*converted), slices_of(*tfrecords), strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.mask, theirs.mask)


def test_bad_files_are_skipped_and_listed(cluster: None, phantom: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(phantom, source)
    dicoms = sorted(source.glob("dicoms/*/*.dcm"))
    contours = sorted(source.glob("contourfiles/*/i-contours/*.txt"))
    dicoms[0].write_bytes(dicoms[0].read_bytes()[:1000])
    dicoms[1].write_text("no DICOM")
    contours[-1].write_text("500.0 500.0\n510.0 500.0\n510.0 510.0\n")
    contours[-2].write_text("1.0 1.0\n")
    manifest = convert(source, tmp_path / "records", ConvertConfig(val_fraction=0.34))
    assert sum(part.images for part in manifest.splits.values()) == len(contours) - 4
    reasons = {skip.file: skip.reason for skip in manifest.skipped}
    assert all(str(tmp_path) not in text for pair in reasons.items() for text in pair)
    assert {path.relative_to(source).as_posix() for path in (*dicoms[:2], *contours[-2:])} <= set(reasons)


def test_folder_that_holds_something_else_is_left_alone(cluster: None, phantom: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    (records / "thesis.docx").write_text("years of work")
    with pytest.raises(RecordsError, match=r"thesis\.docx"):
        convert(phantom, records, ConvertConfig(), overwrite=True)
    assert (records / "thesis.docx").read_text() == "years of work"


def test_overwrite_leaves_no_old_file(cluster: None, phantom: Path, tmp_path: Path) -> None:
    convert(phantom, tmp_path, ConvertConfig(format="tfrecord", shard_images=4))
    with pytest.raises(RecordsError, match="overwrite"):
        convert(phantom, tmp_path, ConvertConfig())
    manifest = convert(phantom, tmp_path, ConvertConfig(), overwrite=True)
    files = {file.file for part in manifest.splits.values() for file in part.files}
    assert {path.name for path in tmp_path.iterdir()} == files | {
        "manifest.json",
        "split.csv",
        "quality.json",
        "quality.html",
    }


def test_nothing_usable_for_validation_is_an_error(
    converted: tuple[Path, Manifest], phantom: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(phantom, source)
    first = converted[1].splits["val"].case_ids[0]
    for contour in source.glob(f"contourfiles/{first}/i-contours/*.txt"):
        contour.write_text("1 1\n")
    with pytest.raises(SourceError, match="no usable image for split val"):
        convert(source, tmp_path / "records", ConvertConfig(val_fraction=0.34))
    assert not (tmp_path / "records" / "manifest.json").exists()


@pytest.mark.real_data
def test_real_counts(cluster: None, sunnybrook: Path, tmp_path: Path) -> None:
    dicom = convert(sunnybrook / "sunnybrook-dicom", tmp_path / "dicom", ConvertConfig(labels="course"))
    assert sum(part.images for part in dicom.splits.values()) == 56
    assert sum(part.patients for part in dicom.splits.values()) == 3
    assert dicom.labels == "course"
    pairs = convert(
        sunnybrook / "sunnybrook-png" / "part1-training",
        tmp_path / "pairs",
        ConvertConfig(split="image", val_fraction=0.1, seed=1234),
    )
    assert {name: part.images for name, part in pairs.splits.items()} == {"train": 234, "val": 26}
    assert pairs.labels == "given"
    masks = {item.name: item.mask for item in slices_of(tmp_path / "pairs", pairs)}
    for item in slices_of(tmp_path / "dicom", dicom):
        np.testing.assert_array_equal(item.mask, masks[item.name], err_msg=item.name)


@pytest.mark.real_data
def test_real_official_split(cluster: None, sunnybrook: Path, tmp_path: Path) -> None:
    """The masks of SC-N-6 in these pairs lie beside the heart: they were drawn on another series."""
    source = sunnybrook / "sunnybrook-png"
    manifest = convert(source, tmp_path / "checked", ConvertConfig(split="official"))
    assert {name: (part.images, part.patients) for name, part in manifest.splits.items()} == {
        "train": (260, 15),
        "val": (253, 14),
    }
    assert "SC-N-6" not in manifest.splits["val"].case_ids
    everything = convert(source, tmp_path / "all", ConvertConfig(split="official", quarantine=False))
    assert {name: (part.images, part.patients) for name, part in everything.splits.items()} == {
        "train": (260, 15),
        "val": (266, 15),
    }
    assert everything.findings == manifest.findings
