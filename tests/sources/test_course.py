"""The course's TFRecords: both spellings, all widths of pixels, damage that costs only itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.records.codec import slice_to_row
from lvseg.records.course_tfrecord import encode_course_row
from lvseg.sources import CourseItem, discover, load, open_source
from lvseg.tfrecord import encode_example, frame

ENDO = ConvertConfig()
IMAGE = np.arange(12).reshape(3, 4) * 100
MASK = (IMAGE > 500).astype(np.uint8)


def example(name: str | None = "SC-HF-I-01-IM-0001-0048", image: Any = IMAGE, mask: Any = MASK, key: str = "image_raw"):
    """One record as the course's notebook writes it."""
    features = {
        "height": ("int64_list", [3]),
        "width": ("int64_list", [4]),
        "depth": ("int64_list", [1]),
        key: ("bytes_list", [np.asarray(image).tobytes()]),
        "label_raw": ("bytes_list", [np.asarray(mask).tobytes()]),
    }
    if name is not None:
        features["name"] = ("bytes_list", [name.encode()])
    return encode_example(features)


def write(path: Path, records: Sequence[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(frame, records)))
    return path


def names(folder: Path) -> list[str]:
    return [item.name for item in discover(folder).items]


def test_two_files(tmp_path):
    write(tmp_path / "train_images.tfrecords", [example(), example("SC-HF-I-01-IM-0001-0059")])
    write(tmp_path / "val_images.tfrecords", [example("SC-N-02-IM-0001-0009")])
    assert open_source(tmp_path, ENDO).layout == "course"
    listing = discover(tmp_path)
    assert [(item.name, item.case_id, item.group, item.file) for item in listing.items] == [
        ("SC-HF-I-1-IM-0001-0048", "SC-HF-I-1", "HF-I", "train_images.tfrecords"),
        ("SC-HF-I-1-IM-0001-0059", "SC-HF-I-1", "HF-I", "train_images.tfrecords"),
        ("SC-N-2-IM-0001-0009", "SC-N-2", "N", "val_images.tfrecords"),
    ]
    loaded = load(tmp_path, listing.items[1], ENDO)
    np.testing.assert_array_equal(loaded.image, IMAGE)
    np.testing.assert_array_equal(loaded.mask, MASK)
    assert (loaded.image.dtype, loaded.mask.dtype, loaded.place.instance_number) == (np.int16, np.uint8, 59)


def test_older_spelling_without_names(tmp_path):
    write(tmp_path / "a/train.tfrecords", [example(None, key="img_raw"), example(None, IMAGE + 1, key="img_raw")])
    items = discover(tmp_path).items
    assert [(item.name, item.case_id) for item in items] == [("train-00000", "train"), ("train-00001", "train")]
    np.testing.assert_array_equal(load(tmp_path, items[1], ENDO).image, IMAGE + 1)


@pytest.mark.parametrize(
    "name", ["SC-N-02-IM-0001-0009.png", "images/SC-N-2-IM-0001-0009.dcm", "C:\\data\\SC-N-2-IM-0001-0009"]
)
def test_names_of_files(tmp_path, name):
    write(tmp_path / "train_images.tfrecords", [example(name)])
    assert names(tmp_path) == ["SC-N-2-IM-0001-0009"]


@pytest.mark.parametrize(("stored", "kept"), [("<i8", "<i2"), ("<i2", "<i2"), ("u1", "u1"), ("<f4", "<f4")])
def test_widths_of_pixels(tmp_path, stored, kept):
    image = np.arange(12).reshape(3, 4)
    write(tmp_path / "train.tfrecords", [example(image=image.astype(stored))])
    loaded = load(tmp_path, discover(tmp_path).items[0], ENDO)
    assert loaded.image.dtype == np.dtype(kept)
    np.testing.assert_array_equal(loaded.image, image)


@pytest.mark.parametrize("mask", [MASK * 255, MASK.astype(np.int64), MASK.astype(np.int32)])
def test_widths_and_values_of_labels(tmp_path, mask):
    write(tmp_path / "train.tfrecords", [example(mask=mask)])
    np.testing.assert_array_equal(load(tmp_path, discover(tmp_path).items[0], ENDO).mask, MASK)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (example(mask=MASK * 7), ("values 0, 7",)),
        (example(image=np.zeros(5)), ("image_raw has 40 bytes", "3x4")),
        (example(image=np.full((3, 4), 1 << 40)), ("1099511627776", "16 bits")),
        (encode_example({"height": ("int64_list", [0]), "label_raw": ("bytes_list", [b"1"])}), ("height is 0",)),
        (
            encode_example({"height": ("int64_list", [1]), "width": ("int64_list", [1]), "x": ("int64_list", [1])}),
            ("no feature image_raw or img_raw", "found height, width, x"),
        ),
    ],
)
def test_other_features(tmp_path, record, words):
    path = write(tmp_path / "train.tfrecords", [example(), record])
    start = len(frame(example())) + 12
    item = CourseItem(name="x", case_id="x", file=path.name, offset=start, length=len(record))
    with pytest.raises(SourceError) as caught:
        load(tmp_path, item, ENDO)
    for word in ("train.tfrecords: record x", *words):
        assert word in str(caught.value)


