"""What lies around the heart in a short-axis image: chest wall, lungs, the organs below the diaphragm, aorta, spine.

Values are signal relative to blood (1.0) in a balanced steady-state (bSSFP) image.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from lvseg.phantom.anatomy import Anatomy, Section
from lvseg.phantom.canvas import Canvas, Image

__all__ = ["BLOOD", "FAT", "LUNG", "MYOCARDIUM", "coil_gain", "paint_body", "texture"]

BLOOD, FAT, MUSCLE, MYOCARDIUM, LUNG, LIVER = 1.0, 1.35, 0.3, 0.3, 0.05, 0.42

_CHEST_CURVATURE_MM = 150.0


def texture(canvas: Canvas, rng: np.random.Generator, scale_mm: float) -> Image:
    """Smooth random field with mean 0 and spread 1; ``scale_mm`` is the blur's standard deviation."""
    noise = rng.standard_normal(canvas.image.shape, dtype=np.float32)
    field = np.asarray(gaussian_filter(noise, scale_mm / canvas.pixel_mm, mode="wrap", truncate=3), np.float32)
    return np.asarray((field - field.mean()) / (field.std() + np.float32(1e-6)), np.float32)


def chest_distance(canvas: Canvas, anatomy: Anatomy, section: Section) -> Image:
    """Distance from the skin of the chest, negative inside the body; apical slices lie nearer to it."""
    cos, sin = np.float32(np.cos(anatomy.chest_angle_rad)), np.float32(np.sin(anatomy.chest_angle_rad))
    x, y = canvas.x - np.float32(anatomy.centre_mm[0]), canvas.y - np.float32(anatomy.centre_mm[1])
    outward, along = x * cos + y * sin, y * cos - x * sin
    height = 54 + 0.7 * anatomy.cavity_radius_mm + anatomy.fat_mm - 0.4 * section.z_mm
    bend = np.sqrt(along**2 + np.float32(_CHEST_CURVATURE_MM**2)) - np.float32(_CHEST_CURVATURE_MM)
    wave = 4 * np.sin(along / 31 + anatomy.number)
    return np.asarray(outward - np.float32(height) + 0.6 * bend + wave, np.float32)


def coil_gain(canvas: Canvas, chest_mm: Image, anatomy: Anatomy) -> Image:
    """Sensitivity of the receive coils: strongest at the chest wall, about 1 at the heart."""
    back = canvas.x * np.float32(-np.cos(anatomy.chest_angle_rad)) + canvas.y * np.float32(
        -np.sin(anatomy.chest_angle_rad)
    )
    near = np.exp(np.minimum(chest_mm, 0) / np.float32(40))
    return np.asarray(0.7 + 1.1 * near + 0.25 * np.exp((back - 150) / np.float32(50)), np.float32)


def paint_body(canvas: Canvas, anatomy: Anatomy, section: Section, chest_mm: Image, rng: np.random.Generator) -> None:
    """Paint everything but the heart."""
    canvas.image[...] = LUNG
    _paint_lung_vessels(canvas, rng)
    _paint_abdomen(canvas, anatomy, section, rng)
    _paint_spine_and_aorta(canvas, anatomy, rng)
    _paint_back(canvas, anatomy, rng)
    _paint_heart_fat(canvas, anatomy, section, rng)
    _paint_chest_wall(canvas, anatomy, chest_mm, rng)
    canvas.image *= 1 + np.float32(0.1) * texture(canvas, rng, 7.0)


def _paint_lung_vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    seeds = np.maximum(1 - rng.random(canvas.image.shape, dtype=np.float32) / (0.006 * canvas.pixel_mm**2), 0)
    dots = gaussian_filter(seeds, 1.3 / canvas.pixel_mm) * np.float32((1.9 / canvas.pixel_mm) ** 2)
    canvas.image += 3.0 * dots * np.clip(0.3 + texture(canvas, rng, 16.0), 0, 1.5)


def _paint_abdomen(canvas: Canvas, a: Anatomy, section: Section, rng: np.random.Generator) -> None:
    """Below the diaphragm: liver on the image's left, stomach and spleen on its right, fat between them."""
    x0, y0 = section.centre_mm
    outer = a.cavity_radius_mm + a.wall_mm if section.epicardium_mm is None else section.epicardium_mm.max()
    top = y0 + 0.45 * (a.cavity_radius_mm + a.wall_mm) + 0.55 * outer + rng.uniform(0, 4)
    slope = rng.uniform(-0.15, 0.2)
    dome = np.float32(top) + np.float32(slope) * (canvas.x - x0) + (canvas.x - np.float32(x0 - 15)) ** 2 / 420
    below = dome - canvas.y
    fat = 0.8 + 0.3 * texture(canvas, rng, 5.0)
    canvas.paint(below, fat)
    inside = canvas.coverage(below + 2)
    vessels = texture(canvas, rng, 3.0) > 1.9
    liver = LIVER * (1 + 0.9 * gaussian_filter(vessels.astype(np.float32), 0.8))
    canvas.paint(canvas.ellipse((x0 - 75, top + 92), (105, 90), rng.uniform(-0.3, 0.3)), liver, inside)
    stomach = (x0 + rng.uniform(38, 60), top + rng.uniform(40, 62))
    size = (rng.uniform(24, 38), rng.uniform(16, 26))
    angle = rng.uniform(-0.9, 0.9)
    canvas.paint(canvas.ellipse(stomach, size, angle), 0.4, inside)
    content = (0.12 if rng.random() < 0.4 else 0.75) * (1 + 0.3 * texture(canvas, rng, 3.0))
    canvas.paint(canvas.ellipse(stomach, (size[0] - 5, size[1] - 5), angle), content, inside)
    canvas.paint(canvas.ellipse((x0 + 105, top + 42), (22, 45), 0.3), 0.5 * (0.9 + 0.1 * fat), inside)
    _paint_bowel(canvas, (x0, top), inside, rng)


