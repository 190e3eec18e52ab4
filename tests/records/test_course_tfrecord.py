"""The course's own way to read its files must read ours."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import RecordsError
from lvseg.records import read_rows, slice_to_row, write_rows
from tests.discs import make_disc


def test_the_courses_feature_description_parses_them(tmp_path: Path) -> None:
    import tensorflow as tf

    description = {
        "height": tf.io.FixedLenFeature([], tf.int64),
        "width": tf.io.FixedLenFeature([], tf.int64),
        "depth": tf.io.FixedLenFeature([], tf.int64),
        "name": tf.io.FixedLenFeature([], tf.string),
        "image_raw": tf.io.FixedLenFeature([], tf.string),
        "label_raw": tf.io.FixedLenFeature([], tf.string),
    }
    items = [make_disc(number, dtype=dtype) for number, dtype in enumerate(("int16", "uint16", "uint8"))]
    write_rows(tmp_path / "train_images.tfrecords", [slice_to_row(item) for item in items], "course-tfrecord")
    found = list(tf.data.TFRecordDataset(str(tmp_path / "train_images.tfrecords")))
    assert len(found) == len(items)
    for record, item in zip(found, items, strict=True):
        parsed = tf.io.parse_single_example(record, description)
        assert set(tf.train.Example.FromString(record.numpy()).features.feature) == set(description)
        assert (parsed["height"], parsed["width"], parsed["depth"]) == (*item.image.shape, 1)
        assert parsed["name"] == item.name
        image = tf.reshape(tf.io.decode_raw(parsed["image_raw"], tf.int64), item.image.shape)
        label = tf.reshape(tf.io.decode_raw(parsed["label_raw"], tf.uint8), item.mask.shape)
        np.testing.assert_array_equal(image, item.image)
        np.testing.assert_array_equal(label, item.mask)


def test_values_that_are_no_integers_are_rounded(tmp_path: Path) -> None:
    item = make_disc(0)
    row = slice_to_row(dataclasses.replace(item, image=item.image.astype(np.float32) - 0.4))
    write_rows(tmp_path / "rounded", [row], "course-tfrecord")
    write_rows(tmp_path / "whole", [slice_to_row(item)], "course-tfrecord")
    assert (tmp_path / "rounded").read_bytes() == (tmp_path / "whole").read_bytes()


def test_reading_them_as_records_says_what_to_do(tmp_path: Path) -> None:
    write_rows(tmp_path / "file", [slice_to_row(make_disc(0))], "course-tfrecord")
    with pytest.raises(RecordsError, match="--format parquet"):
        read_rows(tmp_path / "file", "course-tfrecord")
