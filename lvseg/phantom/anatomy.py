"""The phantom's heart as numbers: what differs between patients, and the left ventricle's shape in every image.

Lengths are millimetres. In the image plane x points right and y down, from the centre of the field of view.
Along the heart z points from base to apex; z = 0 is the valve plane at end-diastole (ED).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["THETA", "Anatomy", "Group", "Section", "contraction", "draw_anatomy", "polygon_area", "section"]

Floats = NDArray[np.float64]
Group = Literal["N", "HYP", "HF"]

THETA: Floats = np.linspace(0.0, 2 * np.pi, 720, endpoint=False)
"""Angles at which borders are sampled: a circle's polygon area is 0.0013 % below the true one."""

_MIN_CAVITY_RADIUS_MM = 5.0
"""A smaller cavity is closed: the experts' smallest contours are about this size."""

_HARMONICS = np.arange(2, 6)

_RANGES: dict[Group, dict[str, tuple[float, float]]] = {
    "N": {"cavity_radius": (23.0, 27.0), "wall": (7.5, 9.5), "ejection": (0.46, 0.57)},
    "HYP": {"cavity_radius": (20.5, 24.0), "wall": (13.0, 18.0), "ejection": (0.48, 0.62)},
    "HF": {"cavity_radius": (30.0, 35.0), "wall": (6.5, 8.5), "ejection": (0.12, 0.31)},
}
"""Normal, hypertrophic, dilated and failing: ED cavity radius mm, ED wall mm, fraction of the area ejected."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Anatomy:
    """One patient."""

    number: int
    """1 for the first patient."""
    group: Group
    """Normal, hypertrophy, heart failure."""
    cavity_radius_mm: float
    """Largest radius of the cavity at ED."""
    cavity_length_mm: float
    """Valve plane to the tip of the cavity at ED."""
    wall_mm: float
    """Wall thickness at ED."""
    ejection: float
    """Fraction of a slice's cavity area that is ejected."""
    es_time: float
    """End-systole (ES), fraction of the cycle."""
    first_z_mm: float
    """z of slice 0."""
    descent_mm: float
    """How far the valve plane moves toward the apex at ES."""
    centre_mm: tuple[float, float]
    """Where the heart's axis meets slice 0."""
    tilt: tuple[float, float]
    """Shift of the axis in the image plane for each mm of z."""
    rotation_rad: float
    """Rotation of the heart in the image plane."""
    chest_angle_rad: float
    """Direction from the heart to the chest wall."""
    fat_mm: float
    """Subcutaneous fat."""
    field_of_view_mm: float
    """Side of the square image."""
    circular_field: bool
    """Whether the image is blank outside a circle, as some scanners leave it."""
    slice_spacing_mm: float
    """Distance of neighbouring slices' centres."""
    slice_thickness_mm: float
    """Slice thickness."""
    heart_rate: int
    """Beats a minute."""
    peak: float
    """Brightest pixel of a typical image, stored value."""
    noise: float
    """Noise of each channel, as a fraction of the blood's signal."""
    shape_ed: Floats
    """(4, 2) cosine and sine part of the cavity's border at ED, harmonics 2 to 5, fraction of the radius."""
    shape_es: Floats
    """The same at ES."""
    trabeculae: Floats
    """(3, 2) amplitude and angle of the trabeculae, fraction of the radius and rad."""
    breath_holds_mm: Floats
    """(slices, 2) shift of each slice's heart: every slice is a breath-hold of its own."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """The left ventricle in one image; radii are (720,), at the angles ``THETA`` from the centre."""

    centre_mm: Floats
    """(2,) x and y."""
    z_mm: float
    """Distance from the valve plane at this moment; negative above it."""
    systole: float
    """0 at ED, 1 at ES."""
    endocardium_mm: Floats | None
    """None where the slice has no cavity."""
    epicardium_mm: Floats | None
    """None where the slice lies beyond the ventricle."""
    papillaries_mm: tuple[Floats, ...]
    """(720, 2) outlines of the papillary muscles, x and y."""

    def outline(self, radius_mm: Floats) -> Floats:
        """Turn radii into an outline: (720, 2), x and y."""
        return np.asarray(self.centre_mm + radius_mm[:, None] * np.stack([np.cos(THETA), np.sin(THETA)], axis=1))


def polygon_area(points: Floats) -> float:
    """Shoelace area of a closed polygon (N, 2), in the square of its unit."""
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def draw_anatomy(number: int, seed: int, slices: int, group: Group | None = None) -> Anatomy:
    """Draw patient ``number`` (from 1); the same arguments give the same patient.

    The slices lie 8 to 10 mm apart, farther where fewer slices could not reach the apex. Without a group, the
    groups take turns.
    """
    rng = np.random.default_rng([seed, number])
    groups: tuple[Group, ...] = get_args(Group)
    group = group or groups[(number - 1) % len(groups)]
    length = rng.uniform(66, 78)
    first_z = rng.uniform(0.5, 6)
    thickness = rng.uniform(8, 10)
    chest_angle = np.deg2rad(rng.uniform(-150, -122))
    return Anatomy(
        number=number,
        group=group,
        **{f"{name}_mm": rng.uniform(*_RANGES[group][name]) for name in ("cavity_radius", "wall")},
        ejection=rng.uniform(*_RANGES[group]["ejection"]),
        cavity_length_mm=length,
        es_time=rng.uniform(0.34, 0.41),
        first_z_mm=first_z,
        descent_mm=rng.uniform(5, 8) if group == "HF" else rng.uniform(8, 13),
        centre_mm=(rng.uniform(-6, 22), rng.uniform(-22, 8)),
        tilt=(rng.uniform(-0.08, 0.16), rng.uniform(-0.08, 0.16)),
        rotation_rad=np.deg2rad(rng.uniform(-28, 22)),
        chest_angle_rad=chest_angle,
        fat_mm=rng.uniform(8, 20),
        field_of_view_mm=256 * rng.uniform(1.2, 1.6),
        circular_field=bool(rng.random() < 0.5),
        slice_spacing_mm=round(max(thickness, (length - first_z - 4) / max(slices - 1, 1)), 2),
        slice_thickness_mm=round(thickness, 2),
        heart_rate=int(rng.integers(55, 90)),
        peak=rng.uniform(950, 2600),
        noise=rng.uniform(0.035, 0.075),
        shape_ed=rng.normal(0, 0.12, (4, 2)) / _HARMONICS[:, None] ** 2,
        shape_es=rng.normal(0, 0.18, (4, 2)) / _HARMONICS[:, None] ** 2,
        trabeculae=np.stack([rng.uniform(0.02, 0.1, 3), rng.uniform(0, 2 * np.pi, 3)], axis=1),
        breath_holds_mm=rng.normal(0, 0.8, (slices, 2)),
    )


def _smoothstep(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def contraction(time: float, es_time: float) -> float:
    """How far the heart has contracted: 0 at ED, 1 at ES; ``time`` is a fraction of the cycle.

    After ES comes early filling, a pause, then the atrial kick.
    """
    if time <= es_time:
        return _smoothstep(time / es_time)
    diastole = (time - es_time) / (1 - es_time)
    return 1 - 0.75 * _smoothstep(diastole / 0.5) - 0.25 * _smoothstep((diastole - 0.7) / 0.3)


def section(anatomy: Anatomy, slice_index: int, time: float) -> Section:
    """The left ventricle in slice ``slice_index`` at ``time`` (fraction of the cycle)."""
    a = anatomy
    systole = contraction(time, a.es_time)
    z = a.first_z_mm + slice_index * a.slice_spacing_mm
    profile = 1 - ((z / a.cavity_length_mm - 0.2) / 0.8) ** 2
    square_ed = a.cavity_radius_mm**2 * profile
    square = square_ed * (1 - a.ejection * systole if profile > 0 else 1.0)
    z_from_valve = z - a.descent_mm * systole
    border = _border(a, systole, z)
    centre = np.array(a.centre_mm) + z * np.array(a.tilt) + a.breath_holds_mm[slice_index]
    has_cavity = z_from_valve > 0 and square > _MIN_CAVITY_RADIUS_MM**2
    endocardium = np.sqrt(square) * border if has_cavity else None
    epicardium = _epicardium(a, square_ed, square, systole, border) if z_from_valve > 0 else None
    papillaries = _papillaries(a, np.sqrt(square) * border, systole, z, centre) if has_cavity else ()
    return Section(
        centre_mm=centre,
        z_mm=z_from_valve,
        systole=systole,
        endocardium_mm=endocardium,
        epicardium_mm=epicardium,
        papillaries_mm=papillaries,
    )


def _border(anatomy: Anatomy, systole: float, z_mm: float) -> Floats:
    """Shape of the cavity's border, around 1; it changes smoothly with phase and slice, and twists."""
    shape = (1 - systole) * anatomy.shape_ed + systole * anatomy.shape_es
    twist = 0.01 * z_mm + 0.15 * systole + anatomy.rotation_rad
    angles = np.outer(THETA - twist, _HARMONICS)
    return np.asarray(1 + np.cos(angles) @ shape[:, 0] + np.sin(angles) @ shape[:, 1])


