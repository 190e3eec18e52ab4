"""Still pictures: every image with its contours, and a sheet of all slices at end-diastole and end-systole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.evaluation import find_phases
from lvseg.outputs.cine import contours_by_name, measurable
from lvseg.outputs.drawing import SIDE, caption, draw, find_view, find_window, title_of, to_palette
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.slices import Contours
from lvseg.store import UPath, write_bytes

__all__ = ["write_overlay"]

OVERLAY_FOLDER = "overlay"
COLUMNS = 6
"""Slices side by side on the sheet."""
COMPRESSION = 1
"""Of PNG; higher levels take far longer and save little on noise."""

Drawings = Mapping[str, Contours]


def write_overlay(study: PredictedStudy, folder: UPath) -> list[str]:
    """Write ``overlay/NAME.png`` of every image, and ``CASE-sheet.png``.

    The sheet has the slices from left to right, ED above ES; where these are not known (one phase only, or none), all
    the images of the first phase. Images that a person should look at have a yellow title with a question mark.

    Returns:
        Names relative to the folder.
    """
    from PIL import Image

    pictures = _draw_all(study.images, contours_by_name(study))
    names = [f"{OVERLAY_FOLDER}/{name}.png" for name in pictures]
    for name, picture in zip(names, pictures.values(), strict=True):
        write_bytes(folder / name, _png(to_palette(picture)))
    names.append(f"{study.case_id}-sheet.png")
    write_bytes(folder / names[-1], _png(Image.fromarray(_sheet(study, pictures))))
    return names


def _draw_all(images: Sequence[PredictedImage], contours: Drawings) -> dict[str, NDArray[np.uint8]]:
    """Pictures by name; all of one shape share a view, all of one slice a window."""
    pictures = {}
    for shape in dict.fromkeys(image.mask.shape for image in images):
        alike = [image for image in images if image.mask.shape == shape]
        view = find_view(alike[0], [contours[image.name] for image in alike])
        for index in dict.fromkeys(image.slice_index for image in alike):
            members = [image for image in alike if image.slice_index == index]
            window = find_window(members, view)
            for image in members:
                picture = draw(image, contours[image.name], view, window)
                pictures[image.name] = caption(picture, title_of(image), flag=image.look is not None)
    return pictures


def _sheet(study: PredictedStudy, pictures: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    ed, es = find_phases(measurable(study))
    if ed is None:
        phases: list[int | None] = [min((image.phase_index or 0 for image in study.images), default=0), None]
    else:
        phases = [ed, *([] if es is None else [es])]
    shown = [[image for image in study.images if image.phase_index == phase] for phase in phases]
    rows: list[list[PredictedImage]] = []
    width = max(map(len, shown))
    for start in range(0, width, COLUMNS):
        rows += [images[start : start + COLUMNS] for images in shown if images]
    sheet = np.zeros((SIDE * len(rows), SIDE * min(width, COLUMNS), 3), np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = pictures[image.name]
    return sheet


def _png(picture: Any) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", compress_level=COMPRESSION)
    return file.getvalue()
