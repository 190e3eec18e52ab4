"""What is written beside and instead of Parquet; the same bytes whatever the cluster."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.distributed.convert import convert
from lvseg.errors import RecordsError
from lvseg.records import SCHEMA, Manifest, read_manifest, read_rows, table_to_slices
from lvseg.sources import discover, load
from lvseg.store import location

pytestmark = pytest.mark.ray

COURSE = ConvertConfig(format="course-tfrecord", split="image", val_fraction=0.1, labels="course", shard_images=8)

ONE_CPU = """
import sys
import ray
from lvseg.config import ConvertConfig
from lvseg.distributed.convert import convert

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
convert(sys.argv[1], sys.argv[2], ConvertConfig(val_fraction=0.34, shard_images=8))
"""


def course_records(path: Path) -> list[dict[str, object]]:
    """Parsed with the course's feature description."""
    import tensorflow as tf

    description = {name: tf.io.FixedLenFeature([], tf.int64) for name in ("height", "width", "depth")}
    description |= {name: tf.io.FixedLenFeature([], tf.string) for name in ("name", "image_raw", "label_raw")}
    found = []
    for record in tf.data.TFRecordDataset(str(path)):
        parsed = tf.io.parse_single_example(record, description)
        shape = (int(parsed["height"]), int(parsed["width"]))
        image = np.frombuffer(parsed["image_raw"].numpy(), np.int64).reshape(shape)
        mask = np.frombuffer(parsed["label_raw"].numpy(), np.uint8).reshape(shape)
        found.append({"name": parsed["name"].numpy().decode(), "image": image, "mask": mask})
    return found


def assert_comes_back(folder: Path, counts: dict[str, int]) -> None:
    """The files hold as many records, and the course layout imports the same images and masks."""
    records = {part: course_records(folder / f"{part}_images.tfrecords") for part in counts}
    assert {part: len(found) for part, found in records.items()} == counts
    by_name = {record["name"]: record for found in records.values() for record in found}
    config = ConvertConfig(source="course")
    imported = [load(location(folder), item, config) for item in discover(location(folder), config).items]
    assert {each.name for each in imported} == by_name.keys()
    for each in imported:
        np.testing.assert_array_equal(each.mask, by_name[each.name]["mask"])
        np.testing.assert_array_equal(each.image, by_name[each.name]["image"])


def test_the_courses_two_files(cluster: None, phantom: Path, tmp_path: Path) -> None:
    manifest = convert(phantom, tmp_path, COURSE)
    others = {"manifest.json", "split.csv", "schema.json", "quality.json", "quality.html"}
    files = {"train_images.tfrecords", "val_images.tfrecords"}
    assert {path.name for path in tmp_path.iterdir()} == files | others
    assert_comes_back(tmp_path, {name: part.images for name, part in manifest.splits.items()})
    plain = convert(phantom, tmp_path / "plain", ConvertConfig(split="image", val_fraction=0.1, labels="course"))
    assert plain.records_sha256 == manifest.records_sha256
    with pytest.raises(RecordsError, match="--format parquet"):
        read_manifest(location(tmp_path)).part("train", location(tmp_path))


@pytest.mark.real_data
def test_the_courses_exercise(cluster: None, sunnybrook: Path, tmp_path: Path) -> None:
    source = sunnybrook / "sunnybrook-png" / "part1-training"
    convert(source, tmp_path, ConvertConfig(format="course-tfrecord", split="image", val_fraction=0.1, labels="course"))
    assert_comes_back(tmp_path, {"train": 234, "val": 26})
    masks = {
        each.name: each.mask
        for each in (load(location(source), item, COURSE) for item in discover(location(source), COURSE).items)
    }
    for record in course_records(tmp_path / "val_images.tfrecords"):
        np.testing.assert_array_equal(record["mask"], masks[str(record["name"])])


def test_a_schema_beside_tfrecords(tfrecords: tuple[Path, Manifest]) -> None:
    records, manifest = tfrecords
    schema = json.loads((records / "schema.json").read_text())
    assert [feature["name"] for feature in schema["features"]] == SCHEMA.names
    import tensorflow as tf

    record = next(iter(tf.data.TFRecordDataset(str(records / manifest.splits["val"].files[0].file))))
    features = tf.train.Example.FromString(record.numpy()).features.feature
    for feature in schema["features"]:
        if feature["name"] in features:
            assert features[feature["name"]].WhichOneof("kind") == feature["list"]
        else:
            assert feature["optional"]


@pytest.mark.slow
def test_the_same_bytes_with_one_core_as_with_three(
    converted: tuple[Path, Manifest], phantom: Path, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as folder:
        subprocess.run(
            [sys.executable, "-c", ONE_CPU, str(phantom), str(tmp_path)],
            env=os.environ | {"RAY_TMPDIR": folder, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
        )
    expected = {path.name: path.read_bytes() for path in converted[0].iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize(
    ("settings", "shape", "kind"),
    [
        ({"spacing_mm": 4.0}, None, "i"),
        ({"crop": "centre", "crop_size": 32, "normalise": "zscore"}, (32, 32), "f"),
    ],
)
def test_preprocessing_is_done_and_said(
    cluster: None, phantom: Path, tmp_path: Path, settings: dict[str, object], shape: tuple[int, int] | None, kind: str
) -> None:
    config = ConvertConfig(val_fraction=0.34, **settings)  # type: ignore[arg-type]
    manifest = convert(phantom, tmp_path, config)
    assert manifest.preprocessing == config.preprocessing()
    for part in manifest.splits.values():
        for item in table_to_slices(read_rows(tmp_path / part.files[0].file, "parquet")):
            assert item.grid is not None
            assert (item.grid.rows, item.grid.columns) == (64, 64)
            assert shape is None or item.image.shape == shape
            assert item.place.pixel_spacing is not None
            if "spacing_mm" in settings:
                assert item.place.pixel_spacing == pytest.approx((4.0, 4.0))
            assert item.image.dtype.kind == kind or kind == "i"
