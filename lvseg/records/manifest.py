"""``manifest.json``: what a record set holds, how it was made, and what was left out."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lvseg.config import LabelConvention, RecordFormat, SplitMethod, SplitName
from lvseg.errors import RecordsError
from lvseg.records.codec import SCHEMA_VERSION

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """A source file that was left out."""

    file: str
    """Path relative to the source folder."""
    reason: str
    """Why, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFile:
    """One record file."""

    file: str
    """Name in the record folder."""
    images: int
    """Rows in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPart:
    """One part of the split."""

    images: int
    """Labelled images."""
    patients: int
    """Patients with at least one of these images."""
    case_ids: tuple[str, ...]
    """Their pseudonyms, sorted."""
    files: tuple[RecordFile, ...]
    """In row order: an image's row is its place in these files, one after another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The facts of a record set."""

    schema_version: int
    """Version of the records' columns."""
    lvseg_version: str
    """The code that wrote it."""
    format: RecordFormat
    """Format of the record files."""
    source_layout: str
    """Layout of the source folder."""
    labels: LabelConvention
    """Label convention; scores across conventions are not compared."""
    split: SplitMethod
    """How images were assigned to parts."""
    val_fraction: float
    """As set; the official split ignores it."""
    seed: int
    """Seed of the split."""
    source_sha256: str
    """Hash over the source files' bytes, in order."""
    records_sha256: str
    """Hash over every image, mask and part, whatever the format: the identity of the record set."""
    shapes: dict[str, int]
    """Images by size, ``"256x256": 260``."""
    splits: dict[SplitName, SplitPart]
    """train, val, and test where there is one."""
    skipped: tuple[Skip, ...]
    """What was left out, and why."""
    unlabelled_images: int
    """Images with no contour, as most of a cine: counted, not listed."""

    def to_json(self) -> str:
        """The content of ``manifest.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def part(self, split: SplitName, where: Path) -> SplitPart:
        """The named part.

        Raises:
            RecordsError: there is no such part, or it is empty.
        """
        part = self.splits.get(split)
        if part is None or part.images == 0:
            parts = ", ".join(f"{name} {p.images}" for name, p in self.splits.items())
            raise RecordsError(f"{where}: no images in split {split}; it has {parts or 'none'}")
        return part

    def image_shape(self, where: Path) -> tuple[int, int]:
        """(rows, columns) that all images share.

        Raises:
            RecordsError: the images differ in size.
        """
        if len(self.shapes) != 1:
            found = ", ".join(f"{count} of {shape}" for shape, count in self.shapes.items())
            raise RecordsError(f"{where}: images must have one size to be batched, found {found}")
        rows, columns = next(iter(self.shapes)).split("x")
        return int(rows), int(columns)


def read_manifest(records: Path) -> Manifest:
    """Read the manifest of a record folder.

    Raises:
        RecordsError: no record set there, or its manifest is damaged or of another schema version.
    """
    path = records / MANIFEST_NAME
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordsError(
            f"{records}: not a record set: no {MANIFEST_NAME} there (make one with lvseg convert)"
        ) from None
    except (OSError, ValueError) as error:
        raise RecordsError(f"{path}: damaged manifest: {error}") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise RecordsError(f"{path}: schema version {version}, this lvseg reads {SCHEMA_VERSION}: convert again")
    try:
        return TypeAdapter(Manifest).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise RecordsError(f"{path}: damaged manifest: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
