"""Pictures of the heart with the predicted contours on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lvseg.outputs.study import PredictedImage
from lvseg.slices import Contours

__all__ = ["COLOURS", "SIDE", "View", "caption", "draw", "find_view", "find_window", "title_of", "to_palette"]

SIDE = 320
"""Pixels of a picture, square."""
FIELD_MM = 120.0
"""Smallest side of what is shown: a heart and its surroundings."""
FIELD_SHARE = 0.5
"""The same as a share of the image, where the pixels' size is not known."""
MARGIN = 1.25
"""Side of what is shown, in sides of what is drawn."""
WINDOW = (1.0, 99.5)
"""Percentiles of the shown part that become black and white."""
SHIFT = 4
"""Binary digits after the point in OpenCV's coordinates."""

COLOURS = {"endocardium": (231, 76, 60), "epicardium": (46, 204, 113)}
"""Red, green, blue; of lines in pictures, and of the segments in the SEG object."""
TEXT, FLAG = (255, 255, 255), (255, 214, 10)

GREYS = 96
BLENDS, SHADES = 5, 16
"""Palette entries where a line's soft edge meets the image: steps of the line's share, greys under it."""


@dataclass(frozen=True, slots=True)
class View:
    """The square part of an image that is shown, in true proportions."""

    left: float
    """Columns to the left of it; half a column where it begins in the middle of the first."""
    top: float
    """Rows above it."""
    zoom: tuple[float, float]
    """(along columns, along rows) pixels of the picture for one pixel of the image."""

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """0-based (column, row) of the image → of the picture."""
        return (points + 0.5 - [self.left, self.top]) * self.zoom - 0.5

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) of OpenCV's ``warpAffine``: ``place`` as a matrix."""
        (x, y), (left, top) = self.zoom, (self.left, self.top)
        return np.array([[x, 0, x * (0.5 - left) - 0.5], [0, y, y * (0.5 - top) - 0.5]])


def find_view(image: PredictedImage, contours: Iterable[Contours]) -> View:
    """The part that shows all contours, the same for all images of a slice or study so that nothing jumps.

    Args:
        image: one of them, for shape and spacing.
        contours: of all of them; where there are none, the whole image is shown.
    """
    size = np.array(image.mask.shape[::-1], np.float64)
    row_mm, column_mm = image.pixel_spacing or (1.0, 1.0)
    scale = np.array([column_mm, row_mm])
    points = [outline for each in contours for _, outline in each.named()]
    if points:
        every = np.concatenate(points) - 1.0
        low, high = every.min(axis=0), every.max(axis=0)
        smallest = FIELD_MM if image.pixel_spacing else FIELD_SHARE * float(size.min())
        side = max(smallest, MARGIN * float(((high - low) * scale).max()))
        centre = (low + high) / 2
    else:
        side, centre = float((size * scale).max()), (size - 1) / 2
    shown = side / scale
    start = centre + 0.5 - shown / 2
    # Stay on the image where the view is smaller than it.
    left, top = np.where(shown < size, np.clip(start, 0, np.maximum(size - shown, 0)), start)
    zoom_x, zoom_y = SIDE / shown
    return View(float(left), float(top), (float(zoom_x), float(zoom_y)))


def find_window(images: Sequence[PredictedImage], view: View) -> tuple[float, float]:
    """Grey values that become black and white, by the shown part of all these images."""
    rows, columns = images[0].mask.shape
    top, bottom = (int(np.clip(at, 0, rows)) for at in (view.top, view.top + SIDE / view.zoom[1] + 1))
    left, right = (int(np.clip(at, 0, columns)) for at in (view.left, view.left + SIDE / view.zoom[0] + 1))
    shown = np.stack([image.image[top:bottom, left:right] for image in images])
    if not shown.size:
        shown = np.stack([image.image for image in images])
    low, high = np.nanpercentile(shown, WINDOW)
    return float(low), float(high)


def draw(image: PredictedImage, contours: Contours, view: View, window: tuple[float, float]) -> NDArray[np.uint8]:
    """The windowed image with its contours.

    Returns:
        (SIDE, SIDE, 3) RGB.
    """
    low, high = window
    grey = np.clip((image.image.astype(np.float32) - low) * (255 / ((high - low) or 1.0)), 0, 255)
    shown = cv2.warpAffine(grey, view.matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    canvas = cv2.cvtColor(np.clip(np.nan_to_num(shown), 0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    for name, outline in contours.named():
        fixed = np.rint(view.place(outline - 1.0) * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(canvas, [fixed], True, COLOURS[name], 1, cv2.LINE_AA, SHIFT)
    return np.asarray(canvas)


def title_of(image: PredictedImage) -> str:
    """Slice, phase and time of an image, 1-based as people count."""
    parts = [
        f"slice {image.slice_index + 1}" if image.slice_index is not None else "",
        f"phase {image.phase_index + 1}" if image.phase_index is not None else "",
        f"{image.trigger_time_ms:.0f} ms" if image.trigger_time_ms is not None else "",
    ]
    known = [part for part in parts if part]
    return "  ".join(known) or f"image {image.instance_number}"


def caption(canvas: NDArray[np.uint8], text: str, *, flag: bool = False) -> NDArray[np.uint8]:
    """Write a line at the top of a picture; yellow where a person should look at it."""
    for colour, width in (((0, 0, 0), 3), (FLAG if flag else TEXT, 1)):
        cv2.putText(
            canvas, text + (" ?" if flag else ""), (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA
        )
    return canvas


def to_palette(picture: NDArray[np.uint8]) -> Any:
    """A picture as a Pillow image of 256 colours, the same for all: a third of the size, and no grey flickers."""
    from PIL import Image

    return Image.fromarray(picture).quantize(palette=_palette(), dither=Image.Dither.NONE)


@cache
def _palette() -> Any:
    """Greys, and the contours' colours blended with them."""
    from PIL import Image

    greys = np.linspace(0, 255, GREYS)[:, None].repeat(3, axis=1)
    shares, under = np.linspace(0.2, 1.0, BLENDS), np.linspace(0, 255, SHADES)
    blends = [
        share * np.array(colour) + (1 - share) * grey
        for colour, share, grey in product(COLOURS.values(), shares, under)
        if share < 1 or grey == 0
    ]
    colours: NDArray[np.uint8] = np.concatenate([greys, blends, [FLAG]]).round().astype(np.uint8)
    image = Image.new("P", (1, 1))
    image.putpalette(colours.tobytes())
    return image
