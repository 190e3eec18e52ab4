"""NIfTI files: pixels in our axis order, geometry in DICOM's words and coordinates."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import nibabel
import numpy as np
from numpy.typing import NDArray

from lvseg.slices import Place

__all__ = ["Geometry", "parse_nifti", "read_nifti_shape"]

HEADER_BYTES = 540
"""Length of a NIfTI-2 header; that of NIfTI-1 is 348."""

MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
MS_PER_UNIT = {"sec": 1000.0, "msec": 1.0, "usec": 0.001}

LPS_FROM_RAS = np.array([-1.0, -1.0, 1.0])
"""NIfTI's first two axes point right and anterior, DICOM's patient axes left and posterior."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Where the planes of a volume lie."""

    affine: NDArray[np.float64]
    """(3, 4) mm, (column, row, slice) → DICOM patient coordinates."""
    is_known: bool
    """Whether the header says where the volume lies; else only the spacing is meant."""
    phase_ms: float | None
    """Time from phase to phase, ms."""

    def place(self, plane: tuple[int, ...]) -> Place:
        """Place of one plane: (), (slice,) or (slice, phase), 0-based."""
        slice_index, phase_index = (*plane, None, None)[:2]
        spacing = np.linalg.norm(self.affine[:, :3], axis=0)
        column_mm, row_mm, slice_mm = spacing.tolist()
        known = self.is_known and spacing.min() > 0
        corner = self.affine @ [0, 0, slice_index or 0, 1]
        directions = (self.affine[:, :2] / spacing[:2]).T.ravel() if known else None
        return Place(
            slice_index=slice_index,
            phase_index=phase_index,
            trigger_time_ms=None if phase_index is None or self.phase_ms is None else phase_index * self.phase_ms,
            pixel_spacing=(row_mm, column_mm) if row_mm > 0 and column_mm > 0 else None,
            spacing_between_slices_mm=slice_mm if plane and slice_mm > 0 else None,
            image_position_patient=tuple(corner.tolist()) if known else None,
            image_orientation_patient=None if directions is None else tuple(directions.tolist()),
        )


def parse_nifti(data: bytes) -> tuple[NDArray[Any], Geometry]:
    """Decode a NIfTI-1 or NIfTI-2 file, gzipped or not.

    NIfTI's first axis runs along a row. The two first axes are exchanged, so that an image is (rows, columns) as
    everywhere else; nothing is flipped, and the geometry says which way the rows and columns run.

    Returns:
        (rows, columns[, slices[, phases]]) in the stored type, floating point where the header asks for rescaling;
        trailing axes of length 1 are dropped. Geometry of the planes.

    Raises:
        Exception: anything that nibabel or gzip raises for a damaged file.
    """
    image = _image_class(data := _unzipped(data)).from_bytes(data)
    header = image.header
    pixels = np.asanyarray(image.dataobj)
    pixels = pixels.reshape(_squeezed(pixels.shape))
    space, time = header.get_xyzt_units()
    affine = LPS_FROM_RAS[:, None] * image.affine[:3] * MM_PER_UNIT.get(space, 1.0)
    step = float(header.get_zooms()[3]) * MS_PER_UNIT.get(time, 0.0) if len(header.get_zooms()) > 3 else 0.0
    known = bool(header["qform_code"] > 0 or header["sform_code"] > 0)
    return np.swapaxes(pixels, 0, 1), Geometry(affine, known, step if step > 0 else None)


def read_nifti_shape(file: BinaryIO, is_zipped: bool) -> tuple[int, ...]:
    """Shape of the array that ``parse_nifti`` returns, from the header alone.

    Raises:
        Exception: anything that nibabel or gzip raises for a damaged file.
    """
    start = gzip.GzipFile(fileobj=file).read(HEADER_BYTES) if is_zipped else file.read(HEADER_BYTES)
    header = _image_class(start).header_class.from_fileobj(BytesIO(start))
    columns, rows, *more = _squeezed(header.get_data_shape())
    return (rows, columns, *more)


def _unzipped(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _image_class(data: bytes) -> Any:
    is_second = int.from_bytes(data[:4], "little") == HEADER_BYTES or int.from_bytes(data[:4], "big") == HEADER_BYTES
    return nibabel.Nifti2Image if is_second else nibabel.Nifti1Image


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without trailing axes of length 1; at least two axes stay."""
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
