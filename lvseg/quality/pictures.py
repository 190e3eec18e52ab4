"""Pictures of findings: the image around the heart with its contours, beside it the slices that are the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.findings import Finding
from lvseg.quality.checks import spread
from lvseg.quality.facts import ASSUMED_FIELD_OF_VIEW_MM
from lvseg.slices import CAVITY, MYOCARDIUM, Contours, Slice
from lvseg.sources import load
from lvseg.sources.contours import parse_contour
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.listing import DicomItem, Item
from lvseg.store import UPath

__all__ = ["MEDIA_TYPE", "MOST_PICTURES", "draw", "join", "panel", "shown_names", "to_be_shown"]

MOST_PICTURES = 200
"""Findings with a picture; about 3 MB in all."""
MOST_OTHERS = 2
"""Slices beside the one that the finding is about."""

MEDIA_TYPE = "image/webp"
QUALITY = 80
SIDE = 320
"""Pixels of a panel, square."""
FIELD_MM = 120.0
"""Smallest side of what a panel shows: a heart and its surroundings; the same for slices that are compared."""
MARGIN = 1.15
"""Side of a panel around contours that need more."""
WINDOW = (1.0, 99.5)
"""Percentiles of the shown part that become black and white."""
SHIFT = 4
"""Binary digits after the point in OpenCV's coordinates."""

ENDOCARDIUM, EPICARDIUM, PAPILLARY = (80, 200, 80), (250, 120, 60), (235, 210, 80)
"""Red, green, blue."""


def to_be_shown(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that get a picture: of every check some, errors before warnings before notes."""
    return spread((finding for finding in findings if finding.name or finding.others), MOST_PICTURES)


def shown_names(finding: Finding) -> tuple[str, ...]:
    """Names of the slices in a finding's picture, left to right."""
    return (*([finding.name] if finding.name else []), *finding.others[:MOST_OTHERS])


def panel(folder: UPath, item: Item, config: ConvertConfig) -> bytes | None:
    """One slice as an encoded picture; None where even its image cannot be read."""
    try:
        return draw(load(folder, item, config))
    except SourceError:
        pass
    if not isinstance(item, DicomItem):
        return None
    try:
        return draw(_image_with_what_there_is(folder, item))
    except (SourceError, OSError):
        return None


def _image_with_what_there_is(folder: UPath, item: DicomItem) -> Slice:
    """The image of a slice that cannot be loaded, with those of its contours that can be parsed, on it or off."""
    image = parse_dicom((folder / item.image).read_bytes(), item.name)
    found: dict[str, NDArray[np.float64]] = {}
    for kind, file in (("endocardium", item.endocardium), ("epicardium", item.epicardium)):
        with suppress(SourceError, OSError):
            if file is not None:
                found[kind] = parse_contour((folder / file).read_bytes(), item.name)
    return Slice(
        name=item.name,
        case_id=item.case_id,
        image=image.pixels,
        mask=np.zeros(image.pixels.shape, np.uint8),
        place=image.place,
        contours=Contours(endocardium=found.get("endocardium"), epicardium=found.get("epicardium")),
    )


def join(findings: Iterable[Finding], panels: Mapping[str, bytes]) -> dict[Finding, bytes]:
    """Pictures of findings from the panels of their slices; findings without any panel have none."""
    pictures = {}
    for finding in findings:
        found = [panels[name] for name in shown_names(finding) if name in panels]
        if found:
            images = [np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data in found]
            pictures[finding] = found[0] if len(found) == 1 else _encode(np.concatenate(images, axis=1))
    return pictures


def draw(item: Slice) -> bytes:
    """The image around the heart, endocardium green, epicardium orange, papillary muscles yellow."""
    left, top, side = _crop(item)
    zoom = SIDE / side
    move = np.array([[zoom, 0, zoom * (0.5 - left) - 0.5], [0, zoom, zoom * (0.5 - top) - 0.5]])
    grey = cv2.warpAffine(_shades(item.image, left, top, side), move, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    canvas = cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    for points, color in _outlines(item):
        placed = (points - [left, top] + 0.5) * zoom - 0.5
        fixed = np.rint(placed * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [fixed], True, color, 2, cv2.LINE_AA, SHIFT)
    return _encode(canvas)


def _shades(image: NDArray[Any], left: float, top: float, side: float) -> NDArray[np.float32]:
    """(rows, columns) 0 to 255, by the values in the shown part."""
    rows, columns = (slice(max(int(start), 0), max(int(start + side), 1)) for start in (top, left))
    shown = image[rows, columns] if image[rows, columns].size else image
    low, high = np.percentile(shown, WINDOW)
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / ((high - low) or 1.0))
    return np.asarray(np.clip(scaled, 0, 255), np.float32)


def _crop(item: Slice) -> tuple[float, float, float]:
    """(left, top, side), pixels, of the square that is shown: around the contours, within the image if they are."""
    rows, columns = item.image.shape
    spacing = math.sqrt(math.prod(item.place.pixel_spacing)) if item.place.pixel_spacing else None
    mm_per_px = spacing or ASSUMED_FIELD_OF_VIEW_MM / columns
    points = [outline for outline, _ in _outlines(item)]
    if not points:
        side = float(max(rows, columns))
        return (columns - side) / 2, (rows - side) / 2, side
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    side = max(FIELD_MM / mm_per_px, MARGIN * float((high - low).max()))
    left, top = (low + high) / 2 - side / 2
    if side < min(rows, columns) and (low >= -0.5).all() and (high <= [columns - 0.5, rows - 0.5]).all():
        left, top = min(max(left, 0), columns - side), min(max(top, 0), rows - side)
    return float(left), float(top), side


def _outlines(item: Slice) -> Iterator[tuple[NDArray[np.float64], tuple[int, int, int]]]:
    """0-based outlines with their colours: the contours, else the outlines of the mask."""
    contours = item.contours
    if contours.endocardium is None and contours.epicardium is None:
        for values, color in (((CAVITY,), ENDOCARDIUM), ((CAVITY, MYOCARDIUM), EPICARDIUM)):
            if np.isin(item.mask, values[-1:]).any():
                yield from ((outline, color) for outline in _mask_outlines(np.isin(item.mask, values)))
        return
    for name, points in contours.named():
        yield points - 1.0, {"endocardium": ENDOCARDIUM, "epicardium": EPICARDIUM}.get(name, PAPILLARY)


def _mask_outlines(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Outlines along the pixels' edges, traced on a mask of three times the size."""
    large = np.kron(mask.view(np.uint8), np.ones((3, 3), np.uint8)).astype(np.uint8)
    for outline in cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]:
        yield (outline[:, 0, :].astype(np.float64) - 1.0) / 3.0


def _encode(canvas: NDArray[Any]) -> bytes:
    data = BytesIO()
    Image.fromarray(canvas).save(data, "WEBP", quality=QUALITY, method=4)
    return data.getvalue()
