"""Made hearts: a bright disc in a dark ring on a grey body, drawn with its contours; and facts made by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lvseg.findings import Finding
from lvseg.quality import FACTS_SCHEMA, find_problems, slice_facts
from lvseg.rasterize import label_mask
from lvseg.slices import Contours, Place, Slice
from lvseg.sources import DicomItem

SIZE = 128
SPACING_MM = 2.0


def circle(x: float, y: float, radius: float, points: int = 60) -> np.ndarray:
    """(points, 2) 1-based contour around 0-based (x, y)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1) + 1


def make_heart(
    name: str = "A-IM-0001-0001",
    case_id: str = "A",
    at: tuple[float, float] = (64, 60),
    radius: float = 12,
    drawn_at: tuple[float, float] | None = None,
    epicardium_at: tuple[float, float] | None = None,
    spacing: tuple[float, float] | None = (SPACING_MM, SPACING_MM),
    **place: Any,
) -> Slice:
    """A heart at ``at`` whose contours are drawn at ``drawn_at``."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(columns - at[0], rows - at[1])
    noise = np.random.default_rng([len(name), *name.encode()]).normal(0, 12, (SIZE, SIZE))
    image = np.select([distance < radius, distance < radius + 5], [300, 90], 180) + noise
    x, y = drawn_at or at
    endocardium = circle(x, y, radius)
    epicardium = circle(*epicardium_at, radius + 5) if epicardium_at else None
    contours = Contours(endocardium=endocardium, epicardium=epicardium)
    return Slice(
        name=name,
        case_id=case_id,
        image=image.astype(np.int16),
        mask=label_mask(contours, (SIZE, SIZE), "centre", "endo"),
        place=Place(pixel_spacing=spacing, **place),
        contours=contours,
    )


def item_of(heart: Slice, epicardium: str | None = "o.txt") -> DicomItem:
    return DicomItem(
        name=heart.name,
        case_id=heart.case_id,
        image=f"{heart.name}.dcm",
        endocardium=f"{heart.name}-i.txt",
        epicardium=epicardium,
        instance_number=1,
    )


def facts_of(heart: Slice) -> dict[str, Any]:
    return slice_facts(heart, item_of(heart, "o.txt" if heart.contours.epicardium is not None else None))


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=FACTS_SCHEMA)


def found(rows: Sequence[dict[str, Any]], check: str = "") -> list[Finding]:
    """Findings of one check, or of all."""
    return [f for f in find_problems(table(rows), "endo") if check in ("", f.check)]


@pytest.fixture
def stack() -> Callable[..., list[dict[str, Any]]]:
    """Facts of a patient that nothing is wrong with: seven slices at ED and ES, in pairs of (slice, phase)."""

    def make(case_id: str = "A", slices: Sequence[int] = range(7), phases: Sequence[int] = (0, 8)) -> list[dict]:
        template = facts_of(make_heart())
        rows = []
        for index in slices:
            for phase in phases:
                radius = (14 - 1.4 * index) * (1 if phase == 0 else 0.8)
                area = np.pi * radius**2
                name = f"{case_id}-IM-0001-{20 * index + phase + 1:04d}"
                own = {
                    "name": name,
                    "case_id": case_id,
                    "image_file": f"{name}.dcm",
                    "label_file": f"{name}-i.txt",
                    "slice_index": index,
                    "phase_index": phase,
                    "position_mm": 8.0 * index,
                    "instance_number": 20 * index + phase + 1,
                    "endocardium_area_px": area,
                    "endocardium_area_mm2": area * SPACING_MM**2,
                    "image_hash": f"{name:>16.16}"[::-1].encode(),
                    "endocardium_hash": f"{name:>16.16}".encode(),
                }
                rows.append(template | own)
        return rows

    return make
