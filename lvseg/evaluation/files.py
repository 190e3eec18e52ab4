"""Results as files: contours as the challenge exchanges them, tables as CSV, everything as JSON, plots as PNG."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.evaluation.agreement import plot_agreements
from lvseg.evaluation.challenge import ContourEvaluation
from lvseg.evaluation.frames import STRUCTURES, Structure
from lvseg.slices import Contours
from lvseg.store import UPath, write_bytes, write_text

__all__ = [
    "auto_contour_name",
    "format_contour",
    "null_for_nan",
    "to_csv",
    "to_json",
    "write_auto_contours",
    "write_evaluation",
]

KINDS: dict[Structure, str] = {"endocardium": "i", "epicardium": "o"}
"""Letter of each contour in file names: inside and outside."""


def auto_contour_name(instance_number: int, structure: Structure) -> str:
    """``IM-0001-0048-icontour-auto.txt``: the name that the organisers' evaluation looks for."""
    return f"IM-0001-{instance_number:04d}-{KINDS[structure]}contour-auto.txt"


def format_contour(contour_xy_px: NDArray[np.float64]) -> str:
    """The text of a contour file: one ``x y`` pair a line, pixels, 1-based."""
    return "".join(f"{x:.3f} {y:.3f}\n" for x, y in contour_xy_px.tolist())


def write_auto_contours(folder: UPath, instance_number: int, contours: Contours) -> list[UPath]:
    """Write the endocardium and epicardium of one image, those that there are.

    Args:
        folder: the patient's, made where it is missing.
        instance_number: of the image, 1-based.
        contours: in pixels of the source image.

    Returns:
        The files.

    Raises:
        OSError: they cannot be written.
    """
    written = []
    for structure in STRUCTURES:
        if (points := getattr(contours, structure)) is not None:
            written.append(folder / auto_contour_name(instance_number, structure))
            write_text(written[-1], format_contour(points))
    return written


def write_evaluation(evaluation: ContourEvaluation, folder: UPath, stem: str = "evaluation") -> list[UPath]:
    """Write the tables and plots.

    ``STEM-images.csv`` has a line for each contour, ``STEM-patients.csv`` one for each patient and structure; where
    volumes are known, ``STEM-volumes.csv`` has them and ``STEM-agreement.png`` shows Bland–Altman plots.

    Returns:
        The files.

    Raises:
        OSError: they cannot be written.
    """
    files = {
        f"{stem}-images.csv": to_csv(evaluation.images).encode(),
        f"{stem}-patients.csv": to_csv(evaluation.patients).encode(),
    }
    if evaluation.volumes:
        files[f"{stem}-volumes.csv"] = to_csv(evaluation.volumes).encode()
    if evaluation.agreements:
        files[f"{stem}-agreement.png"] = plot_agreements(evaluation.agreements)
    for name, data in files.items():
        write_bytes(folder / name, data)
    return [folder / name for name in files]


def to_json(evaluation: Any) -> str:
    """A dataclass as JSON; NaN becomes null."""
    content = null_for_nan(dataclasses.asdict(evaluation))
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def null_for_nan(value: Any) -> Any:
    """The same value with None for every NaN in it."""
    if isinstance(value, dict):
        return {key: null_for_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def to_csv(rows: Sequence[Any]) -> str:
    """Dataclasses as CSV, a column a field, fields of fields as ``manual_edv_ml``; undefined values are empty."""
    flat = [dict(_flat(dataclasses.asdict(row))) for row in rows]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, "" if name == "score" else f"{name}_")
        elif isinstance(value, float):
            yield prefix + name, "" if math.isnan(value) else f"{value:.6g}"
        else:
            yield prefix + name, value