def _paint_bowel(canvas: Canvas, top_mm: tuple[float, float], inside: Image, rng: np.random.Generator) -> None:
    for _ in range(4):
        centre = (top_mm[0] + rng.uniform(0, 110), top_mm[1] + rng.uniform(85, 130))
        radius = rng.uniform(9, 17)
        canvas.paint(canvas.ellipse(centre, (radius, radius * rng.uniform(0.6, 1))), 0.3, inside)
        canvas.paint(canvas.ellipse(centre, (radius - 4, radius * 0.5)), rng.uniform(0.05, 0.9), inside)


def _paint_heart_fat(canvas: Canvas, a: Anatomy, section: Section, rng: np.random.Generator) -> None:
    """Fat between the heart, the chest wall and the diaphragm."""
    x, y = section.centre_mm
    angle = a.chest_angle_rad - rng.uniform(0.5, 1.1)
    away = a.cavity_radius_mm + rng.uniform(4, 12)
    centre = (x + away * np.cos(angle), y + away * np.sin(angle))
    edge = canvas.ellipse(centre, (rng.uniform(22, 36), rng.uniform(14, 22)), a.chest_angle_rad + np.pi / 2)
    canvas.paint(edge + 3 * texture(canvas, rng, 6.0), 0.75 + 0.15 * texture(canvas, rng, 4.0))


def _paint_spine_and_aorta(canvas: Canvas, a: Anatomy, rng: np.random.Generator) -> None:
    """Both lie behind the heart, away from the chest wall."""
    back = np.array([-np.cos(a.chest_angle_rad), -np.sin(a.chest_angle_rad)])
    side = np.array([-back[1], back[0]])
    middle = np.array(a.centre_mm)
    spine = middle + back * 128 + side * 4
    canvas.paint(canvas.ellipse((spine[0], spine[1]), (27, 22), a.chest_angle_rad), 0.12)
    canvas.paint(canvas.ellipse((spine[0], spine[1]), (25, 20), a.chest_angle_rad), 0.42)
    aorta = middle + back * (a.cavity_radius_mm + a.wall_mm + 38) + side * rng.uniform(-14, -6)
    canvas.paint(canvas.ellipse((aorta[0], aorta[1]), (13.5, 13.0)), 0.3)
    canvas.paint(canvas.ellipse((aorta[0], aorta[1]), (11.5, 11.0)), 0.95)


def _paint_back(canvas: Canvas, a: Anatomy, rng: np.random.Generator) -> None:
    """The body's edge on the image's right."""
    shifted = canvas.x + np.float32(0.25) * canvas.y - np.float32(a.centre_mm[0] + 138)
    edge = np.asarray(shifted + (canvas.y - 20) ** 2 / 600, np.float32)
    canvas.paint(-edge - 20, MUSCLE * (1 + 0.25 * texture(canvas, rng, 3.0)))
    canvas.paint(-edge - np.float32(0.6 * a.fat_mm), FAT)
    canvas.paint(-edge, 0.0)


def _paint_chest_wall(canvas: Canvas, a: Anatomy, chest_mm: Image, rng: np.random.Generator) -> None:
    """Muscle with ribs, then fat, then air."""
    wall = np.float32(a.fat_mm + rng.uniform(11, 15))
    canvas.paint(-chest_mm - wall, MUSCLE * (1 + 0.5 * texture(canvas, rng, 2.2)))
    cos, sin = np.cos(a.chest_angle_rad), np.sin(a.chest_angle_rad)
    along = np.asarray((canvas.y - a.centre_mm[1]) * cos - (canvas.x - a.centre_mm[0]) * sin, np.float32)
    offset = np.float32(rng.uniform(0, 48))
    beside = (along + offset) % 48 - 24
    rib = np.hypot(beside / 11, (chest_mm + wall - 5) / 4.5) * 5 - 5
    canvas.paint(rib, 0.1)
    canvas.paint(rib + 1.5, 0.6)
    septa = 1 - 0.35 * (np.abs(texture(canvas, rng, 3.0)) < 0.12)
    thickness = np.float32(a.fat_mm) * (1 + 0.35 * np.sin(along / 45 + offset)) + 1.5 * texture(canvas, rng, 9.0)
    canvas.paint(-chest_mm - thickness, (FAT * (1 + 0.2 * np.sin(along / 38 + 2 * offset)) * septa).astype(np.float32))
    canvas.paint(-chest_mm - 2, 0.8)
    canvas.paint(-chest_mm, 0.0)
