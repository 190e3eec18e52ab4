"""The organisers' way to a distance, after what their evaluation code v1.0 does, to hold ours against.

At every point of the automatic contour file: the normal of the line through it and its neighbours; among the manual
points within 50° as seen from the middle those within half a pixel of the normal, else the one nearest to it; of these
the one nearest to the point; the crossing of the normal with the line through that one along its neighbours. Crossings
1.5 pixels and more from the manual points are passed over, and so are distances of 0.
"""

import numpy as np

SECTOR = np.deg2rad(50)


def direction(points: np.ndarray) -> np.ndarray:
    """Unit vector along three points, by least squares over the axis along which they spread more."""
    spread = np.ptp(points, axis=0)
    axis = int(spread[1] > spread[0])
    slope = np.polyfit(points[:, axis], points[:, 1 - axis], 1)[0]
    along = np.array([1.0, slope]) if axis == 0 else np.array([slope, 1.0])
    return along / np.hypot(*along)


def around(contour: np.ndarray, index: int) -> np.ndarray:
    return contour[[index - 1, index, (index + 1) % len(contour)]]


def organisers_apd(auto: np.ndarray, manual: np.ndarray, spacing: float) -> float:
    middle = manual.mean(axis=0)
    angles = np.arctan2(*(manual - middle).T)
    distances = []
    for index, point in enumerate(auto):
        turn = np.angle(np.exp(1j * (angles - np.arctan2(*(point - middle)))))
        nearby = np.flatnonzero(np.abs(turn) < SECTOR)
        tangent = direction(around(auto, index))
        off_normal = np.abs((manual[nearby] - point) @ tangent)
        close = nearby[off_normal <= 0.5]
        if len(close) < 2:
            close = nearby[[np.argmin(off_normal)]]
        chosen = close[np.argmin(np.hypot(*(manual[close] - point).T))]
        line = direction(around(manual, chosen))
        # Point + t · normal = chosen + u · line.
        normal = np.array([-tangent[1], tangent[0]])
        t, _ = np.linalg.solve(np.stack([normal, -line], axis=1), manual[chosen] - point)
        crossing = point + t * normal
        if np.hypot(*(manual[nearby] - crossing).T).min() < 1.5 and abs(t) > 0:
            distances.append(abs(t))
    return spacing * float(np.mean(distances))