def test_damaged_record_costs_only_itself(tmp_path):
    records = [example(f"anna_{number}") for number in range(4)]
    path = write(tmp_path / "train.tfrecords", records)
    data = bytearray(path.read_bytes())
    data[len(frame(records[0])) + 60] ^= 1
    path.write_bytes(data)
    listing = discover(tmp_path)
    assert [item.name for item in listing.items] == ["anna_0", "anna_2", "anna_3"]
    assert [(skip.file, skip.reason) for skip in listing.skipped] == [
        ("train.tfrecords", "record 1: damaged, the check sum of its data is wrong")
    ]


def test_damaged_after_listing(tmp_path):
    path = write(tmp_path / "train.tfrecords", [example()])
    (item,) = discover(tmp_path).items
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"train\.tfrecords: record SC-HF-I-1-IM-0001-0048 .*check sum"):
        load(tmp_path, item, ENDO)


@pytest.mark.parametrize("missing", [1, 5, 100])
def test_truncated_end(tmp_path, missing):
    path = write(tmp_path / "train.tfrecords", [example("anna_0"), example("anna_1")])
    path.write_bytes(path.read_bytes()[:-missing])
    listing = discover(tmp_path)
    assert [item.name for item in listing.items] == ["anna_0"]
    assert "record 1" in listing.skipped[0].reason
    assert "cut short" in listing.skipped[0].reason


def test_broken_framing_costs_the_rest(tmp_path):
    records = [example(f"anna_{number}") for number in range(3)]
    path = write(tmp_path / "train.tfrecords", records)
    data = bytearray(path.read_bytes())
    start = len(frame(records[0]))
    data[start + 7] = 0x7F  # a length of 9 exabytes
    path.write_bytes(data)
    write(tmp_path / "val.tfrecords", [example("otto_1")])
    listing = discover(tmp_path)
    assert [item.name for item in listing.items] == ["anna_0", "otto_1"]
    assert listing.skipped[0].reason == f"record 1: no record at byte {start}, the rest of the file is left out"


def test_the_same_record_in_two_files(tmp_path):
    for name in ("train", "val"):
        write(tmp_path / f"{name}.tfrecords", [example()])
    listing = discover(tmp_path)
    assert len(listing.items) == 1
    assert "same name SC-HF-I-1-IM-0001-0048" in listing.skipped[0].reason


def test_other_tfrecords_are_not_the_courses(tmp_path):
    write(tmp_path / "train-00000.tfrecords", [encode_example({"image": ("bytes_list", [b"1"])})])
    with pytest.raises(SourceError, match="no known layout"):
        discover(tmp_path)


def test_round_trip(tmp_path, pairs):
    """What lvseg writes for the course's notebook comes back with the same pixels and masks."""
    originals = [load(pairs, item, ENDO) for item in discover(pairs).items]
    write(tmp_path / "train_images.tfrecords", [encode_course_row(slice_to_row(each)) for each in originals])
    items = discover(tmp_path, ConvertConfig(source="course")).items
    assert [item.name for item in items] == [each.name for each in originals]
    for item, original in zip(items, originals, strict=True):
        loaded = load(tmp_path, item, ENDO)
        np.testing.assert_array_equal(loaded.image, original.image)
        np.testing.assert_array_equal(loaded.mask, original.mask)
        assert (loaded.case_id, loaded.group) == (original.case_id, original.group)


@pytest.mark.slow
def test_as_tensorflow_writes_it(tmp_path):
    import tensorflow as tf

    def feature(**kind: Any) -> Any:
        return tf.train.Feature(**kind)

    record = tf.train.Example(
        features=tf.train.Features(
            feature={
                "height": feature(int64_list=tf.train.Int64List(value=[3])),
                "width": feature(int64_list=tf.train.Int64List(value=[4])),
                "depth": feature(int64_list=tf.train.Int64List(value=[1])),
                "name": feature(bytes_list=tf.train.BytesList(value=[b"anna_1"])),
                "image_raw": feature(bytes_list=tf.train.BytesList(value=[IMAGE.tobytes()])),
                "label_raw": feature(bytes_list=tf.train.BytesList(value=[MASK.tobytes()])),
            }
        )
    )
    with tf.io.TFRecordWriter(str(tmp_path / "train_images.tfrecords")) as writer:
        writer.write(record.SerializeToString())
    (item,) = discover(tmp_path).items
    np.testing.assert_array_equal(load(tmp_path, item, ENDO).image, IMAGE)
