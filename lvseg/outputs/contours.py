"""Contour files as the 2009 challenge exchanges them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.config import LabelConvention, Structures
from lvseg.evaluation import contours_from_mask, write_auto_contours
from lvseg.outputs.study import PredictedStudy
from lvseg.slices import MYOCARDIUM, Contours, Grid
from lvseg.store import UPath

__all__ = ["CONTOURS_FOLDER", "draw_contours", "write_contours"]

CONTOURS_FOLDER = "contours-auto"
"""As the challenge's trees have it."""
MARGIN_PX = 2
"""Kept around the heart when its contour is drawn."""


def write_contours(study: PredictedStudy, folder: UPath) -> list[str]:
    """Write ``contours-auto/IM-0001-0048-icontour-auto.txt``, and ``-ocontour-`` where there is a myocardium.

    The number is the image's; where not every image of the study has one of its own, its place in the study, from 1.

    Returns:
        Names relative to the folder.

    Raises:
        OSError: a file cannot be written.
    """
    numbers = [image.instance_number for image in study.images]
    numbered = None not in numbers and len(set(numbers)) == len(numbers)
    written = []
    for place, image in enumerate(study.images, start=1):
        number = image.instance_number if numbered and image.instance_number is not None else place
        written += write_auto_contours(folder / CONTOURS_FOLDER, number, draw_contours(image.mask, study.labels))
    return [f"{CONTOURS_FOLDER}/{path.name}" for path in written]


def draw_contours(mask: NDArray[np.uint8], labels: LabelConvention) -> Contours:
    """The contours of a mask on its native grid, 1-based pixels of the image.

    Only the part around the heart is searched, which gives the same in a fraction of the time.

    Args:
        mask: (rows, columns): 0 background, 1 cavity, 2 myocardium.
        labels: convention in which the model learnt to draw.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Contours()
    top, left = (max(int(found[0]) - MARGIN_PX, 0) for found in (rows, columns))
    part = mask[top : rows[-1] + 1 + MARGIN_PX, left : columns[-1] + 1 + MARGIN_PX]
    structures: Structures = "endo+myo" if (part == MYOCARDIUM).any() else "endo"
    grid = Grid(mask.shape[0], mask.shape[1], top, left, 1, 1)
    return contours_from_mask(part, labels, structures, grid)
