"""Pictures of image, label and prediction side by side."""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

PANEL_PX = 192
EXTREMES = 4
"""Images of lowest and of highest Dice that an evaluation shows."""
Which = Literal["worst", "best"]
_SIGNS: dict[Which, float] = {"worst": 1.0, "best": -1.0}
_LABEL_BGR = (80, 200, 80)
_PREDICTION_BGR = (60, 120, 250)
_FILL = 0.35
_WINDOW = (1.0, 99.5)
"""Percentiles of the image that are shown as black and white."""


def comparison_grid(
    images: NDArray[Any], masks: NDArray[np.uint8], predictions: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """One row an image: the image, the label on it, the prediction on it with the label's outline.

    Each row shows the half of the image around label and prediction; nothing that is marked is cut off.

    Args:
        images: (n, rows, columns) stored values.
        masks: (n, rows, columns), 0 or 1.
        predictions: Same shape, 0 or 1.

    Returns:
        (n · PANEL_PX, 3 · PANEL_PX, 3) RGB.
    """
    rows = []
    for image, mask, prediction in zip(images, masks, predictions, strict=True):
        view = _view(mask | prediction)
        rows.append(_row(image[view], mask[view], prediction[view]))
    return np.asarray(cv2.cvtColor(np.vstack(rows), cv2.COLOR_BGR2RGB))


class Extremes:
    """Of the images that it is shown, those of lowest and of highest Dice; of equal ones the first.

    Args:
        count: How many of each are kept.
    """

    def __init__(self, count: int = EXTREMES) -> None:
        self._count, self._seen = count, 0
        self._kept: dict[Which, list[tuple[float, int, tuple[NDArray[Any], ...]]]] = {"worst": [], "best": []}

    def add(self, dice: float, image: NDArray[Any], mask: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Look at one image; where neither label nor prediction has anything its Dice is NaN, and it is passed over."""
        self._seen += 1
        if math.isnan(dice):
            return
        for which, sign in _SIGNS.items():
            kept = [*self._kept[which], (sign * dice, self._seen, (image, mask, prediction))]
            self._kept[which] = sorted(kept, key=lambda entry: entry[:2])[: self._count]

    def grid(self, which: Which) -> NDArray[np.uint8] | None:
        """``comparison_grid`` of the lowest, or of the highest; None where no image has a Dice."""
        kept = self._kept[which]
        if not kept:
            return None
        images, masks, predictions = zip(*(entry[2] for entry in kept), strict=True)
        return comparison_grid(np.stack(images), np.stack(masks), np.stack(predictions))


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """(rows, columns, 3) RGB → PNG bytes."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())


def _view(region: NDArray[np.uint8]) -> tuple[slice, slice]:
    """The half of the image around the marked region, or all of it where the region does not fit into a half."""
    shape = np.array(region.shape)
    marked = np.argwhere(region)
    if not len(marked):
        return slice(None), slice(None)
    low, high = marked.min(axis=0), marked.max(axis=0) + 1
    size = shape // 2 if np.all(high - low <= shape // 2) else shape
    start = np.clip((low + high - size) // 2, 0, shape - size)
    return slice(start[0], start[0] + size[0]), slice(start[1], start[1] + size[1])


def _row(image: NDArray[Any], mask: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    plain = _panel(image)
    label, predicted = _enlarge(mask), _enlarge(prediction)
    shown = _outlined(_filled(plain, predicted, _PREDICTION_BGR), label, _LABEL_BGR)
    return np.hstack([plain, _filled(plain, label, _LABEL_BGR), shown])


def _panel(image: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = np.percentile(image, _WINDOW)
    grey = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    grey = cv2.resize(grey, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def _enlarge(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    resized = cv2.resize((mask > 0).astype(np.uint8), (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_NEAREST)
    return resized.astype(np.uint8)


def _filled(panel: NDArray[np.uint8], mask: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    tinted = panel * (1 - _FILL) + np.array(colour) * _FILL
    return np.where(mask[..., None] > 0, tinted, panel).astype(np.uint8)


def _outlined(panel: NDArray[np.uint8], mask: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(panel.copy(), contours, -1, colour, 1))
