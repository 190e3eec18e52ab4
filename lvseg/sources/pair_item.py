"""One image–mask pair, or one plane of a pair of volumes → Slice."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.slices import Place, Slice
from lvseg.sources.arrays import Array, as_grey, as_pixels, read_array, split_suffix
from lvseg.sources.cases import StemParts
from lvseg.sources.listing import PairItem
from lvseg.sources.masks import as_classes, check_myocardium
from lvseg.store import UPath, stamp

__all__ = ["load_pair"]

T = TypeVar("T", bound=np.generic)


def load_pair(folder: UPath, item: PairItem, config: ConvertConfig) -> Slice:
    """Read an image and its mask; of volumes one plane. Volumes are decoded once for all their planes.

    Args:
        folder: the source folder.
        item: from the listing.
        config: what the mask's values mean, and which classes are wanted.

    Raises:
        SourceError: a file is missing, damaged, or not what is expected; names the file.
    """
    image_file, mask_file = folder / item.image, folder / item.mask
    if item.plane:
        image = _read_volume(image_file, item.image, _version(image_file, item.image))
        mask, mask_sha256 = _read_volume_mask(mask_file, item.mask, _version(mask_file, item.mask), config)
    else:
        image = _read_image(image_file, item.image)
        array = read_array(mask_file, item.mask)
        mask, mask_sha256 = as_classes(array.values, config, item.mask), array.sha256
    _check_sizes(image.values, mask, item)
    if config.structures == "endo+myo":
        check_myocardium(mask[..., item.plane[1]] if len(item.plane) == 2 else mask, item.mask)
    return Slice(
        name=item.name,
        case_id=item.case_id,
        group=item.group,
        image=_plane(image.values, item.plane),
        mask=_plane(mask, item.plane),
        place=_place(image, item),
        source_sha256=hashlib.sha256(f"{image.sha256} {mask_sha256} {item.plane}".encode()).hexdigest(),
    )


def _plane(array: NDArray[T], plane: tuple[int, ...]) -> NDArray[T]:
    """(rows, columns), a copy: what is kept in memory must not be written to."""
    for index in reversed(plane):
        array = array[..., index]
    return array.copy(order="C")


def _read_image(file: UPath, name: str) -> Array:
    array = read_array(file, name)
    values = array.values
    if values.ndim == 3 and values.shape[2] in (3, 4):
        try:
            values = as_grey(values)
        except ValueError as error:
            raise SourceError(f"{name}: {error}") from None
    return dataclasses.replace(array, values=as_pixels(values, name))


@lru_cache(maxsize=1)
def _read_volume(file: UPath, name: str, version: str) -> Array:
    array = read_array(file, name)
    return dataclasses.replace(array, values=as_pixels(array.values, name))


@lru_cache(maxsize=1)
def _read_volume_mask(file: UPath, name: str, version: str, config: ConvertConfig) -> tuple[NDArray[np.uint8], str]:
    array = read_array(file, name)
    return as_classes(array.values, config, name), array.sha256


def _version(file: UPath, name: str) -> str:
    """Tells a file from an older one of the same name that may still be in memory."""
    try:
        return stamp(file)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror or error}") from None


def _check_sizes(image: NDArray[Any], mask: NDArray[np.uint8], item: PairItem) -> None:
    if mask.ndim != 2 + len(item.plane):
        raise SourceError(f"{item.mask}: array of shape {mask.shape}, expected {2 + len(item.plane)} axes")
    if mask.shape != image.shape:
        sizes = ["x".join(map(str, array.shape)) for array in (mask, image)]
        raise SourceError(f"{item.mask}: mask is {sizes[0]}, but its image is {sizes[1]} (rowsxcolumns…)")


def _place(image: Array, item: PairItem) -> Place:
    if image.geometry is not None:
        place = image.geometry.place(item.plane)
    else:
        slice_index, phase_index = (*item.plane, None, None)[:2]
        place = Place(slice_index=slice_index, phase_index=phase_index)
    number = StemParts.parse(split_suffix(PurePosixPath(item.mask).name)[0]).instance_number
    return dataclasses.replace(place, instance_number=number)
