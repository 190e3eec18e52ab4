"""A DICOM image and its contours → a slice."""

from __future__ import annotations

import dataclasses
import hashlib
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from lvseg.config import ConvertConfig
from lvseg.errors import ContourError, SourceError
from lvseg.rasterize import check_on_image, label_mask
from lvseg.slices import Contours, Slice
from lvseg.sources.contours import parse_contour
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.listing import DicomItem
from lvseg.sources.pseudonym import public_path
from lvseg.store import UPath, read_file

__all__ = ["load_dicom_item"]


def load_dicom_item(folder: UPath, item: DicomItem, config: ConvertConfig) -> Slice:
    """Read an image with its contours, as they are in the files.

    An epicardium or papillary contour that cannot be used is left out, unless the structures need it.

    Args:
        folder: the source folder.
        item: its paths are relative to the folder.
        config: ``labels`` (default: centre) and ``structures`` make the mask.

    Raises:
        SourceError: a file is missing, damaged, or not what is expected; names it relative to the folder.
        ContourError: a contour that is needed is none, or is not on its image.
    """
    reader = _Reader(folder, item)
    image = parse_dicom(reader.read(item.image), reader.shown(item.image))
    number = image.place.instance_number
    if number not in (None, item.instance_number):
        found = f"InstanceNumber is {number}, but its contour is numbered {item.instance_number}"
        raise SourceError(f"{reader.shown(item.image)}: {found}")
    shape = (image.pixels.shape[0], image.pixels.shape[1])
    contours = _contours(reader, item, shape, needs_epicardium=config.structures == "endo+myo")
    return Slice(
        name=item.name,
        case_id=item.case_id,
        group=item.group,
        image=image.pixels,
        mask=label_mask(contours, shape, config.labels or "centre", config.structures),
        place=dataclasses.replace(
            image.place,
            instance_number=item.instance_number,
            slice_index=item.slice_index,
            phase_index=item.phase_index,
        ),
        contours=contours,
        source_sha256=reader.sha256.hexdigest(),
        instance_key=image.instance_key,
    )


class _Reader:
    """Reads an item's files and hashes them together, in the order of reading."""

    def __init__(self, folder: UPath, item: DicomItem) -> None:
        self.sha256 = hashlib.sha256()
        self._folder, self._case_id = folder, item.case_id

    def shown(self, path: str) -> str:
        return public_path(path, self._case_id)

    def read(self, path: str) -> bytes:
        try:
            data = read_file(self._folder, path)
        except OSError as error:
            raise SourceError(f"{self.shown(path)}: cannot be read: {error.strerror or type(error).__name__}") from None
        self.sha256.update(data)
        return data

    def contour(self, path: str, shape: tuple[int, int]) -> NDArray[np.float64]:
        """A contour that lies on its image."""
        points = parse_contour(self.read(path), self.shown(path))
        try:
            check_on_image(points, shape)
        except ContourError as error:
            raise ContourError(f"{self.shown(path)}: {error}") from None
        return points


def _contours(reader: _Reader, item: DicomItem, shape: tuple[int, int], *, needs_epicardium: bool) -> Contours:
    endocardium = reader.contour(item.endocardium, shape)
    if needs_epicardium and item.epicardium is None:
        raise SourceError(f"{reader.shown(item.endocardium)}: the image has no epicardium contour")
    epicardium = None
    if item.epicardium is not None:
        try:
            epicardium = reader.contour(item.epicardium, shape)
        except SourceError:
            if needs_epicardium:
                raise
    papillaries = []
    for path in item.papillaries:
        with suppress(SourceError):
            papillaries.append(reader.contour(path, shape))
    return Contours(endocardium=endocardium, epicardium=epicardium, papillaries=tuple(papillaries))
