"""The pairs layout: ``images/NAME.png`` and ``masks/NAME.png``, anywhere below the source folder."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lvseg.errors import SourceError
from lvseg.sources.cases import StemParts
from lvseg.sources.listing import Collector, Listing, PairItem, visible

__all__ = ["find_pairs", "list_pairs", "parse_image", "parse_mask"]

EXTENSIONS = (".png", ".tif", ".tiff", ".npy")
IMAGE_TYPES = ("uint8", "uint16", "int16")
COLOUR_MODES = ("P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
MASK_VALUES = ({0, 1}, {0, 255})


def find_pairs(folder: Path) -> list[Path]:
    """Every folder that holds both ``images`` and ``masks``, in order."""
    found = []
    for parent, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if {"images", "masks"} <= set(names):
            found.append(Path(parent))
    return found


def list_pairs(roots: list[Path], folder: Path) -> Listing:
    """Match images with masks by name; reads file names only.

    Args:
        roots: folders that hold ``images`` and ``masks``.
        folder: the source folder; skipped files are named relative to it.

    Raises:
        SourceError: no image has a mask.
    """
    found = Collector(folder)
    for root in roots:
        images, masks = (_by_stem(root / part, found) for part in ("images", "masks"))
        for stem, image in images.items():
            if stem in masks:
                name, case_id, _ = StemParts.parse(stem)
                found.add(PairItem(name=name, case_id=case_id, image=image, mask=masks[stem]))
            else:
                found.skip(image, "image without mask")
        for stem in sorted(masks.keys() - images.keys()):
            found.skip(masks[stem], "mask without image")
    return found.finish("pairs")


def _by_stem(folder: Path, found: Collector) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in visible(folder):
        if path.suffix.lower() not in EXTENSIONS:
            found.skip(path, f"not an image file, expected {', '.join(EXTENSIONS)}")
        elif (other := files.setdefault(path.stem, path)) != path:
            found.skip(path, f"same name {path.stem} as {found.relative(other)}")
    return files


def parse_image(data: bytes, path: Path) -> NDArray[np.integer]:
    """Decode a grey image; the path is for messages.

    Returns:
        (rows, columns) uint8, uint16 or int16.

    Raises:
        SourceError: damaged, cut short, coloured, or of another type.
    """
    image = _grey(_decode(data, path), path)
    if image.dtype.name not in IMAGE_TYPES:
        raise SourceError(f"{path}: image of type {image.dtype.name}, expected {', '.join(IMAGE_TYPES)}")
    return image


def parse_mask(data: bytes, path: Path) -> NDArray[np.uint8]:
    """Decode a mask of 0 and 1, 0 and 255, or false and true; an empty one is a valid label.

    Returns:
        (rows, columns) uint8, 0 or 1.

    Raises:
        SourceError: damaged, cut short, coloured, or with other values.
    """
    mask = _grey(_decode(data, path), path)
    values = np.unique(mask).tolist()
    if not any(set(values) <= allowed for allowed in MASK_VALUES):
        some = ", ".join(map(str, values[:6])) + (", …" if len(values) > 6 else "")
        raise SourceError(f"{path}: mask with values {some}, expected 0 and 1 or 0 and 255")
    return np.asarray(mask != 0, np.uint8)


def _decode(data: bytes, path: Path) -> NDArray[Any]:
    kind = path.suffix.lower().removeprefix(".")
    try:
        return _read_npy(data) if kind == "npy" else _read_picture(data)
    except UnidentifiedImageError:
        raise SourceError(f"{path}: not a {kind} file") from None
    except Exception as error:  # a damaged file can make a decoder raise nearly anything
        raise SourceError(f"{path}: {kind} file cannot be used: {' '.join(str(error).split())[:200]}") from None


def _read_npy(data: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.lib.format.read_array(BytesIO(data), allow_pickle=False)
    return array


def _read_picture(data: bytes) -> NDArray[Any]:
    with Image.open(BytesIO(data), formats=("PNG", "TIFF")) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise ValueError("expected one image, found several frames")
        if picture.mode not in COLOUR_MODES:
            return np.asarray(picture)
        if any("16" in str(tile.args) for tile in picture.tile):  # Pillow would drop the lower 8 bits
            raise ValueError("expected a grey image, found colour of 16 bits")
        return np.asarray(picture.convert("RGB"))


def _grey(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    if pixels.dtype.kind not in "iub":
        raise SourceError(f"{path}: pixels of type {pixels.dtype}, expected integers")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        if (pixels[..., 1:3] != pixels[..., :1]).any():
            raise SourceError(f"{path}: colour image, expected grey (one channel, or three that are equal)")
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or not pixels.size:
        raise SourceError(f"{path}: array of shape {pixels.shape}, expected (rows, columns)")
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
