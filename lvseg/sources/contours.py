"""Contour files of the Sunnybrook challenge: one ``x y`` pair a line, pixels, 1-based."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import ContourError, SourceError
from lvseg.rasterize import check_contour

__all__ = ["CONTOUR_FILE", "contour_number", "parse_contour", "read_contour"]

CONTOUR_FILE = re.compile(r"IM-\d+-(?P<number>\d+)-(?P<kind>i|o|p1|p2)contour-manual\.txt", re.IGNORECASE)
"""Names of manual contours; kind i is the endocardium, o the epicardium, p1 and p2 the papillary muscles."""


def contour_number(path: Path) -> int:
    """Image number in a contour file's name.

    Raises:
        SourceError: the name is not that of a manual contour.
    """
    match = CONTOUR_FILE.fullmatch(path.name)
    if not match:
        raise SourceError(f"{path}: expected a name like IM-0001-0048-icontour-manual.txt")
    return int(match["number"])


def read_contour(path: Path) -> NDArray[np.float64]:
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
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_contour(data, path)


def parse_contour(data: bytes, path: Path) -> NDArray[np.float64]:
    """The same from bytes already read; the path is for messages."""
    lines = data.decode("utf-8", errors="replace").splitlines()
    points = [_point(line, number, path) for number, line in enumerate(lines, start=1) if line.strip()]
    contour = np.array(points, np.float64).reshape(-1, 2)
    try:
        check_contour(contour)
    except ContourError as error:
        raise ContourError(f"{path}: {error}") from None
    return contour


def _point(line: str, number: int, path: Path) -> tuple[float, float]:
    try:
        x, y = line.split()
        return float(x), float(y)
    except ValueError:
        raise ContourError(f"{path}: line {number}: expected two numbers, found {line.strip()[:40]!r}") from None
