"""What a source holds: units that are listed one at a time, items that can be loaded, files left out and why.

Paths are relative to the source folder, with forward slashes, so that a listing means the same on every node.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from lvseg.config import SourceLayout
from lvseg.errors import SourceError
from lvseg.findings import Decision, Finding, Skip
from lvseg.sources.pseudonym import masked_path, public_path
from lvseg.store import UPath, is_local

__all__ = [
    "Collector",
    "CourseItem",
    "DicomItem",
    "Item",
    "Listing",
    "PairItem",
    "SegmentationItem",
    "Source",
    "Unit",
    "natural_key",
    "visible",
    "walk",
]

CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What file managers leave behind, besides names that start with a dot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Labelled:
    name: str
    """Name of the slice."""
    case_id: str
    """The patient's pseudonym."""
    group: str | None = None
    """Pathology group, where it is known."""
    heart_xy_px: tuple[float, float] | None = None
    """Where the patient's heart is, 0-based (column, row), where the conversion crops around it."""

    def shown(self, file: str) -> str:
        """One of this item's files as reports may name it."""
        return public_path(file, self.case_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomItem(_Labelled):
    """A DICOM image and its contours."""

    image: str
    """The DICOM file."""
    endocardium: str
    """Its contour file."""
    epicardium: str | None = None
    """Its contour file."""
    papillaries: tuple[str, ...] = ()
    """Their contour files."""
    instance_number: int
    """Number of the image in its series, as in the contours' file names."""
    slice_index: int | None = None
    """0-based slice from the images' positions, where the whole series told it."""
    phase_index: int | None = None
    """0-based phase from the images' trigger times."""

    @property
    def label(self) -> str:
        """The file to name when something is wrong with the label, as reports may name it."""
        return self.shown(self.endocardium)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it is read from."""
        return (self.image, self.endocardium, *([self.epicardium] if self.epicardium else []), *self.papillaries)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairItem(_Labelled):
    """An image and its mask of the same name; of volumes (NIfTI, NumPy) one plane."""

    image: str
    """The image."""
    mask: str
    """The mask."""
    plane: tuple[int, ...] = ()
    """0-based place in the array's third and fourth dimension (slice, phase); empty for a file of one image."""

    @property
    def label(self) -> str:
        """The file to name when something is wrong with the label, as reports may name it."""
        return self.shown(self.mask)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it is read from."""
        return (self.image, self.mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class CourseItem(_Labelled):
    """One record of the course's TFRecords: image and mask."""

    file: str
    """The TFRecord file."""
    offset: int
    """Byte at which the record's data starts."""
    length: int
    """Bytes of data."""

    @property
    def label(self) -> str:
        """The file to name when something is wrong with the label, as reports may name it."""
        return self.shown(self.file)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it is read from."""
        return (self.file,)


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationItem(_Labelled):
    """A DICOM image and the frames of a DICOM SEG object that refer to it."""

    image: str
    """The DICOM image file."""
    segmentation: str
    """The DICOM SEG file."""
    instance_number: int | None = None
    """Number of the image in its series."""
    slice_index: int | None = None
    """0-based slice from the images' positions."""
    phase_index: int | None = None
    """0-based phase from the images' trigger times."""

    @property
    def label(self) -> str:
        """The file to name when something is wrong with the label, as reports may name it."""
        return self.shown(self.segmentation)

    def shown(self, file: str) -> str:
        """One of this item's files as reports may name it; folders of any DICOM tree may be names of persons."""
        return masked_path(file, self.case_id)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it is read from."""
        return (self.image, self.segmentation)


Item: TypeAlias = DicomItem | PairItem | CourseItem | SegmentationItem


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """What is listed at once: a patient, or a file of many records. Names of items are unique over all units."""

    case_id: str
    """The patient's pseudonym; of a file of many patients, the file's name."""
    group: str | None = None
    """Pathology group, where it is known."""
    folders: tuple[str, ...]
    """Folders or files of this unit, relative to the source; what each is, the layout knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The labelled images of a unit, or of a whole source."""

    items: tuple[Item, ...]
    """What can be loaded; by case, then image number."""
    skipped: tuple[Skip, ...] = ()
    """What was left out, by file."""
    decisions: tuple[Decision, ...] = ()
    """What was chosen, and why."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with the files' headers."""
    unlabelled_images: int = 0
    """DICOM images without a contour: normal in a cine, where two phases are drawn."""


class Source(Protocol):
    """A source folder whose layout is known. Small and picklable: any node can list a unit of it."""

    @property
    def layout(self) -> SourceLayout:
        """The layout that was recognised."""

    @property
    def folder(self) -> UPath:
        """The source folder."""

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """All units in natural order, and what was left out or decided on the way; reads names, no images."""

    def list_unit(self, unit: Unit) -> Listing:
        """List one unit; reads names and, where the layout needs them, headers.

        A unit that cannot be used at all is an empty listing whose skips say why; it never raises for one bad file.
        """


@dataclass(slots=True)
class Collector:
    """Gathers a listing; every name is taken once."""

    folder: UPath
    items: dict[str, Item] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unlabelled_images: int = 0

    def skip(self, path: UPath | str, reason: str, case_id: str = "") -> None:
        """Leave a file or folder out; with a case id that is a pseudonym, the path shows no original name."""
        self.skipped.append(Skip(self.shown(path, case_id), reason))

    def shown(self, path: UPath | str, case_id: str = "") -> str:
        """A path as reports may name it."""
        return public_path(path if isinstance(path, str) else self.relative(path), case_id)

    def add(self, item: Item) -> None:
        """Take an item, or skip it when its name is taken."""
        if other := self.items.get(item.name):
            reason = f"same name {item.name} as {self.shown(other.label, other.case_id)}"
            self.skip(item.label, reason, item.case_id)
        else:
            self.items[item.name] = item

    def relative(self, path: UPath) -> str:
        """A path as it stands in the listing."""
        return path.relative_to(self.folder).as_posix()

    def finish(self) -> Listing:
        """Sort and freeze."""
        return Listing(
            items=tuple(
                sorted(self.items.values(), key=lambda item: (natural_key(item.case_id), natural_key(item.name)))
            ),
            skipped=tuple(sorted(self.skipped, key=lambda skip: (skip.file, skip.reason))),
            decisions=tuple(self.decisions),
            findings=tuple(self.findings),
            unlabelled_images=self.unlabelled_images,
        )


def natural_key(text: str) -> list[str | int]:
    """Sort key that reads digits as numbers; text and numbers alternate, so keys always compare."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]


def visible(folder: UPath) -> list[UPath]:
    """Entries of a folder in order, without hidden files and file managers' clutter.

    Raises:
        SourceError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror or error}") from None
    return [entry for entry in entries if not _is_clutter(entry.name)]


def walk(folder: UPath, levels: int) -> Iterator[tuple[UPath, list[str], list[str]]]:
    """A folder and those below it, each with the sorted names of its folders and of its files; clutter is left out.

    One request a folder, also in an object store, where asking each entry what it is would be a request an entry.

    Args:
        folder: where to start.
        levels: how many levels of folders to list; 1 is the folder alone.

    Yields:
        Folder, names of its folders, names of its files. Names taken out of the list of folders are not entered.
    """
    tree = _walk_local(Path(folder.path), levels) if is_local(folder) else folder.fs.walk(folder.path, maxdepth=levels)
    top: str | None = None
    for path, folders, files in tree:
        top = path if top is None else top
        folders[:] = sorted(name for name in folders if not _is_clutter(name))
        below = path.removeprefix(top).strip("/")
        yield folder / below if below else folder, folders, sorted(n for n in files if n and not _is_clutter(n))


def _walk_local(folder: Path, levels: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """``os.walk`` into linked folders too, which people use for data; the levels end a circle of links."""
    for path, folders, files in os.walk(folder, followlinks=True):
        yield Path(path).as_posix(), folders, files
        if len(Path(path).relative_to(folder).parts) + 1 >= levels:
            folders.clear()


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER
