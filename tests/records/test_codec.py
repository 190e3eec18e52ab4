import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lvseg.config import RecordFormat
from lvseg.errors import RecordsError
from lvseg.records import SCHEMA, read_rows, slice_to_row, table_to_slices, write_rows
from lvseg.records.codec import row_to_slice
from lvseg.slices import Contours, Grid, Place, Slice
from tests.discs import make_disc

FLOAT32_TOLERANCE = 1e-6
"""TFRecord keeps place and contour as float32; relative."""

PLACE = Place(
    instance_number=48,
    slice_index=2,
    phase_index=7,
    trigger_time_ms=312.7,
    pixel_spacing=(1.3671875, 1.3671876),
    slice_thickness_mm=8.0,
    spacing_between_slices_mm=10.1,
    image_position_patient=(-12.34567, 45.1, 100.0),
    image_orientation_patient=(0.1, 0.9, -0.2, 0.3, 0.4, 0.86),
)


CONTOURS = Contours(
    endocardium=np.array([[3.5, 4.0], [9.0, 4.5], [6.1, 10.0]]),
    epicardium=np.array([[2.5, 3.0], [10.0, 3.5], [6.1, 11.5], [2.0, 8.0]]),
    papillaries=(np.array([[4.5, 5.0], [5.0, 5.5], [5.0, 6.0]]), np.array([[7.0, 7.0], [7.5, 7.0], [7.5, 8.0]])),
)
GRID = Grid(rows=256, columns=192, row0=61.25, column0=-3.5, row_step=0.75, column_step=1.5)


def make_slice(
    dtype: str,
    place: Place = PLACE,
    contours: Contours = CONTOURS,
    grid: Grid | None = GRID,
    group: str | None = "HF-I",
) -> Slice:
    low, high = (-2.5, 2.5) if np.dtype(dtype).kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    image = np.linspace(low, high, 12 * 20).reshape(12, 20).astype(dtype)
    mask = (image > image.mean()).astype(np.uint8) + (image > np.quantile(image, 0.9))
    return Slice(
        name="SC-HF-I-1-IM-0001-0048",
        case_id="SC-HF-I-1",
        group=group,
        image=image,
        mask=mask.astype(np.uint8),
        place=place,
        contours=contours,
        grid=grid,
        source_sha256="ab" * 32,
    )


def assert_same(found: Slice, expected: Slice, tolerance: float) -> None:
    for name in ("name", "case_id", "group", "source_sha256", "grid"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("image", "mask"):
        got, want = getattr(found, name), getattr(expected, name)
        assert got.dtype == want.dtype.newbyteorder("<")
        np.testing.assert_array_equal(got, want)
    for field in dataclasses.fields(Place):
        got, want = getattr(found.place, field.name), getattr(expected.place, field.name)
        assert type(got) is type(want)
        assert got == (want if want is None else pytest.approx(want, rel=tolerance, abs=0))
    want = dict(expected.contours.named())
    got = dict(found.contours.named())
    assert list(got) == list(want)
    for name, points in want.items():
        np.testing.assert_allclose(got[name], points, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", ">i2"])
@pytest.mark.parametrize(("format", "tolerance"), [("parquet", 0.0), ("tfrecord", FLOAT32_TOLERANCE)])
def test_round_trip_through_a_file(tmp_path: Path, format: RecordFormat, tolerance: float, dtype: str) -> None:
    items = [make_slice(dtype), make_slice(dtype, Place(), Contours(), None, None)]
    write_rows(tmp_path / "records", [slice_to_row(item) for item in items], format)
    found = table_to_slices(read_rows(tmp_path / "records", format))
    for got, want in zip(found, items, strict=True):
        assert_same(got, want, tolerance)


def test_a_view_that_is_not_contiguous_is_stored_in_c_order() -> None:
    item = make_slice("uint16")
    turned = dataclasses.replace(item, image=item.image.T, mask=item.mask[::-1].T)
    assert_same(row_to_slice(slice_to_row(turned)), turned, 0)


def test_a_row_has_every_column_of_the_schema() -> None:
    assert sorted(slice_to_row(make_disc(0))) == sorted(SCHEMA.names)


@pytest.mark.parametrize(("column", "value"), [("rows", 13), ("image_dtype", "|u1"), ("image_dtype", "nonsense")])
def test_pixels_that_do_not_fill_the_size_name_the_record(column: str, value: object) -> None:
    row = slice_to_row(make_slice("uint16")) | {column: value}
    with pytest.raises(RecordsError, match=r"^record SC-HF-I-1-IM-0001-0048: 480 bytes do not make 1\dx20 of"):
        row_to_slice(row)
