"""Contour files as the 2009 challenge exchanges them."""

from __future__ import annotations

from lvseg.evaluation import write_auto_contours
from lvseg.outputs.study import PredictedStudy
from lvseg.store import UPath

__all__ = ["CONTOURS_FOLDER", "write_contours"]

CONTOURS_FOLDER = "contours-auto"
"""As the challenge's trees have it."""


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
    for place, (image, contours) in enumerate(zip(study.images, study.contours, strict=True), start=1):
        number = image.instance_number if numbered and image.instance_number is not None else place
        written += write_auto_contours(folder / CONTOURS_FOLDER, number, contours)
    return [f"{CONTOURS_FOLDER}/{path.name}" for path in written]
