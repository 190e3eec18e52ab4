"""A mask's outline, searched for where the heart is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.config import LabelConvention, Structures
from lvseg.evaluation import contours_from_mask
from lvseg.slices import MYOCARDIUM, Contours, Grid

__all__ = ["draw_contours"]

MARGIN_PX = 2
"""Kept around the heart when its contour is drawn."""


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
