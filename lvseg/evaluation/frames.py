"""One image with the contours that an expert and a program drew on it: what the evaluation compares."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from lvseg.config import LabelConvention, Structures
from lvseg.evaluation.mask_contours import contour_from_mask
from lvseg.preprocess import contour_to_source
from lvseg.slices import CAVITY, Contours, Grid, Place, Slice

__all__ = ["STRUCTURES", "Frame", "Structure", "contours_from_mask", "frame_from_mask", "place_on_source"]

Structure = Literal["endocardium", "epicardium"]
STRUCTURES: tuple[Structure, ...] = ("endocardium", "epicardium")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One image and both its sets of contours, in pixels of the source image, 1-based as in contour files."""

    name: str
    """Name of the image, e.g. ``SC-HF-I-1-IM-0001-0048``."""
    case_id: str
    """The patient's pseudonym."""
    group: str | None = None
    """Pathology group."""
    place: Place
    """Of the source image; without pixel spacing all lengths stay in pixels."""
    manual: Contours
    """The reference. An image is scored where it has a contour."""
    auto: Contours
    """What is scored."""


def contours_from_mask(
    mask: NDArray[Any], labels: LabelConvention, structures: Structures, grid: Grid | None = None
) -> Contours:
    """Contours of a mask of classes, in pixels of the source image.

    Args:
        mask: (rows, columns): 0, ``CAVITY``, ``MYOCARDIUM``.
        labels: convention in which it was drawn, or in which its model learnt to draw.
        structures: with ``endo+myo`` the outer border of cavity and myocardium together is the epicardium.
        grid: where its pixels lie on the source image; None: it is on the source image.
    """
    regions: dict[str, NDArray[Any]] = {"endocardium": mask == CAVITY}
    if structures == "endo+myo":
        regions["epicardium"] = mask > 0
    resampled = grid is not None and (grid.row_step, grid.column_step) != (1, 1)
    found: dict[str, Any] = {
        name: contour_from_mask(region, labels, resampled=resampled) for name, region in regions.items()
    }
    return _on_source(Contours(**found), grid)


def frame_from_mask(
    item: Slice,
    mask: NDArray[Any],
    structures: Structures,
    labels: LabelConvention = "given",
    learnt_labels: LabelConvention = "given",
) -> Frame:
    """The frame of a labelled image and a predicted mask.

    The reference are the slice's own contours; where it has none, those of its label mask.

    Args:
        item: with its label; may be cropped or resampled.
        mask: (rows, columns) predicted classes, on the slice's own pixels.
        structures: what both the label and the model have: without ``endo+myo`` the epicardium is left out.
        labels: convention of the slice's label mask.
        learnt_labels: convention of the labels that the model learnt.
    """
    manual = item.contours
    if manual.endocardium is None:
        manual = contours_from_mask(item.mask, labels, structures, item.grid)
    else:
        epicardium = manual.epicardium if structures == "endo+myo" else None
        manual = _on_source(Contours(endocardium=manual.endocardium, epicardium=epicardium), item.grid)
    return Frame(
        name=item.name,
        case_id=item.case_id,
        group=item.group,
        place=place_on_source(item.place, item.grid),
        manual=manual,
        auto=contours_from_mask(mask, learnt_labels, structures, item.grid),
    )


def _on_source(contours: Contours, grid: Grid | None) -> Contours:
    if grid is None:
        return contours
    moved: dict[str, Any] = {name: contour_to_source(points, grid) for name, points in contours.named()}
    return Contours(**moved)


def place_on_source(place: Place, grid: Grid | None) -> Place:
    """The place with the pixel spacing of the source image; positions stay, they serve to tell slices apart."""
    if grid is None or place.pixel_spacing is None:
        return place
    row, column = place.pixel_spacing
    return dataclasses.replace(place, pixel_spacing=(row / grid.row_step, column / grid.column_step))
