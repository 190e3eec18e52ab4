"""What a source folder holds: items that can be loaded, files left out and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from lvseg.errors import SourceError

__all__ = ["Collector", "Item", "Layout", "LinkedItem", "Listing", "PairItem", "Skip", "visible"]

Layout = Literal["linked", "pairs"]

CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What file managers leave behind, besides names that start with a dot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkedItem:
    """A DICOM image and its endocardium contour."""

    name: str
    """Name of the slice."""
    case_id: str
    """The patient's pseudonym."""
    dicom: Path
    """The image."""
    contour: Path
    """The contour file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairItem:
    """An image and its mask of the same name."""

    name: str
    """Name of the slice."""
    case_id: str
    """The patient's pseudonym."""
    image: Path
    """The image."""
    mask: Path
    """The mask."""


Item: TypeAlias = LinkedItem | PairItem


@dataclass(frozen=True, slots=True)
class Skip:
    """A file or folder that was left out."""

    file: str
    """Path relative to the source folder, with forward slashes."""
    reason: str
    """Why, in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The labelled images of a source folder. Paths start with the folder as it was given."""

    layout: Layout
    """The layout that was recognised."""
    items: tuple[Item, ...]
    """What can be loaded, at least one; by case, then image number."""
    skipped: tuple[Skip, ...]
    """What was left out, by file."""
    unlabelled_images: int = 0
    """DICOM images without a contour: normal in a cine, where two phases are drawn."""


@dataclass(slots=True)
class Collector:
    """Gathers a listing; every name is taken once."""

    folder: Path
    items: dict[str, Item] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    unlabelled_images: int = 0

    def skip(self, path: Path, reason: str) -> None:
        """Leave a file or folder out."""
        self.skipped.append(Skip(self.relative(path), reason))

    def add(self, item: Item) -> None:
        """Take an item, or skip it when its name is taken."""
        if other := self.items.get(item.name):
            self.skip(_label_file(item), f"same name {item.name} as {self.relative(_label_file(other))}")
        else:
            self.items[item.name] = item

    def relative(self, path: Path) -> str:
        """A path as it stands in the listing."""
        return path.relative_to(self.folder).as_posix()

    def finish(self, layout: Layout) -> Listing:
        """Sort and freeze.

        Raises:
            SourceError: there is nothing to load.
        """
        skipped = tuple(sorted(self.skipped, key=lambda skip: (skip.file, skip.reason)))
        if not self.items:
            first = f"; first of {len(skipped)} left out: {skipped[0].file}: {skipped[0].reason}" if skipped else ""
            raise SourceError(f"{self.folder}: no labelled image found{first}")
        items = tuple(sorted(self.items.values(), key=lambda item: (_natural(item.case_id), _natural(item.name))))
        return Listing(layout=layout, items=items, skipped=skipped, unlabelled_images=self.unlabelled_images)


def _label_file(item: Item) -> Path:
    return item.contour if isinstance(item, LinkedItem) else item.image


def _natural(text: str) -> list[str | int]:
    """Sort key that reads digits as numbers; text and numbers alternate, so keys always compare."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in order, without hidden files and file managers' clutter.

    Raises:
        SourceError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror}") from None
    return [entry for entry in entries if not (entry.name.startswith(".") or entry.name.lower() in CLUTTER)]
