"""Patients made of circles: every area, volume and distance is known on paper."""

import dataclasses
from collections.abc import Callable

from lvseg.evaluation import Frame
from lvseg.slices import Contours, Place
from tests.evaluation.shapes import circle

RADII = {0: (20, 19, 17, 14, 10, 5), 9: (15, 14, 12, 9, 5, 3)}
"""Phase → radius, px, of the slices from base to apex; ED is phase 0, ES phase 9."""
SPACING, GAP = (1.5, 1.5), 8.0
WALL = 6.0

Change = Callable[[int, int, Contours], Contours]
"""(slice, phase, manual contours) → automatic contours."""


def same(index: int, phase: int, manual: Contours) -> Contours:
    return manual


def heart(case_id: str = "SC-N-2", group: str | None = "N", auto: Change = same, **place: object) -> list[Frame]:
    """Two phases of six slices, both contours at ED, the endocardium alone at ES."""
    frames = []
    for phase, radii in RADII.items():
        for index, radius in enumerate(radii):
            number = index * 20 + phase + 1
            manual = Contours(
                endocardium=circle(100, 90, radius, 90),
                epicardium=circle(100, 90, radius + WALL, 90) if phase == 0 else None,
            )
            where = Place(
                instance_number=number,
                slice_index=index,
                phase_index=phase,
                pixel_spacing=SPACING,
                image_position_patient=(0.0, 0.0, -GAP * index),
                image_orientation_patient=(1, 0, 0, 0, 1, 0),
            )
            frames.append(
                Frame(
                    name=f"{case_id}-IM-0001-{number:04d}",
                    case_id=case_id,
                    group=group,
                    place=dataclasses.replace(where, **place),
                    manual=manual,
                    auto=auto(index, phase, manual),
                )
            )
    return frames
