"""``manifest.json``: what a record set holds, how it was made, and what was left out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lvseg.config import (
    LabelConvention,
    PreprocessConfig,
    RecordFormat,
    SourceLayout,
    SplitMethod,
    Structures,
)
from lvseg.errors import RecordsError
from lvseg.findings import Decision, Skip
from lvseg.records.codec import SCHEMA_VERSION
from lvseg.records.course_tfrecord import REFUSAL
from lvseg.store import UPath

MANIFEST_NAME = "manifest.json"
SPLIT_TABLE_NAME = "split.csv"
"""Columns name, case_id, part; one line an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordFile:
    """One record file."""

    file: str
    """Name in the record folder."""
    images: int
    """Rows in it."""
    sha256: str
    """Hash over the file's bytes."""
    start: int = 0
    """Rows of the file that come before; not 0 where only some rows are meant, as of a fold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPart:
    """One part of the split."""

    images: int
    """Labelled images."""
    pixel_bytes: int
    """Bytes of all images and masks, as a worker holds them."""
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
    source_layout: SourceLayout
    """Layout of the source folder."""
    labels: LabelConvention
    """Label convention; scores across conventions are not compared."""
    structures: Structures
    """Classes of the masks."""
    preprocessing: PreprocessConfig
    """What was done to every image, to be repeated before a prediction."""
    split: SplitMethod
    """How images were assigned to parts; ``split.csv`` beside this file names every image's part."""
    val_fraction: float
    """As set, for the splits by patient and by image."""
    seed: int
    """Seed of the split."""
    source_sha256: str
    """Hash over the source files' bytes, in order."""
    records_sha256: str
    """Hash over every image, mask and part, whatever the format: the identity of the record set."""
    shapes: dict[str, int]
    """Images by size, ``"256x256": 260``."""
    splits: dict[str, SplitPart]
    """train, val and, where there is one, test; or fold-0, fold-1, … of a split into folds."""
    decisions: tuple[Decision, ...]
    """What was chosen where file names did not say, and why."""
    findings: dict[str, int]
    """Quality control's findings by severity; ``quality.json`` beside this file has them all."""
    skipped: tuple[Skip, ...]
    """What was left out, and why."""
    unlabelled_images: int
    """Images with no contour, as most of a cine: counted, not listed."""

    def to_json(self) -> str:
        """The content of ``manifest.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def part(self, split: str, where: UPath) -> SplitPart:
        """The named part, to read its rows.

        Raises:
            RecordsError: there is no such part, or it is empty; or its files are for the course's notebooks.
        """
        if self.format == "course-tfrecord":
            raise RecordsError(f"{where}: {REFUSAL}")
        part = self.splits.get(split)
        if part is None or part.images == 0:
            parts = ", ".join(f"{name} {p.images}" for name, p in self.splits.items())
            raise RecordsError(f"{where}: no images in split {split}; it has {parts or 'none'}")
        return part

    def for_fold(self, fold: int | None, where: UPath) -> Manifest:
        """The manifest with the parts train and val; of a split into folds, the given one validates.

        Raises:
            RecordsError: there is no such fold, none was given, or one was given and there are none; or the files
                are for the course's notebooks.
        """
        if self.format == "course-tfrecord":
            raise RecordsError(f"{where}: {REFUSAL}")
        if self.split != "kfold":
            if fold is not None:
                raise RecordsError(f"{where}: split by {self.split}, has no folds, got fold {fold}")
            return self
        folds = [self.splits[f"fold-{index}"] for index in range(len(self.splits))]
        if fold is None or fold >= len(folds):
            raise RecordsError(f"{where}: split into folds, choose fold 0 to {len(folds) - 1}, got {fold}")
        train = _merged(part for index, part in enumerate(folds) if index != fold)
        return dataclasses.replace(self, splits={"train": train, "val": folds[fold]})

    def image_shape(self, where: UPath) -> tuple[int, int]:
        """(rows, columns) that all images share.

        Raises:
            RecordsError: the images differ in size.
        """
        if len(self.shapes) != 1:
            found = ", ".join(f"{count} of {shape}" for shape, count in self.shapes.items())
            raise RecordsError(f"{where}: images must have one size to be batched, found {found}")
        rows, columns = next(iter(self.shapes)).split("x")
        return int(rows), int(columns)


def _merged(parts: Iterable[SplitPart]) -> SplitPart:
    parts = list(parts)
    cases = sorted({case for part in parts for case in part.case_ids})
    return SplitPart(
        images=sum(part.images for part in parts),
        pixel_bytes=sum(part.pixel_bytes for part in parts),
        patients=len(cases),
        case_ids=tuple(cases),
        files=tuple(file for part in parts for file in part.files),
    )


def read_manifest(records: UPath) -> Manifest:
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