def _epicardium(a: Anatomy, square_ed: float, square: float, systole: float, border: Floats) -> Floats | None:
    """The wall keeps its volume: as the heart shortens, its area in a slice grows by up to 15 %."""
    radius_ed = np.sqrt(max(square_ed, 0.0))
    wall = a.wall_mm * (0.7 + 0.3 * min(radius_ed / (0.7 * a.cavity_radius_mm), 1.0))
    outer = square + (2 * radius_ed * wall + wall**2) * (1 + 0.15 * systole)
    if outer < wall**2 / 4:
        return None
    return np.asarray(np.sqrt(outer) * (1 + 0.4 * (border - 1)))


def _papillaries(a: Anatomy, border_mm: Floats, systole: float, z: float, centre: Floats) -> tuple[Floats, ...]:
    """Two muscles in the middle third, anterolateral and posteromedial."""
    height, radius = z / a.cavity_length_mm, float(border_mm.mean())
    if not 0.28 < height < 0.72 or radius < 2 * _MIN_CAVITY_RADIUS_MM:
        return ()
    size = min(0.16 * a.cavity_radius_mm, 0.25 * radius) * np.sin(np.pi * (height - 0.16) / 0.7)
    outlines = []
    for angle, stretch in ((-0.85, 1.3), (1.95, 1.15)):
        angle += a.rotation_rad + 0.15 * systole
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        reach = np.interp(angle % (2 * np.pi), THETA, border_mm)
        middle = centre + along * (0.93 * reach - 1.25 * size)
        ellipse = np.outer(np.cos(THETA), along) + np.outer(np.sin(THETA) * stretch, across)
        outlines.append(middle + size * ellipse)
    return tuple(outlines)
