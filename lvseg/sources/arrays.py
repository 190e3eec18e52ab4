"""Image and mask files → arrays: PNG, TIFF, NumPy, NIfTI.

An array is (rows, columns), of a volume (rows, columns, slices) or (rows, columns, slices, phases).
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lvseg.errors import SourceError
from lvseg.sources.nifti import Geometry, parse_nifti, read_nifti_shape
from lvseg.store import UPath

__all__ = ["NIFTI", "SUFFIXES", "Array", "as_grey", "as_pixels", "read_array", "read_shape", "split_suffix"]

PICTURES = (".png", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
SUFFIXES = (*PICTURES, ".npy", ".npz", *NIFTI)
COLOUR_MODES = ("P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """What an image or mask file holds."""

    values: NDArray[Any]
    """(rows, columns[, slices[, phases]]) in the stored type."""
    geometry: Geometry | None
    """Where it lies; None where the format does not say."""
    sha256: str
    """Hash over the file's bytes."""


def split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix in lower case of a file name: ``scan.nii.gz`` → ``scan``, ``.nii.gz``; empty where unknown."""
    suffixes = [suffix for suffix in SUFFIXES if name.lower().endswith(suffix)]
    suffix = max(suffixes, key=len, default="")
    return name[: len(name) - len(suffix)], suffix


def read_shape(path: UPath, name: str) -> tuple[int, ...]:
    """Shape of the array, from the header alone; () for pictures, which hold one image.

    Args:
        path: the file.
        name: how messages name it.

    Raises:
        SourceError: the file is missing or damaged.
    """
    suffix = split_suffix(path.name)[1]
    if suffix in PICTURES:
        return ()
    try:
        with path.open("rb") as file:
            return read_nifti_shape(file, suffix == ".nii.gz") if suffix in NIFTI else _numpy_shape(file, suffix)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {_cause(error)}") from None
    except Exception as error:  # a damaged file can make a decoder raise nearly anything
        raise SourceError(f"{name}: {suffix[1:]} file cannot be used: {_cause(error)}") from None


def _numpy_shape(file: BinaryIO, suffix: str) -> tuple[int, ...]:
    if suffix == ".npz":
        with zipfile.ZipFile(file) as archive, archive.open(_only_member(archive)) as member:
            return _npy_shape(member)
    return _npy_shape(file)


def _npy_shape(file: Any) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape: tuple[int, ...] = read(file)[0]
    return shape


def _only_member(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    if len(names) != 1:
        raise ValueError(f"expected one array, found {len(names)}: {', '.join(names[:4])}")
    return names[0]


def read_array(path: UPath, name: str) -> Array:
    """Read and decode a file.

    Args:
        path: the file.
        name: how messages name it.

    Raises:
        SourceError: missing, damaged, cut short, or coloured.
    """
    suffix = split_suffix(path.name)[1]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {_cause(error)}") from None
    try:
        values, geometry = _decode(data, suffix)
    except UnidentifiedImageError:
        raise SourceError(f"{name}: not a {suffix[1:]} file") from None
    except Exception as error:  # a damaged file can make a decoder raise nearly anything
        raise SourceError(f"{name}: {suffix[1:]} file cannot be used: {_cause(error)}") from None
    return Array(values, geometry, hashlib.sha256(data).hexdigest())


def _cause(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _decode(data: bytes, suffix: str) -> tuple[NDArray[Any], Geometry | None]:
    if suffix in NIFTI:
        return parse_nifti(data)
    if suffix == ".npy":
        return _read_npy(BytesIO(data)), None
    if suffix == ".npz":
        with zipfile.ZipFile(BytesIO(data)) as archive, archive.open(_only_member(archive)) as member:
            return _read_npy(member), None
    return _read_picture(data), None


def _read_npy(file: Any) -> NDArray[Any]:
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _read_picture(data: bytes) -> NDArray[Any]:
    with Image.open(BytesIO(data), formats=("PNG", "TIFF")) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise ValueError("expected one image, found several frames")
        if picture.mode not in COLOUR_MODES:
            return np.asarray(picture)
        if any("16" in str(tile.args) for tile in picture.tile):  # Pillow would drop the lower 8 bits
            raise ValueError("expected a grey image, found colour of 16 bits")
        return as_grey(np.asarray(picture.convert("RGB")))


def as_grey(colour: NDArray[Any]) -> NDArray[Any]:
    """(rows, columns) of an image of three equal channels, with or without a fourth for opacity.

    Raises:
        ValueError: the channels differ.
    """
    if (colour[..., 1:3] != colour[..., :1]).any():
        raise ValueError("colour image, expected grey (one channel, or three that are equal)")
    return colour[..., 0]


def as_pixels(values: NDArray[Any], file: str) -> NDArray[Any]:
    """Pixel values in the type that records keep.

    uint8, int16 and uint16 stay as they are. Wider integers become int16 where all values fit, else uint16.
    Floating point becomes float32.

    Returns:
        The same shape; native byte order.

    Raises:
        SourceError: no numbers, integers that do not fit 16 bits, NaN or infinity, no pixels; names the file.
    """
    if values.dtype.kind not in "iubf" or not values.size:
        raise SourceError(f"{file}: {values.size} pixels of type {values.dtype}, expected integers or floating point")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise SourceError(f"{file}: pixels that are NaN or infinite, expected finite numbers")
        return values.astype(np.float32)
    if values.dtype.kind == "b" or values.dtype.itemsize == 1:
        return values.astype(np.int16 if values.dtype.kind == "i" else np.uint8)
    if values.dtype.itemsize == 2:
        return values.astype(values.dtype.newbyteorder("="))
    low, high = int(values.min()), int(values.max())
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    raise SourceError(f"{file}: pixel values {low} to {high}, expected 16 bits at most")
