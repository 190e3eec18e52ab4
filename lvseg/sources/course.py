"""The classic course exercise's TFRecords: ``train_images.tfrecords``, ``val_images.tfrecords``, or any of their kind.

Features of a record: ``height``, ``width``, ``depth`` (int64), ``image_raw`` (raw bytes of an int64 array, height ×
width; older files call it ``img_raw``), ``label_raw`` (raw bytes of uint8, 0 and 1 or 0 and 255), ``name`` (bytes, not
in older files). Other widths of the pixels are told by the length: 8 bytes a pixel are int64, 4 float32 (of a label
int32), 2 int16, 1 uint8.

The case is taken from the name. Without names nobody can tell which patient an image shows, so all images of a file
count as one case and are named after file and record: ``train_images-00012``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.slices import Place, Slice
from lvseg.sources.arrays import as_pixels
from lvseg.sources.cases import StemParts, pathology_group
from lvseg.sources.listing import Collector, CourseItem, Listing, Unit, walk
from lvseg.sources.masks import as_classes, check_myocardium
from lvseg.sources.pseudonym import Pseudonyms
from lvseg.store import UPath
from lvseg.tfrecord import FRAME_BYTES, decode_example, read_frames

__all__ = ["CourseSource", "find_course", "load_course_item"]

SUFFIXES = (".tfrecords", ".tfrecord")
LEVELS = 2
"""Levels of folders to look at."""

HEADER_BYTES = 12
"""A record's length and the length's check sum."""
MAX_BYTES = 2**31
"""No ``tf.train.Example`` is larger."""
IMAGE_KEYS = ("image_raw", "img_raw")
LABEL_KEY = "label_raw"

IMAGE_TYPES = {1: "<u1", 2: "<i2", 4: "<f4", 8: "<i8"}
LABEL_TYPES = {1: "<u1", 2: "<i2", 4: "<i4", 8: "<i8"}
"""Type of the pixels by bytes a pixel."""

NAME_SUFFIXES = (".png", ".dcm", ".txt", ".npy", ".tif", ".tiff", ".jpg")
"""What a name may end in that is a file's."""


def find_course(folder: UPath) -> list[UPath]:
    """Folders that hold TFRecord files with the course's features, told by the first record."""
    return [path for path, files in _record_files(folder) if any(_is_course_file(path / name) for name in files)]


def _record_files(folder: UPath) -> Iterator[tuple[UPath, list[str]]]:
    for path, _, names in walk(folder, LEVELS):
        yield path, [name for name in names if name.lower().endswith(SUFFIXES)]


def _is_course_file(path: UPath) -> bool:
    try:
        with path.open("rb") as file:
            features = decode_example(next(read_frames(file)))
    except (OSError, ValueError, StopIteration):
        return False
    return LABEL_KEY in features and any(key in features for key in IMAGE_KEYS)


@dataclass(frozen=True, kw_only=True, slots=True)
class CourseSource:
    """TFRecord files with the course's features."""

    folder: UPath
    """The source folder."""
    root: UPath
    """Where to look for files: this folder or below."""
    config: ConvertConfig
    """What the masks' values mean."""
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    """Not needed: the records hold no patient."""

    @property
    def layout(self) -> Literal["course"]:
        """The layout's name."""
        return "course"

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """All files in one unit, since only together can they tell whether a name is there twice."""
        found = Collector(self.folder)
        files = tuple(found.relative(path / name) for path, names in _record_files(self.root) for name in names)
        units = (Unit(case_id=self.root.name, folders=files),) if files else ()
        return units, found.finish()

    def list_unit(self, unit: Unit) -> Listing:
        """Items of all files; reads every record, since its name is inside."""
        found = Collector(self.folder)
        for file in unit.folders:
            try:
                with (self.folder / file).open("rb") as opened:
                    self._list_file(opened, file, found)
            except OSError as error:
                found.skip(file, f"cannot be read: {error.strerror or error}")
        return found.finish()

    def _list_file(self, opened: BinaryIO, file: str, found: Collector) -> None:
        stem = PurePosixPath(file).stem
        for number, record in enumerate(_scan(opened)):
            try:
                given = _name(_features(record))
            except ValueError as error:
                found.skip(file, f"record {number}: {error}")
                continue
            name, case_id, _ = StemParts.parse(given) if given else (f"{stem}-{number:05d}", stem, None)
            found.add(
                CourseItem(
                    name=name,
                    case_id=case_id,
                    group=pathology_group(case_id),
                    file=file,
                    offset=record.offset,
                    length=len(record.framed) - FRAME_BYTES,
                )
            )


