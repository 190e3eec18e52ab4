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
from lvseg.slices import Place, Slice

SCHEMA_VERSION = 1

_POINT = pa.list_(pa.float64())

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("case_id", pa.string(), nullable=False),
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
        pa.field("contour_xy_px", _POINT),
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
    contour = item.contour_xy_px
    rows, columns = item.image.shape
    return {
        "name": item.name,
        "case_id": item.case_id,
        "rows": rows,
        "columns": columns,
        "image_dtype": item.image.dtype.newbyteorder("<").str,
        "image": np.ascontiguousarray(item.image, item.image.dtype.newbyteorder("<")).tobytes(),
        "mask": np.ascontiguousarray(item.mask, np.uint8).tobytes(),
        **place,
        "contour_xy_px": None if contour is None else contour.reshape(-1).tolist(),
        "source_sha256": item.source_sha256,
    }


def row_to_slice(row: dict[str, Any]) -> Slice:
    """The inverse of ``slice_to_row``; contour and place are None where the row has none.

    Raises:
        RecordsError: the pixels do not fill the stated size.
    """
    shape = (row["rows"], row["columns"])
    place = {f.name: row[f.name] for f in dataclasses.fields(Place)}
    for key in _PLACE_TUPLES:
        place[key] = None if place[key] is None else tuple(place[key])
    contour = row["contour_xy_px"]
    return Slice(
        name=row["name"],
        case_id=row["case_id"],
        image=pixels(row["image"], row["image_dtype"], shape, row["name"]),
        mask=pixels(row["mask"], "|u1", shape, row["name"]),
        place=Place(**place),
        contour_xy_px=None if contour is None else np.asarray(contour, np.float64).reshape(-1, 2),
        source_sha256=row["source_sha256"],
    )


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
