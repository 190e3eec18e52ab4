"""Overlap of predicted and labelled masks, from masks or from counts of pixels.

Dice = 2·|A∩B| / (|A| + |B|). Where both masks are empty it is 0/0: NaN here, left out of every mean and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvseg.results import CaseCounts
from lvseg.slices import CAVITY, MYOCARDIUM

__all__ = ["DiceSummary", "dice", "dice_from_counts", "pooled_dice", "summarise"]

CLASSES = (0, CAVITY, MYOCARDIUM)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiceSummary:
    """Dice over a set of images."""

    mean: float
    """Mean over the images whose Dice is defined; NaN where there is none."""
    pooled: float
    """Dice over the pixels of all images together."""
    images: int
    """Images in all, the undefined ones included."""
    undefined: int
    """Images whose label and prediction are both empty."""
    by_case: dict[str, float]
    """Mean over a case's defined images, by case id, in the order of first appearance; NaN where there is none."""
    counts_by_case: dict[str, CaseCounts]
    """Images and pixels of every case, in the same order."""
    worst_image: tuple[str, float] | None
    """(name, Dice) of the lowest image; None where no image is defined."""
    worst_case: tuple[str, float] | None
    """(case id, mean Dice) of the lowest case; None where no case is defined."""


def dice(a: ArrayLike, b: ArrayLike, structure: int = CAVITY) -> float:
    """Dice of one class of two masks: 2·|A∩B| / (|A| + |B|).

    Args:
        a: mask of any shape: 0, ``CAVITY``, ``MYOCARDIUM``, or bool.
        b: mask of the same shape.
        structure: the class; of the myocardium ``MYOCARDIUM``.

    Returns:
        0 … 1; NaN where both masks have none of it.

    Raises:
        ValueError: the shapes differ, or a mask has values that are no class (0 and 255, say).
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape:
        raise ValueError(f"masks must have the same shape, got {first.shape} and {second.shape}")
    for mask in (first, second):
        if not np.isin(mask, CLASSES).all():
            raise ValueError(f"masks must have the values {CLASSES}, got {np.unique(mask).tolist()}")
    first, second = first == structure, second == structure
    return float(dice_from_counts(np.sum(first & second), np.sum(first), np.sum(second)))


def dice_from_counts(intersection: ArrayLike, predicted: ArrayLike, labelled: ArrayLike) -> NDArray[np.float64]:
    """Dice from numbers of pixels: 2·intersection / (predicted + labelled), elementwise.

    Args:
        intersection: pixels in both masks, any shape.
        predicted: pixels in the prediction, same shape.
        labelled: pixels in the label, same shape.

    Returns:
        float64 of the same shape; NaN where predicted and labelled are both 0.

    Raises:
        ValueError: the shapes differ, a count is negative, or an intersection is larger than one of its masks.
    """
    counts = [np.asarray(count, dtype=np.float64) for count in (intersection, predicted, labelled)]
    both, first, second = counts
    if not both.shape == first.shape == second.shape:
        raise ValueError(f"counts must have the same shape, got {both.shape}, {first.shape} and {second.shape}")
    if np.any(both < 0) or np.any(both > np.minimum(first, second)):
        raise ValueError("intersection must lie between 0 and the smaller of predicted and labelled")
    total = first + second
    result = np.full(total.shape, np.nan)
    np.divide(2 * both, total, out=result, where=total > 0)
    return result


def pooled_dice(intersection: ArrayLike, predicted: ArrayLike, labelled: ArrayLike) -> float:
    """Dice over all images as one: 2·Σ intersection / (Σ predicted + Σ labelled); NaN where all masks are empty.

    Large cavities weigh more than in the mean over images.

    Args:
        intersection: (N,) pixels in both masks.
        predicted: (N,) pixels in the prediction.
        labelled: (N,) pixels in the label.
    """
    sums = (np.sum(np.asarray(count, dtype=np.float64)) for count in (intersection, predicted, labelled))
    return float(dice_from_counts(*sums))


def summarise(
    names: Sequence[str],
    case_ids: Sequence[str],
    intersection: ArrayLike,
    predicted: ArrayLike,
    labelled: ArrayLike,
) -> DiceSummary:
    """Dice of a set of images: mean, pooled, by case, and the lowest.

    Args:
        names: N image names.
        case_ids: N case ids, the patient of each image.
        intersection: (N,) pixels in both masks.
        predicted: (N,) pixels in the prediction.
        labelled: (N,) pixels in the label.

    Raises:
        ValueError: the lengths differ, or the counts are no counts (see ``dice_from_counts``).
    """
    by_image = dice_from_counts(intersection, predicted, labelled)
    if not by_image.shape == (len(names),) == (len(case_ids),):
        raise ValueError(
            f"expected one count for each image, got {by_image.shape} for {len(names)} names, {len(case_ids)} cases"
        )
    cases = np.asarray(case_ids, dtype=object)
    by_case = {case: _mean(by_image[cases == case]) for case in dict.fromkeys(case_ids)}
    pixels = np.stack([np.asarray(count, np.float64) for count in (intersection, predicted, labelled)])
    return DiceSummary(
        mean=_mean(by_image),
        pooled=pooled_dice(intersection, predicted, labelled),
        images=len(names),
        undefined=int(np.isnan(by_image).sum()),
        by_case=by_case,
        counts_by_case={case: _count(by_image[cases == case], pixels[:, cases == case]) for case in by_case},
        worst_image=_lowest(names, by_image),
        worst_case=_lowest(list(by_case), np.array(list(by_case.values()))),
    )


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _count(by_image: NDArray[np.float64], pixels: NDArray[np.float64]) -> CaseCounts:
    both, predicted, labelled = (round(total) for total in pixels.sum(axis=1).tolist())
    images = int(np.count_nonzero(~np.isnan(by_image)))
    return CaseCounts(images=images, intersection=both, predicted=predicted, labelled=labelled)


def _lowest(names: Sequence[str], values: NDArray[np.float64]) -> tuple[str, float] | None:
    if np.isnan(values).all():
        return None
    index = int(np.nanargmin(values))
    return names[index], float(values[index])
