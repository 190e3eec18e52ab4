"""Contours whose areas and distances are known on paper."""

import numpy as np


def circle(x: float, y: float, radius: float, points: int = 400) -> np.ndarray:
    return ellipse(x, y, radius, radius, points)


def ellipse(x: float, y: float, a: float, b: float, points: int = 400) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], axis=1)


def square(left: float, top: float, size: float) -> np.ndarray:
    return np.array([(left, top), (left + size, top), (left + size, top + size), (left, top + size)], np.float64)


def on_lattice(contour: np.ndarray) -> np.ndarray:
    """As contour files have it, on half pixels."""
    points = np.round(contour * 2) / 2
    return points[np.any(points != np.roll(points, 1, axis=0), axis=1)]


def centroid(contour: np.ndarray) -> np.ndarray:
    """Of the area, by Green's theorem."""
    following = np.roll(contour, -1, axis=0)
    cross = contour[:, 0] * following[:, 1] - following[:, 0] * contour[:, 1]
    return ((contour + following) * cross[:, np.newaxis]).sum(axis=0) / (3 * cross.sum())
