"""One slice ↔ one row. The only place that knows the columns' names and types.

Pixels are raw bytes in C order with their dtype and size beside them: a binary column
keeps the image's own integer type and is read and written faster than a tensor column.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from lvseg.errors import RecordsError
from lvseg.slices import Contours, Grid, Place, Slice

SCHEMA_VERSION = 2

_POINT = pa.list_(pa.float64())

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("case_id", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("columns", pa.int64(), nullable=False),
        pa.field("image_dtype", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("instance_number", pa.int64()),
        pa.field("slice_index", pa.int64()),
        pa.field("phase_index", pa.int64()),
        pa.field("trigger_time_ms", pa.float64()),
        pa.field("pixel_spacing", _POINT),
        pa.field("slice_thickness_mm", pa.float64()),
        pa.field("spacing_between_slices_mm", pa.float64()),
        pa.field("image_position_patient", _POINT),
        pa.field("image_orientation_patient", _POINT),
        pa.field("endocardium_xy_px", _POINT),
        pa.field("epicardium_xy_px", _POINT),
        pa.field("papillary_xy_px", _POINT),
        pa.field("papillary_points", pa.list_(pa.int64())),
        pa.field("source_grid", _POINT),
        pa.field("source_sha256", pa.string(), nullable=False),
    ],
    metadata={"lvseg_schema_version": str(SCHEMA_VERSION)},
)

_PLACE_TUPLES = ("pixel_spacing", "image_position_patient", "image_orientation_patient")


def slice_to_row(item: Slice) -> dict[str, Any]:
    """The slice as a mapping of ``SCHEMA``'s columns to Python values."""
    place = {f.name: getattr(item.place, f.name) for f in dataclasses.fields(Place)}
    for key in _PLACE_TUPLES:
        place[key] = None if place[key] is None else list(place[key])
    contours, rows, columns = item.contours, *item.image.shape
    return {
        "name": item.name,
        "case_id": item.case_id,
        "group": item.group,
        "rows": rows,
        "columns": columns,
        "image_dtype": item.image.dtype.newbyteorder("<").str,
        "image": np.ascontiguousarray(item.image, item.image.dtype.newbyteorder("<")).tobytes(),
        "mask": np.ascontiguousarray(item.mask, np.uint8).tobytes(),
        **place,
        "endocardium_xy_px": _flat(contours.endocardium),
        "epicardium_xy_px": _flat(contours.epicardium),
        "papillary_xy_px": _flat(np.concatenate(contours.papillaries)) if contours.papillaries else None,
        "papillary_points": [len(each) for each in contours.papillaries] or None,
        "source_grid": None if item.grid is None else [float(value) for value in dataclasses.astuple(item.grid)],
        "source_sha256": item.source_sha256,
    }


def _flat(points: np.ndarray | None) -> list[float] | None:
    return None if points is None else points.reshape(-1).tolist()


def _points(flat: list[float] | None) -> np.ndarray | None:
    return None if flat is None else np.asarray(flat, np.float64).reshape(-1, 2)


def row_to_slice(row: dict[str, Any]) -> Slice:
    """The inverse of ``slice_to_row``; contours, grid and place are None where the row has none.

    Raises:
        RecordsError: the pixels do not fill the stated size.
    """
    shape = (row["rows"], row["columns"])
    place = {f.name: row[f.name] for f in dataclasses.fields(Place)}
    for key in _PLACE_TUPLES:
        place[key] = None if place[key] is None else tuple(place[key])
    return Slice(
        name=row["name"],
        case_id=row["case_id"],
        group=row["group"],
        image=pixels(row["image"], row["image_dtype"], shape, row["name"]),
        mask=pixels(row["mask"], "|u1", shape, row["name"]),
        place=Place(**place),
        contours=_row_contours(row),
        grid=_row_grid(row["source_grid"]),
        source_sha256=row["source_sha256"],
    )


def _row_contours(row: dict[str, Any]) -> Contours:
    papillaries = _points(row["papillary_xy_px"])
    bounds = np.cumsum(row["papillary_points"] or [])[:-1]
    return Contours(
        endocardium=_points(row["endocardium_xy_px"]),
        epicardium=_points(row["epicardium_xy_px"]),
        papillaries=() if papillaries is None else tuple(np.split(papillaries, bounds)),
    )


def _row_grid(values: list[float] | None) -> Grid | None:
    return None if values is None else Grid(int(values[0]), int(values[1]), *values[2:])


def pixels(data: bytes, dtype: str, shape: tuple[int, int], name: str) -> np.ndarray:
    """(rows, columns) view on raw pixel bytes.

    Raises:
        RecordsError: the bytes do not fill the stated size, or there is no such dtype.
    """
    try:
        return np.frombuffer(data, np.dtype(dtype)).reshape(shape)
    except (ValueError, TypeError):
        raise RecordsError(f"record {name}: {len(data)} bytes do not make {shape[0]}x{shape[1]} of {dtype}") from None


def table_to_slices(table: pa.Table) -> list[Slice]:
    """All rows of a table that has every column of ``SCHEMA``."""
    return [row_to_slice(row) for row in table.to_pylist()]
