"""The classic course exercise's own TFRecords: exactly its features, for its notebooks; lvseg does not train on them.

``height``, ``width``, ``depth`` (int64), ``name`` (bytes), ``image_raw`` (raw bytes of an int64 array of height ×
width), ``label_raw`` (raw bytes of uint8). Case, place and contours have no room there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lvseg.tfrecord import encode_example

__all__ = ["COURSE_FEATURES", "REFUSAL", "course_file", "encode_course_row"]

COURSE_FEATURES: list[dict[str, Any]] = [
    {"name": "height", "list": "int64_list", "type": "int64", "optional": False},
    {"name": "width", "list": "int64_list", "type": "int64", "optional": False},
    {"name": "depth", "list": "int64_list", "type": "int64", "optional": False},
    {"name": "name", "list": "bytes_list", "type": "string", "optional": False},
    {"name": "image_raw", "list": "bytes_list", "type": "raw int64, height x width", "optional": False},
    {"name": "label_raw", "list": "bytes_list", "type": "raw uint8, height x width", "optional": False},
]
"""Its features, for ``schema.json``."""

REFUSAL = (
    "course-tfrecord is for the course's notebooks and holds no case ids; "
    "convert the source again for training: lvseg convert SOURCE RECORDS --format parquet"
)


def course_file(part: str) -> str:
    """The course's name of a part's file: ``train_images.tfrecords``."""
    return f"{part}_images.tfrecords"


def encode_course_row(row: Mapping[str, Any]) -> bytes:
    """Serialised ``tf.train.Example`` of a row of ``SCHEMA``; pixel values that are no integers are rounded."""
    image = np.frombuffer(row["image"], np.dtype(row["image_dtype"]))
    image = (image if image.dtype.kind in "iu" else np.rint(image)).astype("<i8")
    return encode_example(
        {
            "height": ("int64_list", [row["rows"]]),
            "width": ("int64_list", [row["columns"]]),
            "depth": ("int64_list", [1]),
            "name": ("bytes_list", [row["name"].encode()]),
            "image_raw": ("bytes_list", [image.tobytes()]),
            "label_raw": ("bytes_list", [bytes(row["mask"])]),
        }
    )
