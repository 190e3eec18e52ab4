"""Masks as pictures that every program reads."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from lvseg.outputs.study import PredictedStudy
from lvseg.store import UPath, write_bytes

__all__ = ["MASKS_FOLDER", "write_png"]

MASKS_FOLDER = "masks"
COMPRESSION = 1
"""Masks are small at any level, and this one is the fastest."""


def write_png(study: PredictedStudy, folder: UPath) -> list[str]:
    """Write ``masks/NAME.png``, 8 bit: 0 background, 1 cavity, 2 myocardium, as ``lvseg convert`` reads masks.

    Returns:
        Names relative to the folder.

    Raises:
        OSError: a file cannot be written.
    """
    names = []
    for image in study.images:
        file = BytesIO()
        Image.fromarray(image.mask).save(file, format="png", compress_level=COMPRESSION)
        names.append(f"{MASKS_FOLDER}/{image.name}.png")
        write_bytes(folder / names[-1], file.getvalue())
    return names
