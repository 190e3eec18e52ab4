"""The framing and the message against TensorFlow's own."""

from io import BytesIO
from pathlib import Path

import pytest

from lvseg.tfrecord import FRAME_BYTES, decode_example, encode_example, frame, read_frames

FEATURES = {
    "height": ("int64_list", [256, -1]),
    "image_raw": ("bytes_list", [bytes(range(256))]),
    "spacing": ("float_list", [1.5, 0.25]),
    "empty": ("bytes_list", []),
}


def test_the_bytes_are_tensorflows(tmp_path: Path) -> None:
    import tensorflow as tf

    kinds = {"int64_list": tf.train.Int64List, "bytes_list": tf.train.BytesList, "float_list": tf.train.FloatList}
    features = {
        name: tf.train.Feature(**{kind: kinds[kind](value=values)})
        for name, (kind, values) in FEATURES.items()
        if values
    }
    example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)
    ours = encode_example({name: feature for name, feature in FEATURES.items() if feature[1]})
    assert ours == example
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        for record in (example, b"", b"x" * 70000):
            writer.write(record)
    content = (tmp_path / "file").read_bytes()
    assert frame(example) + frame(b"") + frame(b"x" * 70000) == content
    assert len(content) == len(example) + 70000 + 3 * FRAME_BYTES
    assert [len(data) for data in read_frames(BytesIO(content))] == [len(example), 0, 70000]


def test_an_example_comes_back() -> None:
    found = decode_example(encode_example(dict(FEATURES.items())))
    assert {name: (kind, list(values)) for name, (kind, values) in found.items() if values} == {
        name: feature for name, feature in FEATURES.items() if feature[1]
    }


def test_what_is_no_example_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no tf\.train\.Example"):
        decode_example(b"this is no example")


def test_a_range_of_records() -> None:
    file = b"".join(frame(bytes([number])) for number in range(9))
    assert b"".join(read_frames(BytesIO(file), 3, 6)) == bytes([3, 4, 5])
    assert list(read_frames(BytesIO(file), 20)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "cut short in record 1"),
        (lambda data: data[:20], "cut short in the header of record 1"),
        (lambda data: data[:12] + b"?" + data[13:], "wrong check sum of the data of record 0"),
        (lambda data: b"?" + data[1:], "wrong check sum of the length of record 0"),
    ],
)
def test_damage_is_seen(change, message: str) -> None:  # type: ignore[no-untyped-def]
    content = change(frame(b"a") + frame(b"b"))
    with pytest.raises(ValueError, match=message):
        list(read_frames(BytesIO(content)))
