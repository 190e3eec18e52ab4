"""Contour files of the Sunnybrook challenge: one ``x y`` pair a line, pixels, 1-based; one file a contour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import ContourError, SourceError
from lvseg.rasterize import check_contour
from lvseg.sources.listing import Collector, walk
from lvseg.store import UPath

__all__ = ["CONTOUR_FILE", "ContourFiles", "find_contours", "parse_contour", "read_contour"]

CONTOUR_FILE = re.compile(r"IM-\d+-(?P<number>\d+)-(?P<kind>i|o|p1|p2)contour-manual\.txt", re.IGNORECASE)
"""Names of manual contours; kind i is the endocardium, o the epicardium, p1 and p2 the papillary muscles."""

LEVELS = 5
"""Levels of folders below a patient's contour folder that are looked at."""


@dataclass(frozen=True, slots=True)
class ContourFiles:
    """The contour files of one image."""

    by_kind: dict[str, UPath] = field(default_factory=dict)
    """i, o, p1, p2 → file."""

    @property
    def endocardium(self) -> UPath | None:
        """Border of the cavity."""
        return self.by_kind.get("i")

    @property
    def epicardium(self) -> UPath | None:
        """Outer border of the myocardium."""
        return self.by_kind.get("o")

    @property
    def papillaries(self) -> tuple[UPath, ...]:
        """Papillary muscles."""
        return tuple(self.by_kind[kind] for kind in ("p1", "p2") if kind in self.by_kind)


def find_contours(folder: UPath, found: Collector, case_id: str) -> dict[int, ContourFiles]:
    """A patient's contour files by image number; reads names only.

    Args:
        folder: the patient's contour folder; contours may lie in folders below.
        found: gets what is left out: other files, and second contours of an image.
        case_id: the patient's.
    """
    contours: dict[int, ContourFiles] = {}
    for parent, _, names in walk(folder, LEVELS):
        for name in names:
            path = parent / name
            match = CONTOUR_FILE.fullmatch(name)
            if not match:
                reason = "not a manual contour, expected a name like IM-0001-0048-icontour-manual.txt"
                found.skip(path, reason, case_id)
                continue
            files = contours.setdefault(int(match["number"]), ContourFiles()).by_kind
            if (other := files.setdefault(match["kind"].lower(), path)) != path:
                found.skip(path, f"same image number as {found.shown(other, case_id)}", case_id)
    return contours


def read_contour(path: UPath | Path) -> NDArray[np.float64]:
    """Read a contour file.

    Returns:
        (N, 2) float64, (column, row) in pixels as in the file, 1-based.

    Raises:
        SourceError: the file cannot be read.
        ContourError: fewer than three points, lines that are not two finite numbers, or no area.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_contour(data, str(path))


def parse_contour(data: bytes, name: str) -> NDArray[np.float64]:
    """The same from bytes already read; the name is for messages."""
    lines = data.decode("utf-8", errors="replace").splitlines()
    contour = _points(lines, name)
    try:
        check_contour(contour)
    except ContourError as error:
        raise ContourError(f"{name}: {error}") from None
    return contour


def _points(lines: Sequence[str], name: str) -> NDArray[np.float64]:
    pairs = [pair for line in lines if (pair := line.split())]
    try:
        numbers = [float(number) for x, y in pairs for number in (x, y)]
    except ValueError:  # look line by line which it is
        numbers = [
            number for at, line in enumerate(lines, start=1) if line.strip() for number in _point(line, at, name)
        ]
    return np.array(numbers, np.float64).reshape(-1, 2)


def _point(line: str, number: int, name: str) -> tuple[float, float]:
    try:
        x, y = line.split()
        return float(x), float(y)
    except ValueError:
        raise ContourError(f"{name}: line {number}: expected two numbers, found {line.strip()[:40]!r}") from None
