"""The two things to do with a source folder: list what it holds, load one item of the list."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

from lvseg.config import RasterConvention
from lvseg.errors import ContourError, SourceError
from lvseg.rasterize import rasterize
from lvseg.slices import Place, Slice
from lvseg.sources.cases import StemParts
from lvseg.sources.contours import contour_number, parse_contour
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.linked import find_linked, list_linked
from lvseg.sources.listing import Item, LinkedItem, Listing, PairItem, visible
from lvseg.sources.pairs import find_pairs, list_pairs, parse_image, parse_mask

__all__ = ["discover", "load"]

LOOKED_FOR = {
    "linked": "link.csv with dicoms/ and contourfiles/ (here or one folder down)",
    "pairs": "images/ beside masks/ (at any depth)",
}


def discover(folder: Path, layout: Literal["auto", "linked", "pairs"] = "auto") -> Listing:
    """List the labelled images below a folder; reads names and link.csv, no pixels.

    Args:
        folder: the source folder. The items' paths start with it as given: make it absolute where they are
            loaded from another working directory.
        layout: ``auto`` looks at what is there.

    Raises:
        SourceError: the folder is missing, empty, in no known layout, in several at once, or has no labelled image.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: " + ("a file, expected a folder" if folder.exists() else "no such folder"))
    if not visible(folder):
        raise SourceError(f"{folder}: the folder is empty")
    linked = find_linked(folder) if layout != "pairs" else []
    pairs = find_pairs(folder) if layout != "linked" else []
    pairs = [root for root in pairs if not any(root.is_relative_to(tree) for tree in linked)]
    if len(linked) + bool(pairs) > 1:
        several = ", ".join(str(root) for root in linked + pairs)
        raise SourceError(f"{folder}: several source folders in it, choose one: {several}")
    if linked:
        return list_linked(linked[0], folder)
    if pairs:
        return list_pairs(pairs, folder)
    raise SourceError(_nothing_recognised(folder, layout))


def _nothing_recognised(folder: Path, layout: str) -> str:
    names = [entry.name for entry in visible(folder)]
    there = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    looked_for = "; ".join(text for name, text in LOOKED_FOR.items() if layout in ("auto", name))
    return f"{folder}: no known layout; looked for {looked_for}; found {there}"


def load(item: Item, labels: RasterConvention) -> Slice:
    """Read one labelled image.

    Args:
        item: from ``discover``.
        labels: how a contour becomes a mask; masks that come as files are taken as they are.

    Raises:
        SourceError: a file is missing, damaged, or not what is expected; names the file.
        ContourError: the contour is none, or is not on its image.
    """
    return _load_linked(item, labels) if isinstance(item, LinkedItem) else _load_pair(item)


def _load_linked(item: LinkedItem, labels: RasterConvention) -> Slice:
    dicom, contour_file = _read(item.dicom), _read(item.contour)
    image, place = parse_dicom(dicom, item.dicom)
    number = contour_number(item.contour)
    if place.instance_number is None:
        place = dataclasses.replace(place, instance_number=number)
    elif place.instance_number != number:
        found = place.instance_number
        raise SourceError(f"{item.dicom}: InstanceNumber is {found}, but its contour is numbered {number}")
    contour = parse_contour(contour_file, item.contour)
    try:
        mask = rasterize(contour, (image.shape[0], image.shape[1]), labels)
    except ContourError as error:
        raise ContourError(f"{item.contour}: {error}") from None
    return Slice(
        name=item.name,
        case_id=item.case_id,
        image=image,
        mask=mask,
        place=place,
        contour_xy_px=contour,
        source_sha256=_sha256(dicom, contour_file),
    )


def _load_pair(item: PairItem) -> Slice:
    image_file, mask_file = _read(item.image), _read(item.mask)
    image, mask = parse_image(image_file, item.image), parse_mask(mask_file, item.mask)
    if mask.shape != image.shape:
        sizes = f"{mask.shape[0]}x{mask.shape[1]}, but its image is {image.shape[0]}x{image.shape[1]}"
        raise SourceError(f"{item.mask}: mask is {sizes} (rowsxcolumns)")
    return Slice(
        name=item.name,
        case_id=item.case_id,
        image=image,
        mask=mask,
        place=Place(instance_number=StemParts.parse(item.image.stem).instance_number),
        source_sha256=_sha256(image_file, mask_file),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None


def _sha256(*files: bytes) -> str:
    return hashlib.sha256(b"".join(files)).hexdigest()
