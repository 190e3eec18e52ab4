"""TFRecord files and ``tf.train.Example`` without TensorFlow, whose import costs every process seconds.

The framing (https://www.tensorflow.org/tutorials/load_data/tfrecord): length, its masked CRC-32C, data, the data's
masked CRC-32C; little-endian. ``Example`` is the message of ``tensorflow/core/example/example.proto``, same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, BinaryIO, TypeAlias

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

__all__ = ["FRAME_BYTES", "Feature", "decode_example", "encode_example", "frame", "read_frames"]

Feature: TypeAlias = list[bytes] | list[float] | list[int]
"""Values of one feature."""

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
FRAME_BYTES = HEADER.size + FOOTER.size
"""Bytes that a frame adds to a record's data; the header's 12 come before it."""

KINDS = ("bytes_list", "float_list", "int64_list")


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, FOOTER.pack(_masked_crc(length)), data, FOOTER.pack(_masked_crc(data))))


def read_frames(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The data of records ``start`` to ``stop`` (exclusive; None: to the end); those before are passed over.

    Raises:
        ValueError: the file is cut short, or a check sum is wrong.
    """
    number = 0
    while stop is None or number < stop:
        header = file.read(HEADER.size)
        if not header:
            return
        length = _checked_length(header, number)
        if number < start:
            file.seek(length + FOOTER.size, 1)
        else:
            yield _checked_data(file, length, number)
        number += 1


def _checked_length(header: bytes, number: int) -> int:
    if len(header) < HEADER.size:
        raise ValueError(f"cut short in the header of record {number}")
    length, crc = HEADER.unpack(header)
    if crc != _masked_crc(header[:8]):
        raise ValueError(f"wrong check sum of the length of record {number}")
    return int(length)


def _checked_data(file: BinaryIO, length: int, number: int) -> bytes:
    data, footer = file.read(length), file.read(FOOTER.size)
    if len(data) < length or len(footer) < FOOTER.size:
        raise ValueError(f"cut short in record {number}")
    if FOOTER.unpack(footer)[0] != _masked_crc(data):
        raise ValueError(f"wrong check sum of the data of record {number}")
    return data


def encode_example(features: Mapping[str, tuple[str, Sequence[Any]]]) -> bytes:
    """Serialised ``tf.train.Example``; the same features give the same bytes.

    Args:
        features: name → (kind, values), kind one of ``bytes_list``, ``float_list``, ``int64_list``.
    """
    example = _example_class()()
    for name, (kind, values) in features.items():
        getattr(example.features.feature[name], kind).value.extend(values)
    return bytes(example.SerializeToString(deterministic=True))


def decode_example(data: bytes) -> dict[str, tuple[str, Any]]:
    """Name → (kind, values) of a serialised ``tf.train.Example``; kind is empty where a feature holds nothing.

    Raises:
        ValueError: it is none.
    """
    try:
        example = _example_class().FromString(data)
    except DecodeError:
        raise ValueError("a record is no tf.train.Example") from None
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind") or ""
        found[name] = (kind, getattr(feature, kind).value if kind else [])
    return found


@cache
def _example_class() -> Any:
    """``Example`` in a pool of its own: TensorFlow registers the same names in the default one."""
    file = descriptor_pb2.FileDescriptorProto(name="lvseg/example.proto", package="tensorflow", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    for name, kind in zip(("BytesList", "FloatList", "Int64List"), ("BYTES", "FLOAT", "INT64"), strict=True):
        number = types.Type.Value(f"TYPE_{kind}")
        packed = None if kind == "BYTES" else descriptor_pb2.FieldOptions(packed=True)
        values = file.message_type.add(name=name).field
        values.add(name="value", number=1, label=types.LABEL_REPEATED, type=number, options=packed)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(zip(KINDS, ("BytesList", "FloatList", "Int64List"), strict=True), start=1):
        _add_message_field(feature, name, number, f"tensorflow.{kind}").oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, label=types.LABEL_OPTIONAL, type=types.TYPE_STRING)
    _add_message_field(entry, "value", 2, "tensorflow.Feature")
    _add_message_field(features, "feature", 1, "tensorflow.Features.FeatureEntry").label = types.LABEL_REPEATED
    _add_message_field(file.message_type.add(name="Example"), "features", 1, "tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_message_field(message: Any, name: str, number: int, type_name: str) -> Any:
    types = descriptor_pb2.FieldDescriptorProto
    return message.field.add(
        name=name, number=number, label=types.LABEL_OPTIONAL, type=types.TYPE_MESSAGE, type_name=f".{type_name}"
    )
