"""A picture in millimetres: soft-edged shapes painted one over the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.phantom.anatomy import THETA

__all__ = ["Canvas", "Image"]

Image = NDArray[np.float32]


class Canvas:
    """A square image; x and y are the pixel centres' coordinates in mm from the middle of the field of view.

    Shapes are given as signed distances from their edge, negative inside. A pixel that the edge crosses takes
    a share of both sides.
    """

    def __init__(self, size: int, field_of_view_mm: float) -> None:
        self.pixel_mm = field_of_view_mm / size
        axis = ((np.arange(size) - (size - 1) / 2) * self.pixel_mm).astype(np.float32)
        self.x: Image = np.broadcast_to(axis[None, :], (size, size))
        self.y: Image = np.broadcast_to(axis[:, None], (size, size))
        self.image: Image = np.zeros((size, size), np.float32)

    def coverage(self, distance_mm: Image) -> Image:
        """Share of each pixel that lies inside the shape: (size, size), 0 to 1."""
        return np.asarray(np.clip(np.float32(0.5) - distance_mm * np.float32(1 / self.pixel_mm), 0, 1), np.float32)

    def paint(self, distance_mm: Image, value: float | Image, within: Image | None = None) -> None:
        """Paint a shape with one value or with a picture; ``within`` is a coverage that limits it."""
        cover = self.coverage(distance_mm)
        if within is not None:
            cover *= within
        self.image += cover * (value - self.image)

    def polar(self, centre_mm: NDArray[np.float64]) -> tuple[Image, Image]:
        """Distance (mm) and angle (0 to 2π rad) of every pixel from a point."""
        dx, dy = self.x - np.float32(centre_mm[0]), self.y - np.float32(centre_mm[1])
        return np.hypot(dx, dy), np.arctan2(dy, dx) % np.float32(2 * np.pi)

    def ellipse(self, centre_mm: tuple[float, float], axes_mm: tuple[float, float], angle_rad: float = 0.0) -> Image:
        """Distance from an ellipse's edge, measured along the ray from its centre."""
        dx, dy = self.x - np.float32(centre_mm[0]), self.y - np.float32(centre_mm[1])
        cos, sin = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        ratio = np.hypot(along / np.float32(axes_mm[0]), across / np.float32(axes_mm[1])) + np.float32(1e-6)
        return np.asarray(np.hypot(dx, dy) * (1 - 1 / ratio), np.float32)


def at_angles(radius_mm: NDArray[np.float64], angle_rad: Image) -> Image:
    """Radii sampled at ``THETA``, read at every pixel's angle."""
    step = THETA[1]
    position = angle_rad * np.float32(1 / step)
    index = position.astype(np.intp) % len(THETA)
    share = position - np.floor(position)
    radius = radius_mm.astype(np.float32)
    return np.asarray(radius[index] * (1 - share) + np.roll(radius, -1)[index] * share, np.float32)