@dataclass(frozen=True, slots=True)
class _Record:
    offset: int
    """Byte at which the data starts."""
    framed: bytes
    """Header, data and check sum as they stand in the file; empty where the record is not whole."""
    problem: str = ""
    """Why it is not whole."""


def _scan(file: BinaryIO) -> Iterator[_Record]:
    """The records of a file. After one that is not whole there is none: nobody knows where the next begins."""
    offset = HEADER_BYTES
    while header := file.read(HEADER_BYTES):
        if not _is_header(header):
            yield _Record(offset, b"", f"no record at byte {offset - HEADER_BYTES}, the rest of the file is left out")
            return
        size = int.from_bytes(header[:8], "little") + FRAME_BYTES
        framed = header + (file.read(size - HEADER_BYTES) if size <= MAX_BYTES else b"")
        if len(framed) < size:
            yield _Record(offset, b"", f"{len(framed)} of {size} bytes, the file is cut short")
            return
        yield _Record(offset, framed)
        offset += size


def _is_header(header: bytes) -> bool:
    """Whether the length agrees with its check sum."""
    try:
        return not list(read_frames(BytesIO(header), start=1, stop=1))  # passes over the data, which is not there
    except ValueError:
        return False


def _features(record: _Record) -> dict[str, Any]:
    """Values by name of feature.

    Raises:
        ValueError: the record is not whole, damaged, or no ``tf.train.Example``.
    """
    if record.problem:
        raise ValueError(record.problem)
    try:
        data = next(read_frames(BytesIO(record.framed)))
    except (ValueError, StopIteration):
        raise ValueError("damaged, the check sum of its data is wrong") from None
    return {name: values for name, (_, values) in decode_example(data).items()}


def _name(features: dict[str, Any]) -> str:
    value = next(iter(features.get("name", ())), b"")
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else ""
    path = PurePosixPath(text.replace("\\", "/").strip())
    return path.stem if path.suffix.lower() in NAME_SUFFIXES else path.name


def load_course_item(folder: UPath, item: CourseItem, config: ConvertConfig) -> Slice:
    """Read one record.

    Args:
        folder: the source folder.
        item: from the listing.
        config: what the mask's values mean, and which classes are wanted.

    Raises:
        SourceError: the file is missing or damaged, or its features are not those of the course; names the file.
    """
    try:
        with (folder / item.file).open("rb") as file:
            file.seek(item.offset - HEADER_BYTES)
            framed = file.read(item.length + FRAME_BYTES)
        features = _features(_Record(item.offset, framed))
        shape = _size(features, "height"), _size(features, "width")
        image = _pixels(features, IMAGE_KEYS, IMAGE_TYPES, shape)
        label = _pixels(features, (LABEL_KEY,), LABEL_TYPES, shape)
    except OSError as error:
        raise SourceError(f"{item.file}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise SourceError(f"{item.file}: record {item.name} at byte {item.offset}: {error}") from None
    where = f"{item.file}: record {item.name}"
    mask = as_classes(label, config, where)
    if config.structures == "endo+myo":
        check_myocardium(mask, where)
    return Slice(
        name=item.name,
        case_id=item.case_id,
        group=item.group,
        image=as_pixels(image, where),
        mask=mask,
        place=Place(instance_number=StemParts.parse(item.name).instance_number),
        source_sha256=hashlib.sha256(framed).hexdigest(),
    )


def _size(features: dict[str, Any], key: str) -> int:
    value = next(iter(features.get(key, ())), None)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} is {value}, expected a number above 0")
    return value


def _pixels(
    features: dict[str, Any], keys: tuple[str, ...], types: dict[int, str], shape: tuple[int, int]
) -> NDArray[Any]:
    data = next((bytes(values[0]) for key in keys if (values := features.get(key))), None)
    if data is None:
        raise ValueError(f"no feature {' or '.join(keys)}, found {', '.join(sorted(features)) or 'none'}")
    kind = types.get(len(data) // (shape[0] * shape[1]))
    if kind is None or len(data) % (shape[0] * shape[1]):
        raise ValueError(f"{keys[0]} has {len(data)} bytes, expected 1, 2, 4 or 8 a pixel of {shape[0]}x{shape[1]}")
    return np.frombuffer(data, kind).reshape(shape)
